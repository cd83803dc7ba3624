//! Tests of the judgement as a whole; those of one function stand beside it.

// A failed expectation in a test is the test's answer.
#![allow(clippy::expect_used)]

mod libvirt;
mod next_start;
mod promises;
mod scheduler;
mod verdicts;
