//! Where libvirt gave no answer about the guests of a question, and why: by node, and by guest.
//!
//! A node that cannot take a guest, whatever its CPU, is in nobody's way: it is not asked, and is not among these.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fit::libvirt::Silence;
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::say::plural::fold_names;
use crate::world::World;

/// How many names a line names.
const NAMED: usize = 3;

/// Where libvirt gave no answer. Also JSON of `audit` and `drain`: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The nodes that do not say whether they provide the CPU of a guest.
    pub nodes: Vec<UnansweredNode>,
    /// The guests whose own CPU is not known: judged by labels alone.
    pub guests: Vec<UnansweredGuest>,
}

/// A node that gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnansweredNode {
    /// The node.
    pub node: String,
    /// Why, in one word.
    pub code: &'static str,
    /// Why, in a sentence.
    pub reason: String,
    /// About how many guests.
    pub guests: usize,
}

/// A guest whose CPU is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnansweredGuest {
    /// `namespace/name`.
    pub guest: String,
    /// Why, in one word.
    pub code: &'static str,
    /// Why, in a sentence.
    pub reason: String,
}

impl Unanswered {
    /// What is not known of these guests; `None` where libvirt was not asked, and no answers were read.
    #[must_use]
    pub(crate) fn of<'v>(world: &World, guests: impl IntoIterator<Item = &'v Vmi>) -> Option<Self> {
        let cluster = &world.cluster;
        if cluster.libvirt.is_empty() {
            return None;
        }
        let fleet = &cluster.fleet;
        let mut nodes: BTreeMap<(String, Silence), usize> = BTreeMap::new();
        let mut out = Self::default();
        for vmi in guests {
            let Some(judged) = subject::of_running(vmi, cluster).filter(|judged| judged.not_judged.is_none()) else {
                continue;
            };
            let Some(asked) = judged.subject.asked() else { continue };
            if let Err(silence) = &asked.guest {
                let guest = judged.subject.title();
                out.guests.push(UnansweredGuest { guest, code: silence.code(), reason: silence.to_string() });
                continue;
            }
            let said = asked.by_node(&judged.subject.placement, fleet);
            let source = judged.subject.source();
            for node in fleet.in_name_order().into_iter().filter(|node| Some(fleet.name(*node)) != source) {
                if let Err(silence) = said(node).map(drop)
                    && !matches!(silence, Silence::KeptOff(_))
                {
                    *nodes.entry((fleet.name(node).to_owned(), silence)).or_default() += 1;
                }
            }
        }
        let of_node = |((node, silence), guests): ((String, Silence), usize)| UnansweredNode {
            node,
            code: silence.code(),
            reason: silence.to_string(),
            guests,
        };
        out.nodes = nodes.into_iter().map(of_node).collect();
        out.guests.sort_by(|one, other| one.guest.cmp(&other.guest));
        Some(out)
    }

    /// A line for each reason, with the first of its nodes or guests.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut guests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            nodes.entry(&node.reason).or_default().push(&node.node);
        }
        for guest in &self.guests {
            guests.entry(&guest.reason).or_default().push(&guest.guest);
        }
        let of_nodes = |(reason, names): (&str, Vec<&str>)| {
            format!("what libvirt says on {}: {reason}", fold_names(&names, NAMED))
        };
        let of_guests = |(reason, names): (&str, Vec<&str>)| {
            format!("what libvirt says of the CPU of {}: {reason}", fold_names(&names, NAMED))
        };
        nodes.into_iter().map(of_nodes).chain(guests.into_iter().map(of_guests)).collect()
    }
}
