//! The judgement: pure functions of a guest's demand and the nodes. No HTTP, no clients, no clock.

mod affinity;
pub(crate) mod assess;
pub(crate) mod author;
pub(crate) mod bits;
pub(crate) mod check;
pub(crate) mod command;
pub(crate) mod cpu_mode;
mod effort;
mod evidence;
pub mod fleet;
pub(crate) mod host_model;
pub(crate) mod immobile;
pub mod judgement;
pub mod label;
pub(crate) mod libvirt;
pub(crate) mod memo;
pub(crate) mod models;
pub(crate) mod named_part;
pub mod node;
pub(crate) mod outcome;
pub(crate) mod placement;
pub(crate) mod plural;
pub(crate) mod remedy;
mod selector;
pub(crate) mod shown;
pub(crate) mod subject;
pub(crate) mod syntax;
mod toleration;
pub mod verdict;
pub mod word;

#[cfg(test)]
mod tests;
