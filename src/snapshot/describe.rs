//! Output of `kubectl describe pod`, as users paste it, converted to a pod as far as possible.
//!
//! A description has the node selector, the tolerations, labels, owner and events of a pod, but not its affinity.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::well_known;

/// Maximum bytes that are read of one description.
const MAX_DESCRIPTION_BYTES: usize = 1 << 20;

/// Whether a line can open a pasted description: its first field, or the command at the prompt.
pub(super) fn is_opening(line: &str) -> bool {
    let line = line.trim_start();
    let field = |name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '\t']));
    field("Name:") || line.starts_with("```") || is_command(line)
}

/// Whether a line is the command that describes something, behind whatever prompt: `root@host:~# kubectl describe pods
/// db`.
fn is_command(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let runs = |word: &str| word.rsplit(['/', '\\']).next().is_some_and(|name| ["kubectl", "oc", "k"].contains(&name));
    // A field of YAML has a colon before the rest of its line.
    let is_field = line.split_once(": ").is_some_and(|(name, _)| !name.contains(char::is_whitespace));
    // The prompt `[user@host ~]$` opens as JSON does, and has no quotes.
    !is_field && !line.contains('"') && words.any(runs) && words.any(|word| word == "describe")
}

/// Returns the remaining text, up to a limit.
pub(super) fn rest<E>(mut next: impl FnMut() -> Option<Result<char, E>>) -> Result<String, E> {
    let mut out = String::new();
    while let Some(c) = next() {
        if out.len() < MAX_DESCRIPTION_BYTES {
            out.push(c?);
        }
    }
    Ok(out)
}

/// Returns the pods that a text describes; empty if it describes something else.
pub(super) fn pods(text: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let indent = text
        .lines()
        .find(|line| line.trim_start().starts_with("Name:"))
        .map_or(0, |line| line.len() - line.trim_start().len());
    for line in text.lines().map(str::trim_end) {
        // The whole text may be indented, as in a message.
        let (head, cut) = line.split_at_checked(indent).unwrap_or(("", line));
        let line = if head.trim().is_empty() { cut } else { line };
        if line.starts_with("Name:") {
            out.extend(pod(&lines));
            lines.clear();
        }
        lines.push(line);
    }
    out.extend(pod(&lines));
    out
}

/// Reads one description; `None` if it does not describe a pod.
fn pod(lines: &[&str]) -> Option<Value> {
    // The values of each field: the text behind its name, and the indented lines below it.
    let mut fields: BTreeMap<&str, Vec<Cow<'_, str>>> = BTreeMap::new();
    let mut last = "";
    for line in lines {
        if line.starts_with([' ', '\t']) {
            fields.entry(last).or_default().push(Cow::Borrowed(line.trim()));
        } else if let Some(event) = fields.get_mut("Events").and_then(|events| events.last_mut())
            && last == "Events"
            && sentence(event).is_some_and(|said| !said.ends_with('.'))
            && !line.is_empty()
        {
            // The events come last: a line there without indentation was wrapped by a terminal or a message.
            *event = Cow::Owned(format!("{event} {line}"));
        } else if let Some((name, value)) = line.split_once(':') {
            last = name;
            let values = fields.entry(name).or_default();
            values.extend(Some(value.trim()).filter(|value| !value.is_empty()).map(Cow::Borrowed));
        }
    }
    let first = |name: &str| fields.get(name)?.first().map(Cow::as_ref).filter(|value| *value != "<none>");
    let is_pod = fields.contains_key("Node-Selectors") || fields.contains_key("Tolerations");
    let name = first("Name").filter(|_| is_pod)?;
    let pairs = |name: &str, by: &str| -> BTreeMap<String, String> {
        let values = fields.get(name).into_iter().flatten();
        let pair = |line: &Cow<'_, str>| {
            let (key, value) = line.split_once(by)?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        };
        values.filter_map(pair).collect()
    };
    let labels = pairs("Labels", "=");
    // A label holds the UID of a launcher's guest; its domain depends on the distribution.
    let uid = labels.iter().find(|(key, _)| key.ends_with("/created-by")).map(|(_, uid)| uid.as_str());
    let mut annotations = pairs("Annotations", ": ");
    annotations.insert(well_known::DESCRIBED.key.to_owned(), "true".to_owned());
    let owner = first("Controlled By").and_then(|owner| owner.split_once('/'));
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name, "uid": uid.unwrap_or_default(), "controller": true}))
        .collect();
    let containers = |name: &str| requests(fields.get(name).map(Vec::as_slice).unwrap_or_default());
    // The form is `Node: node-a/10.0.0.1`.
    let node = first("Node").and_then(|node| node.split('/').next());
    let tolerations: Vec<Value> =
        fields.get("Tolerations").into_iter().flatten().filter_map(|line| toleration(line)).collect();
    let said = fields.get("Events").into_iter().flatten().rev().find_map(|line| sentence(line));
    let conditions: Vec<Value> = said
        .into_iter()
        .map(|said| json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}))
        .collect();
    Some(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": first("Namespace"), "ownerReferences": owners,
            "labels": labels, "annotations": annotations,
        },
        "spec": {
            "nodeName": node, "nodeSelector": pairs("Node-Selectors", "="), "tolerations": tolerations,
            "priority": first("Priority").and_then(|priority| priority.parse::<i64>().ok()),
            "containers": containers("Containers"), "initContainers": containers("Init Containers"),
        },
        "status": {"phase": first("Status").unwrap_or("Pending"), "conditions": conditions},
    }))
}

/// Returns the requests of each container of a list: below `Requests:`, one line for each resource, such as
/// `cpu: 400m`. Names of resources begin with a lower-case letter or a digit, those of fields with a capital.
fn requests(lines: &[Cow<'_, str>]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut lines = lines.iter().peekable();
    while let Some(line) = lines.next() {
        if line.as_ref() != "Requests:" {
            continue;
        }
        let mut requests = BTreeMap::new();
        let is_resource =
            |line: &&&Cow<'_, str>| line.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        while let Some((resource, amount)) = lines.peek().filter(is_resource).and_then(|line| line.split_once(':')) {
            let amount = amount.trim();
            if amount.is_empty() {
                break;
            }
            requests.insert(resource.trim().to_owned(), amount.to_owned());
            lines.next();
        }
        out.push(json!({"resources": {"requests": requests}}));
    }
    out
}

/// Reads a toleration: `key=value:Effect op=Exists for 300s`.
fn toleration(line: &str) -> Option<Value> {
    let line = line.split(" for ").next()?.trim();
    let (what, exists) = match line.strip_suffix("op=Exists") {
        Some(what) => (what.trim(), true),
        None => (line, false),
    };
    if line == "<none>" || (what.is_empty() && !exists) {
        return None;
    }
    let (pair, effect) = what.rsplit_once(':').unwrap_or((what, ""));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Some(json!({
        "key": some(key), "value": some(value), "effect": some(effect),
        "operator": if exists { "Exists" } else { "Equal" },
    }))
}

/// Returns the scheduler's sentence in a line of the events: `0/9 nodes are available: …`.
fn sentence(line: &str) -> Option<&str> {
    let at = line.find(" nodes are available").or_else(|| line.find(" node is available"))?;
    let start = line[..at]
        .rfind(|c: char| !c.is_ascii_digit() && c != '/')
        .map_or(0, |before| before + line[before..].chars().next().map_or(1, char::len_utf8));
    Some(&line[start..])
}
