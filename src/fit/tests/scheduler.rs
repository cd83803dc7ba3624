//! Tests of the fleet's set algebra against the scheduler's filters, implemented a second time, node by node.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label::Family;
use crate::fit::node::{Effect, Node, Taint};
use crate::fit::placement::{
    Expression, NameRule, NodeSelector, Placement, Term, Toleration, TolerationOperator as Compares,
};
use crate::testing::thorough::one_in;

/// Keys of every kind that the fleet indexes separately: of profiles, of nodes, and those set by virt-handler.
const KEYS: [&str; 14] = [
    "cpu-feature.node.kubevirt.io/fpu",
    "cpu-feature.node.kubevirt.io/vme",
    "cpu-model.node.kubevirt.io/Haswell",
    "cpu-model-migration.node.kubevirt.io/Haswell",
    "cpu-vendor.node.kubevirt.io/Intel",
    "host-model-cpu.node.kubevirt.io/Haswell",
    "host-model-required-features.node.kubevirt.io/fpu",
    "cpu-timer.node.kubevirt.io/tsc-frequency",
    "scheduling.node.kubevirt.io/tsc-frequency-2100000000",
    "machine-type.node.kubevirt.io/q35",
    "kubevirt.io/schedulable",
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "rack",
];
const VALUES: [&str; 9] = ["true", "true", "true", "false", "", "1", "-3", "0007", "x.y_z"];
/// Values in selectors and conditions: some are no label values, some no integers.
const ASKED: [&str; 13] =
    ["true", "true", "false", "", "1", "-3", "+2", "0007", "x.y_z", "1.5", "-", "a b", "9223372036854775808"];
const OPERATORS: [&str; 7] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Near"];
const CORDON: &str = "node.kubernetes.io/unschedulable";
const TAINTS: [&str; 4] = ["dedicated", "example.com/gpu", "node.kubernetes.io/not-ready", CORDON];
const EFFECTS: [Effect; 3] = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];

/// A condition in the API's form: key, operator, values.
type Raw = (String, String, Vec<String>);

/// A pod's demand in the API's form.
#[derive(Clone, Debug)]
struct Demand {
    selector: BTreeMap<String, String>,
    /// The terms: conditions on labels, conditions on fields.
    affinity: Option<Vec<(Vec<Raw>, Vec<Raw>)>>,
    tolerations: Vec<Toleration>,
    node_name: Option<String>,
}

impl Demand {
    fn placement(&self) -> Placement<'static> {
        let name_rule = |(key, operator, values): &Raw| match (key.as_str(), operator.as_str(), values.as_slice()) {
            ("metadata.name", "In", [name]) => NameRule::Is(name.clone()),
            ("metadata.name", "NotIn", [name]) => NameRule::IsNot(name.clone()),
            _ => NameRule::Invalid,
        };
        let terms = |terms: &Vec<(Vec<Raw>, Vec<Raw>)>| NodeSelector {
            terms: terms
                .iter()
                .map(|(labels, fields)| Term {
                    expressions: labels
                        .iter()
                        .map(|(key, operator, values)| Expression::new(key.clone(), operator, values.clone()))
                        .collect(),
                    names: fields.iter().map(name_rule).collect(),
                })
                .collect(),
        };
        Placement {
            selector: self
                .selector
                .iter()
                .map(|(key, value)| (Cow::Owned(key.clone()), Cow::Owned(value.clone())))
                .collect(),
            affinity: self.affinity.as_ref().map(|affinity| terms(affinity).into()),
            tolerations: self.tolerations.iter().cloned().collect(),
            node_name: self.node_name.clone().map(Cow::Owned),
        }
    }
}

/// The node filters of kube-scheduler, written from its source without regard to cost.
mod naive {
    use super::{CORDON, Compares, Demand, Effect, Node, Raw, Taint, Toleration};

    pub(super) fn fits(node: &Node, demand: &Demand) -> bool {
        node_name(node, demand)
            && node_unschedulable(node, demand)
            && node_affinity(node, demand)
            && taint_toleration(node, demand)
    }

    fn node_name(node: &Node, demand: &Demand) -> bool {
        demand.node_name.as_ref().is_none_or(|wanted| wanted.is_empty() || *wanted == node.name)
    }

    fn node_unschedulable(node: &Node, demand: &Demand) -> bool {
        let cordon = Taint { key: CORDON.to_owned(), value: String::new(), effect: Effect::NoSchedule };
        !node.cordoned || demand.tolerations.iter().any(|t| tolerates(t, &cordon))
    }

