//! Limits on the lists, maps and texts of one object, far above those of real objects.
//!
//! A user who may create one object in one namespace chooses its size, up to the 3 MiB that an API server accepts.
//! Therefore every object is read through [`Bounded`]: beyond a bound the rest is skipped and never held, and the
//! object is marked with an [`Excess`]. A marked object is not judged by nodes: its verdict is unknown, and the field
//! is named.
//!
//! No part of a text is handed out: a text beyond a bound reads as empty, so that its beginning is not taken for
//! another text. Annotations have no bound: those without a meaning are skipped, and those with one are read whole, so
//! that no other annotation of an object changes how it is judged.
//!
//! A list or map that is not named in [`ENTRIES`] has the bound [`OTHERS`], so every field has one.

mod read;

use std::fmt;

pub use read::{Bounded, Measured};

/// Maximum labels of one object. Nodes have the most: KubeVirt and node feature discovery write about 700.
pub const LABELS: usize = 2048;
/// Maximum annotations of one object that have the name of a well-known one in a renamed domain. A distribution renames
/// each once. Of its other annotations only the well-known ones are read.
pub(crate) const RENAMED_ANNOTATIONS: usize = 16;
/// Maximum entries of a node selector. KubeVirt writes one for each CPU feature of a host model, about 200.
pub(crate) const SELECTOR: usize = 1024;
/// Maximum owners of an object: usually one, rarely two.
pub(crate) const OWNERS: usize = 64;
/// Maximum terms of a node affinity, which are ORed: people write one to five.
pub(crate) const TERMS: usize = 128;
/// Maximum expressions of one term, which are ANDed: people write one to ten; KubeVirt adds one for each forbidden
/// feature.
const EXPRESSIONS: usize = 512;
/// Maximum values of one expression: the names of all nodes of a large pool.
pub(crate) const VALUES: usize = 2048;
/// Maximum tolerations of a pod: people write one to ten.
pub(crate) const TOLERATIONS: usize = 256;
/// Maximum taints of a node: usually a few.
pub(crate) const TAINTS: usize = 128;
/// Maximum topology spread constraints of a pod: people write one or two.
const SPREADS: usize = 64;
/// Maximum CPU features of a guest: libvirt has about 300.
pub(crate) const FEATURES: usize = 512;
/// Maximum `volumes`, `disks` and `filesystems` of a guest, and `dataVolumeTemplates` of a VirtualMachine: one for each
/// disk.
const VOLUMES: usize = 512;
/// Maximum devices of a guest (`gpus`, `hostDevices`, `interfaces` and their `networks`), and kinds of permitted
/// device.
const DEVICES: usize = 256;
/// Maximum conditions of an object: KubeVirt writes about 15, kubelets about 10.
pub(crate) const CONDITIONS: usize = 128;
/// Maximum feature gates: KubeVirt has about 80.
const GATES: usize = 512;
/// Maximum CPU models in the KubeVirt resource's list of obsolete models: libvirt has about 150.
pub(crate) const MODELS: usize = 512;
/// Maximum users and namespaces that a policy exempts: one for each team of a large cluster.
const EXEMPTED: usize = 1024;
/// Maximum entries of any list or map that is not named here: such lists have a few entries.
pub(crate) const OTHERS: usize = 256;

/// Maximum entries of all lists and maps of one object together: twice the longest bound. Lists are nested, so their
/// bounds multiply.
pub const ALL_ENTRIES: usize = 4096;
/// Maximum bytes of one text. Names have at most 253, label keys 317.
pub(crate) const TEXT: usize = 1024;
/// Maximum bytes of a text that is quoted but not judged: the rest is cut off, without an [`Excess`]. Conditions have
/// messages of up to 32 KiB. A longer annotation reads as empty.
pub(crate) const QUOTED: usize = 16 << 10;
/// Maximum bytes of all other texts in the lists and maps of an object's metadata together, and of those in the rest of
/// the object: who writes a guest's labels does not hide its status. A node of 268 labels has 30 KB. The texts in no
/// list and no map, such as a guest's node and model, are few: each has its own bound alone.
pub(crate) const ALL_TEXT: usize = 128 << 10;

/// Maximum conditions that KubeVirt adds to a node affinity, one to each term for each forbidden feature: terms and
/// features multiply. A guest that forbids all of a CPU's 130 features in seven terms has 910.
pub(crate) const ADDED_CONDITIONS: usize = 1024;

