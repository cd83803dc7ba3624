//! Tests of the whole judgement; tests of one function are in its file.

// A failed expectation is the result of a test.
#![allow(clippy::expect_used)]

mod libvirt;
mod luck;
mod next_start;
mod promises;
mod scheduler;
mod verdicts;
