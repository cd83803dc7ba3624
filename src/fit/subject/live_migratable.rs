//! The condition `LiveMigratable` of a guest.

use crate::fit::author::Author;

/// The condition `LiveMigratable` of the guest, as it is or as it will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveMigratable {
    /// The reason why KubeVirt refuses to migrate it, if it does: the condition is `False`.
    pub refused: Option<NotMigratable>,
    /// The reason why KubeVirt will refuse to migrate it, if that follows from its specification and it has no
    /// condition yet.
    pub foreseen: Option<Foreseen>,
    /// The status of the condition if that is neither `True` nor `False`, empty without the condition: no eviction
    /// migrates the guest. `None` otherwise.
    pub undecided: Option<String>,
    /// The changes of the running guest that count once it has migrated.
    pub pending: Vec<PendingChange>,
}

/// A change of a running guest that KubeVirt applies by a migration, by the condition of its VMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingChange {
    /// `HotVCPUChange`.
    VCpus,
    /// `HotMemoryChange`.
    Memory,
    /// `VolumesChange`: the migration copies the data to other volumes.
    Volumes,
    /// `MigrationRequired`, set for network interfaces.
    Interfaces,
}

impl PendingChange {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::VCpus, Self::Memory, Self::Volumes, Self::Interfaces];

    /// Returns the type of the condition.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::VCpus => "HotVCPUChange",
            Self::Memory => "HotMemoryChange",
            Self::Volumes => "VolumesChange",
            Self::Interfaces => "MigrationRequired",
        }
    }
}

/// The reason why KubeVirt refuses to migrate the guest: its condition `LiveMigratable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMigratable {
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// The reason for which KubeVirt will refuse to migrate the guest, foreseen from its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The path of the field in the judged object that leads to the reason; empty without such a field.
    pub field: String,
    /// `reason` and `message` of the condition `LiveMigratable` that virt-handler will set.
    pub refused: NotMigratable,
}

/// The reason why a drain shuts a running guest down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShutDownBy {
    /// Neither the guest nor the KubeVirt resource states an eviction strategy.
    NoStrategy,
    /// The strategy is `None`, or one that KubeVirt does not know.
    Strategy {
        /// The strategy as stated.
        stated: String,
        /// The author of the strategy.
        author: Author,
    },
    /// The strategy is `LiveMigrateIfPossible`, and the guest is not migratable.
    NotMigratable {
        /// The author of the strategy.
        author: Author,
    },
}
