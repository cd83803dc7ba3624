//! Every option that names a file, given an invalid one: a quick error that names it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::builder::ValueParser;
use clap::{Arg, CommandFactory as _, value_parser};
use cpufit::cli::args::Args;
use cpufit::snapshot::DumpSource;

use crate::common::{Ran, Scratch, cpufit, head, node, program};

/// A command line for each option and argument that names a file: `@` is the tested file, `%` a readable dump, `!` a
/// folder of development certificates.
const LINES: &[(&str, &str)] = &[
    ("--kubeconfig", "audit --kubeconfig @"),
    ("--certificate-authority", "audit --server https://127.0.0.1:1 --certificate-authority @"),
    (
        "serve --snapshot",
        "serve --cert !/tls.crt --key !/tls.key --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --snapshot @",
    ),
    (
        "serve --policy",
        "serve --cert !/tls.crt --key !/tls.key --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --snapshot % --policy @",
    ),
    ("serve --cert", "serve --key !/tls.key --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --snapshot % --cert @"),
    ("serve --key", "serve --cert !/tls.crt --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --snapshot % --key @"),
    (
        "serve --client-ca",
        "serve --cert !/tls.crt --key !/tls.key --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --snapshot % --client-ca @",
    ),
    ("check file", "check --snapshot % @"),
    ("check --filename", "check --snapshot % -f @"),
    ("check --kustomize", "check --snapshot % -k @"),
    ("check --snapshot", "check --snapshot @ %"),
    ("check --policy", "check --snapshot % --policy @ %"),
    ("test folders", "test @"),
    ("explain --filename", "explain --snapshot % -f @"),
    ("explain --kustomize", "explain --snapshot % -k @"),
    ("explain --snapshot", "explain --snapshot @ vmi/guest"),
    ("explain --policy", "explain --snapshot % --policy @ vmi/guest"),
    ("explain --libvirt-facts", "explain --snapshot % --libvirt-facts @ vmi/guest"),
    ("audit --snapshot", "audit --snapshot @"),
    ("audit --policy", "audit --snapshot % --policy @"),
    ("audit --libvirt-facts", "audit --snapshot % --libvirt-facts @"),
    ("drain --snapshot", "drain --snapshot @ node-a"),
    ("drain --policy", "drain --snapshot % --policy @ node-a"),
    ("drain --libvirt-facts", "drain --snapshot % --libvirt-facts @ node-a"),
    ("recommend --snapshot", "recommend --snapshot @"),
    ("recommend --policy", "recommend --snapshot % --policy @"),
    ("recommend --with-node", "recommend --snapshot % --with-node @"),
    ("diff old", "diff @ %"),
    ("diff new", "diff % @"),
    ("diff --policy", "diff % % --policy @"),
    ("snapshot --snapshot", "snapshot --snapshot @"),
    ("certs --out", "certs --out @"),
    ("explain --save-libvirt-facts", "explain vmi/guest --ask-libvirt --save-libvirt-facts @"),
    ("audit --save-libvirt-facts", "audit --ask-libvirt --save-libvirt-facts @"),
    ("drain --save-libvirt-facts", "drain node-a --ask-libvirt --save-libvirt-facts @"),
];

/// A time that no run reaches on the slowest machine, unless it blocks.
const MOMENT: Duration = Duration::from_secs(30);

struct Scene {
    folder: Scratch,
    cluster: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = Scratch::new();
        let cluster = folder.write_json("cluster.json", &node("node-a", &serde_json::json!({})));
        let scene = Self { folder, cluster };
        let certificates = scene.at("certificates");
        assert_eq!(cpufit(["certs".as_ref(), "--out".as_ref(), certificates.as_os_str()]).run().code(), 0);
        make_pipe(&scene.at("pipe.yaml"));
        // A sparse file of 64 GiB.
        std::fs::File::create(scene.at("endless.yaml")).unwrap().set_len(1 << 36).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a line of the table with this file.
    #[track_caller]
    fn run(&self, line: &str, file: &Path) -> Ran {
        let words = line.split(' ').map(|word| match word {
            "@" => file.display().to_string(),
            "%" => self.cluster.display().to_string(),
            word => word.replace('!', &self.at("certificates").display().to_string()),
        });
        let started = Instant::now();
        let ran = cpufit(words).env("HOME", &self.folder.path().display().to_string()).run();
        assert!(started.elapsed() < MOMENT, "{line} waits for {}", file.display());
        ran
    }
}

