//! A fixed-size set of small numbers, and counters over such sets, 64 members at a time.

/// A set of indices below a fixed length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bits {
    words: Box<[u64]>,
    len: u32,
}

impl Bits {
    /// Returns the empty set over `0..len`.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)].into(), len: len as u32 }
    }

    /// Returns the set of all of `0..len`.
    #[must_use]
    pub fn all(len: usize) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64)].into(), len: len as u32 };
        bits.trim();
        bits
    }

    /// Returns the length that the set was made for, not the number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no index is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Returns the number of indices in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the number of indices in the set, or `most` if there are more.
    pub(crate) fn count_to(&self, most: usize) -> usize {
        let mut count = 0;
        for word in self.words.iter().filter(|&&word| word != 0) {
            count += word.count_ones() as usize;
            if count >= most {
                return most;
            }
        }
        count
    }

    /// Adds `index`. An index beyond the length is ignored.
    pub fn insert(&mut self, index: usize) {
        if index < self.len() {
            self.words[index / 64] |= 1 << (index % 64);
        }
    }

    /// Removes `index`.
    pub fn remove(&mut self, index: usize) {
        if index < self.len() {
            self.words[index / 64] &= !(1 << (index % 64));
        }
    }

    /// Adds `start..end`.
    pub(crate) fn insert_range(&mut self, start: usize, end: usize) {
        let end = end.min(self.len());
        if start >= end {
            return;
        }
        let (first, last) = (start / 64, (end - 1) / 64);
        let head = u64::MAX << (start % 64);
        let tail = u64::MAX >> (63 - (end - 1) % 64);
        if first == last {
            self.words[first] |= head & tail;
        } else {
            self.words[first] |= head;
            self.words[first + 1..last].fill(u64::MAX);
            self.words[last] |= tail;
        }
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        index < self.len() && self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Keeps the indices that are in both sets.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine &= theirs;
        }
    }

    /// Keeps the indices that are also in `few`, which is sorted.
    pub(crate) fn keep_few(&mut self, few: &[u32]) {
        let mut few = few.iter().map(|&member| member as usize).peekable();
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut kept = 0;
            while let Some(member) = few.next_if(|member| member / 64 == at) {
                kept |= 1 << (member % 64);
            }
            *word &= kept;
        }
    }

    /// Adds the indices of `other`.
    pub(crate) fn union(&mut self, other: &Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Removes the indices of `other`.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine &= !theirs;
        }
    }

    /// Turns the set into its complement.
    pub(crate) fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
    }

    /// Counts the indices that are in both sets, without building the intersection.
    pub(crate) fn count_common(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    /// Whether an index is in both sets.
    #[must_use]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Iterates over the members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| Ones(word).map(move |bit| at * 64 + bit))
    }

    /// Iterates over the members of `start..end`, ascending, skipping empty words.
    pub(crate) fn iter_range(&self, start: usize, end: usize) -> impl Iterator<Item = usize> + '_ {
        let end = end.min(self.len());
        let words = start / 64..end.div_ceil(64).max(start / 64);
        words
            .flat_map(move |at| {
                let mut word = self.words[at];
                if at == start / 64 {
                    word &= u64::MAX << (start % 64);
                }
                Ones(word).map(move |bit| at * 64 + bit)
            })
            .take_while(move |&index| index < end)
    }

    fn trim(&mut self) {
        let used = self.len() % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// A counter for each index, stored as bit planes: adding a set to all counters takes a few word operations
/// for 64 of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    planes: Vec<Bits>,
}

impl Counters {
    /// Adds one to the counter of each index that is *not* in `present`.
    pub(crate) fn add_absent(&mut self, present: &Bits) {
        let mut carry = present.clone();
        carry.invert();
        for plane in &mut self.planes {
            let mut any = 0;
            for (mine, add) in plane.words.iter_mut().zip(&mut carry.words) {
                let both = *mine & *add;
                *mine ^= *add;
                *add = both;
                any |= both;
            }
            if any == 0 {
                return;
            }
        }
        if !carry.is_empty() {
            self.planes.push(carry);
        }
    }

    /// Groups the indices of `within` by the values of their counters, lowest first.
    pub(crate) fn groups(&self, within: &Bits) -> Vec<(u32, Bits)> {
        let mut out = vec![(0, within.clone())];
        for (power, plane) in self.planes.iter().enumerate().rev() {
            let halves = out.into_iter().flat_map(|(value, without)| {
                let (mut without, mut with) = (without.clone(), without);
                without.subtract(plane);
                with.intersect(plane);
                [(value, without), (value | 1 << power, with)]
            });
            out = halves.filter(|(_, set)| !set.is_empty()).collect();
        }
        out.retain(|(_, set)| !set.is_empty());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counters_count_like_a_loop(sets in prop::collection::vec(prop::collection::vec(any::<bool>(), 130), 0..40)) {
            let mut counters = Counters::default();
            let mut plain = vec![0_u32; 130];
            for set in &sets {
                let mut bits = Bits::none(130);
                for (at, &inside) in set.iter().enumerate() {
                    if inside { bits.insert(at) } else { plain[at] += 1 }
                }
                counters.add_absent(&bits);
            }
            let mut within = Bits::none(130);
            within.insert_range(10, 120);
            let groups = counters.groups(&within);
            prop_assert!(groups.is_sorted_by_key(|(value, _)| *value));
            prop_assert_eq!(groups.iter().map(|(_, set)| set.count()).sum::<usize>(), 110);
            for (at, &expected) in plain.iter().enumerate() {
                let found: Vec<u32> = groups.iter().filter(|(_, set)| set.contains(at)).map(|(value, _)| *value).collect();
                prop_assert_eq!(found, if within.contains(at) { vec![expected] } else { Vec::new() });
            }
        }

        #[test]
        fn keep_few_equals_the_intersection_of_sets(
            members in prop::collection::btree_set(0_usize..200, 0..80),
            few in prop::collection::btree_set(0_u32..200, 0..20),
        ) {
            let mut bits = Bits::none(200);
            for &member in &members {
                bits.insert(member);
            }
            bits.keep_few(&few.iter().copied().collect::<Vec<_>>());
            let both: Vec<usize> = few.iter().map(|&member| member as usize).filter(|member| members.contains(member)).collect();
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), both);
        }

        #[test]
        fn ranges_agree_with_single_inserts(start in 0_usize..200, end in 0_usize..200, from in 0_usize..200, to in 0_usize..200) {
            let mut range = Bits::none(190);
            range.insert_range(start, end);
            let mut single = Bits::none(190);
            for index in start..end { single.insert(index) }
            prop_assert_eq!(&range, &single);
            prop_assert_eq!(
                range.iter_range(from, to).collect::<Vec<_>>(),
                range.iter().filter(|i| (from..to).contains(i)).collect::<Vec<_>>()
            );
        }

        #[test]
        fn the_complement_holds_all_other_bits(members in prop::collection::btree_set(0_usize..100, 0..50)) {
            let mut bits = Bits::none(100);
            for &member in &members { bits.insert(member) }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), members.iter().copied().collect::<Vec<_>>());
            bits.invert();
            prop_assert_eq!(bits.count(), 100 - members.len());
            bits.invert();
            prop_assert_eq!(bits.count_common(&Bits::all(100)), members.len());
            prop_assert_eq!(bits.meets(&Bits::all(100)), !members.is_empty());
            for most in 0..60 {
                prop_assert_eq!(bits.count_to(most), members.len().min(most));
            }
        }
    }
}
