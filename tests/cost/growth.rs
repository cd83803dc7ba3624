//! The cost of an object within the bounds grows at most linearly with its size.

use allocation_counter::measure;
use cpufit::bounds;

use crate::large::{Entries, all_large, large, of_kind};
use crate::objects::{Kind, merged};
use crate::paths;
use crate::shapes::{Place, Shape};
use crate::thorough::one_in;

/// Allowed cost of doubling the size, in addition to twice the cost: for growing buffers and one-time work.
const SLACK: u64 = 3000;

/// Returns the bytes that give a list or map this many entries.
fn bytes_for(places: &[Place], at: &Place, entries: Entries, count: usize) -> Option<usize> {
    (1..24).map(|power| 1 << power).find(|bytes| {
        let value = large(places, at, entries, *bytes);
        value.is_some_and(|value| {
            value.as_array().map_or_else(|| value.as_object().map_or(0, serde_json::Map::len), Vec::len) >= count
        })
    })
}

#[test]
fn twice_the_entries_cost_twice_as_much() {
    for kind in [Kind::VirtualMachine, Kind::Vmi, Kind::Migration, Kind::Pod] {
        let places = of_kind(kind);
        let world = paths::inventory_without(kind).snapshot().world;
        for at in places.iter().filter(|place| matches!(place.shape, Shape::List | Shape::Map)).step_by(one_in()) {
            for entries in Entries::ALL {
                let most = bounds::entries(at.field()).min(bounds::ALL_ENTRIES / 4);
                let Some(bytes) = bytes_for(&places, at, entries, most / 2) else { continue };
                let cost = |bytes: usize| {
                    let value = large(&places, at, entries, bytes).expect("it was made before");
                    let object = merged(kind.base(), at.around(value));
                    let reviews = paths::reviews(kind, &object);
                    measure(|| reviews.iter().for_each(|review| drop(paths::answer(&world, review)))).count_total
                };
                let [quarter, half, whole] = [cost(bytes / 4), cost(bytes / 2), cost(bytes)];
                let (first, second) = (half.saturating_sub(quarter), whole.saturating_sub(half));
                assert!(
                    second <= first * 5 / 2 + SLACK,
                    "{kind:?} {at} ({entries:?}): {quarter}, {half}, {whole} allocations for sizes that double"
                );
            }
        }
    }
}

#[test]
fn beyond_the_bounds_more_costs_no_more() {
    let sizes = if cfg!(debug_assertions) { [8 << 10, 16 << 10, 32 << 10] } else { [32 << 10, 64 << 10, 128 << 10] };
    for kind in [Kind::VirtualMachine, Kind::Vmi, Kind::Migration, Kind::Pod] {
        let world = paths::inventory_without(kind).snapshot().world;
        let [small, middle, large] = sizes.map(|bytes| {
            all_large(kind, bytes)
                .step_by(one_in())
                .map(|(name, object)| {
                    let reviews = paths::reviews(kind, &object);
                    let info = measure(|| reviews.iter().for_each(|review| drop(paths::answer(&world, review))));
                    (name, info.count_total)
                })
                .collect::<Vec<_>>()
        });
        for (((name, small), (_, middle)), (_, large)) in small.into_iter().zip(middle).zip(large) {
            let (first, second) = (middle.saturating_sub(small), large.saturating_sub(middle));
            assert!(
                second <= first * 5 / 2 + SLACK,
                "{name}: {small}, {middle}, {large} allocations for sizes that double"
            );
        }
    }
}
