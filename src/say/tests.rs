//! The texts of the user stories: short, exact, each line with the name of its object and no line truncated.

mod obstacles;

use insta::assert_snapshot;
use serde_json::Value;

use crate::admission::Webhook;
use crate::admission::response::{Decision, WARNING_CHARS, WARNINGS, lines};
use crate::admission::review;
use crate::fit::check;
use crate::fit::node::Node;
use crate::fit::remedy;
use crate::fit::verdict::Impact;
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::{Dial, Policy};
use crate::review::{ReviewContext, answer};
use crate::testing::Tweak;
use crate::testing::cluster::{launcher, migration, running, vm, vmi, world};
use crate::testing::fleet::{CASCADE_LAKE, COMMON, SKYLAKE, TSX, cordon, feature, intel, known, mixed, of, set, take};
use crate::testing::objects::create;
use crate::world::World;

/// Returns the answer to the API server about an object that a person creates in namespace `shop`.
fn answer_to(world: &World, object: &Value) -> Decision {
    let review = create(object, "kubernetes-admin").to_string();
    let request = review::decode(review.as_bytes()).expect("a review");
    let decision = answer(&ReviewContext::new(world), Webhook::Validate, &request).expect("an answer").decision;
    assert!(decision.warnings().len() <= WARNINGS, "the API server drops the rest");
    for line in decision.warnings() {
        assert!(line.chars().count() <= WARNING_CHARS, "it is cut: {line}");
        assert!(line.contains("shop/"), "kubectl prints equal lines once, so each names its object: {line}");
        assert!(!line.contains(char::is_control), "the whole warning would vanish: {line:?}");
    }
    decision
}

/// Returns a guest on node-a that migrated before, from a similar node, with more features than are offered now.
fn migrated(name: &str, more: &[&str]) -> Vec<ClusterObject> {
    let guest = running(name, "node-a", "host-model");
    let features = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX, more].concat();
    let keys = features.into_iter().map(feature).chain([known("Cascadelake-Server")]);
    let launcher = launcher(&guest, keys);
    vec![vmi(guest), launcher]
}

/// Story 1: a check before the migration, with kubectl only.
#[test]
fn a_migration_that_a_cordon_stops() {
    let nodes = intel().tweak(|nodes| {
        take(of(nodes, "node-c"), &[feature("fpu"), feature("vme")]);
        cordon(of(nodes, "node-d"));
    });
    let decision = answer_to(&world(nodes, migrated("db", &[])), &migration("db"));
    assert_snapshot!(decision.warnings().join("\n"), @r"
    cpufit: shop/db cannot migrate now: none of the 4 other nodes meets its selector and is free
    cpufit: shop/db: node-d fits but is cordoned; next is node-c, which lacks cpu-feature fpu, vme (drifted labels, probably)
    cpufit: shop/db: cheapest remedy: kubectl uncordon node-d. All remedies: kubectl cpufit explain vmi/db -n shop
    ");
}

/// Story 3: an enforced policy with a readable denial.
#[test]
fn a_denial_names_the_guest_the_node_and_the_label() {
    let policy = Policy { name: "intel-pool".to_owned(), enforce: Dial::From(Impact::Pinned), ..Policy::builtin() };
    let world = World { policies: vec![policy], ..world(intel(), migrated("ledger", &["amd-stibp"])) };
    let Decision::Deny { denial, .. } = answer_to(&world, &migration("ledger")) else { panic!("admitted") };
    let lines: Vec<String> = lines(&denial).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= WARNING_CHARS), "{lines:#?}");
    assert!(lines[0].contains("shop/ledger"), "KubeVirt's controllers show this line alone: {}", lines[0]);
    assert_snapshot!(lines.join("\n"), @r"
    shop/ledger cannot migrate: no node offers cpu-feature amd-stibp, which its selector requires (policy intel-pool)
      node-c lacks 1: cpu-feature amd-stibp
      node-d lacks 1: cpu-feature amd-stibp
      node-e lacks 3: cpu-feature amd-stibp, hle, rtm
      what helps: kubectl cpufit explain vmi/ledger -n shop
    ");
}

