//! Messages for users who lack the rights to read the input of a judgement, or are not known to the API server.

use crate::fit::syntax;
use crate::live::fetch::FetchError;
use crate::live::leader::LeaseError;

/// Advice for credentials that the API server does not accept.
const LOG_IN: &str = "The server does not accept these credentials: the login has expired, or is of another cluster. Log in again, or \
                      choose others by --context, --user or --token.";

/// The object that a user asked about, for the dry run that the webhook answers instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedAbout<'a> {
    /// A guest by name.
    Guest(&'a str),
    /// Manifests.
    Files,
    /// Neither: several guests, or all.
    Others,
}

/// A cluster that cannot be read, with advice.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Unreadable {
    problem: String,
    cures: Vec<String>,
}

impl Unreadable {
    /// Explains an error while reading the cluster at `url`: all of it, or only the guests of `namespace`.
    pub(crate) fn of(error: &FetchError, url: &str, namespace: Option<&str>, asked: AskedAbout<'_>) -> Self {
        let mut cures = Vec::new();
        if error.is_unauthorized() {
            cures.push(LOG_IN.to_owned());
        } else if error.is_of_anonymous() {
            cures.push(
                "The API server knows no user: the kubeconfig has no credentials for it. Log in, or choose a user by --context, --user or \
                 --token."
                    .to_owned(),
            );
        } else if error.is_nodes_forbidden() {
            let (needs, bind) = match namespace {
                None => (
                    "This needs the right to list nodes and to read all guests. The ClusterRole cpufit-auditor, which is installed with cpufit, gives it; a \
                     user who may bind it runs:",
                    "  kubectl create clusterrolebinding cpufit-auditor-NAME --clusterrole=cpufit-auditor --user=NAME",
                ),
                Some(_) => (
                    "This needs the right to list nodes. The ClusterRole cpufit-reader, which is installed with cpufit, gives it; a user who may bind it runs:",
                    "  kubectl create clusterrolebinding cpufit-reader-NAME --clusterrole=cpufit-reader --user=NAME",
                ),
            };
            cures.extend([needs, bind].map(str::to_owned));
            match (namespace, asked) {
                (Some(namespace), AskedAbout::Guest(guest)) => {
                    cures.push(
                        "Without it, the webhook answers, with its own rights: while the guest runs, by a migration that is not created. That needs \
                         the right to create migrations."
                            .to_owned(),
                    );
                    // Not indented: the shell ends the text at a line with only EOF.
                    cures.extend(dry_run(namespace, guest));
                }
                (_, AskedAbout::Files) => cures.extend(
                    [
                        "Without it, the webhook answers, with its own rights, when a manifest is submitted, also by a dry run:",
                        "  kubectl apply --dry-run=server -f FILE",
                    ]
                    .map(str::to_owned),
                ),
                _ => {}
            }
        } else if error.is_forbidden() && asked == AskedAbout::Files {
            cures.push("With -n NAME, the guests and pods of that namespace are enough.".to_owned());
        } else if error.is_forbidden() && namespace.is_none() {
            cures.push(
                "The ClusterRole cpufit-auditor gives the right to read all guests. With -n NAME, audit, diff, explain and snapshot \
                 read one namespace."
                    .to_owned(),
            );
        }
        Self { problem: format!("reading the cluster at {url}: {error}"), cures }
    }

    /// Explains an error while reading the Lease of cpufit in the cluster at `url`.
    pub(crate) fn of_lease(error: &LeaseError, url: &str) -> Self {
        let cures = error.is_unauthorized().then(|| LOG_IN.to_owned()).into_iter().collect();
        Self { problem: format!("reading the Lease of cpufit at {url}: {error}"), cures }
    }

    /// Returns a line each: the error, then the advice.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::iter::once(self.problem.clone()).chain(self.cures.iter().cloned()).collect()
    }
}

/// Returns the command that sends a guest's migration to the webhook as a dry run; empty for invalid names.
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