fn make_pipe(path: &Path) {
    let mut command = Command::new("mkfifo");
    command.arg(path);
    let made = program(command).run();
    assert_eq!(made.code(), 0, "{}", made.stderr);
}

fn names_a_file(argument: &Arg) -> bool {
    let kind = argument.get_value_parser().type_id();
    let mut names = argument.get_value_names().into_iter().flatten();
    kind == ValueParser::path_buf().type_id()
        || kind == ValueParser::from(value_parser!(DumpSource)).type_id()
        || names.any(|name| ["FILE", "FOLDER", "DIR", "PATH"].contains(&name.as_str()))
}

/// Returns a verb's argument as named in the table.
fn called(verb: &str, argument: &Arg) -> String {
    let name = argument.get_long().map_or_else(|| argument.get_id().to_string(), |long| format!("--{long}"));
    format!("{verb} {name}").trim_start().to_owned()
}

#[test]
fn every_file_option_rejects_what_is_not_a_file() {
    let command = Args::command();
    let verbs = std::iter::once(("", &command)).chain(command.get_subcommands().map(|verb| (verb.get_name(), verb)));
    let found: BTreeSet<String> = verbs
        .flat_map(|(name, verb)| {
            verb.get_arguments().filter(|argument| names_a_file(argument)).map(move |argument| called(name, argument))
        })
        .collect();
    let tried = LINES.iter().map(|(option, _)| *option);
    assert_eq!(found, tried.map(str::to_owned).collect());
}

#[test]
fn a_path_that_is_no_file_fails_at_once() {
    let scene = Scene::new();
    let pipe = scene.at("pipe.yaml");
    for (option, line) in LINES {
        for file in [pipe.as_path(), Path::new("/dev/zero"), &scene.at("endless.yaml")] {
            let ran = scene.run(line, file);
            let said = head(&ran.stderr);
            assert_eq!(ran.code(), 2, "{option}: {said}");
            assert!(ran.stderr.contains(file.to_str().unwrap()), "{option} names no file: {said}");
        }
        let said = scene.run(line, &pipe).stderr;
        let is_folder = ["certs --out", "check --kustomize", "explain --kustomize"].contains(option)
            || option.ends_with("--save-libvirt-facts");
        assert!(is_folder || said.contains("is a named pipe, not a file"), "{option}: {said}");
    }
}

#[test]
fn files_that_a_kubeconfig_names_are_not_waited_for() {
    let scene = Scene::new();
    let pipe = scene.at("pipe.yaml");
    let named = pipe.display();
    for (place, field) in [
        ("cluster", "certificate-authority"),
        ("user", "client-certificate"),
        ("user", "client-key"),
        ("user", "tokenFile"),
    ] {
        let extra = |of: &str| if of == place { format!(", {field}: {named}") } else { String::new() };
        let kubeconfig = scene.folder.write(
            "kubeconfig",
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
                 clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'{}}}}}]\n\
                 users: [{{name: u, user: {{username: u{}}}}}]\n",
                extra("cluster"),
                extra("user")
            ),
        );
        let ran = scene.run("audit --kubeconfig @", &kubeconfig);
        assert_eq!(ran.code(), 2, "{}", ran.stderr);
        let expected = format!("cannot read {named}, the {field}: it is a named pipe, not a file");
        assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    }
    let ran = cpufit(["audit"]).env("KUBECONFIG", pipe.to_str().unwrap()).run();
    assert!(ran.code() == 2 && ran.stderr.contains("it is a named pipe, not a file"), "{}", ran.stderr);
    // Completion prints nothing rather than blocking.
    for line in ["__complete -- explain --kubeconfig @ vmi ", "__complete -- explain --snapshot @ vmi "] {
        assert_eq!(scene.run(line, &pipe).code(), 0, "{line}");
    }
}

#[test]
fn files_passed_by_a_shell_are_read() {
    let scene = Scene::new();
    let mut command = Command::new("bash");
    let cluster = scene.cluster.display();
    command.args([
        "-c",
        &format!("exec {} audit --snapshot <(cat {cluster}) --policy /dev/null </dev/null", crate::common::BIN),
    ]);
    let ran = program(command).run();
    assert!(ran.stderr.contains("/dev/null") && !ran.stderr.contains("not a file"), "{}", ran.stderr);
    let mut command = Command::new("bash");
    command.args(["-c", &format!("cat {cluster} | {} audit --snapshot /dev/stdin", crate::common::BIN)]);
    let ran = program(command).run();
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
}
