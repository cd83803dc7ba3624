//! The questions about guests that libvirt did not answer, with the reason: by node, and by guest.
//!
//! A node that cannot take a guest for reasons other than its CPU is not asked and is not listed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::probe::{self, Probe};
use crate::fit::command::{Command, Invalid, Script};
use crate::fit::libvirt::{Accelerator, Silence};
use crate::fit::plural::{counted, fold_names};
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::say::alike;
use crate::world::World;

/// Number of names in a line.
const MAX_NAMES: usize = 3;
/// Number of reasons shown, each in a line.
const MAX_REASONS: usize = 6;
/// Number of nodes whose commands are shown.
const MAX_PROBES: usize = 3;

/// The missing answers of libvirt. Also JSON of `audit` and `drain`: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The nodes that did not answer whether they provide the CPU of a guest.
    pub nodes: Vec<UnansweredNode>,
    /// The guests with an unknown CPU, which are judged by labels alone.
    pub guests: Vec<UnansweredGuest>,
}

/// A node that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnansweredNode {
    /// The node.
    pub node: String,
    /// The reason, in one word.
    pub code: &'static str,
    /// The reason, in a sentence.
    pub reason: String,
    /// Number of guests concerned.
    pub guests: usize,
    /// These guests, as `namespace/name`.
    #[serde(skip)]
    titles: Vec<String>,
    /// The commands that bring a launcher to the node, ask it, and end the launcher: in the first row of a node without
    /// one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// The launcher's needs on the node; empty without commands.
    #[serde(skip)]
    needs: &'static str,
    /// The reason why no launcher can be brought to a node without one.
    #[serde(rename = "commandsMissing", skip_serializing_if = "Option::is_none")]
    pub commands_missing: Option<String>,
}

/// The guests that a node was not asked about.
#[derive(Default)]
struct Concerned {
    titles: Vec<String>,
    /// The namespace of the first one.
    namespace: String,
    /// The accelerator of the first one.
    accelerator: Option<Accelerator>,
}

/// Builds the command that asks the libvirt of nodes again, about these guests (`namespace/name`).
pub(crate) type AskAgain<'a> = &'a dyn Fn(&[String]) -> Result<Command, Invalid>;

/// A guest with an unknown CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnansweredGuest {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// The reason, in one word.
    pub code: &'static str,
    /// The reason, in a sentence.
    pub reason: String,
}

impl Unanswered {
    /// Collects the missing answers about these guests; `None` if libvirt was not asked and no answers were read.
    pub(crate) fn of<'v>(world: &World, guests: impl IntoIterator<Item = &'v Vmi>, ask: AskAgain<'_>) -> Option<Self> {
        let cluster = &world.cluster;
        if cluster.libvirt.is_empty() {
            return None;
        }
        let fleet = &cluster.fleet;
        let mut nodes: BTreeMap<(String, Silence), Concerned> = BTreeMap::new();
        let mut out = Self::default();
        for vmi in guests {
            let Some(prepared) = subject::of_running(vmi, cluster).filter(|prepared| prepared.not_judged.is_none())
            else {
                continue;
            };
            let Some(asked) = prepared.subject.asked() else { continue };
            if let Err(silence) = &asked.guest {
                let guest = prepared.subject.title();
                out.guests.push(UnansweredGuest { guest, code: silence.code(), reason: silence.to_string() });
                continue;
            }
            let said = asked.by_node(&prepared.subject.placement, fleet);
            let source = prepared.subject.source();
            for node in fleet.in_name_order().into_iter().filter(|node| Some(fleet.name(*node)) != source) {
                if let Err(silence) = said(node).map(drop)
                    && !matches!(silence, Silence::KeptOff(_))
                {
                    let concerned = nodes.entry((fleet.name(node).to_owned(), silence)).or_default();
                    if concerned.titles.is_empty() {
                        concerned.namespace.clone_from(&prepared.subject.namespace);
                        concerned.accelerator = asked.guest.as_ref().ok().map(|guest| guest.accelerator);
                    }
                    concerned.titles.push(prepared.subject.title());
                }
            }
        }
        out.nodes = rows(world, nodes, ask);
        out.guests.sort_by(|one, other| one.guest.cmp(&other.guest));
        Some(out)
    }

    /// Returns lines about the nodes without a launcher: the commands that bring one to the first of them, and why to
    /// others none can be brought.
    pub(crate) fn how_to_ask(&self) -> Vec<String> {
        let mut closed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for row in &self.nodes {
            if let Some(why) = &row.commands_missing {
                closed.entry(why.clone()).or_default().push(&row.node);
            }
        }
        let mut out = probe::closed_lines(&closed);
        let open: Vec<&UnansweredNode> = self.nodes.iter().filter(|row| !row.commands.is_empty()).collect();
        for row in open.iter().take(MAX_PROBES) {
            out.push(probe::offer_line(&[&row.node], row.needs, &row.node));
            out.extend(row.commands.iter().map(|line| format!("   {line}")));
        }
        if let Some(more @ 1..) = open.len().checked_sub(MAX_PROBES) {
            let nodes = counted(more, "more node", "more nodes");
            let which = if more == 1 { "which" } else { "each of which" };
            out.push(format!("No launcher is known on {nodes}, {which} can be asked so (-o json lists the commands)."));
        }
        out
    }

    /// Returns a line for each reason, with the first of its nodes or guests; of many reasons only the first ones.
    pub(crate) fn lines(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|row| (row.code, row.reason.clone(), row.node.clone()));
        let guests = self.guests.iter().map(|row| (row.code, row.reason.clone(), row.guest.clone()));
        let about = |code: &str, nodes: &[String]| {
            let is_said = |row: &&UnansweredNode| row.code == code && nodes.contains(&row.node);
            let asked = self.nodes.iter().filter(is_said).flat_map(|row| &row.titles);
            let asked: BTreeSet<&str> = asked.map(String::as_str).collect();
            format!(" about {}", fold_names(&asked.into_iter().collect::<Vec<_>>(), MAX_NAMES))
        };
        let mut out = lines("on", nodes, ["more node", "more nodes"], &about);
        out.extend(lines("of the CPU of", guests, ["more guest", "more guests"], &|_, _| String::new()));
        out
    }
}

