//! The devices, huge pages, and the least CPU and memory that the launcher of a guest requests, as far as its
//! specification makes that certain.
//!
//! Mirrors `getRequiredResources`, `WithHugePages`, `WithSEV`, `WithTDX`, `WithPersistentReservation`, `WithIOMMUFD`,
//! `WithGPUsDevicePlugins` and `WithHostDevicesDevicePlugins` of `pkg/virt-controller/services/renderresources.go`,
//! `RequiresTunDevice` and `RequiresVirtioNetDevice` of `pkg/network/vmispec/devices.go`, and `IsAutoAttachVSOCK` of
//! `pkg/util/util.go` (KubeVirt). kube-scheduler puts the launcher on no node that has too little of one of them. Of
//! CPU and memory only what the specification requests itself is certain; devices of networks are requested by objects
//! that are not read.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::feature_gate::FeatureGate;
use super::room::{IOMMUFD, KVM, RESERVATION, SEV, TDX, TUN, VHOST_NET, VSOCK};
use super::wire::{HostDevice, Interface, Quantity, Vmi, VmiSpec};
use crate::fit::label;
use crate::fit::subject::Device;

/// Amounts of a resource are in thousandths.
const ONE: i64 = 1000;

/// Returns the devices of which some node has too little. `guest`: the guest as it runs, whose launcher frees its
/// devices.
pub(crate) fn lacking(spec: &VmiSpec, guest: Option<&Vmi>, cluster: &Cluster) -> Vec<Device> {
    if cluster.room.is_empty() {
        return Vec::new();
    }
    let schedulable = cluster.fleet.bearing(label::SCHEDULABLE, "true");
    // Which pods give way to a launcher of another priority class is not known.
    let priority = if spec.priority_class_name.is_empty() { 0 } else { i64::MAX };
    let lacking = |(resource, asked): (String, i64)| {
        let is_candidate = |name: &str| cluster.fleet.find(name).is_some_and(|node| schedulable.contains(node));
        let mut without = cluster.room.short_of(&resource, asked.max(1), priority, guest);
        without.retain(|name, _| is_candidate(name));
        Device { resource, asked, without }
    };
    requested(spec, cluster).into_iter().map(lacking).filter(|device| !device.without.is_empty()).collect()
}

