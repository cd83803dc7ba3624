//! Look-ups while a review waits.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use http::{Request as HttpRequest, Response};
use kube::client::Body;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::admission::review::decode;
use crate::web::{JudgeLimits, JudgeQueues};

/// Returns a live cluster without objects. Its API server has these objects, by path, and records which paths were
/// read.
fn live(objects: &Arc<BTreeMap<String, Value>>, read: &Arc<Mutex<Vec<String>>>) -> Live {
    let (objects, read) = (Arc::clone(objects), Arc::clone(read));
    let service = tower::service_fn(move |request: HttpRequest<Body>| {
        let (objects, read) = (Arc::clone(&objects), Arc::clone(&read));
        async move {
            let path = request.uri().path().to_owned();
            let found = objects.get(&path).cloned();
            read.lock().expect("no panic").push(path);
            let status = if found.is_some() { 200 } else { 404 };
            let gone =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
            let answer = Response::builder().status(status);
            let body = Body::from(found.unwrap_or(gone).to_string().into_bytes());
            Ok::<_, Infallible>(answer.body(body).expect("an answer"))
        }
    });
    let metrics = Arc::new(crate::telemetry::Metrics::new(|_| {}));
    let reports = Reports::new(&metrics);
    Live {
        client: Client::new(service, "default"),
        snapshot: ArcSwap::default(),
        reads: Semaphore::new(MAX_READS),
        lookups: Lookups::new(Instant::now()),
        reports,
        metrics,
    }
}

/// Findings about a controller's request go to Events and metrics, because controllers show no warnings.
#[tokio::test(start_paused = true)]
async fn exempted_denials_are_counted_by_reason() {
    use crate::testing::cluster::{cluster, launcher, migration, read_policy, running, vmi};
    use crate::testing::fleet::{feature, intel};
    use crate::testing::objects::create;

    let live = live(&Arc::default(), &Arc::default());
    let db = running("db", "node-a", "host-model");
    let objects = [launcher(&db, [feature("hle"), feature("amd-stibp")]), vmi(db)];
    let policies = vec![read_policy("strict", &json!({"enforce": "Fragile"}))];
    let world = World { cluster: cluster("1.9.0", intel(), objects), policies };
    live.snapshot.store(Arc::new(Snapshot { world, ..Snapshot::default() }));
    let review = create(&migration("db"), "system:serviceaccount:kubevirt:kubevirt-controller");
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let queues = JudgeQueues::new(JudgeLimits::default());
    let mut slot = queues.slot(None, false, Instant::now() + Duration::from_secs(4));
    let _ = live.judge(Webhook::Validate, &request, &mut slot).await.expect("an answer");
    let text = live.metrics.render(crate::telemetry::Exposition::Text).expect("text");
    assert!(text.contains("cpufit_exempted_total{exemption=\"controller\"} 1"), "{text}");
}

/// Events are written only about existing VMs: if the watch does not know a VM yet, it is looked up.
#[rstest]
#[case::created_a_moment_ago(Some("vm-web"), 1)]
#[case::another_one(Some("vm-of-another-time"), 0)]
#[case::forged(None, 0)]
#[tokio::test(start_paused = true)]
async fn events_are_about_vms_that_exist(#[case] uid: Option<&str>, #[case] events: usize) {
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, running, vm};
    use crate::testing::fleet::intel;
    use crate::testing::objects::create;

    const PATH: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web";
    let known = uid.map(|uid| (PATH.to_owned(), vm("web", "").tweak(|vm| vm["metadata"]["uid"] = json!(uid))));
    let read = Arc::default();
    let live = live(&Arc::new(known.into_iter().collect()), &read);
    let world = World { cluster: cluster("1.9.0", intel(), Vec::new()), ..World::default() };
    live.snapshot.store(Arc::new(Snapshot { world, ..Snapshot::default() }));
    let guest = running("web", "", "EPYC-Turin").tweak(|vmi| vmi["status"] = json!({}));
    let review = create(&guest, "system:serviceaccount:kubevirt:kubevirt-controller");
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let queues = JudgeQueues::new(JudgeLimits::default());
    let mut slot = queues.slot(None, false, Instant::now() + Duration::from_secs(4));
    let answer = live.answer(Webhook::Validate, &request, &mut slot).await.expect("an answer");
    assert_eq!(*read.lock().expect("no panic"), [PATH]);
    assert_eq!(answer.reports.len(), events, "{:#?}", answer.reports);
    assert!(answer.reports.iter().all(|report| report.regarding.uid() == "vm-web"), "{:#?}", answer.reports);
}
