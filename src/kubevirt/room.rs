//! How much of a node is free: what it can give, and what its pods ask for.
//!
//! Mirrors the scheduler's plugin `NodeResourcesFit` and `PodRequests` (`k8s.io/component-helpers/resource/helpers.go`). It is read
//! from dumps and on demand, for the verbs that say room; the webhook holds no pods but launchers.

mod quantity;
mod shortage;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::resource::Resource;
use super::wire::{Meta, Reader, Vmi, is_final};
use crate::bounds::{Bounded, Excess, Measured};
use crate::policy::{API_VERSION, LabelCondition, LabelSelector};

use quantity::{amounts, quantities};

pub(crate) use quantity::is_quantity;
pub(crate) use shortage::Shortage;

/// Resources by name, in thousandths: of a core, of a byte, of a piece.
pub(crate) type Amounts = BTreeMap<String, i64>;

/// How many pods a node takes, as a resource.
const PODS: &str = "pods";

/// A `preemptionPolicy`.
const NEVER: &str = "Never";

/// The kind of an object of snapshots: what the pods of a node ask for, summed up by their priority.
pub(crate) const POD_REQUESTS: &str = "PodRequests";

/// The kind of an object of snapshots: which kinds it holds all objects of, so that one that is not there does not exist.
pub(crate) const COMPLETE: &str = "Complete";

/// The kind of an object of snapshots: pods that are no guest's and that a guest keeps off nodes, or that keep one off.
pub(crate) const OTHER_PODS: &str = "OtherPods";

/// What nodes have, what is asked of them, and how many pods may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// `status.allocatable`, by node.
    allocatable: HashMap<String, Amounts>,
    /// What pods ask for, by node and by the pods' priority.
    asked: HashMap<String, BTreeMap<i64, Amounts>>,
    /// What a pod of a guest asks for, by namespace, guest and node.
    launchers: HashMap<(String, String, String), PodNeed>,
    /// The pods on nodes that are no guest's; of a snapshot, those that affect a guest.
    others: Vec<OtherPod>,
    /// Whether they were looked for.
    knows_others: bool,
    budgets: Vec<DisruptionBudget>,
    /// Whether budgets were looked for.
    knows_budgets: bool,
    /// The pods and budgets that were counted: dumps may hold one twice.
    seen: HashSet<(&'static str, String, String)>,
}

/// What a pod asks of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodNeed {
    /// The resources.
    pub amounts: Amounts,
    /// Its priority.
    pub priority: i64,
    /// `preemptionPolicy: Never`: the scheduler shuts down no pod of a lower priority to make room for it.
    pub never_preempts: bool,
}

impl PodNeed {
    /// The need of a pod in JSON; `None` if the pod states no requests, as in an incomplete dump.
    #[must_use]
    pub(crate) fn of_json(json: &str) -> Option<Self> {
        let Bounded(pod) = serde_json::from_str::<Bounded<PodRoom>>(json).ok()?;
        let need = need(&pod.spec?);
        need.is_stated().then_some(need)
    }

    /// Whether it asks for anything: each launcher asks for memory.
    fn is_stated(&self) -> bool {
        self.amounts.len() > 1
    }

    /// From this priority on, pods keep their room from it: those of a lower one may be shut down to make room for it. Mirrors
    /// `PodEligibleToPreemptOthers` (`pkg/scheduler/framework/plugins/defaultpreemption`).
    #[must_use]
    pub fn yields_to(&self) -> i64 {
        if self.never_preempts { i64::MIN } else { self.priority }
    }
}

/// A pod on a node that is no guest's launcher: pod anti-affinity goes by it, a guest's and its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherPod {
    /// Its namespace.
    pub namespace: String,
    /// The node it is on.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its required anti-affinity: `affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    pub apart_from: Value,
}

/// A `PodDisruptionBudget` that is not KubeVirt's own.
#[derive(Clone, Debug, PartialEq)]
pub struct DisruptionBudget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods it protects.
    selector: LabelSelector,
    /// `status.disruptionsAllowed`.
    pub allowed: i64,
}

