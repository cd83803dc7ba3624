//! The devices and huge pages that the launcher of a guest requests, as far as its specification makes that certain.
//!
//! Mirrors `getRequiredResources`, `WithHugePages` and `WithSEV` of
//! `pkg/virt-controller/services/renderresources.go` (KubeVirt). kube-scheduler puts the launcher on no node
//! that offers none of one of them. CPU and memory are not devices.

use super::cluster::Cluster;
use super::room::KVM;
use super::wire::VmiSpec;
use crate::fit::label;
use crate::fit::subject::Device;

/// The device of AMD SEV.
const SEV: &str = "devices.kubevirt.io/sev";

/// Returns the devices that some node does not offer. [`defaults::apply`](super::defaults::apply) must have been
/// applied to the spec.
pub(super) fn lacking(spec: &VmiSpec, cluster: &Cluster) -> Vec<Device> {
    if cluster.room.is_empty() {
        return Vec::new();
    }
    let schedulable = cluster.fleet.bearing(label::SCHEDULABLE, "true");
    let lacking = |resource: String| {
        let is_candidate = |name: &&str| cluster.fleet.find(name).is_some_and(|node| schedulable.contains(node));
        let without = cluster.room.without(&resource).into_iter().filter(is_candidate).map(str::to_owned);
        Device { without: without.collect(), resource }
    };
    requested(spec, cluster).into_iter().map(lacking).filter(|device| !device.without.is_empty()).collect()
}

/// Returns the resources, each once.
fn requested(spec: &VmiSpec, cluster: &Cluster) -> Vec<String> {
    let config = &cluster.config;
    let mut out = Vec::new();
    let developer = &config.configuration.developer_configuration;
    let is_kvm = config.is_known && !developer.use_emulation && !config.gate("ConfigurableHypervisor");
    if is_kvm && !config.gate("CrossArchitectureVirtualization") {
        out.push(KVM.to_owned());
    }
    let pages = spec.domain.memory.hugepages.as_ref().map(|pages| pages.page_size.as_str());
    out.extend(pages.filter(|size| !size.is_empty()).map(|size| format!("hugepages-{size}")));
    let security = spec.domain.launch_security.as_ref();
    if security.is_some_and(|security| security.sev.is_some()) {
        out.push(SEV.to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::bounds::Measured;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::kubevirt::room::Room;
    use crate::kubevirt::wire::Reader;
    use crate::testing::cluster::{cluster, read};
    use crate::testing::fleet::skylake;

    struct Json<'a>(&'a str);

    impl<'a> Reader<'a> for Json<'a> {
        type Error = serde_json::Error;

        fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error> {
            serde_json::from_str(self.0)
        }
    }

    const HUGE: &str = "hugepages-1Gi";

    #[rstest]
    #[case::no_device_is_known(json!({}), json!({"cpu": "4"}), json!({"cpu": "4"}), json!({}), &[])]
    #[case::all_offer_kvm(json!({}), json!({KVM: "1k"}), json!({KVM: "1k"}), json!({}), &[])]
    #[case::one_offers_no_kvm(json!({}), json!({KVM: "1k"}), json!({KVM: "0"}), json!({}), &[KVM])]
    #[case::one_lists_no_kvm(json!({}), json!({KVM: "1k"}), json!({"cpu": "4"}), json!({}), &[KVM])]
    #[case::emulation(json!({}), json!({KVM: "1k"}), json!({KVM: "0"}), json!({"useEmulation": true}), &[])]
    #[case::huge_pages(
        json!({"memory": {"hugepages": {"pageSize": "1Gi"}}}), json!({HUGE: "8Gi"}), json!({HUGE: "0"}), json!({}), &[HUGE]
    )]
    #[case::sev(json!({"launchSecurity": {"sev": {}}}), json!({SEV: "8"}), json!({"cpu": "4"}), json!({}), &[SEV])]
    fn a_node_that_offers_none_is_known(
        #[case] domain: Value,
        #[case] one: Value,
        #[case] other: Value,
        #[case] developer: Value,
        #[case] expected: &[&str],
    ) {
        let kubevirt = json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"developerConfiguration": developer}},
        });
        let nodes = vec![skylake("i1"), skylake("i2")];
        let mut cluster = cluster("1.8.4", nodes, [ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let mut room = Room::default();
        for (name, allocatable) in [("i1", one), ("i2", other)] {
            let node = json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}});
            let read = room.read("", "Node", &Json(&node.to_string()));
            assert!(read.is_ok(), "{read:?}");
        }
        cluster.room = Arc::new(room);
        let found = lacking(&read(json!({"architecture": "amd64", "domain": domain})), &cluster);
        let named: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|device| (device.resource.as_str(), device.without.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|resource| (*resource, vec!["i2"])).collect();
        assert_eq!(named, expected, "a guest is said to start where kube-scheduler never puts it");
    }
}
