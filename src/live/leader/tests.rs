//! The decision in a table; then replicas with one Lease on a minimal API server, in simulated time.
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

fn lease(holder: &str, seconds: Option<i32>) -> LeaseSpec {
    LeaseSpec { holder_identity: Some(holder.to_owned()), lease_duration_seconds: seconds, ..LeaseSpec::default() }
}

/// A leader that ended long ago would be named as if it judged.
#[rstest]
#[case::renewed_now(0, Some(15), "leads")]
#[case::within_the_difference_of_clocks(60, Some(15), "leads")]
#[case::long_ago(100, Some(15), "expired")]
#[case::a_long_lease(100, Some(3600), "leads")]
#[case::by_the_default_duration(100, None, "expired")]
fn a_leader_whose_lease_has_expired_does_not_lead(
    #[case] ago: i64,
    #[case] lasts: Option<i32>,
    #[case] expected: &str,
) {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let renewed = Timestamp::from_second(1_800_000_000 - ago).expect("a time");
    let spec = |holder: &str, renewed: Option<Timestamp>| LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: lasts,
        renew_time: renewed.map(MicroTime),
        ..LeaseSpec::default()
    };
    let of = |spec: Option<LeaseSpec>| leading(Some(Lease { metadata: ObjectMeta::default(), spec }), now);
    let found = match of(Some(spec("cpufit-a", Some(renewed)))) {
        Leading::Replica(leader) => leader.replica,
        Leading::Expired { replica, .. } => format!("{replica} expired"),
        Leading::Nobody => String::new(),
    };
    assert_eq!(found, if expected == "leads" { "cpufit-a" } else { "cpufit-a expired" });
    assert_eq!(of(Some(spec("", Some(renewed)))), Leading::Nobody);
    assert_eq!(of(None), Leading::Nobody);
    assert!(matches!(of(Some(spec("cpufit-a", None))), Leading::Replica(_)), "when it was renewed is not known");
}

#[rstest]
#[case::there_is_none(None, 0, LeaseStep::Create)]
#[case::released(Some(lease("", Some(1))), 0, LeaseStep::Take)]
#[case::never_held(Some(LeaseSpec::default()), 0, LeaseStep::Take)]
#[case::held_here(Some(lease("me", Some(15))), 100, LeaseStep::Renew)]
#[case::just_seen(Some(lease("you", Some(15))), 0, LeaseStep::Follow)]
#[case::renewed_lately(Some(lease("you", Some(15))), 15, LeaseStep::Follow)]
#[case::silent(Some(lease("you", Some(15))), 16, LeaseStep::Take)]
#[case::silent_by_its_own_measure(Some(lease("you", Some(60))), 16, LeaseStep::Follow)]
#[case::without_measure(Some(lease("you", None)), 15, LeaseStep::Follow)]
#[case::without_measure_and_silent(Some(lease("you", None)), 16, LeaseStep::Take)]
#[case::of_nonsense(Some(lease("you", Some(-1))), 15, LeaseStep::Follow)]
fn a_replica_takes_a_lease_only_after_it_expired(
    #[case] lease: Option<LeaseSpec>,
    #[case] unchanged: u64,
    #[case] expected: LeaseStep,
) {
    assert_eq!(step(lease.as_ref(), Duration::from_secs(unchanged), "me"), expected);
}

#[test]
fn only_another_holder_is_a_transition() {
    let (t1, t2) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(5));
    let first = held(None, LeaseStep::Create, "a", t1);
    assert_eq!((first.lease_transitions, &first.acquire_time), (Some(0), &Some(MicroTime(t1))));
    let renewed = held(Some(&first), LeaseStep::Renew, "a", t2);
    assert_eq!((renewed.lease_transitions, &renewed.acquire_time), (Some(0), &Some(MicroTime(t1))));
    assert_eq!(renewed.renew_time, Some(MicroTime(t2)));
    let taken = held(Some(&renewed), LeaseStep::Take, "b", t2);
    assert_eq!((taken.lease_transitions, &taken.acquire_time), (Some(1), &Some(MicroTime(t2))));
}

