//! The webhook over HTTP: connections, TLS, the admin port.
//!
//! - [`server`]: connections, bounded in number and time; [`tls`]: their certificate.
//! - [`router()`]: `POST /validate`, `/mutate` and `/authorize`, from a request's body to its answer.
//! - [`admin`]: `/livez`, `/readyz` and `/metrics`, on a separate port.

pub mod admin;
mod body;
mod clock;
mod connection;
mod head;
mod heartbeat;
mod judge_queues;
mod judging;
mod limits;
mod log_limit;
mod memory;
mod places;
mod readiness;
mod rejection;
mod router;
pub mod server;
pub mod tls;
mod woken;

pub use heartbeat::Heartbeat;
pub use judge_queues::{JudgeLimits, JudgeQueues, JudgeScope, JudgeSlot, QueueError};
pub(crate) use judging::by_world;
pub use judging::{Judge, Judging, Unjudged};
pub use memory::BODY_BYTES;
pub use places::Peer;
pub use readiness::{Condition, Readiness};
pub use router::{Edge, Limits, router};
