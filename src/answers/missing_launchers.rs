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
    let holds_pods = || cluster.room.holds_pods() || cluster.launchers().next().is_some();
    lacks_launcher(vmi, cluster) && !holds_pods()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::kubevirt::wire::JsonText;
    use crate::testing::cluster::{cluster, launcher, running, vmi};

    /// A dump of `kubectl get nodes,vmi` has the allocatable resources of nodes, and no pod.
    #[rstest]
    #[case::nothing_else(&[], false, true)]
    #[case::nodes_with_allocatable(&["node"], false, true)]
    #[case::another_pod(&["node", "pod"], false, false)]
    #[case::launcher_of_another_guest(&["node"], true, false)]
    #[case::all_pods_were_read(&["complete"], false, false)]
    fn what_guests_inherited_is_not_known_without_any_pod(
        #[case] read: &[&str],
        #[case] has_launcher: bool,
        #[case] expected: bool,
    ) {
        let db = vmi(running("db", "node-a", "host-model"));
        let other = has_launcher.then(|| launcher(&running("web", "node-a", "host-model"), []));
        let mut cluster = cluster("1.9.0", Vec::new(), std::iter::once(db).chain(other));
        let room = Arc::make_mut(&mut cluster.room);
        for what in read {
            let (group, kind, object) = match *what {
                "node" => {
                    ("", "Node", json!({"metadata": {"name": "node-a"}, "status": {"allocatable": {"cpu": "8"}}}))
                }
                "pod" => {
                    ("", "Pod", json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"nodeName": "node-a"}}))
                }
                _ => ("cpufit.io", "Complete", json!({"metadata": {"name": "snapshot"}, "pods": true, "mates": true})),
            };
            room.read(group, kind, &JsonText(&object.to_string())).expect("well-formed");
        }
        let guest = cluster.vmi("shop", "db").expect("it runs");
        assert_eq!(hides_inheritance(guest, &cluster), expected, "a gate on the own node would pass whatever it holds");
        let mut live = cluster.clone();
        live.is_live = true;
        assert!(!hides_inheritance(guest, &live), "a live cluster shows all pods");
    }
}
