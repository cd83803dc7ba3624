//! The peak resources of a process, as Linux reports them; nothing on other systems.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A watcher of a process, until it is stopped.
pub struct Peak {
    pid: u32,
    stop: Arc<AtomicBool>,
    files: Arc<AtomicU64>,
    watcher: JoinHandle<()>,
}

impl Peak {
    pub fn watch(pid: u32) -> Self {
        let (stop, files) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watcher = {
            let (stop, files) = (Arc::clone(&stop), Arc::clone(&files));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) {
                        files.fetch_max(open.count() as u64, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            })
        };
        Self { pid, stop, files, watcher }
    }

    /// Returns the peak resident memory in MiB, and the largest number of descriptors seen.
    pub fn stop(self) -> (Option<u64>, Option<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let memory = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib >> 10);
        let files = self.files.load(Ordering::Relaxed);
        (memory, (files > 0).then_some(files))
    }
}
