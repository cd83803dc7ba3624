//! Tests of the whole program, as one test binary with a folder for each topic.
//!
//! `cargo test --test it golden::` runs the tests of one file. Shared helpers are in [`common`].

// A test that cannot create its data stops there; its functions are documented by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test ends with the panic")]

mod cli;
mod common;
mod judgement;
mod repository;
mod webhook;
