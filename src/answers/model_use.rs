//! How a guest stands to a policy's common model.

use crate::enforce::model::{self, Common, Untouched};
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::wire::Vmi;
use crate::policy::CommonModel;

/// How a guest stands to the common model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelUse {
    /// It runs with it.
    On,
    /// It runs with another.
    Off,
    /// It is no x86 guest: named models are not for it.
    Apart,
}

/// How a guest stands to a common model.
#[must_use]
pub(crate) fn model_use(vmi: &Vmi, cluster: &Cluster, common: &CommonModel) -> ModelUse {
    let architecture = match vmi.spec.architecture.as_str() {
        "" => cluster.config.default_architecture(),
        named => named,
    };
    if architecture != "amd64" {
        return ModelUse::Apart;
    }
    let mode = CpuMode::parse(model::model_of(vmi));
    if mode == CpuMode::Named(common.name.clone()) { ModelUse::On } else { ModelUse::Off }
}

/// Why a guest that starts again comes to run without the common model, if so.
pub(crate) fn kept_by(common: &Common) -> Option<String> {
    match common {
        Common::Written { .. } | Common::Untouched(Untouched::UsesIt) => None,
        Common::NotWritten(reason) => Some(reason.to_string()),
        Common::Untouched(Untouched::Received) => {
            Some("it comes by a decentralized migration, with the CPU it has there".to_owned())
        }
        Common::Untouched(_) => Some("commonModel.replaces does not name it".to_owned()),
    }
}

/// Whether a guest's VM states a CPU model, itself or by its instancetype; `None` where its VM or instancetype is not known.
#[must_use]
pub(crate) fn states_model(vmi: &Vmi, cluster: &Cluster) -> Option<bool> {
    let owner = vmi.metadata.owner_references.iter().find(|owner| owner.kind.ends_with("VirtualMachine"))?;
    let guest = guest_of(cluster.vm(&vmi.metadata.namespace, &owner.name)?, cluster);
    guest.missing.is_none().then(|| guest.spec.domain.cpu.is_some_and(|cpu| !cpu.model.is_empty()))
}
