//! The command as it is called: under which name, and with which examples in its help.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::Args;

/// How kubectl calls it.
const PLUGIN: &str = "kubectl-cpufit";

/// Three examples of each verb: what it does, and the arguments after the program's name.
const EXAMPLES: &[(&str, [(&str, &str); 3])] = &[
    (
        "serve",
        [
            ("On a cluster, with a certificate of its own", "serve --certificates self-managed"),
            ("On a dump, without a cluster", "serve --snapshot cluster.yaml --cert certs/tls.crt --key certs/tls.key"),
            ("With log lines for programs", "serve --certificates self-managed --log-format json"),
        ],
    ),
    (
        "check",
        [
            ("A manifest, on the cluster of the current context", "check -f vm.yaml"),
            (
                "All manifests below a folder, by a dump and a policy",
                "check --snapshot cluster.yaml --policy policy.yaml -R -f manifests/",
            ),
            ("What a kustomization makes, for a script", "check -k overlays/production -o json"),
        ],
    ),
    (
        "test",
        [
            ("All tests in a folder", "test tests/"),
            ("One file", "test tests/cpufit-test.yaml"),
            ("For a script", "test tests/ -o json"),
        ],
    ),
    (
        "explain",
        [
            ("A guest", "explain vm/db -n shop"),
            (
                "Several, as kubectl get -o name prints them",
                "explain virtualmachine.kubevirt.io/db virtualmachine.kubevirt.io/web -n shop",
            ),
            ("All with a label, in all namespaces", "explain vmi -A -l app=db"),
        ],
    ),
    (
        "audit",
        [
            ("All guests, worst first", "audit"),
            ("Those of a namespace, under a policy that is not applied yet", "audit -n shop --policy policy.yaml"),
            ("A gate: exit 1 where a guest can migrate nowhere", "audit --fail-on pinned -o json"),
        ],
    ),
    (
        "recommend",
        [
            ("For each kind of hardware", "recommend"),
            (
                "What if a node came and another went",
                "recommend --snapshot cluster.yaml --with-node new.yaml --without-node node-b",
            ),
            ("Policies for the nodes of a zone, to be applied", "recommend --node-selector zone=a -o yaml"),
        ],
    ),
    (
        "drain",
        [
            ("Who can leave a node, who cannot, and the least to do", "drain node-a"),
            (
                "A rolling upgrade, from a dump: an order in which no guest is stuck",
                "drain --all --snapshot cluster.yaml",
            ),
            ("For a script", "drain node-a -o json"),
        ],
    ),
    (
        "diff",
        [
            ("Two dumps: before an upgrade, and after it", "diff before.yaml after.yaml"),
            ("A dump, and the live cluster as it is now", "diff before.yaml"),
            ("For a script: exit 1 where a guest is worse off", "diff before.yaml after.yaml -o json"),
        ],
    ),
    (
        "snapshot",
        [
            ("Of the cluster of the current context", "snapshot"),
            ("With the guests of one namespace alone", "snapshot -n shop"),
            ("Of a dump, for a bug report: under other names", "snapshot --snapshot dump.yaml --redact"),
        ],
    ),
    (
        "certs",
        [
            ("In the folder certs", "certs"),
            ("For other names", "certs --out certs --dns-name localhost --ip 127.0.0.1"),
            ("New ones, for a week", "certs --force --days 7"),
        ],
    ),
    (
        "manifests",
        [
            ("All that a cluster needs", "manifests"),
            ("The definition of CPUPolicy alone", "manifests --crd"),
            (
                "From a registry of your own, with KubeVirt in another namespace",
                "manifests --image registry.example/cpufit:v0.1.0 --kubevirt-namespace openshift-cnv",
            ),
        ],
    ),
    (
        "version",
        [
            ("Of this program, and of the replica that leads", "version"),
            ("Without a cluster", "version --client"),
            ("For a script", "version -o json"),
        ],
    ),
    (
        "completion",
        [
            ("For bash, in ~/.bashrc: source <(cpufit completion bash)", "completion bash"),
            ("For zsh", "completion zsh"),
            ("For kubectl cpufit, as an executable kubectl_complete-cpufit in the PATH", "completion kubectl"),
        ],
    ),
];

/// The name that usage lines and examples show, of a program called by this path.
fn name(program: Option<&OsString>) -> &'static str {
    let stem = program.and_then(|path| Path::new(path).file_stem());
    if stem.is_some_and(|stem| stem == PLUGIN) { "kubectl cpufit" } else { "cpufit" }
}

/// The command line's grammar, under the name by which it was called.
#[must_use]
pub fn command(program: Option<&OsString>) -> Command {
    let name = name(program);
    let mut command = Args::command().bin_name(name);
    for (verb, examples) in EXAMPLES {
        let mut text = "Examples:".to_owned();
        for (what, arguments) in examples {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  # {what}\n  {name} {arguments}");
        }
        if command.find_subcommand(verb).is_some() {
            command = command.mut_subcommand(verb, |verb| verb.after_help(text));
        }
    }
    command
}

/// The arguments of this process.
///
/// # Errors
///
/// Help, and what is not a command line.
pub fn parse() -> Result<Args, clap::Error> {
    let mut command = command(std::env::args_os().next().as_ref());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Whether these are the arguments of a webhook whose log is JSON, although they are no command line.
#[must_use]
pub fn asks_for_json_log<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> bool {
    let (mut serves, mut is_json, mut before) = (false, false, OsString::new());
    for word in words {
        let word = word.as_ref();
        serves |= word == "serve";
        is_json |= word == "--log-format=json" || (before == "--log-format" && word == "json");
        word.clone_into(&mut before);
    }
    serves && is_json
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_shows_three_examples_and_each_is_a_command_line() {
        for verb in command(None).get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let found = EXAMPLES.iter().find(|(name, _)| *name == verb.get_name());
            let (_, examples) = found.unwrap_or_else(|| panic!("{} shows no example", verb.get_name()));
            for (_, arguments) in examples {
                let words = std::iter::once("cpufit").chain(arguments.split(' '));
                let parsed = command(None).try_get_matches_from(words);
                assert!(parsed.is_ok(), "cpufit {arguments}: {}", parsed.map(|_| ()).unwrap_err());
                assert!(arguments.starts_with(verb.get_name()), "{arguments} is no example of {}", verb.get_name());
            }
        }
        command(None).debug_assert();
    }

    #[test]
    fn a_webhook_asks_for_a_log_in_json_in_either_way() {
        let asks = |line: &str| asks_for_json_log(line.split(' '));
        assert!(asks("cpufit serve --log-format json --port 1"));
        assert!(asks("cpufit --log-format=json serve"));
        assert!(
            !asks("cpufit serve --log-format text")
                && !asks("cpufit check --log-format json")
                && !asks("cpufit serve json")
        );
    }
}
