//! What libvirt itself says of a running guest's CPU, node by node: where it was asked, better evidence than any label.
//!
//! Labels decide where a pod may go; libvirt decides whether the guest may. [`Answers`] is what came of asking: the guest's CPU
//! as its own libvirt describes it, and for each node what the libvirt there says of that CPU.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::models;
use super::placement::Placement;
use super::word::words;

mod compared;
mod host;
mod silence;

pub(crate) use compared::{Lost, losses};
pub(crate) use host::{LibvirtHost, LibvirtHosts, Provided, Usable};
pub(crate) use silence::{NotAskedBecause, Silence};

/// A CPU as libvirt describes it: a named model, and what it has more or less than that model.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// `<model>`.
    pub model: String,
    /// `<vendor>`, where it is named.
    pub vendor: Option<String>,
    /// Features with policy `require` or `force`.
    pub require: BTreeSet<String>,
    /// Features with policy `disable` or `forbid`.
    pub disable: BTreeSet<String>,
}

impl Cpu {
    /// Whether it has a feature; `None` where that is not known: its model is not, or the feature is one of VMX, of which the
    /// models of different releases hold different ones.
    #[must_use]
    pub fn has(&self, feature: &str) -> Option<bool> {
        if self.require.contains(feature) || self.disable.contains(feature) {
            return Some(self.require.contains(feature));
        }
        if feature.starts_with(label::VMX) {
            return None;
        }
        models::features(&self.model).map(|features| features.contains(feature))
    }
}

impl fmt::Display for Cpu {
    /// `Cascadelake-Server with 21 features more and 2 less`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        let (more, less) = (self.require.len(), self.disable.len());
        let noun = |count: usize| if count == 1 { "feature" } else { "features" };
        match (more, less) {
            (0, 0) => Ok(()),
            (more, 0) => write!(f, " with {more} {} more", noun(more)),
            (0, less) => write!(f, " with {less} {} less", noun(less)),
            (more, less) => write!(f, " with {more} {} more and {less} less", noun(more)),
        }
    }
}

words! {
    /// The accelerator of a guest: `type` of its domain.
    Accelerator {
        /// By the hardware.
        Kvm = "kvm",
        /// By QEMU alone (`useEmulation`).
        Qemu = "qemu",
    }
}

/// The CPU of a running guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestCpu {
    /// What it has.
    pub cpu: Cpu,
    /// The accelerator that runs it.
    pub accelerator: Accelerator,
}

/// What the libvirt of a node says of a guest's CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibvirtAnswer {
    /// The node's hypervisor provides just this CPU.
    Identical,
    /// It provides this CPU, and more.
    Superset,
    /// It does not provide it.
    Incompatible(Incompatible),
}

/// Why a node's hypervisor does not provide a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incompatible {
    /// The features that it does not provide, where libvirt names them.
    pub missing: Vec<String>,
    /// Libvirt's words, where they are about something else; may be empty.
    pub reason: String,
}

impl LibvirtAnswer {
    /// Whether the guest may run there.
    #[must_use]
    pub fn agrees(&self) -> bool {
        !matches!(self, Self::Incompatible(_))
    }

    /// As JSON spells it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Superset => "superset",
            Self::Incompatible(_) => "incompatible",
        }
    }
}

/// By name, what the libvirt of each node says of one CPU.
pub(crate) type NodeAnswers = BTreeMap<String, Result<LibvirtAnswer, Silence>>;
/// What came of asking libvirt about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The guest's CPU, as its own libvirt describes it.
    pub guest: Result<GuestCpu, Silence>,
    /// What the libvirt of each node says of it. Of a node that is not here, [`Answers::by_node`] says why.
    pub nodes: Arc<NodeAnswers>,
    /// What nodes say of themselves, where that is known.
    pub hosts: Arc<LibvirtHosts>,
    /// What the guest has and would not have with each of these named models.
    pub losses: BTreeMap<String, Vec<String>>,
    /// Whether all answers were read from files, and libvirt was not asked now.
    pub saved: bool,
}

