//! The verbs, as people and scripts run them.

mod answers;
mod connect;
mod drain;
mod formats;
mod hostile;
mod lines;
mod pasted;
mod pruned;
mod scripts;
