//! How much of a node is free: what it can give, and what its pods ask for.
//!
//! Mirrors the scheduler's plugin `NodeResourcesFit` and `PodRequests` (`k8s.io/component-helpers/resource/helpers.go`). It is read
//! from dumps and on demand, for the verbs that say room; the webhook holds no pods but launchers.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Meta, Reader, Vmi, is_final};
use crate::bounds::{Excess, Measured};
use crate::policy::{API_VERSION, LabelCondition, LabelSelector};

/// Resources by name, in thousandths: of a core, of a byte, of a piece.
pub(crate) type Amounts = BTreeMap<String, i64>;

/// How many pods a node takes, as a resource.
const PODS: &str = "pods";

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
    /// The pods on nodes that are no guest's; of a snapshot, those that bear on a guest.
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
    /// Its priority: it may take the place of pods of a lower one.
    pub priority: i64,
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

/// A resource of which a node has too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// `cpu`, `memory`, ….
    pub resource: String,
    /// How much is free, in thousandths.
    pub free: i64,
    /// Of so much.
    pub of: i64,
    /// How much is asked for.
    pub asked: i64,
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
        overhead: BTreeMap<String, Value>, resources: Resources, priority: i64, affinity: PodRoomAffinity,
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
            ("policy", "PodDisruptionBudget") => self.budget(reader.read()?),
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
        if node.is_empty() || is_final(&phase) {
            return;
        }
        if !self.seen.insert(("pod", metadata.namespace.clone(), metadata.name.clone())) {
            return;
        }
        let priority = spec.priority.unwrap_or_default();
        let mut asked = requests(&spec);
        asked.insert(PODS.to_owned(), 1000);
        let sum = self.asked.entry(node.clone()).or_default().entry(priority).or_default();
        add(sum, &asked);
        let owned_by = |kind: &str| metadata.owner_references.iter().find(|owner| owner.kind.ends_with(kind));
        if let Some(owner) = owned_by("VirtualMachineInstance") {
            let key = (metadata.namespace, owner.name.clone(), node);
            self.launchers.insert(key, PodNeed { amounts: asked, priority });
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

    /// What the migration target of a guest asks for: what its launcher does; `None` where that is not known.
    #[must_use]
    pub fn need(&self, vmi: &Vmi) -> Option<&PodNeed> {
        self.launchers.get(&key(vmi, &vmi.status.node_name))
    }

    /// What a node has, and what its pods ask for that a pod of this priority must leave in their place; `None` where what it
    /// has is not known.
    #[must_use]
    pub fn of_node(&self, node: &str, priority: i64) -> Option<NodeSpace> {
        let of = self.allocatable.get(node)?.clone();
        let mut used = Amounts::new();
        for (_, asked) in self.asked.get(node).into_iter().flat_map(|by| by.range(priority..)) {
            add(&mut used, asked);
        }
        Some(NodeSpace { of, used })
    }

    /// Why a node has no room for a guest's migration; `None` where it has, or nothing is known of it. A target pod of the guest that
    /// is there already takes no room from it.
    #[must_use]
    pub(crate) fn shortage(&self, node: &str, vmi: &Vmi) -> Option<Shortage> {
        let (need, nobody) = (self.need(vmi)?, Amounts::new());
        let own = self.launchers.get(&key(vmi, node)).map_or(&nobody, |own| &own.amounts);
        self.of_node(node, need.priority)?.shortage(need, &nobody, own)
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

/// What a node has, and what is asked of it.
#[derive(Clone, Debug)]
pub struct NodeSpace {
    of: Amounts,
    used: Amounts,
}

impl NodeSpace {
    /// How much of a resource is free, in thousandths; `None` where the node does not list it.
    #[must_use]
    pub fn free(&self, resource: &str) -> Option<i64> {
        let of = *self.of.get(resource)?;
        Some(of.saturating_sub(self.used.get(resource).copied().unwrap_or(0)))
    }

    /// The first resource of which the node has too little for a pod, once others have come there: the processor, the memory,
    /// then any other. `None` where there is room, or it is not known.
    #[must_use]
    pub(crate) fn shortage(&self, need: &PodNeed, come: &Amounts, gone: &Amounts) -> Option<Shortage> {
        let amount = |of: &Amounts, resource: &str| of.get(resource).copied().unwrap_or(0);
        let short = |(resource, &asked): (&String, &i64)| {
            // What a node does not list it does not have; of that nothing is known in a dump that was cut down.
            let of = *self.of.get(resource)?;
            let of_others = amount(come, resource) - amount(gone, resource);
            let free = of.saturating_sub(amount(&self.used, resource)).saturating_sub(of_others);
            (asked > 0 && asked > free).then(|| Shortage { resource: resource.clone(), free: free.max(0), of, asked })
        };
        let rank = |short: &Shortage| (short.resource != "cpu", short.resource != "memory", short.resource.clone());
        need.amounts.iter().filter_map(short).min_by_key(rank)
    }
}

impl Shortage {
    /// `2 of 64 cores free`, `3 of 256 GiB of memory free`.
    #[must_use]
    pub(crate) fn words(&self) -> String {
        let Self { resource, free, of, .. } = self;
        match resource.as_str() {
            "cpu" => format!("{} of {} cores free", cores(*free), cores(*of)),
            "memory" => format!("{} of {} GiB of memory free", gib(*free), gib(*of)),
            PODS if *of == 1000 => "it takes 1 pod and has it".to_owned(),
            PODS => format!("it takes {} pods and has them", of / 1000),
            other => format!("{} of {} {other} free", free / 1000, of / 1000),
        }
    }

    /// `8 cores`, `16 GiB of memory`.
    #[must_use]
    pub(crate) fn wanted(&self) -> String {
        match self.resource.as_str() {
            "cpu" => format!("{} cores", cores(self.asked)),
            "memory" => format!("{} GiB of memory", gib(self.asked)),
            PODS if self.asked == 1000 => "1 pod".to_owned(),
            other => format!("{} {other}", self.asked / 1000),
        }
    }
}

fn cores(thousandths: i64) -> String {
    decimal(thousandths, 1000)
}

fn gib(thousandths: i64) -> String {
    decimal(thousandths, 1000 << 30)
}

/// One digit behind the point, cut off, and none where it is 0.
fn decimal(value: i64, unit: i64) -> String {
    let tenths = i128::from(value) * 10 / i128::from(unit);
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
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

/// What a pod asks for, as `spec.resources` and `spec.priority` of a pod that asks for the same.
///
/// # Errors
///
/// Whatever `reader` says.
pub(crate) fn asked_by_pod<'a, R: Reader<'a>>(reader: &R) -> Result<(Value, i64), R::Error> {
    let spec = reader.read::<PodRoom>()?.spec.unwrap_or_default();
    Ok((json!({"requests": quantities(&requests(&spec))}), spec.priority.unwrap_or_default()))
}

/// As the API has them.
fn quantities(amounts: &Amounts) -> BTreeMap<&str, String> {
    let quantity = |thousandths: i64| match thousandths % 1000 {
        0 => (thousandths / 1000).to_string(),
        _ => format!("{thousandths}m"),
    };
    amounts.iter().map(|(resource, amount)| (resource.as_str(), quantity(*amount))).collect()
}

/// What can be read of it; the API server takes nothing else.
fn amounts(wire: &BTreeMap<String, Value>) -> Amounts {
    let amount = |(resource, value): (&String, &Value)| Some((resource.clone(), quantity_of(value)?));
    wire.iter().filter_map(amount).collect()
}

/// Whether a value is a quantity of the API.
#[must_use]
pub(crate) fn is_quantity(value: &Value) -> bool {
    quantity_of(value).is_some()
}

fn quantity_of(value: &Value) -> Option<i64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    quantity(&text)
}

/// A quantity in thousandths, rounded up. Mirrors `ParseQuantity` of `k8s.io/apimachinery/pkg/api/resource`.
fn quantity(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let tens = |power: u32| 10_i128.checked_pow(power);
    let scale = tens(u32::try_from(fraction.len()).ok()?)?;
    // Numerator and denominator of what the suffix stands for.
    let (up, down) = match suffix {
        "n" => (1, tens(9)?),
        "u" => (1, tens(6)?),
        "m" => (1, tens(3)?),
        "" => (1, 1),
        "k" => (tens(3)?, 1),
        "M" => (tens(6)?, 1),
        "G" => (tens(9)?, 1),
        "T" => (tens(12)?, 1),
        "P" => (tens(15)?, 1),
        "E" => (tens(18)?, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1_i128 << 40, 1),
        "Pi" => (1_i128 << 50, 1),
        "Ei" => (1_i128 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = tens(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    };
    let (above, below) = (digits.checked_mul(up)?.checked_mul(1000)?, scale.checked_mul(down)?);
    Some(i64::try_from((above + below - 1) / below).unwrap_or(i64::MAX))
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
    use rstest::rstest;

    #[rstest]
    #[case::cores("2", Some(2000))]
    #[case::a_tenth("100m", Some(100))]
    #[case::with_a_point("1.5", Some(1500))]
    #[case::never_a_rounding_fault("1.1", Some(1100))]
    #[case::rounded_up("1n", Some(1))]
    #[case::binary("16Gi", Some(16_000 << 30))]
    #[case::decimal("129M", Some(129_000_000_000))]
    #[case::exponent("12e3", Some(12_000_000))]
    #[case::exa("1E", Some(i64::MAX))]
    #[case::a_word("many", None)]
    #[case::nothing("", None)]
    fn quantities_are_read_as_kubernetes_reads_them(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(quantity(text), expected, "{text}");
    }

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