impl Answers {
    /// What the libvirt of a node says; `None` where there is no answer.
    #[must_use]
    pub fn answer(&self, node: &str) -> Option<&LibvirtAnswer> {
        self.nodes.get(node)?.as_ref().ok()
    }

    /// What the libvirt of each node says, or why that is not known: the one source of what tables and JSON say of a node.
    pub fn by_node<'a>(
        &'a self,
        placement: &'a Placement<'_>,
        fleet: &'a Fleet,
    ) -> impl Fn(NodeIndex) -> Result<&'a LibvirtAnswer, Silence> {
        let lookup = fleet.look_up(placement);
        move |node| match self.nodes.get(fleet.name(node)) {
            Some(known) => known.as_ref().map_err(Clone::clone),
            None if self.guest.is_err() => Err(Silence::GuestUnknown),
            None => Err(NotAskedBecause::of(&lookup, node).map_or(Silence::NotSaved, Silence::KeptOff)),
        }
    }

    /// Why the CPU is not provided there, if libvirt says so.
    #[must_use]
    pub fn refusal(&self, node: &str) -> Option<&Incompatible> {
        match self.answer(node)? {
            LibvirtAnswer::Incompatible(why) => Some(why),
            LibvirtAnswer::Identical | LibvirtAnswer::Superset => None,
        }
    }

    /// Whether the libvirt of a node was asked and agrees.
    #[must_use]
    pub fn agrees(&self, node: &str) -> bool {
        self.answer(node).is_some_and(LibvirtAnswer::agrees)
    }

    /// Whether a node has what a label says, as far as its libvirt tells: by what it says of the node, and where it provides the
    /// guest's CPU, by that.
    #[must_use]
    pub(crate) fn provides(&self, node: &str, key: &str) -> Provided {
        match self.hosts.get(node).map(|host| host.provides(key)) {
            Some(known @ (Provided::Yes | Provided::No)) => return known,
            Some(Provided::Unknown) | None => {}
        }
        let Some(GuestCpu { cpu, .. }) = self.guest.as_ref().ok().filter(|_| self.agrees(node)) else {
            return Provided::Unknown;
        };
        let name = label::name(key);
        let has = match Family::of(key) {
            // What the guest does not have was not asked about.
            Family::CpuFeature => cpu.has(name) == Some(true),
            Family::CpuModelMigration => cpu.model == name,
            Family::CpuVendor => cpu.vendor.as_deref() == Some(name),
            _ => false,
        };
        if has { Provided::Yes } else { Provided::Unknown }
    }

    /// The nodes whose libvirt refuses the CPU.
    #[must_use]
    pub(crate) fn refusing(&self, fleet: &Fleet) -> Bits {
        let mut out = Bits::none(fleet.len());
        let refusing = self.nodes.keys().filter(|node| self.refusal(node).is_some());
        refusing.filter_map(|node| fleet.find(node)).for_each(|node| out.insert(node));
        out
    }
}

/// What the labels of a node say of a feature that libvirt misses there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Labelled {
    /// The node has its label all the same.
    There,
    /// Nodes have its label, this one does not.
    Elsewhere,
    /// No node has a label of that name.
    Nowhere,
}

