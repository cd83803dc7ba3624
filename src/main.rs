//! The `cpufit` command.

fn main() {}
