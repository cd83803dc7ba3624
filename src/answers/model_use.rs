//! The relation between a guest and a policy's common model.

use crate::enforce::model::{Common, Untouched};
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::Vmi;
use crate::policy::CommonModel;

/// The use of the common model by a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelUse {
    /// The guest runs with it.
    On,
    /// The guest runs with another model.
    Off,
    /// The guest is not x86, so named models do not apply.
    Apart,
}

/// Returns the use of a common model by a guest.
pub(crate) fn model_use(vmi: &Vmi, cluster: &Cluster, common: &CommonModel) -> ModelUse {
    if cluster.config.architecture_of(&vmi.spec) != "amd64" {
        return ModelUse::Apart;
    }
    let mode = CpuMode::parse(vmi.spec.cpu_model());
    if mode == CpuMode::Named(common.name.clone()) { ModelUse::On } else { ModelUse::Off }
}

/// Returns why a guest does not use the common model at its next start; `None` if it does.
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
