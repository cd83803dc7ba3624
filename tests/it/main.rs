//! The tests of the whole program, as one test program with a folder for each thing that they show.
//!
//! `cargo test --test it golden::` runs those of one file. What these tests share is in [`common`].

// A test that cannot make its data has nothing to say, so it stops there; its functions are documented by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cli;
mod common;
mod judgement;
mod repository;
mod webhook;
