//! How much of one object is read: bounds on its lists, maps and texts, far above what real objects have.
//!
//! A user who may create one object in one namespace chooses its size, up to the 3 MiB that an API server accepts. So
//! every object is read through [`Bounded`]: beyond a bound the rest is skipped and never held, and the object is marked
//! with an [`Excess`]. A marked object is not judged by nodes: its verdict is unknown, and the field is named.
//!
//! A list or map that is not named in [`ENTRIES`] has the bound [`OTHERS`], so that no field is without one.

mod read;

use std::fmt;

pub use read::{Bounded, Measured};

/// Labels of one object. Nodes have the most: KubeVirt and node feature discovery write about 700.
pub const LABELS: usize = 2048;
/// Annotations of one object: operators write a few dozen.
pub(crate) const ANNOTATIONS: usize = 1024;
/// Entries of a node selector. KubeVirt writes one for each CPU feature of a host model, about 200.
pub(crate) const SELECTOR: usize = 1024;
/// Owners of an object: one, rarely two.
pub(crate) const OWNERS: usize = 64;
/// Terms of a node affinity, which are ORed: people write one to five.
pub(crate) const TERMS: usize = 128;
/// Expressions of one term, which are ANDed: people write one to ten; KubeVirt adds one for each forbidden feature.
pub(crate) const EXPRESSIONS: usize = 512;
/// Values of one expression: the names of all nodes of a large pool.
pub(crate) const VALUES: usize = 2048;
/// Tolerations of a pod: people write one to ten.
pub(crate) const TOLERATIONS: usize = 256;
/// Taints of a node: a handful.
pub(crate) const TAINTS: usize = 128;
/// Topology spread constraints of a pod: people write one or two.
pub(crate) const SPREADS: usize = 64;
/// CPU features of a guest: libvirt knows about 300.
pub(crate) const FEATURES: usize = 512;
/// `volumes` of a guest, and `dataVolumeTemplates` of a VirtualMachine: as many as it has disks.
pub(crate) const VOLUMES: usize = 512;
/// Conditions of an object: KubeVirt writes about 15, kubelets about 10.
pub(crate) const CONDITIONS: usize = 128;
/// Feature gates: KubeVirt knows about 80.
pub(crate) const GATES: usize = 512;
/// CPU models that the KubeVirt resource calls obsolete: libvirt knows about 150.
pub(crate) const MODELS: usize = 512;
/// Users and namespaces that a policy exempts.
pub(crate) const EXEMPTED: usize = 1024;
/// Any list or map that is not named here.
pub(crate) const OTHERS: usize = 256;

/// Entries of all lists and maps of one object together: twice the longest of them. Lists stand in lists, so that their
/// bounds multiply.
pub const ALL_ENTRIES: usize = 4096;
/// Bytes of one text. Names have 253 at most, label keys 317.
pub(crate) const TEXT: usize = 1024;
/// Bytes of a text that is quoted or looked at and not judged: the rest is cut off, which is no [`Excess`]. People keep
/// whole objects in annotations, and conditions have messages of up to 32 KiB.
pub(crate) const QUOTED: usize = 16 << 10;
/// Bytes of all other texts of one object together. A node of 268 labels has 30 KB.
pub(crate) const ALL_TEXT: usize = 128 << 10;

/// The conditions that KubeVirt adds to a node affinity, one to each term for each forbidden feature: terms and features
/// multiply.
pub(crate) const ADDED_CONDITIONS: usize = 4096;

/// The most entries of a list or map, by its field.
pub const ENTRIES: &[(&str, usize)] = &[
    ("labels", LABELS),
    ("annotations", ANNOTATIONS),
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
    ("conditions", CONDITIONS),
    ("featureGates", GATES),
    ("disabledFeatureGates", GATES),
    ("obsoleteCPUModels", MODELS),
    ("users", EXEMPTED),
    ("namespaces", EXEMPTED),
];

/// The fields whose texts are quoted or looked at, and not judged.
const QUOTED_FIELDS: [&str; 2] = ["message", "failureReason"];

/// The most entries of a list or map.
#[must_use]
pub fn entries(field: &str) -> usize {
    ENTRIES.iter().find(|(known, _)| *known == field).map_or(OTHERS, |(_, most)| *most)
}

/// Why an object is too large to judge: the first of its fields that goes beyond a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess(Box<FirstExcess>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FirstExcess {
    field: String,
    /// If the field is in another object than the judged one: that object, and the field that refers to it.
    elsewhere: Option<(String, &'static str)>,
    limit: Limit,
    cuts_labels: bool,
}

/// The bound that a field goes beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// A number of entries.
    Entries(usize),
    /// Conditions that follow from the field.
    Conditions,
    /// A text, by its bytes.
    Text(usize),
    /// [`ALL_ENTRIES`].
    AllEntries,
    /// [`ALL_TEXT`].
    AllText,
}

impl Excess {
    fn new(field: String, limit: Limit) -> Self {
        Self(Box::new(FirstExcess { field, elsewhere: None, limit, cuts_labels: false }))
    }

    /// The excess of a guest whose forbidden features and affinity terms make more than [`ADDED_CONDITIONS`] conditions.
    #[must_use]
    pub(crate) fn of_conditions(field: &str) -> Self {
        Self::new(field.to_owned(), Limit::Conditions)
    }

    /// Says that the excess is in another object, such as `instancetype large`, to which a field of the judged one refers.
    #[must_use]
    pub fn of(mut self, whose: &str, field: &'static str) -> Self {
        self.0.elsewhere = Some((whose.to_owned(), field));
        self
    }

    /// The path of the field to blame in the judged object. It holds no text of the object but plain field names.
    #[must_use]
    pub fn field(&self) -> &str {
        self.0.elsewhere.as_ref().map_or(&self.0.field, |(_, field)| field)
    }

    /// What is wrong with the field, as a predicate: `holds more than 1024 entries`.
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
            Limit::AllText => format!("goes beyond the {ALL_TEXT} bytes that its texts may have together"),
        }
    }

    /// Whether labels of the object are among what was not read: then a label that is not known may be there.
    #[must_use]
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
