//! A remedy that `explain` offers a guest as certain is among the acts of a drain: the least to do has no outage where
//! a remedy without one frees the guest.

use super::*;
use crate::answers::anti_affinity::Residents;
use crate::answers::drain::evicted::{EvictedGuest, EvictionEffect};
use crate::fit::remedy::{Action, Outage, Remedy};
use crate::testing::fleet::required;
use crate::testing::situation::Situation;

/// Returns the remedies of the one guest of a node that are certain, interrupt nothing and can be done at once; none if
/// other facts than labels decide about it, or if it can leave.
fn certain(world: &World, node: &str) -> Option<Vec<Action>> {
    let source = world.cluster.fleet.find(node)?;
    let kinds = DemandClasses::of(world);
    let mut here = world.cluster.vmis().filter(|vmi| !migration::has_ended(vmi) && vmi.status.node_name == node);
    let evicted = EvictedGuest::of(&kinds, here.next()?, source);
    let is_alone = here.next().is_none();
    let judged = is_alone && evicted.effect == EvictionEffect::Moves && evicted.fitting.is_empty();
    let prepared = evicted.prepared(world).filter(|_| judged)?;
    let unjudged = &prepared.subject.unjudged;
    // The required anti-affinity of other pods keeps it off nodes, too.
    if !Residents::of(world).kept_off_by_others(&[evicted.vmi]).is_empty() {
        return None;
    }
    if evicted.usable.is_some() || !unjudged.pod_rules.is_empty() || !unjudged.unplaced.is_empty() {
        return None;
    }
    let found = prepared.judge(&world.cluster, Depth::Full).findings;
    let all = found.into_iter().flat_map(|finding| finding.remedies).filter(|remedy| remedy.luck.is_none());
    // A cause of virt-handler that a person has to find is no act.
    let only_looks = |action: &Action| match action {
        Action::ChangeTogether(all) => all.parts.iter().any(|part| matches!(part, Action::FixVirtHandler(_))),
        action => action.commands(&prepared.subject).only_reads(),
    };
    let is_act = |remedy: &Remedy| {
        !matches!(remedy.action, Action::DropAddedSelector(_) | Action::AddNode(_) | Action::UpgradeKubeVirt(_))
            && !only_looks(&remedy.action)
            && remedy.action.outage(&prepared.subject) == Outage::None
    };
    Some(all.filter(is_act).map(|remedy| remedy.action).collect())
}

#[test]
fn a_certain_remedy_of_explain_is_no_worse_than_the_least_to_do() {
    let (mut guests, mut without_outage) = (0, std::collections::BTreeMap::<&str, usize>::new());
    for seed in (0..24_000).step_by(one_in()) {
        let situation = Situation::new(seed);
        let world = situation.world();
        let Some(node) = world.cluster.vmis().map(|vmi| vmi.status.node_name.clone()).find(|node| !node.is_empty())
        else {
            continue;
        };
        let remedies = certain(&world, &node).unwrap_or_default();
        let Some(first) = remedies.first() else { continue };
        let found = drained(&world, &node);
        // Other programs end its migration, or other pods take the room.
        if found.nodes[0].guests.iter().any(|guest| guest.state != State::Stuck || !guest.no_room.is_empty()) {
            continue;
        }
        guests += 1;
        *without_outage.entry(first.id().as_str()).or_default() += 1;
        let steps = found.least_to_do.as_deref();
        // A drain puts acts together itself, and fewer acts go before those without an outage.
        let most = if let Action::ChangeTogether(all) = first { all.parts.len() } else { 1 };
        let is_no_worse = |steps: &[LeastAct]| {
            let is_without = steps.iter().all(|step| step.outage == Outage::None);
            (1..most).contains(&steps.len()) || (steps.len() == most && is_without)
        };
        assert!(
            steps.is_some_and(is_no_worse),
            "seed {seed}: {:?} is enough and interrupts nothing, and the drain is to be freed by {steps:?}\n{}",
            first,
            situation.brief()
        );
    }
    assert!(guests >= at_least(200) && without_outage.len() >= at_least(5), "too few show it: {without_outage:?}");
}

/// The frozen labels of the guest's own node ask for more than the labels of its class.
#[test]
fn a_frozen_source_is_labelled_again_instead_of_a_restart() {
    let mut nodes: Vec<Node> = intel().into_iter().filter(|node| ["node-a", "node-c"].contains(&&*node.name)).collect();
    // No usable model of node-c proves that it has them.
    let lost = ["mds-no", "rdctl-no"];
    take(of(&mut nodes, "node-c"), &lost.map(feature));
    take(of(&mut nodes, "node-c"), &lost.map(required));
    of(&mut nodes, "node-a").skip_node = Some("true".to_owned());
    let guests = ["db", "erp"].map(|name| vmi(live(running(name, "node-a", "host-model"))));
    let found = drained(&world(nodes, guests), "node-a");
    assert_eq!(found.nodes[0].count(State::Stuck), 2, "the case is another one: {found:?}");
    assert_eq!(
        commands(&found).map(|all| all.len()),
        Some(1),
        "two guests would be restarted where one annotation is in the way: {:?}",
        found.least_to_do
    );
    let step = &found.least_to_do.as_ref().expect("an act")[0];
    assert_eq!((step.id, step.outage), ("remove-skip-node", Outage::None), "{step:?}");
    assert!(!step.summary.contains("shop/"), "it changes the node for all of its guests: {}", step.summary);
}