#[test]
fn replicas_without_a_name_have_different_names() {
    assert_eq!(identity(Some("cpufit-7d9-x")), "cpufit-7d9-x");
    assert_ne!(identity(None), identity(Some("")));
}

/// A Lease with versions, as an API server keeps it.
#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    /// Replicas whose requests are never answered.
    cut_off: Vec<&'static str>,
}

impl Store {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        let status = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        let sent = || serde_json::from_slice::<Value>(body).unwrap();
        let stored = match (method, &self.lease) {
            (&Method::GET, None) => return status(404, "NotFound"),
            (&Method::GET, Some(lease)) => return (200, lease.clone()),
            (&Method::POST, Some(_)) => return status(409, "AlreadyExists"),
            (&Method::PUT, Some(lease))
                if lease["metadata"]["resourceVersion"] != sent()["metadata"]["resourceVersion"] =>
            {
                return status(409, "Conflict");
            }
            _ => sent(),
        };
        self.version += 1;
        let mut stored = stored;
        stored["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(stored.clone());
        (200, stored)
    }

    fn holder(&self) -> String {
        self.lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }
}

type Shared = Arc<Mutex<Store>>;

struct Replica {
    leads: watch::Receiver<bool>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(store: &Shared, name: &'static str) -> Self {
        let store = Arc::clone(store);
        let service = tower::service_fn(move |request: Request<Body>| {
            let store = Arc::clone(&store);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                while store.lock().unwrap().cut_off.contains(&name) {
                    sleep(Duration::from_secs(1)).await;
                }
                let (code, answer) = store.lock().unwrap().answer(&head.method, &body);
                let answer = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        let (sender, leads) = watch::channel(false);
        let (stop, stopping) = watch::channel(());
        let client = Client::new(service, "default");
        let task = tokio::spawn(run(client, "cpufit-system".to_owned(), name.to_owned(), sender, stopping));
        Self { leads, stop, task }
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }
}

async fn seconds(number: u64) {
    sleep(Duration::from_secs(number)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_many_replicas_becomes_leader_and_stays_it() {
    let store = Shared::default();
    let replicas = ["a", "b", "c"].map(|name| Replica::start(&store, name));
    seconds(1).await;
    let leaders = || replicas.iter().map(Replica::leads).collect::<Vec<_>>();
    let first = leaders();
    assert_eq!(first.iter().filter(|leads| **leads).count(), 1);
    for _ in 0..100 {
        seconds(3).await;
        assert_eq!(leaders(), first, "a leader that is well must not be replaced");
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_released_at_a_shutdown_and_expires_after_a_crash() {
    let store = Shared::default();
    let a = Replica::start(&store, "a");
    seconds(1).await;
    let b = Replica::start(&store, "b");
    seconds(4).await;
    assert!(a.leads() && !b.leads());

    drop(a.stop);
    a.task.await.unwrap();
    assert_eq!(store.lock().unwrap().holder(), "", "a rolling update would wait for a quarter of a minute");
    seconds(3).await;
    assert!(b.leads());

    let c = Replica::start(&store, "c");
    seconds(60).await;
    b.task.abort();
    seconds(9).await;
    assert!(!c.leads(), "it may live and only be slow");
    seconds(9).await;
    assert!(c.leads());
}

/// Two leaders at once would create two certificates.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let store = Shared::default();
    let a = Replica::start(&store, "a");
    seconds(1).await;
    let b = Replica::start(&store, "b");
    seconds(20).await;
    store.lock().unwrap().cut_off.push("a");
    let mut nobody = 0;
    for _ in 0..250 {
        assert!(!(a.leads() && b.leads()));
        nobody += u32::from(!a.leads() && !b.leads());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(b.leads() && nobody > 20, "{nobody} tenths of a second without a leader");
    store.lock().unwrap().cut_off.clear();
    seconds(30).await;
    assert!(b.leads() && !a.leads(), "who comes back follows");
}
