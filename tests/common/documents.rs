//! Commands in the documentation: blocks of ```` ```sh ```` in README and docs, and steps of build systems in blocks of
//! ```` ```yaml ````.
//!
//! A block is run unchanged, in a folder that holds the files it names, except after a comment
//! `<!-- needs a cluster -->` or `<!-- not run: WHY -->`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{BIN, Ran, program, read};

/// A block of commands on a page.
pub struct Block {
    pub page: String,
    /// The line at which the block begins, from 1.
    pub line: usize,
    pub run: Whether,
    pub commands: String,
}

/// The place where a block is run, if it is.
#[derive(PartialEq, Eq)]
pub enum Whether {
    /// In a folder with files.
    Here,
    /// In a folder with files, and with a cluster that kubectl reaches.
    OnCluster,
    /// Nowhere, with the reason.
    Not(String),
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all pages with commands, from the root of the repository.
pub fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    let more = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "demo/README.md", "certs/README.md"];
    pages.extend(more.iter().chain(&["deploy/helm/cpufit/README.md"]).map(|page| root().join(page)));
    pages.sort();
    pages
}

/// Returns the blocks of all pages, in their order.
pub fn blocks() -> Vec<Block> {
    let mut out = Vec::new();
    for path in pages() {
        let text = String::from_utf8(read(&path)).expect("UTF-8");
        let page = path.strip_prefix(root()).expect("below the root").display().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let body = lines[at + 1..].iter().take_while(|line| **line != "```");
            let body: Vec<&str> = match *line {
                "```sh" | "```console" | "```bash" | "```shell" => body.copied().collect(),
                "```yaml" => body.filter_map(|line| step(line)).collect(),
                _ => continue,
            };
            if body.is_empty() {
                continue;
            }
            let comment =
                at.checked_sub(1).and_then(|before| lines[before].strip_prefix("<!-- ")?.strip_suffix(" -->"));
            let run = match comment {
                Some("needs a cluster") => Whether::OnCluster,
                Some(comment) => match comment.strip_prefix("not run: ") {
                    Some(why) => Whether::Not(why.to_owned()),
                    None => Whether::Here,
                },
                None => Whether::Here,
            };
            let commands = body.join("\n") + "\n";
            out.push(Block { page: page.clone(), line: at + 1, run, commands });
        }
    }
    out
}

/// Returns the command in a line of a build system's file, if it runs this program.
fn step(line: &str) -> Option<&str> {
    let (key, command) = line.split_once(": ")?;
    let is_step = matches!(key.trim_start_matches(['-', ' ']), "run" | "script");
    (is_step && command.starts_with("cpufit ")).then_some(command)
}

/// Returns the demo's cluster before an upgrade removed `amd-stibp` from the labels of its Cascade Lake nodes.
pub fn before_the_upgrade() -> Value {
    let after = String::from_utf8(read(&root().join("demo/cluster.yaml"))).expect("UTF-8");
    let mut list: Value = serde_saphyr::from_str(&after).expect("a List");
    for item in list["items"].as_array_mut().expect("items") {
        let is_one = ["node-a", "node-c", "node-d"].iter().any(|node| item["metadata"]["name"] == *node);
        if item["kind"] == "Node" && is_one {
            item["metadata"]["labels"]["cpu-feature.node.kubevirt.io/amd-stibp"] = "true".into();
        }
    }
    list
}

/// Fills a folder with the files that the documentation names, and with `bin/`, for the PATH.
pub fn furnish(folder: &Path) {
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    };
    let cluster = read(&root().join("demo/cluster.yaml"));
    for name in ["cluster.yaml", "dump.yaml", "after.yaml", "dump/cluster.yaml"] {
        put(name, &cluster);
    }
    put("before.yaml", before_the_upgrade().to_string().as_bytes());
    for name in ["policy.yaml", "policies/policy.yaml"] {
        put(name, &read(&root().join("demo/policy.yaml")));
    }
    put(
        "wrong.yaml",
        b"apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata: {name: intel-pool}\n\
          spec: {warn: pinned, commonModel: {name: host-model}, enfroce: Pinned}\n",
    );
    put("review.json", &read(&root().join("demo/reviews/1-migrate-db.json")));
    let vmi = "{architecture: amd64, domain: {devices: {}, resources: {requests: {memory: 1Gi}}}}";
    let vm = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: new, namespace: shop}}\n\
         spec: {{runStrategy: Always, template: {{spec: {vmi}}}}}\n"
    );
    put("vm.yaml", vm.as_bytes());
    put("manifests/vm.yaml", vm.as_bytes());
    let vmi = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: new, namespace: shop}}\nspec: {vmi}\n"
    );
    put("vmi.yaml", vmi.as_bytes());
    put("new.yaml", b"apiVersion: v1\nkind: Node\nmetadata: {name: new, labels: {kubernetes.io/arch: amd64}}\n");
    fs::create_dir_all(folder.join(".local/share/bash-completion/completions")).expect("a folder");
    fs::create_dir_all(folder.join(".local/bin")).expect("a folder");
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    symlink(root().join("deploy"), folder.join("deploy")).expect("a link");
    // A verb that exits with 1 has given its answer.
    let script =
        format!("#!/bin/bash\n(exec -a \"$0\" '{BIN}' \"$@\")\ncode=$?\n[ $code -eq 1 ] && exit 0\nexit $code\n");
    for name in ["cpufit", "kubectl-cpufit"] {
        let path = folder.join("bin").join(name);
        fs::write(&path, &script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
}

/// Runs commands in a folder filled by [`furnish`].
pub fn shell(folder: &Path, commands: &str, kubeconfig: &Path) -> Ran {
    let script = format!("set -euo pipefail\n{commands}");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(folder).env("HOME", folder).env("KUBECONFIG", kubeconfig);
    command.env("PATH", format!("{}:{path}", folder.join("bin").display())).env_remove("GITHUB_ACTIONS");
    program(command).run()
}

/// Returns the commands in a section of a page of the documentation.
#[track_caller]
pub fn documented_commands(page: &str, section: &str) -> Vec<String> {
    let text = String::from_utf8(read(&root().join(page))).expect("UTF-8");
    let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section");
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}
