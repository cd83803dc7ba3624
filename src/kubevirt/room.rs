//! Room of nodes: their allocatable resources minus the requests of their pods.
//!
//! Mirrors the scheduler's plugin `NodeResourcesFit` (`pkg/scheduler/framework/plugins/noderesources/fit.go`) and
//! `PodRequests` (`k8s.io/component-helpers/resource/helpers.go`). Room is read from dumps and on demand, for the CLI
//! verbs that report it; the webhook holds no pods but launchers.

mod budget;
mod conditions;
mod quantity;
mod requests;
mod shortage;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::resource::Resource;
use super::wire::{Meta, Reader, Vmi, is_final};
use crate::bounds::{Bounded, Excess, Measured};
use crate::policy::{API_VERSION, LabelCondition, LabelSelector};

use conditions::{launcher_state, unplaced};
use quantity::{amounts, quantities};
use requests::requests;

pub(crate) use budget::{DisruptionBudget, LauncherState};
pub(crate) use conditions::read_conditions;
pub(crate) use quantity::is_quantity;
pub(crate) use shortage::Shortage;

/// Amounts by resource name, in thousandths (of a core, of a byte, of a piece).
pub(crate) type Amounts = BTreeMap<String, i64>;

/// The resource that counts pods.
pub(crate) const PODS: &str = "pods";

/// The devices of KubeVirt's own device plugins. Mirrors `KvmDevice` and the constants beside it of
/// `pkg/virt-controller/services/template.go`.
pub(crate) const KVM: &str = "devices.kubevirt.io/kvm";
pub(crate) const TUN: &str = "devices.kubevirt.io/tun";
pub(crate) const VHOST_NET: &str = "devices.kubevirt.io/vhost-net";
pub(crate) const VSOCK: &str = "devices.kubevirt.io/vhost-vsock";
pub(crate) const RESERVATION: &str = "devices.kubevirt.io/pr-helper";
pub(crate) const SEV: &str = "devices.kubevirt.io/sev";
pub(crate) const TDX: &str = "devices.kubevirt.io/tdx";
pub(crate) const IOMMUFD: &str = "devices.kubevirt.io/iommufd";
const OWN_DEVICES: [&str; 8] = [KVM, TUN, VHOST_NET, VSOCK, RESERVATION, SEV, TDX, IOMMUFD];

/// The `preemptionPolicy` `Never`.
const NEVER: &str = "Never";

/// The pods counted so far, in [`Room::seen`]: those that have not ended, and those that have.
const LIVE_POD: &str = "pod";
const ENDED_POD: &str = "ended pod";
/// Value of `unhealthyPodEvictionPolicy` that always allows the eviction of a pod that is not ready.
const ALWAYS_ALLOW: &str = "AlwaysAllow";

/// The kind of a snapshot object that holds the requests of a node's pods, summed by priority.
pub(crate) const POD_REQUESTS: &str = "PodRequests";

/// The kind of a snapshot object that lists the kinds of which the snapshot holds all objects, so that a missing object
/// does not exist.
pub(crate) const COMPLETE: &str = "Complete";

/// The kind of a snapshot object that holds pods, other than launchers, in an affinity or anti-affinity relation with a
/// guest.
pub(crate) const OTHER_PODS: &str = "OtherPods";

/// Allocatable resources of nodes, requests of pods, and disruption budgets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// `status.allocatable`, by node.
    allocatable: HashMap<String, Amounts>,
    /// By device of KubeVirt, whether a node lists it, and the nodes that offer none.
    without: BTreeMap<&'static str, (bool, BTreeSet<String>)>,
    /// Requests of pods, by node and by the pods' priority.
    asked: HashMap<String, BTreeMap<i64, Amounts>>,
    /// Requests of a guest's launcher, by namespace, guest and node.
    launchers: HashMap<(String, String, String), PodNeed>,
    /// State of each launcher that is known not to be ready, by namespace, guest and node.
    states: HashMap<(String, String, String), LauncherState>,
    /// Name of the launcher that the scheduler placed nowhere, and its message, by namespace and guest.
    unplaced: HashMap<(String, String), (String, String)>,
    /// Pods on nodes, other than launchers of guests that were read; in a snapshot, only those that affect a guest.
    others: Vec<OtherPod>,
    /// Launchers on nodes, until it is known which guests were read.
    launcher_pods: Vec<OtherPod>,
    /// Whether these pods were read.
    knows_others: bool,
    /// Whether the pods that a guest's affinity selects are among them: snapshots of earlier releases lack them.
    knows_mates: bool,
    budgets: Vec<DisruptionBudget>,
    /// Whether budgets were read.
    knows_budgets: bool,
    /// The pods and budgets counted so far: dumps may hold an object twice.
    seen: HashSet<(&'static str, String, String)>,
}

