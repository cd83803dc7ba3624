//! What is looked up while a review waits.
#![allow(clippy::expect_used)]

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request as HttpRequest, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::admission::review::decode;

/// Judges by nothing, and asks an API server that grants every right and notes what it was asked.
fn live(asked: &Arc<Mutex<Value>>) -> Live {
    let asked = Arc::clone(asked);
    let service = tower::service_fn(move |request: HttpRequest<Body>| {
        let asked = Arc::clone(&asked);
        async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let mut review: Value = serde_json::from_slice(&body).expect("JSON");
            asked.lock().expect("no panic").clone_from(&review["spec"]);
            review["status"] = json!({"allowed": true});
            Ok::<_, Infallible>(Response::new(Body::from(review.to_string().into_bytes())))
        }
    });
    let metrics = Arc::new(crate::telemetry::Metrics::new(|_| {}));
    let (reports, _) = events::channel(&metrics);
    Live {
        client: Client::new(service, "default"),
        snapshot: ArcSwap::default(),
        reads: Semaphore::new(READS),
        reports,
        metrics,
    }
}

/// A storm of other reads is no reason to deny it, and a token for less than its bearer may do is told as one.
#[tokio::test(start_paused = true)]
async fn who_may_relax_is_asked_for_the_sender_as_they_are() {
    let asked = Arc::default();
    let live = live(&asked);
    let extra = json!({"scopes.authorization.openshift.io": ["user:info"]});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": "shop",
            "kind": {"group": "kubevirt.io", "version": "v1", "kind": "VirtualMachineInstanceMigration"},
            "userInfo": {"username": "ops", "uid": "7", "groups": ["admins"], "extra": extra},
            "object": {"metadata": {"name": "migrate-db", "annotations": {"cpufit.io/relax": "true"}}},
        },
    });
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let now = Instant::now();
    let time = Time { half: now + Duration::from_secs(2), end: now + Duration::from_secs(4) };
    let all = live.reads.acquire_many(u32::try_from(READS).expect("few")).await.expect("open");
    let (answer, ()) = tokio::join!(live.answer(Stage::Authorize, &request, time), async {
        sleep(Duration::from_secs(1)).await;
        drop(all);
    });
    assert_eq!(answer.expect("an answer").decision, Decision::admit());
    let asked = asked.lock().expect("no panic");
    assert_eq!((&asked["user"], &asked["uid"], &asked["groups"]), (&json!("ops"), &json!("7"), &json!(["admins"])));
    assert_eq!(asked["extra"], extra, "a scoped token would be given all that its bearer may do");
}

/// The word of a controller goes to Events and metrics, for nobody reads its warnings.
#[tokio::test(start_paused = true)]
async fn what_an_exemption_spares_is_counted() {
    use crate::policy::Policy;
    use crate::testing::cluster::{cluster, launcher, migration, running, vmi};
    use crate::testing::fleet::{feature, intel};

    let live = live(&Arc::default());
    let db = running("db", "node-a", "host-model");
    let objects = [launcher(&db, [feature("hle"), feature("amd-stibp")]), vmi(db)];
    let strict = json!({
        "apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": "strict"},
        "spec": {"enforce": "Fragile"},
    });
    let policies = vec![Policy::from_json(&strict.to_string()).expect("a policy")];
    let world = World { cluster: cluster("1.9.0", intel(), objects), policies };
    live.snapshot.store(Arc::new(Snapshot { world, ..Snapshot::default() }));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": "shop",
            "kind": {"group": "kubevirt.io", "version": "v1", "kind": "VirtualMachineInstanceMigration"},
            "userInfo": {"username": "system:serviceaccount:kubevirt:kubevirt-controller"},
            "object": migration("db"),
        },
    });
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let now = Instant::now();
    let time = Time { half: now + Duration::from_secs(2), end: now + Duration::from_secs(4) };
    let _ = live.judge(Stage::Validate, &request, time).await.expect("an answer");
    let text = live.metrics.render().expect("text");
    assert!(text.contains("cpufit_spared_total{exemption=\"controller\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_counts_hold_up_nobody() {
    let went_on = Arc::new(AtomicBool::new(false));
    let other = Arc::clone(&went_on);
    let counting = tokio::spawn(async move {
        tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
        aside(|| {
            let began = std::time::Instant::now();
            while !went_on.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(1));
            }
            went_on.load(Ordering::Relaxed)
        })
    });
    assert!(counting.await.expect("no panic"), "one edit of a node would stop all reviews");
}