/// Returns the amounts by resource; 0 for an amount that is not known. Those of CPU and memory are the least: KubeVirt
/// adds its overhead to the requested memory (`WithMemoryOverhead`), and computes requests that are not stated.
fn requested(spec: &VmiSpec, cluster: &Cluster) -> BTreeMap<String, i64> {
    let (config, release) = (&cluster.config, cluster.release.release());
    let domain = &spec.domain;
    let mut out = BTreeMap::new();
    let mut request = |resource: &str| *out.entry(resource.to_owned()).or_insert(0) += ONE;
    let has_claims = release.has_resource_claims();
    let by_name = |device: &&HostDevice| {
        let is_claimed = device.claim_name.is_some() || device.request_name.is_some();
        !(device.device_name.is_empty() || is_claimed && has_claims)
    };
    for device in domain.devices.gpus.iter().chain(&domain.devices.host_devices).filter(by_name) {
        request(&device.device_name);
    }
    // Whether KubeVirt emulates, and which hypervisor it uses, is not known without its configuration.
    let is_kvm = config.is_known
        && !config.configuration.developer_configuration.use_emulation
        && !config.gate(FeatureGate::ConfigurableHypervisor);
    if is_kvm && !config.gate(FeatureGate::CrossArchitectureVirtualization) {
        request(KVM);
    }
    let interfaces = &domain.devices.interfaces;
    if !interfaces.is_empty() || domain.devices.autoattach_pod_interface != Some(false) {
        request(TUN);
    }
    let is_virtio = |interface: &Interface| matches!(interface.model.as_str(), "" | "virtio");
    if is_kvm && interfaces.iter().any(is_virtio) {
        request(VHOST_NET);
    }
    if domain.devices.autoattach_vsock == Some(true) {
        request(VSOCK);
    }
    if let Some(security) = &domain.launch_security {
        if security.sev.is_some() || security.snp.is_some() && release.knows_snp_and_tdx() {
            request(SEV);
        }
        if security.tdx.is_some() && release.requests_tdx_and_iommufd() {
            request(TDX);
        }
    }
    let mut luns = domain.devices.disks.iter().filter_map(|disk| disk.lun.as_ref());
    if luns.any(|lun| lun.reservation) && release.requests_reservation_device() {
        request(RESERVATION);
    }
    if release.requests_tdx_and_iommufd() && config.gate(FeatureGate::Iommufd) {
        request(IOMMUFD);
    }
    let pages = domain.memory.hugepages.as_ref().map(|pages| pages.page_size.as_str());
    let pages = pages.filter(|size| !size.is_empty());
    let asked = &domain.resources.requests;
    // Huge pages take the place of the requested memory.
    let memory = asked.memory.as_ref().filter(|_| pages.is_none());
    for (resource, quantity) in [("cpu", asked.cpu.as_ref()), ("memory", memory)] {
        let amount = quantity.and_then(Quantity::thousandths).filter(|amount| *amount > 0);
        out.extend(amount.map(|amount| (resource.to_owned(), amount)));
    }
    out.extend(pages.map(|size| (format!("hugepages-{size}"), 0)));
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
    const GPU: &str = "nvidia.com/A10";

    /// Returns a cluster of two nodes with these allocatable resources.
    fn with_nodes(release: &str, developer: &Value, allocatable: [&Value; 2]) -> Cluster {
        let kubevirt = json!({
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"developerConfiguration": developer}},
        });
        let nodes = vec![skylake("i1"), skylake("i2")];
        let mut cluster = cluster(release, nodes, [ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let mut room = Room::default();
        for (name, allocatable) in ["i1", "i2"].into_iter().zip(allocatable) {
            let node = json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}});
            let read = room.read("", "Node", &Json(&node.to_string()));
            assert!(read.is_ok(), "{read:?}");
        }
        cluster.room = Arc::new(room);
        cluster
    }

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
    #[case::a_gpu(gpus(&[GPU]), json!({GPU: "1"}), json!({"cpu": "4"}), json!({}), &[GPU])]
    #[case::requested_memory(
        json!({"resources": {"requests": {"memory": "9Gi"}}}), json!({"memory": "16Gi"}), json!({"memory": "8Gi"}), json!({}),
        &["memory"]
    )]
    #[case::requested_cpu(
        json!({"resources": {"requests": {"cpu": "5"}}}), json!({"cpu": "8"}), json!({"cpu": "4"}), json!({}), &["cpu"]
    )]
    #[case::memory_of_the_guest(
        json!({"memory": {"guest": "9Gi"}}), json!({"memory": "16Gi"}), json!({"memory": "8Gi"}), json!({}), &[]
    )]
    #[case::memory_in_huge_pages(
        json!({"memory": {"hugepages": {"pageSize": "1Gi"}}, "resources": {"requests": {"memory": "9Gi"}}}),
        json!({"memory": "16Gi", HUGE: "16Gi"}), json!({"memory": "8Gi", HUGE: "16Gi"}), json!({}), &[]
    )]
    #[case::two_gpus(gpus(&[GPU, GPU]), json!({GPU: "2"}), json!({GPU: "1"}), json!({}), &[GPU])]
    fn a_node_that_has_too_little_is_known(
        #[case] domain: Value,
        #[case] one: Value,
        #[case] other: Value,
        #[case] developer: Value,
        #[case] expected: &[&str],
    ) {
        let cluster = with_nodes("1.8.4", &developer, [&one, &other]);
        let found = lacking(&read(json!({"architecture": "amd64", "domain": domain})), None, &cluster);
        let named: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|device| (device.resource.as_str(), device.without.keys().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|resource| (*resource, vec!["i2"])).collect();
        assert_eq!(named, expected, "a guest is said to start where kube-scheduler never puts it");
    }

    fn gpus(names: &[&str]) -> Value {
        let gpus: Vec<Value> = names.iter().map(|name| json!({"name": "gpu", "deviceName": name})).collect();
        json!({"devices": {"gpus": gpus}})
    }

    /// Another guest uses one of the GPUs of `i2`; the guest's own launcher, one of `i1`.
    #[rstest]
    #[case::its_own_launcher_frees_one("", 1, &[])]
    #[case::one_is_in_use("", 2, &["i1", "i2"])]
    #[case::another_pod_may_give_way("high", 2, &["i1"])]
    fn a_device_in_use_is_free_for_no_other_guest(
        #[case] class: &str,
        #[case] asked: usize,
        #[case] expected: &[&str],
    ) {
        let mut cluster = with_nodes("1.8.4", &json!({}), [&json!({GPU: "1"}), &json!({GPU: "2"})]);
        let mut room = Room::clone(&cluster.room);
        for (owner, node) in [("own", "i1"), ("other", "i2")] {
            let resources = json!({"requests": {"memory": "1Gi", GPU: "1"}});
            let pod = json!({
                "metadata": {"name": owner, "namespace": "shop",
                    "ownerReferences": [{"kind": "VirtualMachineInstance", "name": owner, "uid": owner}]},
                "spec": {"nodeName": node, "containers": [{"resources": resources}]},
                "status": {"phase": "Running"},
            });
            let read = room.read("", "Pod", &Json(&pod.to_string()));
            assert!(read.is_ok(), "{read:?}");
        }
        cluster.room = Arc::new(room);
        let own = json!({"metadata": {"name": "own", "namespace": "shop"}, "status": {"nodeName": "i1"}});
        let spec = json!({"priorityClassName": class, "domain": gpus(&vec![GPU; asked])});
        let found = lacking(&read(spec), Some(&read(own)), &cluster);
        let named: Vec<&str> = found.iter().flat_map(|device| device.without.keys()).map(String::as_str).collect();
        assert_eq!(named, expected, "a guest is said to start on a node whose GPU another guest uses");
    }

    #[rstest]
    #[case::a_plain_guest("1.0.0", &[], json!({}), &[(KVM, 1), (TUN, 1)])]
    #[case::no_network("1.0.0", &[], json!({"autoattachPodInterface": false}), &[(KVM, 1)])]
    #[case::no_pod_network_but_another(
        "1.0.0", &[], json!({"autoattachPodInterface": false, "interfaces": [{"name": "n", "model": "e1000e"}]}), &[(KVM, 1), (TUN, 1)]
    )]
    #[case::virtio("1.0.0", &[], json!({"interfaces": [{"name": "n"}]}), &[(KVM, 1), (TUN, 1), (VHOST_NET, 1)])]
    #[case::virtio_by_name(
        "1.9.0", &[], json!({"interfaces": [{"name": "n", "model": "virtio"}]}), &[(KVM, 1), (TUN, 1), (VHOST_NET, 1)]
    )]
    #[case::vsock("1.7.1", &[], json!({"autoattachVSOCK": true}), &[(KVM, 1), (TUN, 1), (VSOCK, 1)])]
    #[case::no_vsock("1.7.1", &[], json!({"autoattachVSOCK": false}), &[(KVM, 1), (TUN, 1)])]
    #[case::devices_of_one_kind(
        "1.5.0", &[], json!({"gpus": [{"deviceName": GPU}], "hostDevices": [{"deviceName": GPU}, {"deviceName": "x/y"}]}),
        &[(KVM, 1), (TUN, 1), (GPU, 2), ("x/y", 1)]
    )]
    #[case::a_claim("1.6.0", &[], json!({"gpus": [{"claimName": "c", "requestName": "r"}]}), &[(KVM, 1), (TUN, 1)])]
    #[case::a_claim_and_a_name("1.6.0", &[], json!({"gpus": [{"deviceName": GPU, "claimName": "c"}]}), &[(KVM, 1), (TUN, 1)])]
    #[case::a_claim_before_1_6(
        "1.5.3", &[], json!({"gpus": [{"deviceName": GPU, "claimName": "c"}]}), &[(KVM, 1), (TUN, 1), (GPU, 1)]
    )]
    #[case::reservation(
        "1.0.0", &[], json!({"disks": [{"lun": {"reservation": true}}]}), &[(KVM, 1), (RESERVATION, 1), (TUN, 1)]
    )]
    #[case::reservation_before_1_0("0.59.0", &[], json!({"disks": [{"lun": {"reservation": true}}]}), &[(KVM, 1), (TUN, 1)])]
    #[case::iommufd("1.9.0", &["IOMMUFD"], json!({}), &[(IOMMUFD, 1), (KVM, 1), (TUN, 1)])]
    #[case::iommufd_before_1_9("1.8.4", &["IOMMUFD"], json!({}), &[(KVM, 1), (TUN, 1)])]
    #[case::another_hypervisor("1.8.4", &["ConfigurableHypervisor"], json!({}), &[(TUN, 1)])]
    fn the_launcher_requests_what_kubevirt_renders(
        #[case] release: &str,
        #[case] gates: &[&str],
        #[case] devices: Value,
        #[case] expected: &[(&str, i64)],
    ) {
        let cluster = with_nodes(release, &json!({"featureGates": gates}), [&json!({}), &json!({})]);
        let found = requested(&read(json!({"domain": {"devices": devices}})), &cluster);
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(resource, amount)| ((*resource).to_owned(), amount * ONE)).collect();
        assert_eq!(found, expected, "nodes are judged by other resources than kube-scheduler asks for");
    }

    #[rstest]
    #[case::sev("1.0.0", json!({"sev": {}}), Some(SEV))]
    #[case::snp("1.7.0", json!({"snp": {}}), Some(SEV))]
    #[case::snp_before_1_7("1.6.4", json!({"snp": {}}), None)]
    #[case::tdx("1.9.0", json!({"tdx": {}}), Some(TDX))]
    #[case::tdx_before_1_9("1.8.4", json!({"tdx": {}}), None)]
    fn confidential_guests_request_the_device_of_their_release(
        #[case] release: &str,
        #[case] security: Value,
        #[case] expected: Option<&str>,
    ) {
        let cluster = with_nodes(release, &json!({}), [&json!({}), &json!({})]);
        let found = requested(&read(json!({"domain": {"launchSecurity": security}})), &cluster);
        let found: Vec<&str> = found.keys().map(String::as_str).filter(|name| ![KVM, TUN].contains(name)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "a guest starts on a node without its device");
    }
}