/// The requests of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodNeed {
    /// The requested amounts.
    pub amounts: Amounts,
    /// The pod's priority.
    pub priority: i64,
    /// Whether `preemptionPolicy` is `Never`: the scheduler evicts no pod of a lower priority to make room for it.
    pub never_preempts: bool,
}

impl PodNeed {
    /// Reads the requests of a pod in JSON; `None` if the pod states no requests, as in an incomplete dump.
    pub(crate) fn of_json(json: &str) -> Option<Self> {
        let Bounded(pod) = serde_json::from_str::<Bounded<PodRoom>>(json).ok()?;
        let need = need(&pod.spec?, &pod.status.unwrap_or_default());
        need.is_stated().then_some(need)
    }

    /// Whether the pod states requests: each launcher requests memory.
    fn is_stated(&self) -> bool {
        self.amounts.len() > 1
    }

    /// Returns the lowest priority of pods that keep their room. Pods of a lower priority may be evicted to make room
    /// for this one. Mirrors `PodEligibleToPreemptOthers` of
    /// `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go` (Kubernetes).
    #[must_use]
    pub(crate) fn yields_to(&self) -> i64 {
        if self.never_preempts { i64::MIN } else { self.priority }
    }
}

/// A pod on a node, other than the launcher of a guest that was read: guests may exclude it, and it may exclude them.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherPod {
    /// The pod's namespace.
    pub namespace: String,
    /// The guest whose launcher it is, by name, if that guest was not read.
    pub guest: Option<String>,
    /// The pod's node.
    pub node: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's required anti-affinity: `affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    pub apart_from: Value,
}

macro_rules! read_only {
    ($($name:ident { $($field:ident : $type:ty,)* })*) => {$(
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name { $($field: Option<$type>,)* }
    )*};
}

