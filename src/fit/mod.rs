//! The judgement: pure functions of a guest's demand and the nodes. No HTTP, no clients, no clock.

pub mod advise;
pub mod assess;
pub mod bits;
pub mod command;
mod cure;
pub mod fleet;
pub mod label;
pub mod models;
pub mod node;
pub mod placement;
pub mod remedy;
pub mod shown;
pub mod subject;
pub mod verdict;

#[cfg(test)]
mod tests;
