//! A pod's node selector: entries sorted by key, found by binary search.

use std::borrow::Cow;
use std::ops::Deref;

/// An entry of a pod's `nodeSelector`: key and value.
pub(crate) type Entry<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A pod's `spec.nodeSelector`, sorted by key, each key once. Every entry must be met by exact key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector<'a>(Vec<Entry<'a>>);

impl<'a> Selector<'a> {
    /// Returns the value for a key; `None` if there is no such entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.place(key).ok().map(|at| self.0[at].1.as_ref())
    }

    /// Inserts an entry, or replaces the value if the key exists.
    pub fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (key, value) = (key.into(), value.into());
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Keeps only the entries for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&Entry<'a>) -> bool) {
        self.0.retain(keep);
    }

    /// Returns a copy whose text is borrowed from this selector.
    pub(crate) fn borrowed(&self) -> Selector<'_> {
        Selector(self.0.iter().map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value))).collect())
    }

    /// Returns this selector with owned text.
    #[must_use]
    pub fn into_owned(self) -> Selector<'static> {
        let owned = |(key, value): Entry<'a>| (Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned()));
        Selector(self.0.into_iter().map(owned).collect())
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key))
    }
}

impl<'a> Deref for Selector<'a> {
    type Target = [Entry<'a>];

    fn deref(&self) -> &[Entry<'a>] {
        &self.0
    }
}

/// Selector entries by key; if two have the same key, the later one counts.
impl<'a> FromIterator<Entry<'a>> for Selector<'a> {
    fn from_iter<I: IntoIterator<Item = Entry<'a>>>(entries: I) -> Self {
        let mut entries: Vec<Entry<'a>> = entries.into_iter().collect();
        if !entries.is_sorted_by(|one, next| one.0 < next.0) {
            entries.reverse();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            entries.dedup_by(|earlier, later| earlier.0 == later.0);
        }
        Self(entries)
    }
}

/// Like KubeVirt's merge of maps: if a key exists, the new value replaces the old one.
impl<'a> Extend<Entry<'a>> for Selector<'a> {
    fn extend<I: IntoIterator<Item = Entry<'a>>>(&mut self, entries: I) {
        *self = std::mem::take(&mut self.0).into_iter().chain(entries).collect();
    }
}

impl<'s, 'a> IntoIterator for &'s Selector<'a> {
    type Item = &'s Entry<'a>;
    type IntoIter = std::slice::Iter<'s, Entry<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec(("[a-e]{1,2}", "[01]"), 0..12)
    }

    proptest! {
        #[test]
        fn a_selector_is_a_map(first in entries(), second in entries(), key in "[a-e]{1,2}") {
            let selector = |entries: &[(String, String)]| -> Selector<'static> {
                entries.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect()
            };
            let mut map: BTreeMap<String, String> = first.iter().cloned().collect();
            let mut one = selector(&first);
            prop_assert_eq!(one.get(&key), map.get(&key).map(String::as_str));
            map.extend(second.iter().cloned());
            let mut extended = one.clone();
            extended.extend(selector(&second).iter().cloned());
            for (key, value) in second {
                one.insert(key, value);
            }
            prop_assert!(one.iter().map(|(key, value)| (&**key, &**value)).eq(map.iter().map(|(key, value)| (&**key, &**value))));
            prop_assert_eq!(&extended, &one);
            prop_assert_eq!(one.borrowed(), one.clone().into_owned());
        }
    }
}
