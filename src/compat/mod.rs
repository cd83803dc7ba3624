//! The judgement: pure functions of a guest's demand and the nodes. No HTTP, no clients, no clock.

pub mod bits;
pub mod label;
pub mod node;
pub mod placement;
pub mod remedy;
pub mod verdict;
