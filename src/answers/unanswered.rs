//! The questions about guests that libvirt did not answer, with the reason: by node, and by guest.
//!
//! A node that cannot take a guest for reasons other than its CPU is not asked and is not listed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fit::libvirt::Silence;
use crate::fit::plural::{counted, fold_names};
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::say::alike;
use crate::world::World;

/// Number of names in a line.
const MAX_NAMES: usize = 3;
/// Number of reasons shown, each in a line.
const MAX_REASONS: usize = 6;

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
}

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
    pub(crate) fn of<'v>(world: &World, guests: impl IntoIterator<Item = &'v Vmi>) -> Option<Self> {
        let cluster = &world.cluster;
        if cluster.libvirt.is_empty() {
            return None;
        }
        let fleet = &cluster.fleet;
        let mut nodes: BTreeMap<(String, Silence), Vec<String>> = BTreeMap::new();
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
                    nodes.entry((fleet.name(node).to_owned(), silence)).or_default().push(prepared.subject.title());
                }
            }
        }
        let of_node = |((node, silence), titles): ((String, Silence), Vec<String>)| UnansweredNode {
            node,
            code: silence.code(),
            reason: silence.to_string(),
            guests: titles.len(),
            titles,
        };
        out.nodes = nodes.into_iter().map(of_node).collect();
        out.guests.sort_by(|one, other| one.guest.cmp(&other.guest));
        Some(out)
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
