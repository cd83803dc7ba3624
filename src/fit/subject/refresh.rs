//! `ControllerRevisions` that a guest's VM is pinned to, and its start without them.

use super::Start;

/// The removal of references to `ControllerRevisions` whose objects have changed since, and the start that results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh<'a> {
    /// The references.
    pub pinned: Vec<Pinned>,
    /// The start with the objects as they are now.
    pub start: Start<'a>,
}

/// A reference of a VM to a ControllerRevision, a copy of an instancetype or a preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The kind of the copied object.
    pub of: PinnedTo,
    /// The name of the copied object.
    pub name: String,
    /// Whether `revisionName` of the VM's specification names the revision.
    pub in_spec: bool,
    /// Whether the VM's status names one, which stays as long as the specification names the same object.
    pub in_status: bool,
}

/// The kind of object that a ControllerRevision is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedTo {
    /// An instancetype.
    Instancetype,
    /// A preference.
    Preference,
}

impl PinnedTo {
    /// Returns the field of the VM's specification that names the object, which is also its name in a sentence.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Instancetype => "instancetype",
            Self::Preference => "preference",
        }
    }

    /// Returns the field of the VM's status that refers to the revision.
    #[must_use]
    pub(crate) fn status_field(self) -> &'static str {
        match self {
            Self::Instancetype => "instancetypeRef",
            Self::Preference => "preferenceRef",
        }
    }
}
