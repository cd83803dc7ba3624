//! JSON documents, streamed element by element.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{Error, Halt};
use super::input::Input;
use super::objects::{Document, Objects};

/// Reads a document that begins at the next byte.
pub(super) fn read_document(input: &mut Input<'_>, objects: &mut Objects<'_>) -> Result<(), Halt> {
    objects.next_document();
    let document = objects.document();
    let mut halt = None;
    let outcome = Root { objects, document: None, halt: &mut halt }
        .deserialize(&mut serde_json::Deserializer::from_reader(&mut *input));
    match (halt, outcome) {
        (Some(halt), _) => Err(halt),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => {
            Err(input.take_failure().unwrap_or_else(|| input.syntax(document, reason(&error))).into())
        }
    }
}

/// Reads a list that is an item of another list.
pub(super) fn read_list(json: &RawValue, objects: &mut Objects<'_>, document: Document) -> Result<(), Halt> {
    let mut halt = None;
    let place = objects.place(None);
    let outcome = Root { objects, document: Some(document), halt: &mut halt }
        .deserialize(&mut serde_json::Deserializer::from_str(json.get()));
    match (halt, outcome) {
        (Some(halt), _) => Err(halt),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(Error::NotAnObject { place, found: reason(&error) }.into()),
    }
}

/// Returns serde's message without the position, which is relative to the document.
fn reason(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the JSON ends in the middle of an object; was the dump cut off?".to_owned();
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    format!("not JSON: {message}")
}

/// The outermost value. This module's errors are passed in `halt`, because serde would keep only their text.
struct Root<'h, 'o, 'a> {
    objects: &'o mut Objects<'a>,
    document: Option<Document>,
    halt: &'h mut Option<Halt>,
}

impl Root<'_, '_, '_> {
    fn check<T, E: serde::de::Error>(&mut self, outcome: Result<T, Halt>) -> Result<T, E> {
        outcome.map_err(|halt| {
            *self.halt = Some(halt);
            E::custom("")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Root<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Root<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut document = self.document.take().unwrap_or_else(|| Document::new(self.objects));
        while let Some(key) = map.next_key::<String>()? {
            let known = document.key(self.objects, &key);
            self.check(known)?;
            if key == "items" {
                map.next_value_seed(Items { root: &mut self, document: &mut document })?;
            } else {
                let value = map.next_value::<Box<RawValue>>()?;
                let taken = document.field(self.objects, &key, value.get());
                self.check(taken)?;
            }
        }
        let finished = document.finish(self.objects);
        self.check(finished)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, seq: A) -> Result<(), A::Error> {
        let mut document = Document::bare_list(self.objects);
        Items { root: &mut self, document: &mut document }.visit_seq(seq)?;
        let finished = document.finish(self.objects);
        self.check(finished)
    }
}

/// The value of `items`.
struct Items<'r, 'h, 'o, 'a> {
    root: &'r mut Root<'h, 'o, 'a>,
    document: &'r mut Document,
}

impl Items<'_, '_, '_, '_> {
    fn not_a_list<E: serde::de::Error>(self, json: &str) -> Result<(), E> {
        let taken = self.document.field(self.root.objects, "items", json);
        self.root.check(taken)
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { root, document } = self;
        document.begin_items();
        root.objects.begins_at(None);
        while let Some(json) = seq.next_element::<Box<RawValue>>()? {
            let taken = document.item(root.objects, json);
            root.check(taken)?;
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.not_a_list("null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.not_a_list("{}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.not_a_list(&serde_json::Value::from(text).to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.not_a_list(if value { "true" } else { "false" })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.not_a_list(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.not_a_list(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.not_a_list(&number.to_string())
    }
}
