//! What is said to those who may not read what a judgement needs, and to those whom the API server does not know.

use crate::fit::syntax;
use crate::live::fetch::FetchError;

/// A cluster that cannot be read, and what its reader can do.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Unreadable {
    problem: String,
    cures: Vec<String>,
}

impl Unreadable {
    /// Explains an error while reading the cluster at `url`: all of it, only the guests of `namespace`, or one guest in it.
    #[must_use]
    pub(crate) fn of(error: &FetchError, url: &str, namespace: Option<&str>, guest: Option<&str>) -> Self {
        let mut cures = Vec::new();
        if error.is_unauthorized() {
            cures.push(
                "The API server does not accept these credentials: the login has expired, or is of another cluster. Log in again, or \
                 choose others by --context, --user or --token."
                    .to_owned(),
            );
        } else if error.is_nodes_forbidden() {
            cures.push(
                "Every verb needs to list nodes. The ClusterRole cpufit-reader gives that right; a user who may bind it runs:"
                    .to_owned(),
            );
            cures.push(
                "  kubectl create clusterrolebinding cpufit-reader-NAME --clusterrole=cpufit-reader --user=NAME"
                    .to_owned(),
            );
            if let (Some(namespace), Some(guest)) = (namespace, guest) {
                cures.push(
                    "Without it, the webhook answers, with its own rights: while the guest runs, by a migration that is not created. That needs \
                     the right to create migrations."
                        .to_owned(),
                );
                // Not indented: the shell ends the text at a line that is EOF alone.
                cures.extend(dry_run(namespace, guest));
            }
        } else if error.is_forbidden() && namespace.is_none() {
            cures.push(
                "The ClusterRole cpufit-auditor gives the right to read all guests. Those of one namespace: -n NAME."
                    .to_owned(),
            );
        }
        Self { problem: format!("reading the cluster at {url}: {error}"), cures }
    }

    /// A line each: the error, then what can be done.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        std::iter::once(self.problem.clone()).chain(self.cures.iter().cloned()).collect()
    }
}

/// The command that asks the webhook about a guest's migration; none for what can be no name.
fn dry_run(namespace: &str, guest: &str) -> Vec<String> {
    if syntax::dns_label(namespace).is_err() || syntax::subdomain(guest).is_err() {
        return Vec::new();
    }
    vec![
        "kubectl create --dry-run=server -f - <<'EOF'".to_owned(),
        "apiVersion: kubevirt.io/v1".to_owned(),
        "kind: VirtualMachineInstanceMigration".to_owned(),
        format!("metadata: {{generateName: cpufit-, namespace: \"{namespace}\"}}"),
        format!("spec: {{vmiName: \"{guest}\"}}"),
        "EOF".to_owned(),
    ]
}