    fn node_affinity(node: &Node, demand: &Demand) -> bool {
        for (key, value) in &demand.selector {
            if node.labels.get(key) != Some(value) {
                return false;
            }
        }
        let Some(terms) = &demand.affinity else { return true };
        for (labels, fields) in terms {
            if labels.is_empty() && fields.is_empty() {
                continue;
            }
            if labels.iter().all(|raw| label_matches(node, raw)) && fields.iter().all(|raw| field_matches(node, raw)) {
                return true;
            }
        }
        false
    }

    fn label_matches(node: &Node, (key, operator, values): &Raw) -> bool {
        let legal = |value: &String| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            value.is_empty()
                || (value.len() < 64
                    && ends(value.chars().next())
                    && ends(value.chars().last())
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)))
        };
        if !values.iter().all(legal) {
            return false;
        }
        let label = node.labels.get(key);
        let compare = |by: fn(i64, i64) -> bool| -> bool {
            let [bound] = values.as_slice() else { return false };
            let (Some(bound), Some(value)) = (number(bound), label.and_then(|value| number(value))) else {
                return false;
            };
            by(value, bound)
        };
        match operator.as_str() {
            "In" => label.is_some_and(|value| values.contains(value)),
            "NotIn" => !values.is_empty() && !label.is_some_and(|value| values.contains(value)),
            "Exists" => values.is_empty() && label.is_some(),
            "DoesNotExist" => values.is_empty() && label.is_none(),
            "Gt" => compare(|value, bound| value > bound),
            "Lt" => compare(|value, bound| value < bound),
            _ => false,
        }
    }

    /// Parses like `strconv.ParseInt(text, 10, 64)`.
    fn number(text: &str) -> Option<i64> {
        let (sign, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (-1_i128, rest),
            [b'+', rest @ ..] | rest => (1, rest),
        };
        if digits.is_empty() {
            return None;
        }
        let mut value = 0_i128;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            value = (value * 10 + i128::from(digit - b'0')).min(i128::from(u64::MAX));
        }
        i64::try_from(sign * value).ok()
    }

    fn field_matches(node: &Node, (key, operator, values): &Raw) -> bool {
        let [name] = values.as_slice() else { return false };
        match operator.as_str() {
            "In" => key == "metadata.name" && *name == node.name,
            "NotIn" => key == "metadata.name" && *name != node.name,
            _ => false,
        }
    }

    fn taint_toleration(node: &Node, demand: &Demand) -> bool {
        node.taints
            .iter()
            .filter(|taint| taint.effect == Effect::NoSchedule || taint.effect == Effect::NoExecute)
            .all(|taint| demand.tolerations.iter().any(|t| tolerates(t, taint)))
    }

    fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
        (toleration.effect.is_none() || toleration.effect == Some(taint.effect))
            && (toleration.key.is_empty() || toleration.key == taint.key)
            && match toleration.operator {
                Compares::Exists => true,
                Compares::Equal => toleration.value == taint.value,
                Compares::Unknown => false,
            }
    }

    /// Returns the entries that the node does not have.
    pub(super) fn missing(node: &Node, demand: &Demand) -> Vec<(String, String)> {
        let lacks = |(key, value): &(&String, &String)| node.labels.get(*key) != Some(*value);
        demand.selector.iter().filter(lacks).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Sorts by number of missing entries, then by name; nodes with a taint set by a person come last.
    pub(super) fn nearest<'n>(
        nodes: impl Iterator<Item = &'n Node>,
        demand: &Demand,
        leave_out: Option<&str>,
        most: usize,
    ) -> Vec<&'n str> {
        let shut = |node: &Node| {
            node.taints.iter().any(|taint| {
                taint.effect != Effect::PreferNoSchedule
                    && !taint.key.starts_with("node.kubernetes.io/")
                    && !demand.tolerations.iter().any(|t| tolerates(t, taint))
            })
        };
        let mut all: Vec<(bool, usize, &str)> = nodes
            .filter(|node| Some(node.name.as_str()) != leave_out)
            .map(|node| (shut(node), missing(node, demand).len(), node.name.as_str()))
            .filter(|(_, count, _)| *count > 0)
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, _, name)| name).take(most).collect()
    }
}

