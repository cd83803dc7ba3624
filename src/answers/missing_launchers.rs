//! Guests that run and whose launcher pods a dump leaves out: their entries from earlier migrations are not known.

use crate::fit::plural::{fold_names, number};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::wire::Vmi;

/// Whether a dump lacks the launcher of a guest that runs.
pub(crate) fn lacks_launcher(vmi: &Vmi, cluster: &Cluster) -> bool {
    !cluster.is_live && migration::runs(vmi) && cluster.current_launcher(vmi).is_none()
}

/// Whether a dump without pods leaves it open what a guest that runs inherited.
pub(crate) fn hides_inheritance(vmi: &Vmi, cluster: &Cluster) -> bool {
    cluster.room.is_empty() && lacks_launcher(vmi, cluster)
}

/// Returns what is not known of these guests, which lack their launchers, by name; `None` without any.
pub(crate) fn line(lacking: &[impl AsRef<str>]) -> Option<String> {
    if lacking.is_empty() {
        return None;
    }
    let [launcher, is, had] =
        [["its launcher pod is", "their launcher pods are"], ["it is", "they are"], ["it had", "they had"]]
            .map(|[one, many]| number(lacking.len(), one, many));
    Some(format!(
        "which entries {} inherited at earlier migrations: {launcher} not in the dump; {is} judged as if {had} never migrated",
        fold_names(lacking, 3)
    ))
}