/// What labels say of CPU features on a node, in whatever domain the distribution has.
#[must_use]
pub(crate) fn labelled<'m>(fleet: &Fleet, node: NodeIndex, features: &'m [String]) -> Vec<(&'m str, Labelled)> {
    let here = fleet.names_under(node, Family::CpuFeature);
    let anywhere = fleet.offered(Family::CpuFeature, &Bits::all(fleet.len()));
    let is_in = |names: &[&str], feature: &str| names.binary_search(&feature).is_ok();
    let of = |feature: &'m String| match feature.as_str() {
        here_too if is_in(&here, here_too) => (here_too, Labelled::There),
        elsewhere if is_in(&anywhere, elsewhere) => (elsewhere, Labelled::Elsewhere),
        nowhere => (nowhere, Labelled::Nowhere),
    };
    features.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::judgement::{Depth, Judgement};
    use crate::fit::node::Node;
    use crate::fit::placement::Placement;
    use crate::fit::remedy::{Action, Backing};
    use crate::fit::subject::{Migration, Stage, Subject};
    use crate::fit::verdict::{Check, Evidence, Impact, Outcome, Verdict};

    const LABEL: &str = "cpu-feature.node.kubevirt.io/fpu";

    fn node(name: &str, has_label: bool) -> Node {
        let mut node = Node { name: name.to_owned(), ..Node::default() };
        node.labels.insert("cpu-feature.node.kubevirt.io/sse".to_owned(), "true".to_owned());
        if has_label {
            node.labels.insert(LABEL.to_owned(), "true".to_owned());
        }
        node
    }

    /// A guest on `a` that asks for `fpu`: by labels `b` has it, and `c` has not.
    fn judged(nodes: Option<[(&str, LibvirtAnswer); 2]>) -> Verdict {
        let fleet = Fleet::new(vec![node("a", true), node("b", true), node("c", false)]);
        let mut placement = Placement::default();
        placement.selector.insert(LABEL, "true");
        let stage = Stage::Migration(Migration { source: Some("a".to_owned()), ..Migration::default() });
        let mut subject = Subject::new("shop", "db", stage, placement);
        subject.asked = nodes.map(|nodes| Answers {
            guest: Ok(GuestCpu {
                cpu: Cpu { model: "EPYC".to_owned(), require: ["fpu".to_owned()].into(), ..Cpu::default() },
                accelerator: Accelerator::Kvm,
            }),
            nodes: Arc::new(nodes.into_iter().map(|(name, answer)| (name.to_owned(), Ok(answer))).collect()),
            hosts: Arc::default(),
            losses: BTreeMap::new(),
            saved: false,
        });
        Judgement::new(&subject, &fleet, Depth::Full).verdict()
    }

    fn refusal() -> LibvirtAnswer {
        LibvirtAnswer::Incompatible(Incompatible { missing: vec!["hle".to_owned()], reason: String::new() })
    }

    fn added(verdict: &Verdict) -> Option<(String, bool)> {
        let mut remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
        remedies.find_map(|remedy| match &remedy.action {
            Action::AddLabels(add) => Some((add.node.clone(), add.backing == Backing::Provided)),
            _ => None,
        })
    }

    #[test]
    fn libvirts_answer_takes_precedence_over_labels() {
        let by_labels = judged(None);
        assert_eq!(by_labels.assessment.outcome, Outcome::Impaired(Impact::Fragile));
        let both = judged(Some([("b", refusal()), ("c", LibvirtAnswer::Superset)]));
        assert_eq!(both.assessment.outcome, Outcome::Impaired(Impact::Pinned), "libvirt refuses the only target");
        assert!(both.assessment.fitting.is_empty() && both.found(Check::LibvirtRefuses).is_some());
        let nearest = both.nearest.first().map(|near| (near.node.as_str(), near.evidence));
        assert_eq!(nearest, Some(("c", Evidence::LibvirtAgrees)));
        assert_eq!(added(&both), Some(("c".to_owned(), true)), "labels are all that is in the way");
    }

    #[test]
    fn where_libvirt_refuses_no_label_is_added() {
        let both = judged(Some([("b", refusal()), ("c", refusal())]));
        assert_eq!((both.assessment.outcome.impact(), added(&both)), (Some(Impact::Pinned), None));
        let agreed = judged(Some([("b", LibvirtAnswer::Identical), ("c", refusal())]));
        assert_eq!((agreed.assessment.outcome.impact(), added(&agreed)), (Some(Impact::Fragile), None));
        assert!(agreed.found(Check::LibvirtRefuses).is_none(), "what lacks labels is no target by labels either");
    }
}
