//! Faults of nodes.

use proptest::prelude::*;
use proptest::sample::select;

use super::{FAST, SLOW, ZONE};
use crate::fit::label;
use crate::fit::node::Node;
use crate::testing::Tweak;
use crate::testing::fleet::{cordon, feature, give, machine, required, set, taint, take, tsc};

/// The faults of one node.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
pub(super) struct Damage {
    /// Feature labels that are missing.
    pub lost: Vec<&'static str>,
    /// Whether they are missing from the host model's labels too.
    pub host_model_too: bool,
    pub cordoned: bool,
    pub tainted: bool,
    pub unwell: bool,
    pub frozen: bool,
    pub machine_types: &'static [&'static str],
    pub zone: &'static str,
    pub unlabelled: bool,
    pub slow_clock: bool,
}

/// Draws the faults of a node.
pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let rarely = prop::bool::weighted;
    let lost = prop_oneof![
        5 => Just(Vec::new()),
        3 => prop::collection::vec(select(&["fpu", "vme", "avx512vnni", "hle"][..]), 1..3)
    ];
    let types = select(vec![&["q35", "pc-q35-9.2"][..], &["q35", "pc-q35-9.2"], &["pc-q35-9.2"], &["q35"]]);
    let states = (rarely(0.3), rarely(0.15), rarely(0.2), rarely(0.3), rarely(0.05), rarely(0.2));
    (lost, rarely(0.3), types, select(&["z1", "z1", "z2"][..]), states).prop_map(
        |(lost, host_model_too, machine_types, zone, (cordoned, tainted, unwell, frozen, unlabelled, slow_clock))| {
            // A frozen node has a reason for it.
            let lost = if frozen && lost.is_empty() { vec!["vme"] } else { lost };
            Damage {
                lost,
                host_model_too,
                cordoned,
                tainted,
                unwell,
                frozen,
                machine_types,
                zone,
                unlabelled,
                slow_clock,
            }
        },
    )
}

/// Returns a node with these faults.
pub(super) fn damaged(node: &Node, damage: &Damage) -> Node {
    node.clone().tweak(|node| {
        let lost: Vec<String> = damage.lost.iter().map(|name| feature(name)).collect();
        take(node, &lost);
        if damage.host_model_too {
            let lost: Vec<String> = damage.lost.iter().map(|name| required(name)).collect();
            take(node, &lost);
        }
        if node.labels.contains_key(&machine("q35")) {
            take(node, &[machine("q35"), machine("pc-q35-9.2")]);
            give(node, damage.machine_types.iter().map(|name| machine(name)));
        }
        let clock = if damage.slow_clock { SLOW } else { FAST };
        set(node, label::TSC_FREQUENCY, &clock.to_string());
        give(node, [tsc(clock)]);
        set(node, label::CPU_MANAGER, if damage.slow_clock { "false" } else { "true" });
        set(node, ZONE, damage.zone);
        set(node, label::SEV, "");
        if damage.cordoned {
            cordon(node);
        }
        if damage.tainted {
            node.taints.push(taint("dedicated"));
        }
        if damage.unwell {
            set(node, label::SCHEDULABLE, "false");
        }
        node.skip_node = damage.frozen.then(|| "false".to_owned());
        if damage.unlabelled {
            node.labels.retain(|key, _| !label::Family::of(key).is_cpu());
        }
    })
}
