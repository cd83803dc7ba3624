//! Guests with a cost each, on a clock that only counting them advances.
use std::cell::Cell;

use proptest::prelude::*;

use super::*;

/// Returns the number of guests left out, by namespace, with these costs in milliseconds.
fn left_out(costs: &BTreeMap<String, Vec<u64>>, limit: u64) -> BTreeMap<String, usize> {
    let now = Cell::new(0);
    let guests = costs.iter().flat_map(|(namespace, costs)| costs.iter().map(move |cost| (namespace.as_str(), *cost)));
    let elapsed = || Duration::from_millis(now.get());
    let left = in_turn(guests, &|| now.get() >= limit, &elapsed, |cost| now.set(now.get() + cost));
    left.into_iter().map(|(namespace, left)| (namespace.to_owned(), left)).collect()
}

#[test]
fn guests_that_take_long_hide_those_of_their_own_namespace_alone() {
    let costs = [("costly", vec![400; 100]), ("shop", vec![1; 300]), ("bank", vec![1; 10])];
    let costs: BTreeMap<String, Vec<u64>> = costs.map(|(name, costs)| (name.to_owned(), costs)).into();
    assert_eq!(left_out(&costs, 1_000), [("costly".to_owned(), 98)].into(), "one tenant empties the status of all");
}

proptest! {
    #[test]
    fn a_namespace_within_its_share_of_the_time_is_counted_whole(
        costs in prop::collection::btree_map("[a-c]", prop::collection::vec(0_u64..50, 0..20), 1..4),
        limit in 0_u64..500,
    ) {
        let left = left_out(&costs, limit);
        let (all, most) = (costs.len() as u64, costs.values().flatten().max().copied().unwrap_or(0));
        for (namespace, costs) in &costs {
            let own: u64 = costs.iter().sum();
            if (own + most) * all < limit {
                prop_assert_eq!(left.get(namespace), None, "{} ms of {}", own, limit);
            }
        }
        let is_whole = costs.values().flatten().sum::<u64>() < limit;
        prop_assert!(!is_whole || left.is_empty(), "there was time for all: {:?}", left);
    }
}
