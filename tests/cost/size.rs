//! An object needs little memory and little work, regardless of its size.

use std::collections::BTreeSet;

use allocation_counter::measure;
use cpufit::admission::response::Decision;
use cpufit::bounds;

use crate::large::{all_large, large_where, of_kind};
use crate::objects::Kind;
use crate::paths;
use crate::shapes::{Place, Shape};
use crate::thorough::one_in;

/// Size of the objects, in bytes. The test is not optimized; `make cost` uses 3 MiB.
const BYTES: usize = if cfg!(debug_assertions) { 24 << 10 } else { 128 << 10 };
/// Size beyond every bound on one text, and on entries except large ones.
const BEYOND: usize = 96 << 10;
/// Size beyond the bound on the field below, whose entries are large with all their fields.
const BEYOND_LARGE: usize = 512 << 10;
const LARGE: &str = "dataVolumeTemplates (Whole)";
/// Maximum bytes held at once in addition to the text; for 3 MiB: 32 MiB less the bytes for reading the text.
const HELD: u64 = 8 << 20;
/// Maximum number of allocations.
const ALLOCATIONS: u64 = 400_000;

/// Every list and map that is read is in the table of bounds, or is known to have the default bound.
#[test]
fn every_list_and_map_has_a_bound() {
    let known: BTreeSet<&str> = bounds::ENTRIES.iter().map(|(field, _)| *field).collect();
    let is_counted = |place: &Place| matches!(place.shape, Shape::List | Shape::Map);
    let (mut read, mut unnamed) = (BTreeSet::new(), BTreeSet::new());
    for kind in Kind::ALL {
        for place in of_kind(kind).iter().filter(|place| is_counted(place)) {
            let field = place.field();
            // Annotations are skipped, but for those with a meaning.
            if !known.contains(field) && !matches!(field, "replaces" | "annotations") {
                unnamed.insert(format!("{kind:?} {place}"));
            }
            read.insert(field.to_owned());
        }
    }
    assert!(
        unnamed.is_empty(),
        "how many entries do real objects have? Name the bounds of these in bounds::ENTRIES: {unnamed:#?}"
    );
    let unread: Vec<&str> = known.into_iter().filter(|field| !read.contains(*field)).collect();
    assert!(unread.is_empty(), "{unread:?} are bounds of nothing that is read");
}

/// The walk finds nested places; a walk that ended early would prove nothing.
#[test]
fn the_walk_finds_nested_lists() {
    let names = |kind: Kind| -> BTreeSet<String> { of_kind(kind).iter().map(ToString::to_string).collect() };
    let vm = names(Kind::VirtualMachine);
    for path in [
        "metadata.labels",
        "metadata.ownerReferences[].uid",
        "spec.template.spec.domain.cpu.features[].policy",
        "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[].matchExpressions[].values[]",
    ] {
        assert!(vm.contains(path), "{path} is not found in {vm:#?}");
    }
    assert!(names(Kind::Vmi).contains("status.migrationState.sourceState.nodeSelectors"));
    assert!(names(Kind::Pod).contains("spec.tolerations[].tolerationSeconds"));
    assert!(names(Kind::KubeVirt).contains("spec.configuration.developerConfiguration.featureGates[]"));
}

fn assert_small(name: &str, way: &str, text: usize, info: &allocation_counter::AllocationInfo) {
    let held = info.bytes_max;
    let most = HELD + 2 * text as u64;
    assert!(held <= most, "{name}: {way} holds {held} bytes at once, of a text of {text}");
    let count = info.count_total;
    assert!(count <= ALLOCATIONS, "{name}: {way} makes {count} allocations, of a text of {text}");
}

#[test]
fn an_object_in_a_review_is_cheap() {
    for kind in Kind::ALL {
        let world = paths::inventory_without(kind).snapshot().world;
        for (name, object) in all_large(kind, BYTES).step_by(one_in()) {
            for review in paths::reviews(kind, &object) {
                let info = measure(|| drop(paths::answer(&world, &review)));
                assert_small(&name, "a review", review.len(), &info);
            }
        }
    }
}

#[test]
fn a_stored_object_is_cheap() {
    for kind in Kind::ALL {
        let mut inventory = paths::inventory_without(kind);
        for (name, object) in all_large(kind, BYTES).step_by(one_in()) {
            let text = object.to_string();
            let named = |field: &str| object["metadata"][field].as_str().unwrap_or_default().chars().take(64).collect();
            let at = (named("namespace"), named("name"));
            let info = measure(|| paths::watch(&mut inventory, kind, at.clone(), &text));
            assert_small(&name, "a watch", text.len(), &info);
            assert!(info.bytes_current < 1 << 20, "{name}: {} bytes are kept of {}", info.bytes_current, text.len());
            let world = inventory.snapshot().world;
            let info = measure(|| paths::count(&world));
            assert_small(&name, "to count", text.len(), &info);
            paths::forget(&mut inventory, kind, at);
        }
    }
}