fn taint() -> impl Strategy<Value = Taint> {
    (select(&TAINTS[..]), select(&["", "", "v"][..]), select(&EFFECTS[..])).prop_map(|(key, value, effect)| Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect,
    })
}

fn node(names: usize) -> impl Strategy<Value = Node> {
    let some = |keys: &'static [&'static str], most| {
        prop::collection::btree_map(select(keys), select(&VALUES[..]), 0..most).prop_map(|labels| {
            labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
        })
    };
    // A few kinds of hardware that most nodes share, and the labels that differ between nodes.
    let kind = select(vec![
        vec![],
        vec![0, 4, 5, 6],
        vec![0, 1, 2, 3, 4, 5, 6],
        vec![0, 1, 2, 3, 4, 5, 6],
        vec![0, 1, 2, 3, 4, 5, 6, 7, 9, 10],
    ]);
    let state = (
        prop::collection::vec(taint(), 0..3),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.1, select(&["", "true", "false"][..])),
    );
    (0..names, kind, some(&KEYS[..7], 2), some(&KEYS[7..], 5), prop::bool::weighted(0.6), state).prop_map(
        |(name, kind, of_kind, own, clean, (taints, cordoned, not_ready, skip_node))| {
            let mut labels: BTreeMap<String, String> =
                kind.into_iter().map(|key: usize| (KEYS[key].to_owned(), "true".to_owned())).collect();
            labels.extend(of_kind);
            labels.extend(own);
            Node {
                name: format!("n{name}"),
                uid: String::new(),
                created: 0,
                labels,
                taints: if clean { Vec::new() } else { taints },
                cordoned,
                not_ready,
                skip_node: skip_node.map(str::to_owned),
                unread: None,
            }
        },
    )
}

fn raw(keys: &'static [&'static str], asked: &'static [&'static str]) -> impl Strategy<Value = Raw> {
    let words = (select(keys), select(&OPERATORS[..]), prop::collection::vec(select(asked), 0..3));
    words.prop_map(|(key, operator, mut values)| {
        // Usually the number of values fits the operator.
        if operator.ends_with("ist") || operator == "Exists" {
            values.truncate(usize::from(values.len() > 1));
        } else if values.is_empty() {
            values.push("true");
        }
        (key.to_owned(), operator.to_owned(), values.into_iter().map(str::to_owned).collect())
    })
}

