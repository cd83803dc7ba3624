//! A parser for the words of a fixed list, and suggestions for misspelled ones.

use std::fmt;

use crate::fit::outcome::{Cause, Evidence, Impact, OutcomeWord};
use crate::fit::remedy::{Counted, Outage};
pub use crate::fit::word::Word;
pub(crate) use crate::fit::word::words;

/// A word that is not in the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownWord {
    given: String,
    allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not one of {}", quoted(&self.given), self.allowed.join(", "))?;
        match nearest(&self.given, self.allowed.iter().copied()) {
            Some(word) => write!(f, "; did you mean {word}?"),
            None => Ok(()),
        }
    }
}

/// Reads a word exactly as it is spelled, capitals included, as the API server does.
pub(crate) fn parse<T: Word>(text: &str) -> Result<T, UnknownWord> {
    T::of(text).ok_or_else(|| UnknownWord {
        given: text.to_owned(),
        allowed: T::ALL.iter().map(|word| word.as_str()).collect(),
    })
}

/// Implements `FromStr` for [`Word`]s.
macro_rules! readable {
    ($($name:ident),*) => {$(
        impl std::str::FromStr for $name {
            type Err = $crate::word::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::word::parse(text)
            }
        }
    )*};
}

pub(crate) use readable;

/// Implements `Serialize` for [`Word`]s: `fit` itself knows no JSON.
macro_rules! written {
    ($($name:ty),* $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

written!(Impact, Cause, OutcomeWord, Evidence, Outage, Counted);

/// Returns the candidate most similar to the text; `None` if none is similar enough.
pub(crate) fn nearest<'c>(given: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Longer texts are no misspelling of any word here, and would take time to compare.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_lowercase();
    candidates
        .map(|candidate| (strsim::osa_distance(&given, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Quotes a text: control characters are escaped, long ones cut.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_QUOTED_CHARS: usize = 64;
    if text.chars().count() > MAX_QUOTED_CHARS {
        let start: String = text.chars().take(MAX_QUOTED_CHARS).collect();
        format!("{start:?} and more")
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::swapped("enfroce", Some("enforce"))]
    #[case::left_out("enforc", Some("enforce"))]
    #[case::capitals("ENFORCE", Some("enforce"))]
    #[case::plural("warns", Some("warn"))]
    #[case::one_wrong("awdit", Some("audit"))]
    #[case::far("replicas", None)]
    #[case::empty("", None)]
    fn an_unknown_word_is_answered_with_the_most_similar_one(#[case] given: &str, #[case] expected: Option<&str>) {
        let found = nearest(given, ["enforce", "warn", "audit"].into_iter());
        assert_eq!(found, expected, "{given}: the person is sent to the wrong field, or to none");
    }
}
