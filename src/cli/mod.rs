//! The verbs: each gathers inputs, calls the same functions as the webhook, and prints.

pub mod audit;
pub mod certs;
pub mod check;
pub mod explain;
pub mod manifests;
pub mod output;