read_only! {
    NodeRoom { metadata: Meta, status: NodeRoomStatus, }
    NodeRoomStatus { allocatable: BTreeMap<String, Value>, }
    PodRoom { metadata: Meta, spec: PodRoomSpec, status: PodRoomStatus, }
    PodRoomStatus {
        phase: String, conditions: Vec<PodCondition>, container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>, resources: Resources,
        allocated_resources: BTreeMap<String, Value>,
    }
    PodCondition { r#type: String, status: String, reason: String, message: String, }
    ContainerStatus { name: String, resources: Resources, allocated_resources: BTreeMap<String, Value>, }
    PodRoomSpec {
        node_name: String, containers: Vec<Container>, init_containers: Vec<Container>,
        overhead: BTreeMap<String, Value>, resources: Resources, priority: i64, preemption_policy: String,
        affinity: PodRoomAffinity,
    }
    PodRoomAffinity { pod_anti_affinity: RequiredTerms, }
    RequiredTerms { required_during_scheduling_ignored_during_execution: Value, }
    Container { name: String, resources: Resources, restart_policy: String, }
    Resources { requests: BTreeMap<String, Value>, }
    PodRequests { metadata: Meta, requests: Vec<Requests>, }
    Requests { priority: i64, requests: BTreeMap<String, Value>, }
    Complete { metadata: Meta, budgets: bool, pods: bool, mates: bool, namespace: String, }
    OtherPods { metadata: Meta, nodes: Vec<String>, apart_from: Value, }
    BudgetObject { metadata: Meta, spec: BudgetSpec, status: BudgetStatus, }
    BudgetSpec { selector: Selector, unhealthy_pod_eviction_policy: String, }
    BudgetStatus { disruptions_allowed: i64, current_healthy: i64, desired_healthy: i64, }
    Selector { match_labels: BTreeMap<String, String>, match_expressions: Vec<Condition>, }
    Condition { key: String, operator: String, values: Vec<String>, }
}

macro_rules! measured {
    ($($name:ident)*) => {$(
        impl Measured for $name {
            fn mark(&mut self, excess: Excess) {
                self.metadata.get_or_insert_default().excess = Some(excess);
            }
        }
    )*};
}

measured!(NodeRoom PodRoom PodRequests Complete OtherPods BudgetObject);

/// Reads the namespace that a snapshot is of, if the object says so: it holds the guests of no other one.
///
/// # Errors
///
/// An error of `reader`: the object is malformed or too large.
pub(crate) fn only_namespace<'a, R: Reader<'a>>(
    group: &str,
    kind: &str,
    reader: &R,
) -> Result<Option<String>, R::Error> {
    if (group, kind) != ("cpufit.io", COMPLETE) {
        return Ok(None);
    }
    Ok(reader.read::<Complete>()?.namespace.filter(|namespace| !namespace.is_empty()))
}

/// Returns the snapshot object that says that the snapshot is of this namespace alone.
pub(crate) fn of_namespace(namespace: &str) -> Value {
    json!({"apiVersion": API_VERSION, "kind": COMPLETE, "metadata": {"name": "snapshot"}, "namespace": namespace})
}

impl Room {
    /// Adds an object's data to the room, if its kind has any.
    ///
    /// # Errors
    ///
    /// An error of `reader`: the object is malformed or too large.
    pub fn read<'a, R: Reader<'a>>(&mut self, group: &str, kind: &str, reader: &R) -> Result<(), R::Error> {
        let resource = Resource::ALL.into_iter().find(|resource| resource.is(group, kind));
        let is_of_dumps = group == Resource::Policies.group();
        match (resource, kind) {
            (Some(Resource::Nodes), _) => {
                let node: NodeRoom = reader.read()?;
                let allocatable = node.status.unwrap_or_default().allocatable.unwrap_or_default();
                if !allocatable.is_empty() {
                    let (name, of) = (node.metadata.unwrap_or_default().name, amounts(&allocatable));
                    for device in OWN_DEVICES {
                        let (is_listed, without) = self.without.entry(device).or_default();
                        *is_listed |= of.contains_key(device);
                        if of.get(device).is_none_or(|amount| *amount == 0) {
                            without.insert(name.clone());
                        }
                    }
                    self.allocatable.insert(name, of);
                }
            }
            (Some(Resource::Pods), _) => self.pod(reader.read()?),
            (Some(Resource::Budgets), _) => self.budget(reader.read()?),
            (_, POD_REQUESTS) if is_of_dumps => self.sums(reader.read()?),
            (_, OTHER_PODS) if is_of_dumps => self.other_pods(reader.read()?),
            (_, COMPLETE) if is_of_dumps => {
                let complete: Complete = reader.read()?;
                self.knows_budgets |= complete.budgets.unwrap_or_default();
                self.knows_others |= complete.pods.unwrap_or_default();
                self.knows_mates |= complete.mates.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn pod(&mut self, pod: PodRoom) {
        let (metadata, spec) = (pod.metadata.unwrap_or_default(), pod.spec.unwrap_or_default());
        let status = pod.status.unwrap_or_default();
        let (state, unplaced) = (launcher_state(&metadata, &status), unplaced(&status).map(str::to_owned));
        let need = need(&spec, &status);
        let phase = status.phase.unwrap_or_default();
        let node = spec.node_name.clone().unwrap_or_default();
        let is_over = is_final(&phase);
        let what = if is_over { ENDED_POD } else { LIVE_POD };
        if !self.seen.insert((what, metadata.namespace.clone(), metadata.name.clone())) || is_over {
            return;
        }
        let owned_by = |kind: Resource| metadata.owner_references.iter().find(|owner| owner.is_a(kind));
        let guest = owned_by(Resource::Vmis);
        // A pod without a node uses no room yet.
        if node.is_empty() && guest.is_none() {
            return;
        }
        if !node.is_empty() {
            add(self.asked.entry(node.clone()).or_default().entry(need.priority).or_default(), &need.amounts);
        }
        let terms = spec.affinity.and_then(|affinity| affinity.pod_anti_affinity);
        let apart_from = terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution);
        // An attachment pod, which holds a launcher's hotplugged volumes, moves with that launcher.
        let is_attachment = owned_by(Resource::Pods).is_some();
        let guest = guest.map(|owner| owner.name.clone());
        let Meta { name, namespace, labels, deletion_timestamp, .. } = metadata;
        let pod = OtherPod { namespace, guest, node, labels, apart_from: apart_from.unwrap_or_default() };
        let OtherPod { namespace, node, .. } = &pod;
        let Some(guest) = &pod.guest else {
            if !is_attachment {
                self.mark_pods_read();
                self.others.push(pod);
            }
            return;
        };
        if let Some(message) = unplaced.filter(|_| node.is_empty() && deletion_timestamp.is_empty()) {
            self.unplaced.insert((namespace.clone(), guest.clone()), (name, message));
        }
        if let Some(state) = state {
            self.states.insert((namespace.clone(), guest.clone(), node.clone()), state);
        }
        if need.is_stated() {
            self.launchers.insert((namespace.clone(), guest.clone(), node.clone()), need);
        }
        if !node.is_empty() {
            self.launcher_pods.push(pod);
        }
    }

    /// Counts the launchers of guests that were not read among the other pods. `is_read`: whether the guest of this
    /// namespace and name was read.
    pub(crate) fn adopt_launchers(&mut self, is_read: impl Fn(&str, &str) -> bool) {
        let is_unread = |pod: &OtherPod| pod.guest.as_ref().is_some_and(|guest| !is_read(&pod.namespace, guest));
        self.others.extend(std::mem::take(&mut self.launcher_pods).into_iter().filter(is_unread));
    }

    fn other_pods(&mut self, pods: OtherPods) {
        let Meta { namespace, labels, .. } = pods.metadata.unwrap_or_default();
        let apart_from = pods.apart_from.unwrap_or_default();
        let pod = |node| OtherPod {
            namespace: namespace.clone(),
            guest: None,
            node,
            labels: labels.clone(),
            apart_from: apart_from.clone(),
        };
        self.others.extend(pods.nodes.into_iter().flatten().map(pod));
    }

    fn sums(&mut self, of: PodRequests) {
        let node = of.metadata.unwrap_or_default().name;
        if !self.seen.insert(("requests", String::new(), node.clone())) {
            return;
        }
        for sum in of.requests.into_iter().flatten() {
            let asked = sum.requests.as_ref().map(amounts).unwrap_or_default();
            add(
                self.asked.entry(node.clone()).or_default().entry(sum.priority.unwrap_or_default()).or_default(),
                &asked,
            );
        }
    }

    /// Returns snapshot objects for the pods and budgets that were read: the summed requests of each node's pods,
    /// without their names, and the kinds that were read.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let sum = |(priority, asked): (&i64, &Amounts)| json!({"priority": priority, "requests": quantities(asked)});
        let of_node = |(node, asked): (&String, &BTreeMap<i64, Amounts>)| {
            let requests: Vec<Value> = asked.iter().map(sum).collect();
            json!({"apiVersion": API_VERSION, "kind": POD_REQUESTS, "metadata": {"name": node}, "requests": requests})
        };
        let mut complete = json!({"apiVersion": API_VERSION, "kind": COMPLETE, "metadata": {"name": "snapshot"}});
        let known = [("budgets", self.knows_budgets), ("pods", self.knows_others), ("mates", self.knows_mates)];
        let known = known.into_iter().filter(|(_, is)| *is);
        let mut is_any = false;
        for (what, _) in known {
            complete[what] = true.into();
            is_any = true;
        }
        let complete = is_any.then_some(complete);
        self.asked.iter().map(of_node).chain(complete).collect()
    }

    /// Whether a pod of this name was read and has ended; `None` if none was read. The pods of a snapshot have no
    /// names.
    pub(crate) fn has_ended(&self, namespace: &str, name: &str) -> Option<bool> {
        let is_seen = |what| self.seen.contains(&(what, namespace.to_owned(), name.to_owned()));
        if is_seen(LIVE_POD) { Some(false) } else { is_seen(ENDED_POD).then_some(true) }
    }

    /// Records that all budgets have been read, even if there are none.
    pub(crate) fn mark_budgets_read(&mut self) {
        self.knows_budgets = true;
    }

    fn budget(&mut self, budget: BudgetObject) {
        self.knows_budgets = true;
        let metadata = budget.metadata.unwrap_or_default();
        // Budgets that KubeVirt made for guests (until 1.8) belong to the guest.
        if metadata.owner_references.iter().any(|owner| owner.is_a(Resource::Vmis)) {
            return;
        }
        if !self.seen.insert(("budget", metadata.namespace.clone(), metadata.name.clone())) {
            return;
        }
        let (spec, status) = (budget.spec.unwrap_or_default(), budget.status.unwrap_or_default());
        let (healthy, desired) =
            (status.current_healthy.unwrap_or_default(), status.desired_healthy.unwrap_or_default());
        let frees_unready =
            spec.unhealthy_pod_eviction_policy.as_deref() == Some(ALWAYS_ALLOW) || (desired > 0 && healthy >= desired);
        let selector = spec.selector.and_then(selector);
        if let (Some(selector), Some(allowed)) = (selector, status.disruptions_allowed) {
            self.budgets.push(DisruptionBudget {
                namespace: metadata.namespace,
                name: metadata.name,
                selector,
                allowed,
                frees_unready,
            });
        }
    }

    /// Records that all pods have been read, even if all are launchers.
    pub(crate) fn mark_pods_read(&mut self) {
        (self.knows_others, self.knows_mates) = (true, true);
    }

    /// Whether any pod is known, or that all pods have been read.
    pub(crate) fn holds_pods(&self) -> bool {
        self.knows_others || self.knows_mates || !self.asked.is_empty() || !self.states.is_empty()
    }

    /// Returns the nodes that have too little of a resource for the launcher of a guest, with the free and the
    /// allocatable amount in thousandths, by name. Pods with at least this priority keep their room, but for the
    /// guest's own launcher.
    ///
    /// For a device of KubeVirt only nodes that offer none are returned, as each offers more than pods run there, and
    /// only if some node lists it: a dump in which no node does may have been written by hand.
    pub(crate) fn short_of(
        &self,
        resource: &str,
        asked: i64,
        priority: i64,
        guest: Option<&Vmi>,
    ) -> BTreeMap<String, (i64, i64)> {
        if let Some((is_listed, without)) = self.without.get(resource) {
            // Where virt-handler offers the devices of every node, it offers KVM's as well, if there is one.
            let beside =
                [TUN, VHOST_NET].iter().any(|other| self.without.get(other).is_some_and(|(is_listed, _)| *is_listed));
            let is_listed = *is_listed || resource == KVM && beside;
            return without.iter().filter(|_| is_listed).map(|node| (node.clone(), (0, 0))).collect();
        }
        let of_pod = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or(0);
        let mut out = BTreeMap::new();
        for (node, all) in &self.allocatable {
            let of = of_pod(all);
            let mut free = of;
            if of > 0 {
                let pods = self.asked.get(node).into_iter().flat_map(|by| by.range(priority..));
                free = pods.fold(free, |free, (_, pods)| free.saturating_sub(of_pod(pods)));
                if free < asked {
                    let own = guest.and_then(|vmi| self.launchers.get(&key(vmi, node)));
                    let own = own.filter(|own| own.priority >= priority);
                    free = free.saturating_add(own.map_or(0, |own| of_pod(&own.amounts)));
                }
            }
            if free < asked {
                out.insert(node.clone(), (free.max(0), of));
            }
        }
        out
    }

    /// Whether no node's allocatable resources are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allocatable.is_empty()
    }

    /// Whether budgets are known: a dump without budgets may have been made without reading them.
    pub(crate) fn knows_budgets(&self) -> bool {
        self.knows_budgets
    }

    /// Returns the budgets that are not KubeVirt's own.
    #[must_use]
    pub fn budgets(&self) -> &[DisruptionBudget] {
        &self.budgets
    }

    /// Returns the state of the launcher that a guest runs in; `None` if it is ready or its state is not known.
    pub(crate) fn launcher_state(&self, vmi: &Vmi) -> Option<LauncherState> {
        self.states.get(&key(vmi, &vmi.status.node_name)).copied()
    }

    /// Returns the launcher of a guest that the scheduler placed nowhere, by name, with the scheduler's message.
    pub(crate) fn unplaced(&self, namespace: &str, guest: &str) -> Option<(&str, &str)> {
        let key = (namespace.to_owned(), guest.to_owned());
        self.unplaced.get(&key).map(|(pod, message)| (pod.as_str(), message.as_str()))
    }

    /// Whether the pods other than launchers are known: a dump without such pods may have left them out.
    pub(crate) fn knows_others(&self) -> bool {
        self.knows_others
    }

    /// Whether the pods that a guest's required pod affinity selects are known, as far as the dump goes.
    pub(crate) fn knows_mates(&self) -> bool {
        self.knows_mates
    }

    /// Returns the pods, other than launchers, on nodes; empty if none is known.
    #[must_use]
    pub fn others(&self) -> &[OtherPod] {
        &self.others
    }

    /// Returns the requests of a guest's next launcher: those of the launcher on its node, or, if the guest has no node
    /// yet, of the pending launcher. `None` if they are not known.
    #[must_use]
    pub fn need(&self, vmi: &Vmi) -> Option<&PodNeed> {
        self.launchers.get(&key(vmi, &vmi.status.node_name))
    }

    /// Returns a node's allocatable resources and the requests of its pods with at least this priority; `None` if the
    /// former are not known.
    #[must_use]
    pub fn of_node(&self, node: &str, priority: i64) -> Option<NodeSpace> {
        let of = self.allocatable.get(node)?.clone();
        let mut used = Amounts::new();
        for (_, asked) in self.asked.get(node).into_iter().flat_map(|by| by.range(priority..)) {
            add(&mut used, asked);
        }
        Some(NodeSpace { of, used })
    }

    /// Returns whether a node has room for a pod. The launcher that `guest` has there does not count.
    pub(crate) fn for_pod(&self, node: &str, need: &PodNeed, guest: Option<&Vmi>) -> NodeRoomFor {
        let nobody = Amounts::new();
        let own = guest.and_then(|vmi| self.launchers.get(&key(vmi, node))).map_or(&nobody, |own| &own.amounts);
        let short = |from: i64| self.of_node(node, from)?.shortage(need, own);
        match short(need.yields_to()) {
            Some(short) => NodeRoomFor::Short(short),
            None if short(i64::MIN).is_some() => NodeRoomFor::ByPreemption,
            None => NodeRoomFor::Enough,
        }
    }

    /// Removes a guest's launcher from the guest's node.
    pub fn leave(&mut self, vmi: &Vmi) {
        let node = &vmi.status.node_name;
        let Some(need) = self.launchers.remove(&key(vmi, node)) else { return };
        let asked = self.asked.get_mut(node).and_then(|of_node| of_node.get_mut(&need.priority));
        for (resource, sum) in asked.into_iter().flatten() {
            *sum = sum.saturating_sub(need.amounts.get(resource).copied().unwrap_or(0));
        }
    }
}

/// Returns the key of a guest's launcher on a node.
fn key(vmi: &Vmi, node: &str) -> (String, String, String) {
    (vmi.metadata.namespace.clone(), vmi.metadata.name.clone(), node.to_owned())
}

/// The answer to whether a node has room for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeRoomFor {
    /// The node has room, or its room is not known.
    Enough,
    /// The node has room once pods of a lower priority are evicted.
    ByPreemption,
    /// The node has no room.
    Short(Shortage),
}

