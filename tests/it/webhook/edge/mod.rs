//! The webhook's edge from the API server's side: the router in process, and the server on a socket.

mod judge_queues;
mod memory;
mod places;
mod router;
mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;

use cpufit::admission::Webhook;
use cpufit::admission::response::{Decision, Denial, DenialKind, Warnings};
use cpufit::admission::review::Request;
use cpufit::policy::Word as _;
use cpufit::telemetry::Metrics;
use cpufit::web::{Condition, Edge, JudgeScope, JudgeSlot, Judging, Limits, Readiness, Unjudged};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::common::create;

/// Decides by the object's name: `deny`, `warn` and `panic` cause these results; every other name is admitted.
fn by_name(request: &Request<'_>) -> Decision {
    match &*request.name {
        "panic" => panic!("as the test asks"),
        "warn" => Decision::admit_with(vec!["shop/warn: as asked".to_owned()]),
        "patch" => Decision::Admit {
            warnings: Warnings::default(),
            audit: BTreeMap::new(),
            patch: serde_json::from_value(json!([{"op": "remove", "path": "/a"}])).unwrap(),
        },
        "deny" => Decision::Deny {
            denial: Denial {
                code: DenialKind::Forbidden,
                message: "as asked".to_owned(),
                details: Vec::new(),
                group: String::new(),
                kind: "Pod".to_owned(),
                name: "deny".to_owned(),
                causes: Vec::new(),
            },
            warnings: Warnings::default(),
            audit: BTreeMap::new(),
        },
        _ => Decision::admit(),
    }
}

/// A judgement by name, when its turn comes.
struct ByName;

impl Judging for ByName {
    fn judge<'a>(
        &'a self,
        _: Webhook,
        review: &'a Request<'_>,
        slot: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        async move { Ok(slot.run(JudgeScope::Object, |_| by_name(review)).await?) }.boxed()
    }
}

/// A judgement by name; reviews of `hold` wait until they are released, one by one.
#[derive(Default)]
struct Held {
    begun: Notify,
    release: Notify,
}

impl Judging for Held {
    fn judge<'a>(
        &'a self,
        _: Webhook,
        review: &'a Request<'_>,
        _: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        async move {
            if &*review.name == "hold" {
                self.begun.notify_one();
                self.release.notified().await;
            }
            Ok(by_name(review))
        }
        .boxed()
    }
}

fn ready() -> Arc<Readiness> {
    let readiness = Readiness::new();
    for &condition in Condition::ALL {
        readiness.meet(condition);
    }
    Arc::new(readiness)
}

fn edge(limits: Limits) -> (Arc<Edge>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    (Edge::new(Arc::new(ByName), ready(), Arc::clone(&metrics), limits), metrics)
}

/// Returns a review of a pod of this name.
fn review(name: &str) -> Value {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}});
    let mut review = create(&pod, "admin");
    review["request"]["uid"] = json!("u-1");
    review
}
