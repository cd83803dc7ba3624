//! A source of random numbers for a part of a situation.

use crate::testing::random::Random;

/// Returns a further source for a part of its own: drawing from it changes nothing that `random` draws.
pub(super) fn further(random: &Random, part: u64) -> Random {
    let mut seeded = Random::new(random.0 ^ part);
    seeded.below(1);
    seeded
}