/// A node's allocatable resources and the requests of its pods. A resource that a node does not list counts as 0:
/// `fitsRequest` of `pkg/scheduler/framework/plugins/noderesources/fit.go` (Kubernetes) does the same for every
/// resource.
#[derive(Clone, Debug)]
pub struct NodeSpace {
    of: Amounts,
    used: Amounts,
}

impl NodeSpace {
    /// Returns the free amount of a resource, in thousandths; negative if more is requested than allocatable.
    #[must_use]
    pub fn free(&self, resource: &str) -> i64 {
        let amount = |of: &Amounts| of.get(resource).copied().unwrap_or(0);
        amount(&self.of).saturating_sub(amount(&self.used))
    }

    /// Returns the free and the allocatable amount of a resource in words: `2 of 64 cores free`.
    pub(crate) fn words(&self, resource: &str) -> String {
        let of = self.of.get(resource).copied().unwrap_or(0);
        Shortage {
            resource: resource.to_owned(),
            free: self.free(resource).max(0),
            of,
            asked: i64::MAX,
            at_least: false,
        }
        .words()
    }

    /// Returns the first resource of which the node has too little for a pod, after `gone` is freed: CPU first, then
    /// memory, then any other. `None` if there is room.
    pub(crate) fn shortage(&self, need: &PodNeed, gone: &Amounts) -> Option<Shortage> {
        let short = |(resource, &asked): (&String, &i64)| {
            let of = self.of.get(resource).copied().unwrap_or(0);
            let free = self.free(resource).saturating_add(gone.get(resource).copied().unwrap_or(0));
            (asked > 0 && asked > free).then(|| Shortage {
                resource: resource.clone(),
                free: free.max(0),
                of,
                asked,
                at_least: false,
            })
        };
        let rank = |short: &Shortage| (short.resource != "cpu", short.resource != "memory", short.resource.clone());
        need.amounts.iter().filter_map(short).min_by_key(rank)
    }
}

