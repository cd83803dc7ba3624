//! The description that libvirt gives of its node: its host model, and the named models that it can run.

use std::collections::BTreeMap;

use super::Cpu;
use crate::fit::label::{self, Family};

/// The known descriptions of nodes, by node name.
pub(crate) type LibvirtHosts = BTreeMap<String, LibvirtHost>;

/// The description of a node by its libvirt: `virsh domcapabilities`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibvirtHost {
    /// The CPU of `host-model` on the node; `None` if libvirt reports none.
    pub model: Option<Cpu>,
    /// The named models that libvirt lists: an empty list if it can run none by name (`<mode name='custom'
    /// supported='no'/>`), `None` if it has no list.
    pub models: Option<BTreeMap<String, Usable>>,
}

/// `usable` of a named model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usable {
    /// `yes`.
    Yes,
    /// `no`: the features that keep it from being usable, where libvirt names them (`<blockers>`, since libvirt 10.10).
    No(Vec<String>),
    /// `unknown`, or no value.
    Unknown,
}

/// Whether a node has the capability that a label states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provided {
    /// Its libvirt denies it: the label would be untrue.
    No,
    /// Its libvirt gives no answer.
    Unknown,
    /// Its libvirt confirms it.
    Yes,
}

/// The features that a host model may omit although the host has them: libvirt filters those of resource monitoring
/// (`virQEMUCapsCPUFilterFeatures` in `src/qemu/qemu_capabilities.c`), and lists `invtsc`, which cannot be migrated, in
/// some releases only.
pub(crate) const NOT_MIGRATABLE: [&str; 4] = ["invtsc", "cmt", "mbm_total", "mbm_local"];

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
    /// Returns the features that prevent the use of a named model, if libvirt names them; `None` if the model
    /// is usable or libvirt gives no answer.
    #[must_use]
    pub fn unusable(&self, model: &str) -> Option<&[String]> {
        match self.models.as_ref()?.get(model) {
            Some(Usable::No(blockers)) => Some(blockers),
            Some(Usable::Yes | Usable::Unknown) => None,
            // A libvirt whose list omits the model does not support it.
            None => Some(&[]),
        }
    }

    /// Whether libvirt lists the named model as usable.
    pub(crate) fn is_usable(&self, model: &str) -> bool {
        self.models.as_ref().is_some_and(|models| models.get(model) == Some(&Usable::Yes))
    }

    /// Whether libvirt lists the model, usable or not. `None`: a list of usable models only was stored without
    /// the others.
    pub(crate) fn lists(&self, model: &str) -> Option<bool> {
        let models = self.models.as_ref()?;
        let is_whole = models.is_empty() || models.values().any(|usable| *usable != Usable::Yes);
        if models.contains_key(model) { Some(true) } else { is_whole.then_some(false) }
    }

    /// Whether the node has the capability that a label states. Mirrors `prepareLabels` of KubeVirt's
    /// `pkg/virt-handler/node-labeller/node_labeller.go`.
    pub(crate) fn provides(&self, key: &str) -> Provided {
        let name = label::name(key);
        let cpu = self.model.as_ref();
        match Family::of(key) {
            // A host model that omits one of these features does not prove that the host lacks it.
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
            // Neither libvirt's host model nor its list of models covers these.
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
