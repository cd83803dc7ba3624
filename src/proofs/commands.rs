//! Every command that is shown can be pasted, and applies to existing objects.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Fault;
use super::seen::{Answered, Seen};
use crate::fit::label;
use crate::fit::syntax;
use crate::testing::at_least;
use crate::testing::situation::NAMESPACE;

/// Splits a command into words as a POSIX shell does; a comment after it ends it. `None` for an open quote.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut out, mut word, mut is_word) = (Vec::new(), String::new(), false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                is_word = true;
                loop {
                    match chars.next()? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            ' ' => {
                if std::mem::take(&mut is_word) {
                    out.push(std::mem::take(&mut word));
                }
            }
            '#' if !is_word => return Some(out),
            other => {
                is_word = true;
                word.push(other);
            }
        }
    }
    if is_word {
        out.push(word);
    }
    Some(out)
}

/// Checks that a shell reads all lines, with functions instead of kubectl and virtctl that print their words.
pub(super) fn assert_shell_reads(lines: &BTreeSet<String>) {
    assert!(lines.len() >= at_least(100), "{} commands are too few to trust them", lines.len());
    let mut script = String::from(
        "kubectl() { printf 'kubectl'; printf '\\037%s' \"$@\"; printf '\\n'; }\nvirtctl() { printf 'virtctl'; printf '\\037%s' \"$@\"; printf '\\n'; }\n",
    );
    for line in lines {
        script.push_str(line);
        script.push('\n');
    }
    let mut shell = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("every system has a shell");
    let mut input = shell.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = shell.wait_with_output().expect("the shell ends");
    writer.join().expect("the writer ends").expect("the shell reads all");
    assert!(output.stderr.is_empty(), "the shell complains: {}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).expect("text");
    let read: Vec<Vec<&str>> = read.lines().map(|line| line.split('\u{1f}').collect()).collect();
    let meant: Vec<Vec<String>> = lines.iter().map(|line| split(line).expect("its quotes are closed")).collect();
    assert_eq!(read, meant, "what is pasted is another command than the one that was meant");
}

/// Returns the rules that the commands of an answer break.
pub(super) fn faults(answered: &Answered, seen: &Seen) -> Vec<Fault> {
    let mut out = Vec::new();
    for remedy in answered.row["remedies"].as_array().into_iter().flatten() {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for line in texts(&remedy["commands"]) {
            out.extend(of_line(&line, answered, seen, false));
        }
        if let Some(undo) = remedy["undo"].as_str() {
            out.extend(of_line(undo, answered, seen, true));
        }
    }
    out
}

fn of_line(line: &str, answered: &Answered, seen: &Seen, is_undo: bool) -> Option<Fault> {
    if line.starts_with('#') {
        return None;
    }
    let fault = |rule| Some(Fault::new(rule, format!("{}: {line}", answered.asked)));
    let Some(words) = split(line) else { return fault("a quote of a command is not closed") };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let known = match words.as_slice() {
        ["kubectl", "uncordon", node] => is_cordoned(seen, node) == Some(true),
        ["kubectl", "cordon", node] => is_undo && is_cordoned(seen, node).is_some(),
        ["kubectl", "annotate", "node", node, change] => {
            let annotations = seen.situation.find("Node", node).map(|node| &node["metadata"]["annotations"]);
            let is_set = |annotations: &Value| annotations[label::SKIP_NODE].is_string();
            annotations.is_some_and(|annotations| {
                is_change(change)
                    && change.starts_with(label::SKIP_NODE)
                    // kubectl refuses to set another value, and to remove a missing one.
                    && (is_undo || is_set(annotations) == change.ends_with('-'))
            })
        }
        ["kubectl", "label", "node", node, "--overwrite", changes @ ..] => {
            let labels = seen.situation.find("Node", node).map(|node| &node["metadata"]["labels"]);
            let replaces = |change: &&str| {
                change.split_once('=').is_some_and(|(key, _)| labels.is_some_and(|labels| labels[key].is_string()))
            };
            labels.is_some() && changes.iter().all(|change| is_change(change)) && changes.iter().any(replaces)
        }
        ["kubectl", "label", "node", node, changes @ ..] => {
            let labels = seen.situation.find("Node", node).map(|node| &node["metadata"]["labels"]);
            !changes.is_empty()
                && labels.is_some_and(|labels| {
                    changes.iter().all(|change| changes_label(labels, change) != is_undo && is_change(change))
                })
        }
        ["kubectl", "get", "pods", "-A", "-l", "kubevirt.io=virt-handler", "-o", "wide", "--field-selector", field] => {
            let node = field.strip_prefix("spec.nodeName=").unwrap_or_default();
            seen.situation
                .find("Node", node)
                .is_some_and(|node| node["metadata"]["labels"][label::SCHEDULABLE] != "true")
        }
        ["kubectl", "patch", kind, name, "--type", "merge", "-p", patch, rest @ ..]
        | ["kubectl", "patch", kind, name, "-n", NAMESPACE, "--type", "merge", "-p", patch, rest @ ..] => {
            (rest.is_empty() || rest == ["-n", NAMESPACE]) && is_patch(seen, kind, name, patch)
        }
        ["kubectl", "patch", kind, name, rest @ .., "--type", "json", "-p", patch] => {
            (rest.is_empty() || rest == ["-n", NAMESPACE]) && is_json_patch(answered, seen, kind, name, patch)
        }
        ["kubectl", "patch", "kubevirt", name, "-n", "kubevirt", "--type", "merge", "-p", patch] => {
            seen.situation.find("KubeVirt", name).is_some_and(|kubevirt| changes_list(kubevirt, patch))
        }
        ["virtctl", "migrate", guest, "-n", NAMESPACE] => runs(seen, guest),
        ["virtctl", "migrate-cancel", guest, "-n", NAMESPACE] => runs(seen, guest) && migrates(seen, guest),
        ["virtctl", "restart", guest, "-n", NAMESPACE] => has_vmi(seen, guest) && exists(seen, "vm", guest),
        _ => return fault("a command is not known"),
    };
    if known { None } else { fault("a command is for what is not there") }
}

/// Returns the kind of an object by kubectl's short name.
fn kind_of(short: &str) -> Option<&'static str> {
    Some(match short {
        "vm" => "VirtualMachine",
        "vmi" => "VirtualMachineInstance",
        "vmirs" => "VirtualMachineInstanceReplicaSet",
        "vmpool" => "VirtualMachinePool",
        _ => return None,
    })
}