impl DisruptionBudget {
    /// Whether it protects a pod with these labels.
    pub(crate) fn protects<'l>(&self, namespace: &str, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.namespace == namespace && self.selector.matches_by(label)
    }
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
    PodRoom { metadata: Meta, spec: PodRoomSpec, status: Phase, }
    Phase { phase: String, }
    PodRoomSpec {
        node_name: String, containers: Vec<Container>, init_containers: Vec<Container>,
        overhead: BTreeMap<String, Value>, resources: Resources, priority: i64, preemption_policy: String,
        affinity: PodRoomAffinity,
    }
    PodRoomAffinity { pod_anti_affinity: RequiredTerms, }
    RequiredTerms { required_during_scheduling_ignored_during_execution: Value, }
    Container { resources: Resources, restart_policy: String, }
    Resources { requests: BTreeMap<String, Value>, }
    PodRequests { metadata: Meta, requests: Vec<Requests>, }
    Requests { priority: i64, requests: BTreeMap<String, Value>, }
    Complete { metadata: Meta, budgets: bool, pods: bool, }
    OtherPods { metadata: Meta, nodes: Vec<String>, apart_from: Value, }
    BudgetObject { metadata: Meta, spec: BudgetSpec, status: BudgetStatus, }
    BudgetSpec { selector: Selector, }
    BudgetStatus { disruptions_allowed: i64, }
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

