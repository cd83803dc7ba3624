//! The requirements of a guest that are named and not judged: kube-scheduler considers more for them than a node's
//! labels, taints and name.

use std::collections::BTreeMap;

use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label;
use crate::fit::placement::{Affinity, Placement};

/// The conditions that kube-scheduler considers for the guest besides the labels, taints and names of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unjudged {
    /// The rules by which the pods or the devices on the nodes decide.
    pub pod_rules: Vec<PodRule>,
    /// The topology keys of its topology spread constraints with `DoNotSchedule` and of its required pod affinity, each
    /// once: kube-scheduler takes no node that lacks one of them.
    pub topology_keys: Vec<(PodRule, String)>,
    /// Its volumes that are bound to nodes.
    pub volumes: Vec<BoundVolume>,
    /// The names of its volumes for which the usable nodes are not known.
    pub unplaced: Vec<String>,
    /// The devices that its launcher requests and of which some nodes have too little.
    pub devices: Vec<Device>,
    /// Whether its rules about pods, or its memory, are other than those of its running launcher, by which they are
    /// judged: its VM was edited.
    pub differs_in_rules_or_room: bool,
}

impl Unjudged {
    /// Whether there are no such conditions.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { pod_rules, topology_keys: _, volumes, unplaced, devices, differs_in_rules_or_room } = self;
        let is_listed = !(pod_rules.is_empty() && volumes.is_empty() && unplaced.is_empty() && devices.is_empty());
        !is_listed && !differs_in_rules_or_room
    }

    /// Returns those of the nodes where all the volumes can be used and that have the devices.
    pub(crate) fn with_volumes_and_devices(&self, nodes: &Bits, fleet: &Fleet) -> Bits {
        let mut out = nodes.clone();
        if let Some(usable) = BoundVolume::all_usable(&self.volumes, fleet) {
            out.intersect(&usable);
        }
        let without = self.devices.iter().flat_map(|device| device.without.keys());
        without.filter_map(|name| fleet.find(name)).for_each(|node| out.remove(node));
        out
    }

    /// Returns the topology keys that nodes lack, each with these nodes: kube-scheduler takes none of them, regardless
    /// of pods. Every node has a host name, also in a dump that is reduced to labels of the CPU.
    pub(crate) fn without_keys<'s>(&'s self, fleet: &'s Fleet) -> impl Iterator<Item = (PodRule, &'s str, Bits)> {
        let keys = self.topology_keys.iter().filter(|(_, key)| key != label::HOSTNAME);
        keys.filter_map(|(rule, key)| {
            let mut lacking = Bits::none(fleet.len());
            (0..fleet.len()).filter(|&node| fleet.label(node, key).is_none()).for_each(|node| lacking.insert(node));
            (!lacking.is_empty()).then_some((*rule, key.as_str(), lacking))
        })
    }
}

/// A rule of the guest that kube-scheduler decides by the pods or the devices on the nodes. KubeVirt copies it to the
/// launcher; it is not judged here. Mirrors `spec.affinity`, `spec.topologySpreadConstraints` and
/// `spec.resourceClaims`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRule {
    /// A required pod affinity.
    Affinity,
    /// A required pod anti-affinity.
    AntiAffinity,
    /// A topology spread constraint with `DoNotSchedule`.
    Spread,
    /// Resource claims: devices by dynamic resource allocation.
    Claims,
    /// The required pod anti-affinity that KubeVirt adds for SCSI persistent reservations: guests that reserve the same
    /// claim run on different nodes.
    Reservation,
}

impl PodRule {
    /// Returns its field below the guest's spec.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Affinity => "affinity.podAffinity",
            Self::AntiAffinity => "affinity.podAntiAffinity",
            Self::Spread => "topologySpreadConstraints",
            Self::Claims => "resourceClaims",
            Self::Reservation => "domain.devices.disks",
        }
    }
}

/// A volume of the guest that only some nodes can use. It is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolume {
    /// Its name in the guest's specification.
    pub volume: String,
    /// The PersistentVolume behind it.
    pub persistent_volume: String,
    /// `spec.nodeAffinity.required` of the PersistentVolume.
    pub nodes: Affinity,
}

impl BoundVolume {
    /// Returns the nodes on which the volume can be used.
    pub(crate) fn usable(&self, fleet: &Fleet) -> Bits {
        let place = Placement { affinity: Some(self.nodes.clone()), ..Placement::default() };
        fleet.look_up(&place).passes().placement
    }

    /// Returns the nodes on which all these volumes can be used; `None` if there are none.
    pub(crate) fn all_usable(volumes: &[Self], fleet: &Fleet) -> Option<Bits> {
        volumes.iter().map(|volume| volume.usable(fleet)).reduce(|mut all, nodes| {
            all.intersect(&nodes);
            all
        })
    }
}

/// A device, a size of huge pages, or the least CPU or memory that the guest's launcher requests, of which some nodes
/// have too little. It is not judged. Amounts are in thousandths (of a piece, of a byte).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name of the resource.
    pub resource: String,
    /// The requested amount; 0 if only that some is requested is known.
    pub asked: i64,
    /// The free and the allocatable amount of the nodes that have too little, by name.
    pub without: BTreeMap<String, (i64, i64)>,
}
