//! Output of `kubectl describe pod`, as users paste it, converted to a pod as far as possible.
//!
//! A description has the node selector, the tolerations, labels, owner and events of a pod, but not its affinity. Mail,
//! chats and issues add prose and quotation marks, remove indentation and break lines.

mod lists;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::well_known;

pub(super) use lists::BrokenEntry;
use lists::{List, ListLine};

/// The fields of a pod that `kubectl describe` prints without indentation.
const FIELDS: [&str; 30] = [
    "Name",
    "Namespace",
    "Priority",
    "Priority Class Name",
    "Runtime Class Name",
    "Service Account",
    "Node",
    "Start Time",
    "Labels",
    "Annotations",
    "Status",
    "Reason",
    "Message",
    "SeccompProfile",
    "IP",
    "IPs",
    "Controlled By",
    "NominatedNodeName",
    "Init Containers",
    "Containers",
    "Ephemeral Containers",
    "Readiness Gates",
    "Conditions",
    "Volumes",
    "QoS Class",
    "Node-Selectors",
    "Tolerations",
    "Topology Spread Constraints",
    "Resource Claims",
    "Events",
];
/// Fields of several levels, below which other fields have names of their own.
const SECTIONS: [&str; 5] = ["Init Containers", "Containers", "Ephemeral Containers", "Conditions", "Volumes"];
/// Fields of a pod that a container or a volume has too.
const SHARED_FIELDS: [&str; 4] = ["Name", "Status", "Reason", "Message"];
/// Marks around a description in issues and chats.
const FENCES: [&str; 8] = ["```", "~~~", "[code", "[/code", "<pre", "</pre", "<details", "</details"];

/// Maximum bytes that are read of one description.
const MAX_DESCRIPTION_BYTES: usize = 1 << 20;

/// Whether a line can open a pasted description: its first field, or the command at the prompt.
pub(super) fn is_opening(line: &str) -> bool {
    let line = line.trim_start();
    let field = |name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(is_blank));
    field("Name:") || is_fence(line) || is_command(line)
}

/// Whether a character is a blank, those that web pages use to keep indentation included.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{a0}' | '\u{2007}' | '\u{202f}')
}

fn is_fence(line: &str) -> bool {
    FENCES.iter().any(|fence| line.trim_start().starts_with(fence))
}

/// Whether a text that begins like this holds the description of a pod, behind whatever prose. Manifests may hold one
/// in a field.
pub(super) fn is_in(beginning: &str) -> bool {
    let text = with_plain_blanks(beginning);
    let Some(margin) = Margin::of(&text) else { return false };
    let mut lines = text.lines().map(|line| margin.cut(line)).filter(|line| !line.trim().is_empty());
    let is_manifest =
        lines.by_ref().take_while(|line| !line.starts_with("Name:")).any(|line| line.starts_with("apiVersion:"));
    !is_manifest && lines.next().is_some_and(|line| line.starts_with("Namespace:"))
}

fn with_plain_blanks(text: &str) -> String {
    text.chars().map(|c| if is_blank(c) && c != '\t' { ' ' } else { c }).collect()
}

/// The beginning that all lines of a description share: indentation, as in a message, or the marks of a quotation.
#[derive(Clone, Copy, Debug)]
struct Margin {
    quotes: usize,
    indent: usize,
}

impl Margin {
    /// Returns that of the first field; `None` if no line holds it.
    fn of(text: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let (before, _) = line.split_once("Name:")?;
            let is_margin = before.chars().all(|c| c == '>' || is_blank(c));
            let quotes = before.matches('>').count();
            let unquoted = Self { quotes, indent: 0 }.cut(line);
            is_margin.then(|| Self { quotes, indent: unquoted.len() - unquoted.trim_start().len() })
        })
    }

    /// Returns the line without it. A line that a mailer broke has none.
    fn cut(self, line: &str) -> &str {
        let mut rest = line.trim_end();
        for _ in 0..self.quotes {
            rest = rest.trim_start().strip_prefix('>').unwrap_or(rest);
        }
        if self.quotes > 0 {
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
        let (head, cut) = rest.split_at_checked(self.indent).unwrap_or(("", rest));
        if head.trim().is_empty() { cut } else { rest }
    }
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
///
/// # Errors
///
/// Returns the first entry of a list that is not whole.
pub(super) fn pods(text: &str) -> Result<Vec<Value>, BrokenEntry> {
    let text = with_plain_blanks(text);
    let margin = Margin::of(&text).unwrap_or(Margin { quotes: 0, indent: 0 });
    let lines: Vec<(usize, &str)> = text.lines().map(|line| margin.cut(line)).enumerate().collect();
    let mut out = Vec::new();
    let (mut from, mut section) = (0, "");
    for (at, line) in &lines {
        let next = || lines[at + 1..].iter().map(|(_, line)| *line).find(|line| !line.is_empty());
        let is_of_volume = || SECTIONS.contains(&section) && !next().is_some_and(|next| next.starts_with("Namespace:"));
        if line.starts_with("Name:") && !is_of_volume() {
            out.extend(pod(&lines[from..*at])?);
            (from, section) = (*at, "");
        } else if let Some((name, _)) = field(line, section) {
            section = name;
        }
    }
    out.extend(pod(&lines[from..])?);
    Ok(out)
}

/// Splits a line without indentation into the name of its field and the value; `None` if it belongs to the field above,
/// `last`.
fn field<'t>(line: &'t str, last: &str) -> Option<(&'t str, &'t str)> {
    let (name, value) = line.split_once(':')?;
    let is_known = FIELDS.contains(&name) && !(SECTIONS.contains(&last) && SHARED_FIELDS.contains(&name));
    // A field of another release of kubectl.
    let is_alike = !SECTIONS.contains(&last)
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, ' ' | '-'));
    let is_field = last != "Events" && (value.is_empty() || value.starts_with(is_blank)) && (is_known || is_alike);
    is_field.then(|| (name, value.trim()))
}