fn toleration() -> impl Strategy<Value = Toleration> {
    let operators = [Compares::Equal, Compares::Exists, Compares::Exists, Compares::Unknown];
    let effect = prop::option::of(select(&EFFECTS[..]));
    let key = prop_oneof![1 => Just(""), 4 => select(&TAINTS[..])];
    (key, select(operators.to_vec()), select(&["", "v"][..]), effect).prop_map(|(key, operator, value, effect)| {
        Toleration { key: key.to_owned(), operator, value: value.to_owned(), effect }
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    const NAMES: [&str; 4] = ["n1", "n2", "n5", "nowhere"];
    let labels = prop::collection::vec(raw(&KEYS, &ASKED), 0..3);
    let fields = prop::collection::vec(raw(&["metadata.name", "metadata.name", "spec.other"], &NAMES), 0..2);
    let fields = prop_oneof![3 => Just(Vec::new()), 1 => fields];
    let terms = prop::collection::vec((labels, fields), 0..4);
    (
        prop::collection::btree_map(select(&KEYS[..]), select(&VALUES[..6]), 0..6),
        prop::option::weighted(0.5, terms),
        prop::collection::vec(toleration(), 0..4),
        prop::option::weighted(0.1, select(&["", "n1", "n2", "nowhere"][..])),
    )
        .prop_map(|(selector, affinity, tolerations, node_name)| Demand {
            selector: selector.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            affinity,
            tolerations,
            node_name: node_name.map(str::to_owned),
        })
}

/// Generates a fleet, a demand, and the number of nearest nodes to find.
fn fleets_and_demands(
    names: usize,
    nodes: std::ops::Range<usize>,
) -> impl Strategy<Value = (Vec<Node>, Demand, usize)> {
    (prop::collection::vec(node(names), nodes), demand(), 0_usize..5)
}

/// Checks all answers of the fleet about a demand, node by node.
fn agree(nodes: &[Node], demand: &Demand, most: usize) -> Result<(), TestCaseError> {
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let fleet = Fleet::new(nodes.to_vec());
    prop_assert_eq!(fleet.len(), by_name.len(), "of two nodes with one name the later counts");
    let placement = demand.placement();
    let lookup = fleet.look_up(&placement);
    let passes = lookup.passes();

    let fitting: Vec<&str> = by_name.values().filter(|n| naive::fits(n, demand)).map(|n| n.name.as_str()).collect();
    let mut sorted = fitting.clone();
    sorted.sort_unstable();
    prop_assert_eq!(fleet.names(&passes.fitting), sorted, "a guest is promised a node, or denied one, wrongly");
    for (name, node) in &by_name {
        let index = fleet.find(name).expect("every node is found by its name");
        prop_assert_eq!(
            lookup.refusal(index).is_none(),
            naive::fits(node, demand),
            "{}: the table of nodes contradicts the verdict: {:?}",
            name,
            lookup.refusal(index)
        );
        prop_assert_eq!(lookup.missing(index), naive::missing(node, demand), "{}: wrong labels would be added", name);
        prop_assert!(!passes.fitting.contains(index) || passes.placement.contains(index));
        prop_assert!(
            !passes.placement.contains(index) || passes.cpu.contains(index),
            "{}: the cause would be called structural though the CPU fits",
            name
        );
        let cpu_lacks = naive::missing(node, demand).iter().any(|(key, _)| Family::of(key).is_cpu());
        prop_assert!(!(cpu_lacks && passes.cpu.contains(index)), "{}: a lack of CPU labels would be overlooked", name);
    }
    for leave_out in [None, Some("n1"), Some("n2")] {
        let source = leave_out.and_then(|name| fleet.find(name));
        let mut among = Bits::all(fleet.len());
        if let Some(node) = source {
            among.remove(node);
        }
        let found: Vec<&str> = lookup.nearest(&among, most).into_iter().map(|node| fleet.name(node)).collect();
        let expected = naive::nearest(by_name.values().copied(), demand, leave_out, most);
        prop_assert_eq!(found, expected, "people are sent to a node that lacks more than another, or to the source");
    }
    Ok(())
}

/// Checks that the nodes are read back unchanged, by every accessor.
fn keeps(nodes: &[Node]) -> Result<(), TestCaseError> {
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let fleet = Fleet::new(nodes.to_vec());
    for (name, node) in &by_name {
        let index = fleet.find(name).expect("every node is found by its name");
        let mut expected = (*node).clone();
        expected.taints.sort_unstable();
        prop_assert_eq!(fleet.node(index), expected, "a remedy would edit another node than there is");
        for key in KEYS {
            prop_assert_eq!(fleet.label(index, key), node.labels.get(key).map(String::as_str), "{} of {}", key, name);
        }
        prop_assert_eq!(fleet.not_ready().contains(index), node.not_ready);
        prop_assert_eq!(fleet.skip_node(index), node.skip_node.as_deref());
    }
    for (key, value) in KEYS.iter().flat_map(|key| ["true", "false", "", "1", "absent"].map(|value| (key, value))) {
        let has = |node: &&&Node| node.labels.get(*key).is_some_and(|found| found == value);
        let bearing = fleet.bearing(key, value);
        let names: Vec<&str> = by_name.values().filter(has).map(|node| node.name.as_str()).collect();
        prop_assert_eq!(fleet.names(&bearing), names, "{}={}: a remedy would count wrong nodes", key, value);
    }
    let again = fleet.with(Vec::new());
    prop_assert_eq!(again.profiles(), fleet.profiles(), "rebuilding a fleet must not change it");
    let everyone = fleet.split_by_class(&crate::fit::bits::Bits::all(fleet.len()));
    let members: usize = everyone.iter().map(|(_, nodes)| nodes.count()).sum();
    prop_assert_eq!(members, fleet.len(), "a start node of no class would never be judged");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600 / one_in() as u32))]

    #[test]
    fn small_fleets_agree_with_the_schedulers_filters((nodes, demand, most) in fleets_and_demands(12, 0..12)) {
        agree(&nodes, &demand, most)?;
    }

    #[test]
    fn a_fleet_keeps_all_labels_of_its_nodes(nodes in prop::collection::vec(node(40), 0..50)) {
        keeps(&nodes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60 / one_in() as u32))]

    /// Sets of more than 64 nodes take several words, and rare labels are stored as lists.
    #[test]
    fn large_fleets_agree_with_the_schedulers_filters((nodes, demand, most) in fleets_and_demands(400, 60..200)) {
        agree(&nodes, &demand, most)?;
    }
}
