//! A person, or an account, at kubectl.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::controlplane::ControlPlane;

/// What the API server learns a moment later: webhooks, rights, new kinds.
const LEARNT: Duration = Duration::from_secs(60);

pub struct Session<'a> {
    pub cluster: &'a ControlPlane,
    pub kubeconfig: PathBuf,
}

impl Session<'_> {
    /// The command and all that came of it. Nothing in it differs from run to run: webhooks are named by their Service.
    #[track_caller]
    pub fn output(&self, command: &str) -> String {
        self.cluster.output(&self.kubeconfig, &words(command))
    }

    /// The same for a command that need not end by itself.
    #[track_caller]
    pub fn output_for(&self, command: &str, limit: Duration) -> String {
        self.cluster.output_for(&self.kubeconfig, &words(command), limit)
    }

    /// Says it again and again until the answer has this in it.
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