/// Whether the cluster has an object, by kubectl's short name of its kind. A guest's VM exists if the guest names it.
fn exists(seen: &Seen, short: &str, name: &str) -> bool {
    let owners = seen.situation.find("VirtualMachineInstance", name).map(|vmi| &vmi["metadata"]["ownerReferences"]);
    let is_owner = |owner: &Value| owner["kind"] == "VirtualMachine" && owner["name"] == name;
    kind_of(short).is_some_and(|kind| seen.situation.find(kind, name).is_some())
        || short == "vm" && owners.and_then(Value::as_array).is_some_and(|owners| owners.iter().any(is_owner))
}

/// Whether a sentence names an object in a command, as in `cheapest remedy: kubectl patch vm db -n bank …`, that does
/// not exist.
pub(super) fn names_what_is_not_there(line: &str, seen: &Seen) -> bool {
    let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_end_matches([',', ';', '.'])).collect();
    words.windows(4).any(|words| match *words {
        // A guest that another command of the page makes.
        ["kubectl", "delete", "vmi", name] if name.starts_with("cpufit-probe") => false,
        ["kubectl", "patch" | "delete", kind, name] if kind_of(kind).is_some() => !exists(seen, kind, name),
        ["kubectl", "cpufit", "explain", named] => {
            named.split_once('/').is_some_and(|(kind, name)| kind_of(kind).is_some() && !exists(seen, kind, name))
        }
        ["virtctl", "restart" | "stop", name, _] => !exists(seen, "vm", name) && !exists(seen, "vmi", name),
        _ => false,
    })
}

fn is_cordoned(seen: &Seen, node: &str) -> Option<bool> {
    let node = seen.situation.find("Node", node)?;
    let tainted = node["spec"]["taints"]
        .as_array()
        .is_some_and(|taints| taints.iter().any(|t| t["key"] == label::TAINT_UNSCHEDULABLE));
    Some(node["spec"]["unschedulable"] == true || tainted)
}

/// Whether a change is `key=value` or `key-`, each valid.
fn is_change(change: &str) -> bool {
    match (change.split_once('='), change.strip_suffix('-')) {
        (Some((key, value)), _) => syntax::qualified(key).is_ok() && syntax::label_value(value).is_ok(),
        (None, Some(key)) => syntax::qualified(key).is_ok(),
        (None, None) => false,
    }
}

