//! Parts shared with the other tests.

#[path = "../common/answers.rs"]
mod answers;
#[path = "../common/apart.rs"]
pub mod apart;
#[path = "../common/documents.rs"]
pub mod documents;
#[path = "../common/forward.rs"]
pub mod forward;
#[path = "../common/run.rs"]
mod run;

pub(crate) use crate::running::running;
pub use answers::{Tally, check, fitting, list};
pub use documents::documented_commands;
pub use run::{BIN, Ran, Run, cpufit, head, program, read, wait};
