//! CPU models withheld by `spec.configuration.obsoleteCPUModels`, computed once for all guests of a cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::wire::Configuration;
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};

/// The models that a configured list withholds.
#[derive(Debug, Default)]
pub struct Withheld {
    /// The model names in the list.
    pub(crate) models: Arc<BTreeSet<String>>,
    /// The host models of nodes labelled as obsolete; computed on first use.
    host_models: OnceLock<Vec<String>>,
}

impl Withheld {
    pub(super) fn of(configuration: &Configuration) -> Self {
        let models = configuration.obsolete_cpu_models.keys().cloned().collect();
        Self { models: Arc::new(models), host_models: OnceLock::new() }
    }

    /// Returns the host models of the nodes that host-model guests avoid.
    pub(super) fn host_models(&self, fleet: &Fleet) -> &[String] {
        self.host_models.get_or_init(|| {
            let nodes = fleet.bearing(label::OBSOLETE_HOST_MODEL, "true");
            let models = nodes.iter().flat_map(|node| fleet.names_under(node, Family::HostModelCpu));
            models.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
        })
    }
}