/// Whether kubectl would change these labels, and would not refuse to overwrite one.
fn changes_label(labels: &Value, change: &str) -> bool {
    is_change(change)
        && match change.split_once('=') {
            Some((key, _)) => labels[key].is_null(),
            None => labels[change.trim_end_matches('-')].is_string(),
        }
}

/// Returns the object that kubectl's arguments name, as the judged update leaves it.
fn template_of<'v>(answered: &'v Answered, seen: &'v Seen, kind: &str, name: &str) -> Option<&'v Value> {
    let kind = kind_of(kind)?;
    let stored = seen.situation.find(kind, name)?;
    let is_asked = answered.object["kind"] == kind && answered.object["metadata"]["name"] == name;
    Some(if is_asked { &answered.object } else { stored })
}

/// Whether each operation of a JSON patch applies: its tests hold, and its target exists.
fn is_json_patch(answered: &Answered, seen: &Seen, kind: &str, name: &str, patch: &str) -> bool {
    let (Some(object), Ok(Value::Array(operations))) =
        (template_of(answered, seen, kind, name), serde_json::from_str(patch))
    else {
        return false;
    };
    let finds = |operation: &Value| {
        let found = operation["path"].as_str().and_then(|path| object.pointer(path));
        match operation["op"].as_str() {
            Some("test") => found == Some(&operation["value"]),
            Some("replace") => found.is_some_and(|found| *found != operation["value"]),
            Some("remove") => found.is_some(),
            // An element is added at the end of a list that is there.
            Some("add") => {
                let list = operation["path"].as_str().and_then(|path| object.pointer(path.strip_suffix("/-")?));
                list.is_some_and(|list| list.as_array().is_some_and(|list| !list.contains(&operation["value"])))
            }
            _ => false,
        }
    };
    !operations.is_empty() && operations.iter().all(finds)
}

/// Whether a patch removes a model from the list of obsolete models, or replaces the built-in list.
fn changes_list(kubevirt: &Value, patch: &str) -> bool {
    let Ok(patch) = serde_json::from_str::<Value>(patch) else { return false };
    let (list, edits) =
        (&kubevirt["spec"]["configuration"]["obsoleteCPUModels"], &patch["spec"]["configuration"]["obsoleteCPUModels"]);
    edits.as_object().is_some_and(|edits| {
        !edits.is_empty()
            && edits.iter().all(|(model, is)| if is.is_null() { !list[model].is_null() } else { *is == true })
    })
}

fn is_patch(seen: &Seen, kind: &str, name: &str, patch: &str) -> bool {
    let Ok(patch) = serde_json::from_str::<Value>(patch) else { return false };
    if patch["spec"]["instancetype"].get("revisionName").is_some_and(Value::is_null) {
        let vm = seen.situation.find("VirtualMachine", name);
        return kind == "vm" && vm.is_some_and(|vm| vm["spec"]["instancetype"]["revisionName"].is_string());
    }
    let spec = match kind {
        "vm" | "vmirs" => &patch["spec"]["template"]["spec"],
        "vmpool" => &patch["spec"]["virtualMachineTemplate"]["spec"]["template"]["spec"],
        _ => return false,
    };
    exists(seen, kind, name) && spec.as_object().is_some_and(|spec| !spec.is_empty())
}

/// Whether a migration of a guest is unfinished.
fn migrates(seen: &Seen, guest: &str) -> bool {
    let is_open = |object: &Value| {
        object["kind"] == "VirtualMachineInstanceMigration"
            && object["spec"]["vmiName"] == guest
            && object["status"]["phase"] != "Succeeded"
            && object["status"]["phase"] != "Failed"
    };
    seen.situation.objects.iter().any(is_open)
}

/// Whether a guest has a VMI that has not ended: a restart requires no more.
fn has_vmi(seen: &Seen, guest: &str) -> bool {
    let vmi = seen.situation.find("VirtualMachineInstance", guest);
    vmi.is_some_and(|vmi| vmi["status"]["phase"] != "Succeeded" && vmi["status"]["phase"] != "Failed")
}

fn runs(seen: &Seen, guest: &str) -> bool {
    let vmi = seen.situation.find("VirtualMachineInstance", guest);
    vmi.is_some_and(|vmi| vmi["status"]["phase"] == "Running")
}