/// The maximum entries of lists and maps, by field.
pub const ENTRIES: &[(&str, usize)] = &[
    ("labels", LABELS),
    ("ownerReferences", OWNERS),
    ("nodeSelector", SELECTOR),
    ("addedNodeSelector", SELECTOR),
    ("nodeSelectors", SELECTOR),
    ("matchLabels", SELECTOR),
    ("nodeSelectorTerms", TERMS),
    ("matchExpressions", EXPRESSIONS),
    ("matchFields", EXPRESSIONS),
    ("values", VALUES),
    ("tolerations", TOLERATIONS),
    ("taints", TAINTS),
    ("topologySpreadConstraints", SPREADS),
    ("features", FEATURES),
    ("preferredCPUFeatures", FEATURES),
    ("dataVolumeTemplates", VOLUMES),
    ("volumes", VOLUMES),
    ("disks", VOLUMES),
    ("filesystems", VOLUMES),
    ("gpus", DEVICES),
    ("hostDevices", DEVICES),
    ("resourceClaims", DEVICES),
    ("interfaces", DEVICES),
    ("networks", DEVICES),
    ("mediatedDevices", DEVICES),
    ("pciHostDevices", DEVICES),
    ("usb", DEVICES),
    ("binding", OTHERS),
    ("accessModes", OTHERS),
    ("conditions", CONDITIONS),
    ("featureGates", GATES),
    ("disabledFeatureGates", GATES),
    ("obsoleteCPUModels", MODELS),
    ("emulatedMachines", OTHERS),
    ("users", EXEMPTED),
    ("namespaces", EXEMPTED),
];

/// The fields with texts that are quoted, but not judged.
const QUOTED_FIELDS: [&str; 2] = ["message", "failureReason"];

/// Returns the maximum entries of a list or map.
#[must_use]
pub fn entries(field: &str) -> usize {
    ENTRIES.iter().find(|(known, _)| *known == field).map_or(OTHERS, |(_, most)| *most)
}

/// The first field of an object that exceeds a bound, so that the object is too large to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess(Box<FirstExcess>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FirstExcess {
    field: String,
    /// The other object that holds the field, and the field of the judged object that refers to it; `None` if the field
    /// is in the judged object.
    elsewhere: Option<(String, &'static str)>,
    limit: Limit,
    cuts_labels: bool,
    cuts_model: bool,
}

/// The bound that a field exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// A number of entries.
    Entries(usize),
    /// The number of conditions that follow from the field.
    Conditions,
    /// The bytes of a text.
    Text(usize),
    /// [`ALL_ENTRIES`].
    AllEntries,
    /// [`ALL_TEXT`].
    AllText,
}

impl Excess {
    fn new(field: String, limit: Limit) -> Self {
        Self(Box::new(FirstExcess { field, elsewhere: None, limit, cuts_labels: false, cuts_model: false }))
    }

    /// Returns the excess of a guest with more than [`ADDED_CONDITIONS`] conditions from its forbidden features and
    /// affinity terms.
    pub(crate) fn of_conditions(field: &str) -> Self {
        Self::new(field.to_owned(), Limit::Conditions)
    }

    /// Sets the field that holds the excess of an object of another kind.
    #[must_use]
    pub(crate) fn at(mut self, field: impl FnOnce(&str) -> String) -> Self {
        self.0.field = field(&self.0.field);
        self
    }

    /// Sets the other object that holds the excess, such as `instancetype large`, and the field of the judged object
    /// that refers to it.
    #[must_use]
    pub fn of(mut self, whose: &str, field: &'static str) -> Self {
        self.0.elsewhere = Some((whose.to_owned(), field));
        self
    }

    /// Returns the path of the field to blame in the judged object. It contains only plain field names, no text of the
    /// object.
    #[must_use]
    pub fn field(&self) -> &str {
        self.0.elsewhere.as_ref().map_or(&self.0.field, |(_, field)| field)
    }

    /// Describes the excess as a predicate: `holds more than 1024 entries`.
    #[must_use]
    pub fn why(&self) -> String {
        match self.0.limit {
            Limit::Entries(most) => format!("holds more than {most} entries"),
            Limit::Conditions => {
                format!("adds more than {ADDED_CONDITIONS} conditions to the terms of the node affinity")
            }
            Limit::Text(most) => format!("is longer than {most} bytes"),
            Limit::AllEntries => {
                format!("goes beyond the {ALL_ENTRIES} entries that its lists and maps may have together")
            }
            Limit::AllText => {
                format!("goes beyond the {ALL_TEXT} bytes that the texts of its lists and maps may have together")
            }
        }
    }

    /// Whether the object's CPU model was not read, so that the guest seems to have none.
    pub(crate) fn cuts_model(&self) -> bool {
        self.0.cuts_model
    }

    /// Whether labels of the object were cut off, so that a label that was not found may exist.
    pub(crate) fn cuts_labels(&self) -> bool {
        self.0.cuts_labels
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FirstExcess { field, elsewhere, .. } = &*self.0;
        match elsewhere {
            Some((whose, _)) => write!(f, "{field} of {whose} {}", self.why()),
            None => write!(f, "{field} {}", self.why()),
        }
    }
}

#[cfg(test)]
mod tests;