/// Story 5: the start node of a host-model guest decides where it can go.
#[test]
fn a_vm_whose_start_node_decides() {
    let decision = answer_to(&world(mixed(), Vec::new()), &vm("report", ""));
    assert_snapshot!(decision.warnings().join("\n"), @r"
    cpufit: shop/report uses host-model: if it starts on node-e it can never migrate; from amd-1, amd-2, amd-3 and 3 more to 2 nodes; from node-b to 4 nodes
    cpufit: shop/report: in the manifest set spec.template.spec.domain.cpu.model to Skylake-Server-noTSX-IBRS, and it could go to 4 nodes from anywhere
    ");
}

/// A named model that one node can run: the missing labels are named, and the model that would free it.
#[test]
fn a_vm_is_offered_a_model_that_runs_on_more_nodes() {
    let decision = answer_to(&world(mixed(), Vec::new()), &vm("web", "Icelake-Server-noTSX"));
    assert_snapshot!(decision.warnings().join("\n"), @r"
    cpufit: shop/web can start on node-e alone, and could never leave it
    cpufit: shop/web: nearest is amd-1, which lacks cpu-model Icelake-Server-noTSX
    cpufit: shop/web: in the manifest set spec.template.spec.domain.cpu.model to Skylake-Server-noTSX-IBRS, and it could go to 4 nodes from anywhere
    cpufit: shop/web: CPU model Icelake-Server-noTSX leaves out 7 of 8 nodes that could take the guest (amd-1, amd-2, amd-3 and 4 more); it is asked for by spec.template.spec.domain.cpu.model of the VM
    ");
}

/// A guest with the longest names that Kubernetes allows, which lacks everything: no line may be truncated.
#[test]
fn long_names_are_still_reported() {
    let name = "a".repeat(63);
    let long = |at: usize| format!("{}-{at}", "n".repeat(60));
    let nodes: Vec<Node> = (0..4)
        .map(|at| {
            crate::testing::fleet::rome(&long(at)).tweak(|node| {
                set(node, "kubernetes.io/hostname", &long(at));
                if at > 1 {
                    cordon(node);
                }
            })
        })
        .chain(intel())
        .collect();
    let decision = answer_to(&world(nodes, migrated(&name, &["amd-stibp"])), &migration(&name));
    assert!(decision.warnings().first().is_some_and(|line| line.contains("cannot migrate")), "{decision:#?}");
}

/// A truncated command is a different command, and its quotes may stay open.
#[test]
fn a_command_is_whole_or_left_out() {
    let nodes = intel().tweak(|nodes| {
        take(of(nodes, "node-c"), &[feature("fpu")]);
        cordon(of(nodes, "node-d"));
    });
    let mut found = Vec::new();
    for length in [1, 40, 80, 120, 160, 200, 253] {
        let name = "a".repeat(length);
        let review = create(&migration(&name), "kubernetes-admin").to_string();
        let request = review::decode(review.as_bytes()).expect("a review");
        let world = world(nodes.clone(), migrated(&name, &[]));
        let decision = answer(&ReviewContext::new(&world), Webhook::Validate, &request).expect("an answer").decision;
        for line in decision.warnings() {
            let commands = line.matches("kubectl ").count();
            let whole = line.matches("kubectl uncordon node-d").count()
                + usize::from(line.ends_with(&format!("kubectl cpufit explain vmi/{name} -n shop")));
            assert_eq!(commands, whole, "{line}");
            found.push(commands);
        }
    }
    assert!(found.contains(&2) && found.contains(&1), "no command was tried: {found:?}");
}

/// An object that fits is admitted without a warning.
#[test]
fn a_guest_that_fits_gets_no_text() {
    assert_eq!(answer_to(&world(mixed(), Vec::new()), &vm("web", "EPYC-Rome")), Decision::admit());
}

#[test]
fn the_manual_lists_every_check_and_every_remedy() {
    let manual = include_str!("../../docs/json.md");
    let checks = check::ALL.iter().map(|spec| (spec.word, spec.doubt.is_some()));
    let remedies = remedy::ALL.iter().map(|spec| (spec.word, false));
    for (word, doubts) in checks.chain(remedies) {
        let row = format!("| `{word}` {}", if doubts { "\u{2020} |" } else { "|" });
        assert!(manual.contains(&row), "docs/json.md has no row {row}");
    }
}
