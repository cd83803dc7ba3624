//! Counting guests within a time limit: the namespaces take turns, so that the guests of one namespace, however long
//! they take to judge, do not keep those of the others from being counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::Deadline;

/// A function that returns the time used so far.
pub type Elapsed<'e> = &'e dyn Fn() -> Duration;

/// Calls `count` for each guest, given with its namespace, until the time is over, always for a guest of the
/// namespace that has used the least time. Returns the number of guests left out, by namespace.
pub(super) fn in_turn<'n, T>(
    guests: impl Iterator<Item = (&'n str, T)>,
    is_over: Deadline<'_>,
    elapsed: Elapsed<'_>,
    mut count: impl FnMut(T),
) -> BTreeMap<&'n str, usize> {
    let mut waiting: BTreeMap<&str, VecDeque<T>> = BTreeMap::new();
    for (namespace, guest) in guests {
        waiting.entry(namespace).or_default().push_back(guest);
    }
    let mut turns: BinaryHeap<Reverse<(Duration, &str)>> =
        waiting.keys().map(|namespace| Reverse((Duration::ZERO, *namespace))).collect();
    while let Some(Reverse((used, namespace))) = turns.pop() {
        if is_over() {
            break;
        }
        let Some(guest) = waiting.get_mut(namespace).and_then(VecDeque::pop_front) else { continue };
        let began = elapsed();
        count(guest);
        turns.push(Reverse((used + elapsed().saturating_sub(began), namespace)));
    }
    waiting.into_iter().map(|(namespace, left)| (namespace, left.len())).filter(|(_, left)| *left > 0).collect()
}

#[cfg(test)]
mod tests;
