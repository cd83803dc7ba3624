//! The `cpufit` command: arguments in, a verb, an exit code out.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use cpufit::args::Args;

/// Input could not be read or judged.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    match cpufit::app::run(Args::parse()) {
        Ok(code) => code,
        // The reader of a pipe has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe))
}
