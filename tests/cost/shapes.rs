//! The places that are read of an object, found by walking the types that read it, so that no list, map or text is
//! forgotten.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value, json};

/// A step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Field(&'static str),
    Item,
    Entry,
}

/// The kind of value at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Struct,
    List,
    Map,
    Text,
    /// Any value, kept whole.
    Any,
    /// A number or a boolean.
    Scalar,
}

/// A place in an object, and the kind of value there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: Vec<Step>,
    pub shape: Shape,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.path.iter().enumerate() {
            match step {
                Step::Field(name) => write!(f, "{}{name}", if at == 0 { "" } else { "." })?,
                Step::Item => f.write_str("[]")?,
                Step::Entry => f.write_str("{}")?,
            }
        }
        Ok(())
    }
}

impl Place {
    /// Returns the nearest field above.
    pub fn field(&self) -> &'static str {
        let name = |step: &Step| match step {
            Step::Field(name) => Some(*name),
            Step::Item | Step::Entry => None,
        };
        self.path.iter().rev().find_map(name).unwrap_or_default()
    }

    /// Returns an object with only this value, at this place.
    pub fn around(&self, value: Value) -> Value {
        self.path.iter().rev().fold(value, |inner, step| match step {
            Step::Field(name) => json!({ *name: inner }),
            Step::Item => json!([inner]),
            Step::Entry => json!({ "a": inner }),
        })
    }
}

/// Returns all places that are read of a type.
pub fn places<T: for<'de> Deserialize<'de>>() -> Vec<Place> {
    places_of(|walker| T::deserialize(walker).map(drop))
}

/// Returns all places that are read of a type that borrows.
pub fn places_of(read: impl FnOnce(Walker<'_>) -> Result<(), serde_json::Error>) -> Vec<Place> {
    let found = RefCell::new(Vec::new());
    read(Walker { path: Vec::new(), found: &found }).expect("every type takes the least of what it reads");
    found.into_inner()
}

/// Returns the smallest value of a shape.
pub fn least(at: &Place) -> Value {
    match at.shape {
        Shape::Struct | Shape::Map | Shape::Any => json!({}),
        Shape::List => json!([]),
        Shape::Text => json!("a"),
        // Few scalars are numbers; all others are booleans.
        Shape::Scalar if ["generation", "tolerationSeconds", "tscFrequency"].contains(&at.field()) => json!(1),
        Shape::Scalar => json!(true),
    }
}

/// Returns a value with all its fields, each list and map with one entry; texts differ by `number`.
pub fn whole(places: &[Place], at: &Place, number: usize) -> Value {
    let inside = |last: Step| {
        places.iter().find(|place| {
            place.path.len() == at.path.len() + 1
                && place.path.starts_with(&at.path)
                && place.path.last() == Some(&last)
        })
    };
    match at.shape {
        Shape::Struct => {
            let fields =
                places.iter().filter(|place| place.path.len() == at.path.len() + 1 && place.path.starts_with(&at.path));
            fields.map(|place| (place.field().to_owned(), whole(places, place, number))).collect::<Map<_, _>>().into()
        }
        Shape::List => json!([inside(Step::Item).map_or(Value::Null, |item| whole(places, item, number))]),
        Shape::Map => {
            json!({ format!("k{number}"): inside(Step::Entry).map_or(Value::Null, |value| whole(places, value, number)) })
        }
        Shape::Text => json!(format!("t{number}")),
        Shape::Any | Shape::Scalar => least(at),
    }
}

/// A deserializer that returns minimal values and records which ones were requested.
pub struct Walker<'f> {
    path: Vec<Step>,
    found: &'f RefCell<Vec<Place>>,
}

impl Walker<'_> {
    fn note(&self, shape: Shape) {
        let place = Place { path: self.path.clone(), shape };
        let mut found = self.found.borrow_mut();
        if !found.contains(&place) {
            found.push(place);
        }
    }

    fn inside(&self, step: Step) -> Self {
        Self { path: self.path.iter().copied().chain([step]).collect(), found: self.found }
    }
}

macro_rules! scalars {
    ($($method:ident => $visit:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.note(Shape::Scalar);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Walker<'_> {
    type Error = serde_json::Error;

    scalars! {
        deserialize_bool => visit_bool(true);
        deserialize_u32 => visit_u32(1);
        deserialize_i64 => visit_i64(1);
        deserialize_u64 => visit_u64(1);
        deserialize_f64 => visit_f64(1.0);
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.note(Shape::Any);
        visitor.visit_map(Fields { walker: &self, names: &[], next: 0 })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.note(Shape::Text);
        visitor.visit_str("a")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        // It is read as text or a number.
        if name == "Quantity" { self.deserialize_str(visitor) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.note(Shape::List);
        visitor.visit_seq(Once { walker: &self, step: Step::Item, is_done: false })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.note(Shape::Map);
        visitor.visit_map(Once { walker: &self, step: Step::Entry, is_done: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.note(Shape::Struct);
        visitor.visit_map(Fields { walker: &self, names, next: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom(format_args!("{name}: the walker knows no enums; teach it")))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The fields of a struct.
struct Fields<'w, 'f> {
    walker: &'w Walker<'f>,
    names: &'static [&'static str],
    next: usize,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = serde_json::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Self::Error> {
        let Some(name) = self.names.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Self::Error> {
        seed.deserialize(self.walker.inside(Step::Field(self.names[self.next - 1])))
    }
}

/// An iterator over one item of a list, or one entry of a map.
struct Once<'w, 'f> {
    walker: &'w Walker<'f>,
    step: Step,
    is_done: bool,
}

impl<'de> SeqAccess<'de> for Once<'_, '_> {
    type Error = serde_json::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Self::Error> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        seed.deserialize(self.walker.inside(self.step)).map(Some)
    }
}

impl<'de> MapAccess<'de> for Once<'_, '_> {
    type Error = serde_json::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Self::Error> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        seed.deserialize(StrDeserializer::new("a")).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Self::Error> {
        seed.deserialize(self.walker.inside(self.step))
    }
}
