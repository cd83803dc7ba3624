//! Fields of which only the presence counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A present value, regardless of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

/// A visitor that reads the fields one by one, so that a wrapper that reports ignored fields sees each field instead of
/// the whole value.
struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Present;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Present, A::Error> {
        while map.next_entry::<String, IgnoredAny>()?.is_some() {}
        Ok(Present)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Present, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Present)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Present, E> {
        Ok(Present)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Present, E> {
        Ok(Present)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Present, E> {
        Ok(Present)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Present, E> {
        Ok(Present)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Present, E> {
        Ok(Present)
    }
}
