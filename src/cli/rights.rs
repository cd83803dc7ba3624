//! Messages for users who lack the rights to read the input of a judgement, or are not known to the API server.

use crate::fit::command::{Command, CommandWord, Script, UserName};
use crate::fit::plural::{fold_names, number};
use crate::fit::syntax;
use crate::live::fetch::FetchError;
use crate::live::leader::LeaseError;

/// Advice for credentials that the API server does not accept.
const LOG_IN: &str = "The server does not accept these credentials: the login has expired, or is of another cluster. Log in again, or \
                      choose others by --context, --user or --token.";

/// The `ClusterRole` with the rights that every verb needs besides those to read guests.
const READER: &str = "cpufit-reader";
/// The `ClusterRole` with the rights to read everything.
const AUDITOR: &str = "cpufit-auditor";
/// Maximum number of migrations in one dry run.
const MAX_DRY_RUNS: usize = 20;

/// The objects that a user asked about, for the dry run that the webhook answers instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskedAbout {
    /// Guests of a namespace, by name: those that run, or if that is not known, all that were named.
    Guests {
        /// The names; none if no such guest runs.
        names: Vec<String>,
    },
    /// Manifests.
    Files {
        /// The command that submits them, and stores nothing.
        dry_run: Script,
        /// The namespaces that they name.
        namespaces: Vec<String>,
    },
    /// Neither: all guests, or objects of other kinds.
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
    pub(crate) fn of(error: &FetchError, url: &str, namespace: Option<&str>, asked: &AskedAbout) -> Self {
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
            let (needs, role) = match namespace {
                None => ("This needs the right to list nodes and to read all guests", AUDITOR),
                Some(_) => ("This needs the right to list nodes", READER),
            };
            cures.push(format!(
                "{needs}. The ClusterRole {role}, which is installed with cpufit, gives it; a user who may bind it runs:"
            ));
            cures.extend(binding(role, error.user()));
            cures.extend(by_webhook(namespace, asked));
        } else if error.is_forbidden() {
            cures.extend(by_guests(namespace, asked));
        }
        Self { problem: format!("reading the cluster at {url}: {error}"), cures }
    }

    /// Explains an error while reading the Lease of cpufit in the cluster at `url`.
    pub(crate) fn of_lease(error: &LeaseError, url: &str) -> Self {
        let mut cures = Vec::new();
        if error.is_unauthorized() {
            cures.push(LOG_IN.to_owned());
        } else if error.is_forbidden() {
            cures.push(format!(
                "This needs the right to get the Lease. The ClusterRole {READER}, which is installed with cpufit, gives it; a user who may \
                 bind it runs:"
            ));
            cures.extend(binding(READER, error.user()));
            cures.push("With --client, version prints the version of this program alone.".to_owned());
        }
        Self { problem: format!("reading the Lease of cpufit at {url}: {error}"), cures }
    }

    /// Returns a line each: the error, then the advice.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::iter::once(self.problem.clone()).chain(self.cures.iter().cloned()).collect()
    }
}

/// Returns the command with which an administrator binds a `ClusterRole` to a user; `NAME` is for one that is not
/// known.
fn binding(role: &'static str, user: Option<&str>) -> Vec<String> {
    let account = user.and_then(|user| user.strip_prefix("system:serviceaccount:")).filter(|rest| rest.contains(':'));
    // The name of such an object may hold any characters but these.
    let name = format!("{role}-{}", account.or(user).unwrap_or("NAME")).replace(['/', '%'], "-");
    let command = || {
        let subject = match (account, user) {
            (Some(account), _) => CommandWord::joined("--serviceaccount=", UserName::new(account)?),
            (None, user) => CommandWord::joined("--user=", UserName::new(user.unwrap_or("NAME"))?),
        };
        let create = Command::kubectl(["create", "clusterrolebinding"]).arg(UserName::new(&name)?);
        Ok(vec![create.arg(CommandWord::joined("--clusterrole=", role)).arg(subject)])
    };
    Script::from(command()).lines().into_iter().map(|line| format!("  {line}")).collect()
}