/// Adds amounts to a sum.
pub(crate) fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        let known = sum.entry(resource.clone()).or_default();
        *known = known.saturating_add(*amount);
    }
}

/// Returns the `spec` fields of a pod with the same requests as the pod that is read.
///
/// # Errors
///
/// An error of `reader`: the pod is malformed or too large.
pub(crate) fn asked_by_pod<'a, R: Reader<'a>>(reader: &R) -> Result<Map<String, Value>, R::Error> {
    let pod = reader.read::<PodRoom>()?;
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let mut out = Map::new();
    out.insert("resources".to_owned(), json!({"requests": quantities(&requests(&spec, &status))}));
    if let Some(priority) = spec.priority.filter(|priority| *priority != 0) {
        out.insert("priority".to_owned(), priority.into());
    }
    if let Some(policy) = spec.preemption_policy.filter(|policy| policy == NEVER) {
        out.insert("preemptionPolicy".to_owned(), policy.into());
    }
    Ok(out)
}

/// Returns the requests of a pod. Mirrors `PodRequests`.
fn need(spec: &PodRoomSpec, status: &PodRoomStatus) -> PodNeed {
    let mut amounts = requests(spec, status);
    amounts.insert(PODS.to_owned(), 1000);
    let never_preempts = spec.preemption_policy.as_deref() == Some(NEVER);
    PodNeed { amounts, priority: spec.priority.unwrap_or_default(), never_preempts }
}

fn selector(wire: Selector) -> Option<LabelSelector> {
    let condition = |wire: Condition| {
        Some(LabelCondition {
            key: wire.key?,
            operator: wire.operator?.parse().ok()?,
            values: wire.values.unwrap_or_default(),
        })
    };
    let match_expressions =
        wire.match_expressions.unwrap_or_default().into_iter().map(condition).collect::<Option<_>>()?;
    Some(LabelSelector { match_labels: wire.match_labels.unwrap_or_default(), match_expressions })
}