impl Room {
    /// Takes in what an object says of room, if it says any.
    ///
    /// # Errors
    ///
    /// Whatever `reader` says.
    pub fn read<'a, R: Reader<'a>>(&mut self, group: &str, kind: &str, reader: &R) -> Result<(), R::Error> {
        match (group, kind) {
            ("", "Node") => {
                let node: NodeRoom = reader.read()?;
                let allocatable = node.status.unwrap_or_default().allocatable.unwrap_or_default();
                if !allocatable.is_empty() {
                    self.allocatable.insert(node.metadata.unwrap_or_default().name, amounts(&allocatable));
                }
            }
            ("", "Pod") => self.pod(reader.read()?),
            _ if Resource::Budgets.is(group, kind) => self.budget(reader.read()?),
            ("cpufit.io", POD_REQUESTS) => self.sums(reader.read()?),
            ("cpufit.io", OTHER_PODS) => self.other_pods(reader.read()?),
            ("cpufit.io", COMPLETE) => {
                let complete: Complete = reader.read()?;
                self.knows_budgets |= complete.budgets.unwrap_or_default();
                self.knows_others |= complete.pods.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn pod(&mut self, pod: PodRoom) {
        let (metadata, spec) = (pod.metadata.unwrap_or_default(), pod.spec.unwrap_or_default());
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        let node = spec.node_name.clone().unwrap_or_default();
        if is_final(&phase) || !self.seen.insert(("pod", metadata.namespace.clone(), metadata.name.clone())) {
            return;
        }
        let owned_by = |kind: &str| metadata.owner_references.iter().find(|owner| owner.kind.ends_with(kind));
        let guest = owned_by("VirtualMachineInstance");
        // One that waits for a node takes no room yet.
        if node.is_empty() && guest.is_none() {
            return;
        }
        let need = need(&spec);
        if !node.is_empty() {
            add(self.asked.entry(node.clone()).or_default().entry(need.priority).or_default(), &need.amounts);
        }
        if let Some(owner) = guest {
            if need.is_stated() {
                self.launchers.insert((metadata.namespace, owner.name.clone(), node), need);
            }
        } else if owned_by("Pod").is_none() {
            // A pod of a launcher, which holds its hotplugged volumes, goes where that one does.
            let terms = spec.affinity.and_then(|affinity| affinity.pod_anti_affinity);
            let apart_from = terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution);
            self.knows_others = true;
            self.others.push(OtherPod {
                namespace: metadata.namespace,
                node,
                labels: metadata.labels,
                apart_from: apart_from.unwrap_or_default(),
            });
        }
    }

    fn other_pods(&mut self, pods: OtherPods) {
        let Meta { namespace, labels, .. } = pods.metadata.unwrap_or_default();
        let apart_from = pods.apart_from.unwrap_or_default();
        let pod = |node| OtherPod {
            namespace: namespace.clone(),
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

    /// What was read of pods and budgets, as objects of a snapshot: what the pods of each node ask for, without their names, and
    /// what was looked for.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let sum = |(priority, asked): (&i64, &Amounts)| json!({"priority": priority, "requests": quantities(asked)});
        let of_node = |(node, asked): (&String, &BTreeMap<i64, Amounts>)| {
            let requests: Vec<Value> = asked.iter().map(sum).collect();
            json!({"apiVersion": API_VERSION, "kind": POD_REQUESTS, "metadata": {"name": node}, "requests": requests})
        };
        let mut complete = json!({"apiVersion": API_VERSION, "kind": COMPLETE, "metadata": {"name": "snapshot"}});
        let known = [("budgets", self.knows_budgets), ("pods", self.knows_others)].into_iter().filter(|(_, is)| *is);
        let mut is_any = false;
        for (what, _) in known {
            complete[what] = true.into();
            is_any = true;
        }
        let complete = is_any.then_some(complete);
        self.asked.iter().map(of_node).chain(complete).collect()
    }

    /// Says that all budgets there are have been read, also where there is none.
    pub(crate) fn mark_budgets_read(&mut self) {
        self.knows_budgets = true;
    }

    fn budget(&mut self, budget: BudgetObject) {
        self.knows_budgets = true;
        let metadata = budget.metadata.unwrap_or_default();
        // Those that KubeVirt made for guests (until 1.8) belong to the guest.
        if metadata.owner_references.iter().any(|owner| owner.kind.ends_with("VirtualMachineInstance")) {
            return;
        }
        if !self.seen.insert(("budget", metadata.namespace.clone(), metadata.name.clone())) {
            return;
        }
        let selector = budget.spec.unwrap_or_default().selector.and_then(selector);
        let allowed = budget.status.and_then(|status| status.disruptions_allowed);
        if let (Some(selector), Some(allowed)) = (selector, allowed) {
            self.budgets.push(DisruptionBudget {
                namespace: metadata.namespace,
                name: metadata.name,
                selector,
                allowed,
            });
        }
    }

    /// Says that all pods there are have been read, also where there is none but launchers.
    pub(crate) fn mark_pods_read(&mut self) {
        self.knows_others = true;
    }

    /// Whether nothing is known of any node's room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allocatable.is_empty()
    }

    /// Whether budgets are known: a dump in which there is none may have been made without them.
    #[must_use]
    pub(crate) fn knows_budgets(&self) -> bool {
        self.knows_budgets
    }

    /// The budgets of people.
    #[must_use]
    pub fn budgets(&self) -> &[DisruptionBudget] {
        &self.budgets
    }

    /// Whether the pods are known that are no guest's: in a dump in which there is none they may have been left out.
    #[must_use]
    pub(crate) fn knows_others(&self) -> bool {
        self.knows_others
    }

    /// The pods on nodes that are no guest's; none where no such pod is known.
    #[must_use]
    pub fn others(&self) -> &[OtherPod] {
        &self.others
    }

    /// What the next launcher of a guest asks for: what the one on its node does, or of a guest that has no node yet the one that waits
    /// for a node. `None` where that is not known.
    #[must_use]
    pub fn need(&self, vmi: &Vmi) -> Option<&PodNeed> {
        self.launchers.get(&key(vmi, &vmi.status.node_name))
    }

    /// What a node has, and what its pods of this priority or a higher one ask for; `None` where what it has is not known.
    #[must_use]
    pub fn of_node(&self, node: &str, priority: i64) -> Option<NodeSpace> {
        let of = self.allocatable.get(node)?.clone();
        let mut used = Amounts::new();
        for (_, asked) in self.asked.get(node).into_iter().flat_map(|by| by.range(priority..)) {
            add(&mut used, asked);
        }
        Some(NodeSpace { of, used })
    }

    /// What a node's room is for a pod, of which one of this guest may be there already: that one takes no room from it.
    #[must_use]
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

    /// Takes a guest's launcher off the node that the guest runs on.
    pub fn leave(&mut self, vmi: &Vmi) {
        let node = &vmi.status.node_name;
        let Some(need) = self.launchers.remove(&key(vmi, node)) else { return };
        let asked = self.asked.get_mut(node).and_then(|of_node| of_node.get_mut(&need.priority));
        for (resource, sum) in asked.into_iter().flatten() {
            *sum = sum.saturating_sub(need.amounts.get(resource).copied().unwrap_or(0));
        }
    }
}

/// A guest's launcher on a node.
fn key(vmi: &Vmi, node: &str) -> (String, String, String) {
    (vmi.metadata.namespace.clone(), vmi.metadata.name.clone(), node.to_owned())
}

/// Whether a node has room for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeRoomFor {
    /// It has, or what it has is not known.
    Enough,
    /// It has once pods of a lower priority are shut down.
    ByPreemption,
    /// It has not.
    Short(Shortage),
}

/// What a node has, and what is asked of it. What a node does not list it does not have: `fitsRequest` (`noderesources/fit.go`) takes 0
/// for it, whichever resource it is.
#[derive(Clone, Debug)]
pub struct NodeSpace {
    of: Amounts,
    used: Amounts,
}

impl NodeSpace {
    /// How much of a resource is free, in thousandths; less than 0 where more is asked for than there is.
    #[must_use]
    pub fn free(&self, resource: &str) -> i64 {
        let amount = |of: &Amounts| of.get(resource).copied().unwrap_or(0);
        amount(&self.of).saturating_sub(amount(&self.used))
    }

