//! Servers that never outlive the test that started them, and the folder that they leave nothing in.
//!
//! Every server has a watcher: a shell in a process group of its own that holds a pipe from the test. When the pipe ends,
//! because the guard was dropped or because the test was killed in whatever way, the watcher kills the server and waits for
//! it. The folder has one too, and its pipe is held by the test and by every watcher: it is removed after the last of them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common;

/// Dead servers are gone at once; a machine under load is given its time.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// `$1` the log, the rest the server. What comes through the pipe are names of signals for the server. `read` ends
/// above 128 when only its time is up: then the pipe is still held.
const WATCHER: &str = r#"
log=$1; shift
"$@" </dev/null >>"$log" 2>&1 &
server=$!
while kill -0 "$server" 2>/dev/null; do
  read -r -t 1 signal; end=$?
  if [ "$end" -eq 0 ]; then kill -s "$signal" "$server"; elif [ "$end" -le 128 ]; then break; fi
done
kill -KILL "$server" 2>/dev/null
wait "$server"
"#;

/// `$1` the folder.
const SWEEPER: &str = r#"
cat >/dev/null
for _ in 1 2 3 4 5; do
  rm -rf -- "$1" && break
  sleep 1
done
"#;

fn shell(script: &str) -> Command {
    let mut shell = Command::new("bash");
    // A group of its own: Ctrl-C ends the test, and that ends the pipe.
    shell.args(["-c", script, "cpufit-e2e"]).process_group(0).stdin(Stdio::piped()).stderr(Stdio::null());
    shell
}

/// Closes the pipe and waits for the shell behind it.
fn release(shell: &mut Child, pipe: Option<impl Into<OwnedFd>>) {
    drop(pipe.map(Into::into));
    let deadline = Instant::now() + LAST_WAIT;
    while matches!(shell.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            shell.kill().ok();
            shell.wait().ok();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A temporary folder that is removed after the last server that works in it.
pub struct Workplace {
    folder: PathBuf,
    sweeper: Child,
    pipe: Option<OwnedFd>,
}

impl Workplace {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("cpufit-e2e-").tempdir().expect("a temporary folder").keep();
        let mut sweeper = shell(SWEEPER).arg(&folder).stdout(Stdio::null()).spawn().expect("bash");
        let pipe = sweeper.stdin.take().map(OwnedFd::from);
        Self { folder, sweeper, pipe }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    fn pipe(&self) -> io::Result<OwnedFd> {
        self.pipe.as_ref().expect("held until the drop").try_clone()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        release(&mut self.sweeper, self.pipe.take());
    }
}

/// A server that runs until this is dropped, or until the test is gone.
pub struct Server {
    name: String,
    log: PathBuf,
    /// Where in the log its words begin.
    from: usize,
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Server {
    /// Starts it; what it says goes to the end of `NAME.log` in the folder.
    #[track_caller]
    pub fn start(workplace: &Workplace, name: &str, command: &Command) -> Self {
        let log = workplace.path().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let from = file.metadata().expect("its length").len();
        let mut watcher = shell(WATCHER);
        watcher.arg(&log).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => watcher.env(key, value),
                None => watcher.env_remove(key),
            };
        }
        watcher.current_dir(workplace.path()).stdout(workplace.pipe().expect("a pipe"));
        let mut watcher = watcher.spawn().expect("bash");
        let pipe = watcher.stdin.take();
        Self { name: name.to_owned(), log, from: usize::try_from(from).expect("a length"), watcher, pipe }
    }

    /// What it said so far; what one of its name said before is left out.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    ///
    /// The server ended, or was not ready in time; with the last lines that it said.
    pub fn wait<T>(&mut self, limit: Duration, mut ready: impl FnMut(&Self) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.watcher.try_wait() {
                return Err(format!("{} ended ({status}); its last words:\n{}", self.name, self.tail()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} was not ready in {limit:?}; its last words:\n{}", self.name, self.tail()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends it SIGTERM and waits for its end; what it exits with, `None` where it had to be killed at the limit.
    pub fn terminate(mut self, limit: Duration) -> Option<i32> {
        if let Some(pipe) = &mut self.pipe {
            writeln!(pipe, "TERM").ok();
        }
        common::wait(&mut self.watcher, limit).and_then(|status| status.code())
    }

    /// Its process, for as long as it runs.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let watcher = self.watcher.id();
        let children =
            std::fs::read_to_string(format!("/proc/{watcher}/task/{watcher}/children")).expect("its children");
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("the server runs")
    }

    /// The most resident memory that it had so far, in MiB.
    #[track_caller]
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux reports it");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
    }

    /// Sends it a signal, as `kill` names it.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().expect("kill");
        assert!(sent.success(), "SIG{signal} could not be sent to {}", self.name);
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        release(&mut self.watcher, self.pipe.take());
    }
}
