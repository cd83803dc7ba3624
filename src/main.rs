//! The `cpufit` command: parses the arguments, runs a verb, returns an exit code.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

use std::io::ErrorKind;
use std::process::ExitCode;

use cpufit::cli::Exit;
use cpufit::cli::args::program;

/// mimalloc, because musl's own allocator takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code if the reader of standard output closed the pipe: that of a program which SIGPIPE ends. Success would
/// make a gate in a pipe pass, also under `pipefail`.
const NOT_READ: u8 = 128 + 13;

fn main() -> ExitCode {
    cpufit::app::report_panics();
    if cpufit::app::completion::of_shell() {
        return ExitCode::SUCCESS;
    }
    let args = match program::parse() {
        Ok(args) => args,
        Err(error) => return cpufit::app::not_a_command_line(&error),
    };
    match cpufit::app::run(args) {
        Ok(code) => code,
        // The reader closed the pipe (`… | head`), which needs no message.
        Err(failure) if is_broken_pipe(&failure.error) => ExitCode::from(NOT_READ),
        Err(failure) => {
            cpufit::console::to_stderr(&failure.page);
            Exit::Trouble.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe))
}
