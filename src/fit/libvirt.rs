//! The answers of libvirt about a running guest's CPU, node by node: better evidence than any label.
//!
//! Labels decide which nodes kube-scheduler accepts; libvirt decides whether the guest can run there.
//! [`Answers`] holds the guest's CPU as its own libvirt describes it, and for each node the answer of its
//! libvirt about that CPU.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::models;
use super::placement::Placement;
use super::plural::counted;
use super::word::words;

mod compared;
mod host;
mod silence;

pub(crate) use compared::{Lost, losses, lost_in_qemu_too};
pub(crate) use host::{LibvirtHost, LibvirtHosts, NOT_MIGRATABLE, Provided, Usable};
pub(crate) use silence::{NotAskedBecause, Silence};

/// A CPU as libvirt describes it: a named model, with features added to it or removed from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// `<model>`.
    pub model: String,
    /// `<vendor>`, if there is one.
    pub vendor: Option<String>,
    /// Features with policy `require` or `force`.
    pub require: BTreeSet<String>,
    /// Features with policy `disable`.
    pub disable: BTreeSet<String>,
    /// Features with policy `forbid`: the guest lacks them, and libvirt refuses a node that provides them.
    pub forbid: BTreeSet<String>,
}

impl Cpu {
    /// Returns the feature that has two policies: `feature vaes stands in require and in disable`; `None` without one.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let Self { require, disable, forbid, .. } = self;
        let pairs = [
            ("require", require, "disable", disable),
            ("require", require, "forbid", forbid),
            ("disable", disable, "forbid", forbid),
        ];
        pairs.into_iter().find_map(|(one, of_one, other, of_other)| {
            let feature = of_one.intersection(of_other).next()?;
            Some(format!("feature {feature} stands in {one} and in {other}"))
        })
    }

    /// Whether the CPU has a feature; `None` if that is not known: the features of its model are not known, or
    /// definitions of the model differ in the feature, as they do in those of VMX.
    #[must_use]
    pub fn has(&self, feature: &str) -> Option<bool> {
        if self.require.contains(feature) {
            return Some(true);
        }
        if self.disable.contains(feature) || self.forbid.contains(feature) {
            return Some(false);
        }
        if feature.starts_with(label::VMX) || models::is_disputed(&self.model, feature) {
            return None;
        }
        models::features(&self.model).map(|features| features.contains(feature))
    }
}

impl fmt::Display for Cpu {
    /// Formats the CPU: `Cascadelake-Server with 21 features more and 2 less`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        let (more, less) = (self.require.len(), self.disable.union(&self.forbid).count());
        let features = |count: usize| counted(count, "feature", "features");
        match (more, less) {
            (0, 0) => Ok(()),
            (more, 0) => write!(f, " with {} more", features(more)),
            (0, less) => write!(f, " with {} less", features(less)),
            (more, less) => write!(f, " with {} more and {less} less", features(more)),
        }
    }
}

words! {
    /// The accelerator of a guest: attribute `type` of its libvirt domain.
    Accelerator {
        /// Hardware virtualization.
        Kvm = "kvm",
        /// Emulation by QEMU (`useEmulation`).
        Qemu = "qemu",
    }
}

/// The CPU of a running guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestCpu {
    /// The CPU.
    pub cpu: Cpu,
    /// The accelerator that runs it.
    pub accelerator: Accelerator,
}

/// The answer of a node's libvirt about a guest's CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibvirtAnswer {
    /// The node's hypervisor provides exactly this CPU.
    Identical,
    /// The node's hypervisor provides this CPU and more.
    Superset,
    /// The node's hypervisor does not provide this CPU.
    Incompatible(Incompatible),
}

/// The reason why a node's hypervisor does not provide a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incompatible {
    /// The features that it does not provide, if libvirt names them.
    pub missing: Vec<String>,
    /// The message of libvirt if the reason is another one; may be empty.
    pub reason: String,
    /// Whether only outdated launchers (`kubevirt.io/outdatedLauncherImage`) could be asked: the pod of a migration is
    /// rendered with the current image, whose libvirt may know more.
    pub by_outdated: bool,
}

/// The beginning of libvirt's reason where a node provides features that the CPU forbids.
pub(crate) const PROVIDES_FORBIDDEN: &str = "Host CPU provides forbidden features:";

impl Incompatible {
    /// Iterates over the features that the node provides and the CPU forbids, if libvirt refuses for them. Mirrors
    /// `x86Compute` of libvirt's `src/cpu/cpu_x86.c`.
    pub(crate) fn provided_forbidden(&self) -> impl Iterator<Item = &str> {
        let features = self.reason.strip_prefix(PROVIDES_FORBIDDEN);
        features.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
    }
}

impl LibvirtAnswer {
    /// Whether the node provides all features of the guest's CPU. Features that QEMU there adds to it are not compared.
    #[must_use]
    pub fn agrees(&self) -> bool {
        !matches!(self, Self::Incompatible(_))
    }

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Superset => "superset",
            Self::Incompatible(_) => "incompatible",
        }
    }
}

