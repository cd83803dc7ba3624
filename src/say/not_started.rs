//! Words for what KubeVirt reports about a guest that has not started.

use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::NotStarted;

/// Returns why a guest has not started: `libvirt refuses to start it on node-a: the CPU is incompatible with host CPU`.
pub(crate) fn start_failed(why: &NotStarted) -> String {
    let on =
        |node: &str| if node.is_empty() { String::new() } else { format!(" on {}", Shown::within(node, TITLE_CHARS)) };
    match why {
        NotStarted::Refused { node, said } => format!("libvirt refuses to start it{}: {said}", on(node)),
        NotStarted::Reported { node, reason, message } if reason.is_empty() => {
            format!("it has not started{}: KubeVirt reports: {message}", on(node))
        }
        NotStarted::Reported { node, reason, message } => {
            format!(
                "it has not started{}: KubeVirt reports {}: {message}",
                on(node),
                Shown::within(reason, TITLE_CHARS)
            )
        }
        NotStarted::Failed { times: 1 } => "its last start failed, and KubeVirt tries again".to_owned(),
        NotStarted::Failed { times } => format!("its last {times} starts failed, and KubeVirt tries again"),
    }
}
