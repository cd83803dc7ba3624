//! The settings that a user can change, and the start after a change.

use super::Start;
use crate::fit::author::TypeReference;

/// A change of the guest's settings, and the start that results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange<'a> {
    /// The setting.
    pub setting: Setting,
    /// The instancetype or preference that has the setting; `None` if the guest's own specification has it.
    pub set_by: Option<TypeReference>,
    /// The start after the change.
    pub start: Start<'a>,
    /// Whether it ends a refusal of the specification by KubeVirt.
    pub ends_refusal: bool,
}

/// Two or three changes of the guest's settings, and the start that results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingSet<'a> {
    /// Their indices in [`Subject::changes`](super::Subject::changes).
    pub of: Vec<usize>,
    /// The start after all of them.
    pub start: Start<'a>,
}

/// A setting that a user can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// CPU features that are required.
    Features(Vec<ListedFeature>),
    /// CPU features that are forbidden. If they are disabled instead, they are hidden from the guest, and no
    /// node is required to lack them.
    Forbidden(Vec<ListedFeature>),
    /// The CPU model.
    Model(String),
    /// The machine type.
    MachineType(String),
    /// A Hyper-V setting, by name.
    HyperV(&'static str),
    /// `dedicatedCpuPlacement`.
    DedicatedCpus,
    /// `cpu.numa`.
    Numa,
    /// `cpu.realtime`.
    Realtime,
    /// `nodeSelector`.
    NodeSelector,
    /// The required node affinity.
    NodeAffinity,
}

/// A CPU feature of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFeature {
    /// Its index in `domain.cpu.features`.
    pub at: usize,
    /// Its name.
    pub name: String,
}