/// Returns a row for each node and reason, with the commands that bring a launcher to a node without one.
fn rows(world: &World, nodes: BTreeMap<(String, Silence), Concerned>, ask: AskAgain<'_>) -> Vec<UnansweredNode> {
    let (cluster, reachable) = (&world.cluster, probe::reachable(&world.cluster));
    let (mut offered, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut row = |((node, silence), concerned): ((String, Silence), Concerned)| {
        let Concerned { titles, namespace, accelerator } = concerned;
        let mut out = UnansweredNode {
            code: silence.code(),
            reason: silence.to_string(),
            guests: titles.len(),
            commands: Vec::new(),
            needs: "",
            commands_missing: None,
            node,
            titles,
        };
        let found = cluster.fleet.find(&out.node).zip(accelerator);
        let found =
            found.filter(|_| probe::may_bring(&silence, &out.node, &reachable) && offered.insert(out.node.clone()));
        let Some((node, accelerator)) = found else { return out };
        let probe = Probe { cluster, node, accelerator };
        out.commands_missing = probe.closed();
        if out.commands_missing.is_none() {
            let is_free = |name: &str| {
                !probe::is_taken(cluster, &namespace, name) && names.insert((namespace.clone(), name.to_owned()))
            };
            let script = match ask(&out.titles) {
                Ok(ask) => probe.script(&namespace, is_free, Some(ask)),
                Err(invalid) => Script::from(Err(invalid)),
            };
            out.commands = script.lines();
            out.needs = probe.needs();
        }
        out
    };
    nodes.into_iter().map(&mut row).collect()
}

/// Formats the missing answers `of_what`, in lines; `about` says for a reason's code and names which
/// guests they concern.
fn lines(
    of_what: &str,
    said: impl Iterator<Item = (&'static str, String, String)>,
    [one, many]: [&str; 2],
    about: &dyn Fn(&str, &[String]) -> String,
) -> Vec<String> {
    let mut folded = alike::fold(said);
    for (_, _, names) in &mut folded {
        names.dedup();
    }
    let hidden: usize = folded.iter().skip(MAX_REASONS).map(|(_, _, names)| names.len()).sum();
    let shown = folded.iter().take(MAX_REASONS);
    let mut out: Vec<String> = shown
        .map(|(code, reason, names)| {
            format!("what libvirt says {of_what} {}{}: {reason}", fold_names(names, MAX_NAMES), about(code, names))
        })
        .collect();
    if hidden > 0 {
        let more = counted(hidden, one, many);
        out.push(format!("what libvirt says {of_what} {more}, for other reasons (-o json lists all)"));
    }
    out
}
