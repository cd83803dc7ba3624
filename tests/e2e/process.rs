//! Servers that never outlive the test that started them, and their folder, which is removed.
//!
//! Every server has a watcher: a shell in its own process group that holds a pipe from the test. When the pipe closes,
//! because the guard was dropped or the test was killed in any way, the watcher kills the server and waits for it. The
//! folder has a watcher too, with a pipe that the test and every watcher hold: the folder is removed after the last of
//! them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common;

/// Time limit for the end of a server; normally it is immediate, but a machine under load needs more.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// The watcher: `$1` is the log, the rest the server. The pipe carries names of signals for the server. `read` returns
/// above 128 on a timeout: then the pipe is still open.
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

/// The watcher of the folder: `$1` is the folder.
const SWEEPER: &str = r#"
cat >/dev/null
for _ in 1 2 3 4 5; do
  rm -rf -- "$1" && break
  sleep 1
done
"#;

fn shell(script: &str) -> Command {
    let mut shell = Command::new("bash");
    // A separate group: Ctrl-C ends the test, which closes the pipe.
    shell.args(["-c", script, "cpufit-e2e"]).process_group(0).stdin(Stdio::piped()).stderr(Stdio::null());
    shell
}

/// Closes the pipe and waits for the shell.
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

/// A temporary folder that is removed after the last server that uses it.
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

/// A server that runs until this is dropped, or the test ends.
pub struct Server {
    name: String,
    log: PathBuf,
    /// Offset of this server's first output in the log, bytes.
    from: usize,
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Server {
    /// Starts it; its output is appended to `NAME.log` in the folder.
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

    /// Returns its output so far, without that of earlier servers with its name.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` returns a value.
    ///
    /// # Errors
    ///
    /// Returns the last lines of the log if the server ended, or was not ready in time.
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

    /// Sends SIGTERM and waits for the end; returns the exit code, `None` if it had to be killed at the limit.
    pub fn terminate(mut self, limit: Duration) -> Option<i32> {
        if let Some(pipe) = &mut self.pipe {
            writeln!(pipe, "TERM").ok();
        }
        common::wait(&mut self.watcher, limit).and_then(|status| status.code())
    }

    /// Returns its process id while it runs.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let watcher = self.watcher.id();
        let children =
            std::fs::read_to_string(format!("/proc/{watcher}/task/{watcher}/children")).expect("its children");
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("the server runs")
    }

    /// Returns its peak resident memory so far, in MiB.
    #[track_caller]
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux reports it");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
    }

    /// Sends it a signal, by `kill`'s name.
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