    /// The first resource of which the node has too little for a pod, once `gone` has left: the processor, the memory, then any
    /// other. `None` where there is room.
    #[must_use]
    pub(crate) fn shortage(&self, need: &PodNeed, gone: &Amounts) -> Option<Shortage> {
        let short = |(resource, &asked): (&String, &i64)| {
            let of = self.of.get(resource).copied().unwrap_or(0);
            let free = self.free(resource).saturating_add(gone.get(resource).copied().unwrap_or(0));
            (asked > 0 && asked > free).then(|| Shortage { resource: resource.clone(), free: free.max(0), of, asked })
        };
        let rank = |short: &Shortage| (short.resource != "cpu", short.resource != "memory", short.resource.clone());
        need.amounts.iter().filter_map(short).min_by_key(rank)
    }
}

/// Adds one sum to another.
pub(crate) fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        let known = sum.entry(resource.clone()).or_default();
        *known = known.saturating_add(*amount);
    }
}

fn most(of: &mut Amounts, other: &Amounts) {
    for (resource, amount) in other {
        let known = of.entry(resource.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

/// What a pod asks for: its containers and side-cars together, or an init container where that asks for more; or what the pod
/// itself says; and its overhead.
fn requests(spec: &PodRoomSpec) -> Amounts {
    let of = |container: &Container| container.resources.as_ref().and_then(|it| it.requests.as_ref()).map(amounts);
    let mut running = Amounts::new();
    for container in spec.containers.iter().flatten() {
        add(&mut running, &of(container).unwrap_or_default());
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container).unwrap_or_default();
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            most(&mut starting, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            most(&mut starting, &beside);
        }
    }
    add(&mut running, &sidecars);
    most(&mut running, &starting);
    if let Some(pod) = spec.resources.as_ref().and_then(|it| it.requests.as_ref()) {
        running.extend(amounts(pod));
    }
    add(&mut running, &spec.overhead.as_ref().map(amounts).unwrap_or_default());
    running
}

/// What a pod asks for, as the fields of the `spec` of a pod that asks for the same.
///
/// # Errors
///
/// Whatever `reader` says.
pub(crate) fn asked_by_pod<'a, R: Reader<'a>>(reader: &R) -> Result<Map<String, Value>, R::Error> {
    let spec = reader.read::<PodRoom>()?.spec.unwrap_or_default();
    let mut out = Map::new();
    out.insert("resources".to_owned(), json!({"requests": quantities(&requests(&spec))}));
    if let Some(priority) = spec.priority.filter(|priority| *priority != 0) {
        out.insert("priority".to_owned(), priority.into());
    }
    if let Some(policy) = spec.preemption_policy.filter(|policy| policy == NEVER) {
        out.insert("preemptionPolicy".to_owned(), policy.into());
    }
    Ok(out)
}

fn need(spec: &PodRoomSpec) -> PodNeed {
    let mut amounts = requests(spec);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_for_its_containers_and_side_cars_or_for_its_largest_init_container() {
        let spec: PodRoomSpec = serde_json::from_value(serde_json::json!({
            "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}, {"resources": {"requests": {"cpu": "500m"}}}],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
                {"resources": {"requests": {"memory": "3Gi", "cpu": "100m"}}},
            ],
            "overhead": {"memory": "1Gi"},
        }))
        .unwrap_or_default();
        let asked = requests(&spec);
        assert_eq!((asked["cpu"], asked["memory"]), (1750, 4000 << 30), "the scheduler would count otherwise");
    }
}