/// The answers of the libvirt of each node about one CPU, by node name.
pub(crate) type NodeAnswers = BTreeMap<String, Result<LibvirtAnswer, Silence>>;
/// The answers of libvirt about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The guest's CPU, as its own libvirt describes it.
    pub guest: Result<GuestCpu, Silence>,
    /// The answer of the libvirt of each node about that CPU. If a node is absent, [`Answers::by_node`] gives
    /// the reason.
    pub nodes: Arc<NodeAnswers>,
    /// The descriptions that the libvirt of nodes gives of the nodes themselves.
    pub hosts: Arc<LibvirtHosts>,
    /// Why the libvirt of nodes, when asked, gave no such description.
    pub silent_hosts: Arc<BTreeMap<String, Silence>>,
    /// The features that the guest has and would lose with each of these named models, or why libvirt did not say.
    pub losses: BTreeMap<String, Result<Vec<String>, Silence>>,
    /// The node that the guest runs on: it provides the features of the guest's CPU. `None` if that is not known, or
    /// the guest forces features.
    pub own_node: Option<String>,
    /// Whether all answers were read from files, and libvirt was not asked now.
    pub saved: bool,
}

impl Answers {
    /// Returns the answer of a node's libvirt; `None` without an answer.
    #[must_use]
    pub fn answer(&self, node: &str) -> Option<&LibvirtAnswer> {
        self.nodes.get(node)?.as_ref().ok()
    }

    /// Returns the answer of the libvirt of each node, or the reason why it has no answer. All tables and JSON use this
    /// function.
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

    /// Returns why a node does not provide the CPU; `None` if libvirt does not refuse it.
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

    /// Whether a node has the capability that a label states: if the node provides the guest's CPU, by that CPU, else
    /// by its libvirt's description of the node. A host model is a description by differences from a model, and may be
    /// older than the comparison of this very CPU.
    pub(crate) fn provides(&self, node: &str, key: &str) -> Provided {
        match self.compared(node, key) {
            Provided::Unknown => self.hosts.get(node).map_or(Provided::Unknown, |host| host.provides(key)),
            known => known,
        }
    }

    /// Whether a node has a CPU feature at a start, by its label's key: what libvirt names in its refusal of the
    /// guest's CPU counts where nothing else is known.
    pub(crate) fn has_at_start(&self, node: &str, key: &str) -> Provided {
        let (provided, name) = (self.provides(node, key), label::name(key));
        match self.refusal(node).filter(|_| provided == Provided::Unknown) {
            Some(why) if why.missing.iter().any(|missing| missing == name) => Provided::No,
            Some(why) if why.provided_forbidden().any(|forbidden| forbidden == name) => Provided::Yes,
            _ => provided,
        }
    }

    /// Whether a node that provides the guest's CPU has the capability that a label states, by this CPU. The guest's
    /// own node was not asked, and started the guest with these features.
    fn compared(&self, node: &str, key: &str) -> Provided {
        let is_own = self.own_node.as_deref() == Some(node) && Family::of(key) == Family::CpuFeature;
        let Some(GuestCpu { cpu, .. }) = self.guest.as_ref().ok().filter(|_| is_own || self.agrees(node)) else {
            return Provided::Unknown;
        };
        let name = label::name(key);
        let is_part = match Family::of(key) {
            // Libvirt agrees to a forbidden feature only if the hypervisor lacks it.
            Family::CpuFeature if cpu.forbid.contains(name) => return Provided::No,
            // Another feature that the guest's CPU lacks was not part of the comparison.
            Family::CpuFeature => cpu.has(name) == Some(true),
            Family::CpuModelMigration => cpu.model == name,
            Family::CpuVendor => cpu.vendor.as_deref() == Some(name),
            _ => false,
        };
        if is_part { Provided::Yes } else { Provided::Unknown }
    }

    /// Returns the nodes whose libvirt refuses the CPU.
    pub(crate) fn refusing(&self, fleet: &Fleet) -> Bits {
        let mut out = Bits::none(fleet.len());
        let refusing = self.nodes.keys().filter(|node| self.refusal(node).is_some());
        refusing.filter_map(|node| fleet.find(node)).for_each(|node| out.insert(node));
        out
    }
}

/// The state of the labels for a feature that libvirt reports as missing on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Labelled {
    /// The node has the label nevertheless.
    There,
    /// Other nodes have the label; this node does not.
    Elsewhere,
    /// No node has a label for this feature.
    Nowhere,
}

/// Returns the label state of CPU features on a node, regardless of the label domain.
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

    /// Judges a guest on `a` that selects `fpu`: `b` has the label, `c` lacks it.
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
            silent_hosts: Arc::default(),
            losses: BTreeMap::new(),
            own_node: None,
            saved: false,
        });
        Judgement::new(&subject, &fleet, Depth::Full).verdict()
    }

    fn refusal() -> LibvirtAnswer {
        LibvirtAnswer::Incompatible(Incompatible { missing: vec!["hle".to_owned()], ..Incompatible::default() })
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
