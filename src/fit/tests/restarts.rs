//! Tests of the risk of a restart: the CPU that the guest has then, beside the one that it has now.

use rstest::rstest;

use crate::fit::fleet::Fleet;
use crate::fit::placement::Placement;
use crate::fit::remedy::{Action, Restart};
use crate::fit::subject::{AfterStart, CpuFeatures, CpuMode, HostModelRule, Migration, Stage, Start, Subject};
use crate::testing::Tweak;
use crate::testing::fleet::{cascade_lake, skylake};

const NAMED: &str = "Skylake-Server-noTSX-IBRS";
const OTHER: &str = "the guest sees another CPU";
const FEATURES: &str = "the guest sees other CPU features";
const BOUND: &str = "it is bound again, to the host model of the node where it starts";
const OPTIONAL: &str = "an optional feature binds it to the nodes that have it, if it starts on one";

/// Parses `Haswell +aes !rtm -hle #svm ?vmx`: the model, then features that are required, forced, disabled, forbidden
/// and optional.
fn cpu(text: &str) -> (CpuMode, CpuFeatures) {
    let (mut mode, mut features) = (CpuMode::Unset, CpuFeatures::default());
    for word in text.split(' ') {
        let name = word[1..].to_owned();
        match word.as_bytes()[0] {
            b'+' => features.required.push(name),
            b'!' => features.forced.push(name),
            b'-' => features.disabled.push(name),
            b'#' => features.forbidden.push(name),
            b'?' => features.optional.push(name),
            _ => mode = CpuMode::parse(word),
        }
    }
    (mode, features)
}

/// Builds a guest that runs with one CPU and gets another at its next start.
fn guest(now: &str, then: &str) -> Subject<'static> {
    let stage = Stage::Migration(Migration { source: Some("node-a".to_owned()), ..Migration::default() });
    Subject::new("shop", "db", stage, Placement::default()).tweak(|subject| {
        (subject.mode, subject.features) = cpu(now);
        let (mode, features) = cpu(then);
        let after_start = AfterStart { host_model: HostModelRule::NotAsked, vendor: false };
        let placement = Placement::default();
        subject.restart =
            Some(Start { mode, placement, own_models: Vec::new(), features, by_policy: None, after_start });
    })
}

#[rstest]
#[case::host_model("host-model", "host-model", BOUND)]
#[case::no_model("host-model", "?none-of-it", BOUND)]
#[case::passthrough(
    "host-passthrough",
    "host-passthrough",
    "it is bound again, to the CPU of the node where it starts"
)]
#[case::same_model(NAMED, NAMED, "none")]
#[case::same_features("Haswell +aes -hle", "Haswell -hle +aes", "none")]
#[case::forced_instead_of_required("Haswell +aes", "Haswell !aes", "none")]
#[case::forbidden_instead_of_disabled("Haswell -hle", "Haswell #hle", "none")]
#[case::another_model(NAMED, "Haswell", OTHER)]
#[case::named_by_now("host-model", NAMED, OTHER)]
#[case::host_model_by_now(
    NAMED,
    "host-model",
    "the guest sees another CPU, and is bound to the host model of the node where it starts"
)]
#[case::passthrough_by_now(
    NAMED,
    "host-passthrough",
    "the guest sees another CPU, and is bound to that of the node where it starts"
)]
#[case::one_feature_more("Haswell", "Haswell +aes", FEATURES)]
#[case::one_feature_less("Haswell +aes +fpu", "Haswell +aes", FEATURES)]
#[case::hidden_by_now("Haswell", "Haswell -hle", FEATURES)]
#[case::disabled_instead_of_required("Haswell +hle", "Haswell -hle", FEATURES)]
#[case::optional_as_before("Haswell ?hle", "Haswell ?hle", OPTIONAL)]
#[case::optional_on_no_node("Haswell ?xyz", "Haswell ?xyz", "none")]
#[case::optional_by_now(
    "Haswell",
    "Haswell ?hle",
    "the guest sees other CPU features; an optional feature binds it to the nodes that have it, if it starts on one"
)]
fn the_risk_of_a_restart_is_the_cpu_that_the_guest_gets(#[case] now: &str, #[case] then: &str, #[case] risk: &str) {
    let fleet = Fleet::new(vec![cascade_lake("node-a"), skylake("node-b")]);
    assert_eq!(Action::from(Restart).risk(&guest(now, then), &fleet), risk);
}
