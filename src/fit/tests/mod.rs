//! Tests of the whole judgement; tests of one function are in its file.

// A failed expectation is the result of a test.
mod libvirt;
mod luck;
mod next_start;
mod promises;
mod restarts;
mod risks;
mod scheduler;
mod vendors;
mod verdicts;
