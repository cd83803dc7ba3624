//! The cost of one object of any size: allocations and memory, counted.
//!
//! Every list, map and text that is read of any object, found by walking the types that read it, is enlarged, one at a
//! time. Each such object goes through a review, a watch, the count of a policy's guests, the audit, and `check`. Times
//! are not measured here: `make cost` measures the processor time as well.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test ends with the panic")]
#![expect(clippy::cast_precision_loss, reason = "sizes and times are far below 2^52")]

mod fleet;
mod growth;
mod kept;
mod large;
#[path = "../../src/testing/objects/launcher.rs"]
mod launcher;
mod lists;
mod measure;
#[path = "../common/objects.rs"]
mod objects;
mod paths;
#[path = "../../src/testing/objects/review.rs"]
mod review;
#[path = "../../src/testing/objects/running.rs"]
mod running;
mod shapes;
mod size;
#[path = "../../src/testing/thorough.rs"]
mod thorough;
