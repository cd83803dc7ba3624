//! The binary under test, run as its users run it, with a time limit.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_cpufit");

/// Maximum time of a run on the slowest machine, so that a hang ends as a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// The result of one run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Returns the exit code, or panics with the program's output if a signal killed it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.code.unwrap_or_else(|| panic!("the program was killed by a signal; it said:\n{}", self.stderr))
    }

    /// Returns standard output parsed as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "scripts read one JSON document from standard output, but it does not parse: {error}\n\
                 exit {:?}\nstdout: {}\nstderr: {}",
                self.code,
                head(&self.stdout),
                head(&self.stderr)
            )
        })
    }
}

/// A run of the program, before it starts.
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
}

/// Returns a run of the program with these arguments, in an environment that does not affect its output.
pub fn cpufit<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(BIN);
    command.args(args).env("NO_COLOR", "1").env_remove("RUST_LOG").env_remove("KUBECONFIG");
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy().to_ascii_uppercase();
        if name.starts_with("CPUFIT_") || name == "KUBEVIRT_DOMAIN" || name.ends_with("_PROXY") {
            command.env_remove(key);
        }
    }
    if let Some(domain) = rename() {
        command.env("KUBEVIRT_DOMAIN", domain);
    }
    Run { command, input: None }
}

/// The variable that names another domain than `kubevirt.io`. Test files are written with that domain, the program is
/// run with it, and its output is compared after translating the names back.
pub const RENAME: &str = "RENAME_KUBEVIRT";

/// Returns the domain that replaces `kubevirt.io`; `None` if none does.
pub fn rename() -> Option<String> {
    std::env::var(RENAME).ok()
}

/// Returns a run of another program under the same rules.
pub fn program(command: Command) -> Run {
    Run { command, input: None }
}

impl Run {
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets standard input, which is empty by default.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs to the end, or kills the program at the time limit and fails.
    #[track_caller]
    pub fn run(mut self) -> Ran {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.spawn().expect("the program under test cannot be started");
        if let (Some(input), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
            // A program that fails early closes its end; its exit code shows the failure.
            thread::spawn(move || stdin.write_all(&input).ok());
        }
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        let status = wait(&mut child, LIMIT);
        if status.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        let ran = Ran {
            code: status.and_then(|status| status.code()),
            stdout: put_back(stdout.join().expect("reader of stdout")),
            stderr: put_back(stderr.join().expect("reader of stderr")),
        };
        assert!(
            status.is_some(),
            "{:?} did not end within {LIMIT:?}: a pipeline would hang; its output so far:\n{}",
            self.command,
            head(&ran.stderr)
        );
        assert!(
            !ran.stderr.contains("panicked at"),
            "{:?} panicked, so its user sees a backtrace instead of an answer:\n{}",
            self.command,
            head(&ran.stderr)
        );
        ran
    }
}

fn put_back(text: String) -> String {
    match rename() {
        Some(domain) => text.replace(&domain, "kubevirt.io"),
        None => text,
    }
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a process; `None` if it still runs at the limit.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns a text cut to the length of a failure message.
pub fn head(text: &str) -> String {
    const LONG: usize = 2_000;
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{} … ({} bytes in all)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[track_caller]
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
