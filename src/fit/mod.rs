//! The judgement: pure functions of a guest's demand and the nodes. No HTTP, no clients, no clock.

mod affinity;
pub mod assess;
pub mod author;
pub mod bits;
pub mod check;
pub mod command;
mod effort;
pub mod fleet;
pub mod judgement;
pub mod label;
pub mod libvirt;
mod memo;
pub mod models;
pub mod node;
pub mod placement;
pub mod remedy;
mod selector;
pub mod shown;
pub mod subject;
pub mod syntax;
mod toleration;
pub mod verdict;

#[cfg(test)]
mod tests;