#[test]
fn an_object_in_a_file_is_cheap() {
    for kind in [Kind::VirtualMachine, Kind::Vmi, Kind::Migration, Kind::Pod] {
        let world = paths::inventory_without(kind).snapshot().world;
        for (name, object) in all_large(kind, BYTES).step_by(one_in()) {
            let text = object.to_string();
            let info = measure(|| paths::check(&world, &text));
            // A file is read into memory, and copied if the mutating webhook would change it.
            assert_small(&name, "to check", 3 * text.len(), &info);
        }
    }
}

fn warnings(decisions: &[Decision]) -> Vec<String> {
    decisions.iter().flat_map(Decision::warnings).collect()
}

/// Returns objects of a kind, each with another field beyond its bound.
fn beyond(kind: Kind) -> impl Iterator<Item = (String, serde_json::Value)> {
    let large = large_where(kind, BEYOND_LARGE, |name| name.contains(LARGE));
    let others = large_where(kind, BEYOND, |name| !name.contains(LARGE));
    others.step_by(one_in()).chain(large)
}

/// Whether only a part of a field, or its presence, is kept, so that it cannot be too large.
fn is_not_kept(name: &str) -> bool {
    const CUT: [&str; 4] = ["annotations", "message", "failureReason", "migrationID"];
    const PRESENCE: [&str; 24] = [
        "bios",
        "claimName",
        "requestName",
        "resourceClaims[]",
        "hostDisk",
        "numa",
        "guestMappingPassthrough",
        "realtime",
        "snp",
        "tdx",
        "hostDevices[]",
        "bridge",
        "masquerade",
        "sriov",
        "slirp",
        "macvtap",
        "passt",
        "passtBinding",
        "virtiofs",
        "pod",
        "receive",
        "sendTo",
        "targetState",
        "liveUpdateFeatures.affinity",
    ];
    let path = name.split(" (").next().unwrap_or_default();
    CUT.iter().any(|field| path.contains(field)) || PRESENCE.iter().any(|field| path.ends_with(&format!(".{field}")))
}

/// Returns the field of an enlarged place as a warning names it: `Pool spec.a[].b{} (Whole)` is `spec.a.b`.
fn field_of(name: &str) -> String {
    let place = name.split(' ').nth(1).unwrap_or_default();
    place.replace("[]", "").replace("{}", "")
}

/// Whether a warning about a size names this field, a list that it lies in, or a field inside it. Bounds on all entries
/// or texts together, and on what follows from a field, may be reached elsewhere.
fn names_field(warning: &str, field: &str) -> bool {
    let Some((_, words)) = warning.split_once("too large to judge: ") else { return true };
    let is_shared = words.contains("may have together") || words.contains("conditions to the terms");
    let said = words.split(' ').next().unwrap_or_default();
    is_shared || field.starts_with(said) || said.starts_with(field)
}

/// Any guest that is too large is admitted with a warning that names the field.
#[test]
fn objects_that_are_too_large_are_reported() {
    for kind in [Kind::VirtualMachine, Kind::Vmi, Kind::ReplicaSet, Kind::Pool, Kind::Migration] {
        let mut world = paths::inventory_without(kind).snapshot().world;
        world.policies.clear();
        for (name, object) in beyond(kind) {
            let decisions = paths::answer(&world, &paths::review("CREATE", &object, None));
            let output = warnings(&decisions);
            let is_said = output.iter().any(|line| line.contains("too large to judge: "));
            let is_cut = is_not_kept(&name);
            assert!(is_said || is_cut, "{name}: {output:?}");
            let field = field_of(&name);
            assert!(output.iter().all(|line| names_field(line, &field)), "{name}: another field is named: {output:?}");
            let admits = |decision: &Decision| matches!(decision, Decision::Admit { .. });
            assert!(decisions.iter().all(admits), "{name}: a guess denies");
        }
    }
}

/// Under `otherwise: Deny`, an object that is too large to judge is denied: its own size keeps it from the common
/// model, and a model that is not replaced is denied for itself.
#[test]
fn an_object_that_is_too_large_is_still_denied_by_a_policy() {
    for kind in [Kind::VirtualMachine, Kind::Vmi, Kind::ReplicaSet, Kind::Pool] {
        let world = paths::inventory_without(kind).snapshot().world;
        for (name, object) in beyond(kind) {
            let is_cut = is_not_kept(&name);
            // Another architecture has no common model, and users do not send a guest's status.
            if is_cut || name.contains("status.") || name.contains("spec.architecture") {
                continue;
            }
            let decisions = paths::answer(&world, &paths::review("CREATE", &object, None));
            let denied = decisions.iter().find_map(|decision| match decision {
                Decision::Deny { denial, .. } => Some(denial),
                Decision::Admit { .. } => None,
            });
            assert!(denied.is_some(), "{name}: too large to be refused: {:?}", warnings(&decisions));
        }
    }
}
