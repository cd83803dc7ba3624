//! The webhook's router in the benchmarks.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use cpufit::policy::Word as _;
use cpufit::telemetry::Metrics;
use cpufit::web::{self, Condition, Edge, Readiness};
use cpufit::world::World;
use http::header::CONTENT_TYPE;

/// Returns the webhook's own router, with an additional route `/null` that reads the body and returns a constant.
pub fn router(world: World, metrics: Arc<Metrics>) -> Router {
    const ANSWER: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"a145cf43-b63d-43a6-8ff1-4d4456486f08","allowed":true}}"#;
    let readiness = Readiness::new();
    for &condition in Condition::ALL {
        readiness.meet(condition);
    }
    let edge = Edge::new(Arc::new(world), Arc::new(readiness), metrics, web::Limits::default());
    let null = async |body: Bytes| {
        drop(body);
        ([(CONTENT_TYPE, "application/json")], ANSWER)
    };
    web::router(edge).route("/null", post(null))
}