/// The fields of one description.
#[derive(Debug, Default)]
struct Fields<'t> {
    /// The text behind the name of each field, and the lines below it.
    lines: BTreeMap<&'t str, Vec<ListLine<'t>>>,
    /// The lines of the events, each as it was before it was broken.
    events: Vec<String>,
    /// Whether lines have their indentation.
    is_indented: bool,
}

impl<'t> Fields<'t> {
    fn read(lines: &[(usize, &'t str)]) -> Self {
        let mut out = Self::default();
        let mut last = "";
        for (at, line) in lines.iter().copied() {
            let is_indented = line.starts_with([' ', '\t']);
            let is_over = line.is_empty() && out.events.iter().any(|event| sentence(event).is_some());
            if !last.is_empty() && (is_fence(line) || is_over) {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            out.is_indented |= is_indented;
            let text = line.trim();
            match field(line, last).filter(|_| !is_indented) {
                Some((name, value)) => {
                    last = name;
                    let of_name = out.lines.entry(name).or_default();
                    of_name.extend(Some(ListLine { at, text: value, is_in_place: true }).filter(|_| !value.is_empty()));
                }
                None if last == "Events" => out.event(text, is_indented),
                None => out.lines.entry(last).or_default().push(ListLine { at, text, is_in_place: is_indented }),
            }
        }
        out
    }

    /// Adds a line of the events: a row of the table, or the rest of one that was broken.
    fn event(&mut self, line: &str, is_indented: bool) {
        let is_row = is_indented || ["Type ", "----", "Normal ", "Warning "].iter().any(|row| line.starts_with(row));
        match self.events.last_mut() {
            Some(last) if !is_row => {
                if sentence(last).is_none_or(|said| !said.ends_with('.')) {
                    last.push(' ');
                    last.push_str(line);
                }
            }
            _ => self.events.push(line.to_owned()),
        }
    }

    fn texts(&self, name: &str) -> Vec<&'t str> {
        self.lines.get(name).into_iter().flatten().map(|line| line.text).collect()
    }

    /// Returns the first line of a field.
    fn first(&self, name: &str) -> Option<&'t str> {
        self.lines.get(name)?.first().map(|line| line.text).filter(|value| *value != "<none>")
    }

    /// Returns the entries of a list.
    fn entries(&self, name: &str) -> Result<Vec<String>, BrokenEntry> {
        match (List::of(name), self.lines.get(name)) {
            (Some(list), Some(lines)) => list.entries(lines, self.is_indented),
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the entries of a list of labels.
    fn labels(&self, name: &str) -> Result<BTreeMap<String, String>, BrokenEntry> {
        let entries = self.entries(name)?;
        let pair = |entry: &String| entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(entries.iter().filter_map(pair).collect())
    }
}

/// Reads one description; `None` if it does not describe a pod.
fn pod(lines: &[(usize, &str)]) -> Result<Option<Value>, BrokenEntry> {
    let fields = Fields::read(lines);
    let first = |name: &str| fields.first(name);
    let is_pod = fields.lines.contains_key("Node-Selectors") || fields.lines.contains_key("Tolerations");
    let Some(name) = first("Name").filter(|_| is_pod) else { return Ok(None) };
    let labels = fields.labels("Labels")?;
    // A label holds the UID of a launcher's guest; its domain depends on the distribution.
    let uid = labels.iter().find(|(key, _)| key.ends_with("/created-by")).map(|(_, uid)| uid.as_str());
    let pair = |line: &str| line.split_once(": ").map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    let mut annotations: BTreeMap<String, String> = fields.texts("Annotations").into_iter().filter_map(pair).collect();
    annotations.insert(well_known::DESCRIBED.key.to_owned(), "true".to_owned());
    let owner = first("Controlled By").and_then(|owner| owner.split_once('/'));
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name, "uid": uid.unwrap_or_default(), "controller": true}))
        .collect();
    let containers = |name: &str| requests(&fields.texts(name));
    // The form is `Node: node-a/10.0.0.1`.
    let node = first("Node").and_then(|node| node.split('/').next());
    let tolerations = fields.entries("Tolerations")?;
    let tolerations: Vec<Value> = tolerations.iter().filter_map(|entry| toleration(entry)).collect();
    let said = fields.events.iter().rev().find_map(|line| sentence(line));
    let conditions: Vec<Value> = said
        .into_iter()
        .map(|said| json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}))
        .collect();
    Ok(Some(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": first("Namespace"), "ownerReferences": owners,
            "labels": labels, "annotations": annotations,
        },
        "spec": {
            "nodeName": node, "nodeSelector": fields.labels("Node-Selectors")?, "tolerations": tolerations,
            "priority": first("Priority").and_then(|priority| priority.parse::<i64>().ok()),
            "containers": containers("Containers"), "initContainers": containers("Init Containers"),
        },
        "status": {"phase": first("Status").unwrap_or("Pending"), "conditions": conditions},
    })))
}

/// Returns the requests of each container of a list: below `Requests:`, one line for each resource, such as
/// `cpu: 400m`. Names of resources begin with a lower-case letter or a digit, those of fields with a capital.
fn requests(lines: &[&str]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut lines = lines.iter().peekable();
    while let Some(line) = lines.next() {
        if *line != "Requests:" {
            continue;
        }
        let mut requests = BTreeMap::new();
        let is_resource = |line: &&&&str| line.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
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

#[cfg(test)]
mod tests;