/// Returns how the webhook answers a user who may not list nodes.
fn by_webhook(namespace: Option<&str>, asked: &AskedAbout) -> Vec<String> {
    match (namespace, asked) {
        (Some(namespace), AskedAbout::Guests { names }) => {
            let names: Vec<&String> = names.iter().filter(|name| syntax::subdomain(name).is_ok()).collect();
            if names.is_empty() || syntax::dns_label(namespace).is_err() {
                return Vec::new();
            }
            let head = "Without it, the webhook answers, with its own rights: while a guest runs, by a migration that is not created. That needs \
                        the right to create migrations.";
            // Not indented: the shell ends the text at a line with only EOF.
            let mut lines = vec![head.to_owned(), "kubectl create --dry-run=server -f - <<'EOF'".to_owned()];
            for (at, name) in names.iter().take(MAX_DRY_RUNS).enumerate() {
                lines.extend((at > 0).then(|| "---".to_owned()));
                lines.extend([
                    "apiVersion: kubevirt.io/v1".to_owned(),
                    "kind: VirtualMachineInstanceMigration".to_owned(),
                    format!("metadata: {{generateName: cpufit-, namespace: \"{namespace}\"}}"),
                    format!("spec: {{vmiName: \"{name}\"}}"),
                ]);
            }
            lines.push("EOF".to_owned());
            if names.len() > MAX_DRY_RUNS {
                lines.push(format!("The other {} guests likewise.", names.len() - MAX_DRY_RUNS));
            }
            lines
        }
        (_, AskedAbout::Files { dry_run, .. }) => {
            ["Without it, the webhook answers, with its own rights, when a manifest is submitted, also by a dry run:"
                .to_owned()]
            .into_iter()
            .chain(dry_run.lines().into_iter().map(|line| format!("  {line}")))
            .collect()
        }
        _ => Vec::new(),
    }
}

/// Returns which rights to read guests are missing.
fn by_guests(namespace: Option<&str>, asked: &AskedAbout) -> Option<String> {
    match asked {
        AskedAbout::Files { namespaces, .. } => {
            let names = fold_names(namespaces, 5);
            let place = number(namespaces.len(), "namespace", "namespaces");
            Some(format!(
                "For these manifests, the rights to list the virtual machines, instances, migrations and pods of {place} {names} are \
                 enough: the ClusterRole view has them, with KubeVirt's part of it."
            ))
        }
        _ if namespace.is_none() => Some(
            "The ClusterRole cpufit-auditor gives the right to read all guests. With -n NAME, audit, diff, explain and snapshot \
             read one namespace."
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A command with a placeholder, or for another subject, grants nothing.
    #[rstest]
    #[case(Some("jane"), "cpufit-reader-jane --clusterrole=cpufit-reader --user=jane")]
    #[case(
        Some("jane@example.org"),
        "cpufit-reader-jane@example.org --clusterrole=cpufit-reader --user=jane@example.org"
    )]
    #[case(Some("oidc/a b"), "'cpufit-reader-oidc-a b' --clusterrole=cpufit-reader '--user=oidc/a b'")]
    #[case(
        Some("system:serviceaccount:ci:runner"),
        "cpufit-reader-ci:runner --clusterrole=cpufit-reader --serviceaccount=ci:runner"
    )]
    #[case(None, "cpufit-reader-NAME --clusterrole=cpufit-reader --user=NAME")]
    fn a_role_is_bound_to_the_user_who_lacks_it(#[case] user: Option<&str>, #[case] expected: &str) {
        assert_eq!(binding(READER, user), [format!("  kubectl create clusterrolebinding {expected}")]);
    }

    #[rstest]
    #[case::one(&["db"], Some("shop"), 1)]
    #[case::several(&["db", "web"], Some("shop"), 2)]
    #[case::none_runs(&[], Some("shop"), 0)]
    #[case::name_that_no_guest_has(&["x\nEOF"], Some("shop"), 0)]
    #[case::namespace_that_cannot_exist(&["db"], Some("A b"), 0)]
    #[case::all_namespaces(&["db"], None, 0)]
    #[case::many(&["a"; 30], Some("shop"), MAX_DRY_RUNS)]
    fn a_dry_run_has_a_migration_of_each_guest(
        #[case] names: &[&str],
        #[case] namespace: Option<&str>,
        #[case] expected: usize,
    ) {
        let asked = AskedAbout::Guests { names: names.iter().map(ToString::to_string).collect() };
        let lines = by_webhook(namespace, &asked);
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!((count("spec: {vmiName: "), lines.is_empty()), (expected, expected == 0), "{lines:?}");
        assert_eq!((count("---"), count("EOF")), (expected.saturating_sub(1), usize::from(expected > 0)), "{lines:?}");
    }
}
