//! A user, or an account, with kubectl.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::controlplane::ControlPlane;

/// Time limit until the API server knows webhooks, rights and new kinds.
const LEARNT: Duration = Duration::from_secs(60);

pub struct Session<'a> {
    pub cluster: &'a ControlPlane,
    pub kubeconfig: PathBuf,
}

impl Session<'_> {
    /// Returns the command with all its output. It is equal in every run: webhooks are named by their Service.
    #[track_caller]
    pub fn output(&self, command: &str) -> String {
        self.cluster.output(&self.kubeconfig, &words(command))
    }

    /// Returns the output of a command that may not end by itself.
    #[track_caller]
    pub fn output_for(&self, command: &str, limit: Duration) -> String {
        self.cluster.output_for(&self.kubeconfig, &words(command), limit)
    }

    /// Repeats the command until its output contains the text.
    #[track_caller]
    pub fn output_until(&self, command: &str, text: &str) -> String {
        let deadline = Instant::now() + LEARNT;
        loop {
            let output = self.output(command);
            if output.contains(text) {
                return output;
            }
            assert!(Instant::now() < deadline, "after {LEARNT:?} there is still no {text:?}: {output}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}
