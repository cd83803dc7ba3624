//! Every option, given an empty value, as a script gives one whose variable is not set: an error that names it, or the
//! output without it.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use cpufit::cli::args::Args;

use crate::common::{Ran, Scratch, cpufit, head, node};

/// Command lines, one for each verb, that end by themselves: `%` is a dump that can be read, `!` a folder.
const LINES: &[(&str, &str)] = &[
    ("serve", "serve --snapshot % --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --cert !/none.crt"),
    ("check", "check --snapshot % %"),
    ("test", "test !"),
    ("explain", "explain --snapshot % vmi/guest"),
    ("audit", "audit --snapshot %"),
    ("drain", "drain --all --snapshot %"),
    ("recommend", "recommend --snapshot %"),
    ("diff", "diff % %"),
    ("snapshot", "snapshot --snapshot %"),
    ("certs", "certs --out !"),
    ("manifests", "manifests"),
    ("probe", "probe http://127.0.0.1:1/livez"),
    ("version", "version --client"),
    ("completion", "completion bash"),
    // Where a cluster is read, the options that say which one.
    ("", "audit"),
];

/// Options whose empty value counts as none: kubectl's own, as with kubectl, selectors, and the filter of the log.
const AS_IF_NOT_GIVEN: &[&str] = &[
    "--namespace",
    "--kubeconfig",
    "--request-timeout",
    "--kubevirt-domain",
    "--context",
    "--cluster",
    "--user",
    "--server",
    "--token",
    "--as",
    "--as-group",
    "--as-uid",
    "--certificate-authority",
    "--tls-server-name",
    "--selector",
    // Without policies: all nodes.
    "--node-selector",
    "--log",
];

/// Returns the exit code and the output of a run, without the lines of a log, which begin with a time.
fn seen(ran: &Ran) -> (i32, String, String) {
    let last = ran.stderr.lines().filter(|line| !line.starts_with("20")).collect::<Vec<_>>().join("\n");
    (ran.code(), ran.stdout.clone(), last)
}

#[test]
fn an_empty_value_is_an_error_that_names_the_option_or_none() {
    let folder = Scratch::new();
    let cluster = folder.write_json("cluster.json", &node("node-a", &serde_json::json!({})));
    let run = |line: &str, more: &[&str]| {
        let words = line.split(' ').map(|word| match word {
            "%" => cluster.display().to_string(),
            word => word.replace('!', &folder.path().display().to_string()),
        });
        let words = words.chain(more.iter().map(|&word| word.to_owned()));
        cpufit(words).env("HOME", &folder.path().display().to_string()).env("KUBECONFIG", "").run()
    };
    let command = Args::command();
    let (mut tried, mut faults) = (0, Vec::new());
    let verbs = command.get_subcommands().filter(|verb| !["__complete", "help"].contains(&verb.get_name()));
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for verb in verbs.chain([&command]) {
        let name = if verb.get_name() == command.get_name() { "" } else { verb.get_name() };
        let (_, line) = LINES.iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("{name}: no line"));
        // A second run finds the files that a first one leaves, as `certs` does.
        run(line, &[]);
        let without = run(line, &[]);
        let own = verb.get_arguments().filter(|argument| argument.get_action().takes_values());
        // kubectl's options are options of every verb.
        let options = own.chain(command.get_arguments().filter(|argument| argument.get_action().takes_values()));
        let options: BTreeSet<String> =
            options.filter_map(|option| option.get_long()).map(|long| format!("--{long}")).collect();
        for option in &options {
            tried += 1;
            // An option whose value may be missing takes one behind its sign of equality alone.
            let (joined, apart) = (format!("{option}="), [option.as_str(), ""]);
            let given = if option == "--insecure-skip-tls-verify" { run(line, &[&joined]) } else { run(line, &apart) };
            let is_refused =
                given.code() == 2 && given.stderr.lines().next().is_some_and(|first| first.contains(option.as_str()));
            if let Some(known) = AS_IF_NOT_GIVEN.iter().find(|known| *known == option) {
                used.insert(known);
                if seen(&given) != seen(&without) && !is_refused {
                    faults.push(format!("{name} {option}: {} is not {}", head(&given.stderr), head(&without.stderr)));
                }
            } else if !is_refused {
                faults.push(format!("{name} {option}: exit {}: {}", given.code(), head(&given.stderr)));
            }
        }
    }
    assert!(tried > 200, "{tried} options were tried");
    assert_eq!(used, AS_IF_NOT_GIVEN.iter().copied().collect(), "an option is gone");
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
}
