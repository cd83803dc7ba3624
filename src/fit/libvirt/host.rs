//! What the libvirt of a node says of the node itself: its host model, and the named models that it can run.

use std::collections::BTreeMap;

use super::Cpu;
use crate::fit::label::{self, Family};

/// What is known of nodes, by name.
pub(crate) type LibvirtHosts = BTreeMap<String, LibvirtHost>;

/// What libvirt says of a node: `virsh domcapabilities`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibvirtHost {
    /// What libvirt makes of `host-model` there; `None` where it has none.
    pub model: Option<Cpu>,
    /// The named models that it lists: none where it can run none by name (`<mode name='custom' supported='no'/>`). `None` where it
    /// does not say.
    pub models: Option<BTreeMap<String, Usable>>,
}

/// `usable` of a named model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usable {
    /// `yes`.
    Yes,
    /// `no`: the features that keep it from being usable, where libvirt names them (`<blockers>`, since libvirt 10.10).
    No(Vec<String>),
    /// `unknown`, or nothing.
    Unknown,
}

/// Whether a node has what a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provided {
    /// Its libvirt says that it has not: such a label would be untrue.
    No,
    /// Its libvirt does not tell.
    Unknown,
    /// Its libvirt says so.
    Yes,
}

/// The features that libvirt leaves out of a host model, for they cannot be migrated: `migratable='no'` of its CPU map.
const NOT_MIGRATABLE: [&str; 4] = ["invtsc", "cmt", "mbm_total", "mbm_local"];

impl From<Option<bool>> for Provided {
    fn from(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Unknown,
        }
    }
}

impl LibvirtHost {
    /// Why a named model cannot be used there: the features in the way, where they are named; `None` where it can, or libvirt does
    /// not tell.
    #[must_use]
    pub fn unusable(&self, model: &str) -> Option<&[String]> {
        match self.models.as_ref()?.get(model) {
            Some(Usable::No(blockers)) => Some(blockers),
            Some(Usable::Yes | Usable::Unknown) => None,
            // A list that does not name it is that of a libvirt that does not know it.
            None => Some(&[]),
        }
    }

    /// Whether it lists a named model as usable.
    #[must_use]
    pub(crate) fn is_usable(&self, model: &str) -> bool {
        self.models.as_ref().is_some_and(|models| models.get(model) == Some(&Usable::Yes))
    }

    /// Whether it lists a model, usable or not. A list without any unusable one was kept without them.
    fn lists(&self, model: &str) -> Option<bool> {
        let models = self.models.as_ref()?;
        let is_whole = models.values().any(|usable| *usable != Usable::Yes);
        if models.contains_key(model) { Some(true) } else { is_whole.then_some(false) }
    }

    /// Whether the node has what a label says. Mirrors `prepareLabels` of KubeVirt's `node_labeller.go`.
    #[must_use]
    pub(crate) fn provides(&self, key: &str) -> Provided {
        let name = label::name(key);
        let cpu = self.model.as_ref();
        match Family::of(key) {
            // Whether the host has one of these, a host model that is without it does not tell.
            Family::CpuFeature if NOT_MIGRATABLE.contains(&name) => {
                cpu.and_then(|cpu| cpu.require.contains(name).then_some(true)).into()
            }
            Family::CpuFeature => cpu.and_then(|cpu| cpu.has(name)).into(),
            Family::CpuModelMigration => match cpu {
                Some(cpu) if cpu.model == name => Provided::Yes,
                _ => self.lists(name).into(),
            },
            Family::CpuModel if self.is_usable(name) => Provided::Yes,
            Family::CpuModel => self.unusable(name).map(|_| false).into(),
            Family::CpuVendor => cpu.and_then(|cpu| cpu.vendor.as_ref()).map(|vendor| vendor == name).into(),
            Family::HostModelCpu => cpu.map(|cpu| cpu.model == name).into(),
            Family::HostModelRequired => cpu.map(|cpu| cpu.require.contains(name)).into(),
            // Neither libvirt's host model nor its list of models speaks of these.
            Family::Hyperv
            | Family::CpuTimer
            | Family::SchedulingTsc
            | Family::MachineType
            | Family::Schedulable
            | Family::Hostname
            | Family::Other => Provided::Unknown,
        }
    }
}
