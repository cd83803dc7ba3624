//! A deserializer that counts, and skips what exceeds the bounds.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::{ALL_ENTRIES, ALL_TEXT, Excess, Limit, QUOTED, QUOTED_FIELDS, RENAMED_ANNOTATIONS, TEXT, entries};
use crate::well_known::{is_annotation_in_own_domain, is_read_annotation};

/// An object that can be marked as too large.
pub trait Measured {
    /// Marks the object. The content beyond the bound was not read.
    fn mark(&mut self, excess: Excess);
}

/// An object that is read within the bounds, and marked if it exceeds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounded<T>(pub T);

impl<'de, T: Deserialize<'de> + Measured> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut object, excess) = within::<T, D>(deserializer)?;
        if let Some(excess) = excess {
            object.mark(excess);
        }
        Ok(Self(object))
    }
}

/// Reads a value. Returns the excess, if any.
fn within<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<(T, Option<Excess>), D::Error> {
    let budget =
        BoundsLeft { entries: Cell::new(ALL_ENTRIES), text: [ALL_TEXT; 2].map(Cell::new), excess: RefCell::default() };
    let path = Path { parent: None, name: Name::None, is_in_list: false, is_in_metadata: false };
    let value = T::deserialize(Within { inner: deserializer, at: At { budget: &budget, path: &path, key: None } })?;
    Ok((value, budget.excess.into_inner()))
}

/// The remaining budget of an object.
struct BoundsLeft {
    entries: Cell<usize>,
    /// The bytes of texts: of metadata, and of all else.
    text: [Cell<usize>; 2],
    excess: RefCell<Option<Excess>>,
}

/// The path of a value, as a linked list on the stack of its readers.
#[derive(Clone, Copy)]
struct Path<'p, 'de> {
    parent: Option<&'p Path<'p, 'de>>,
    name: Name<'de>,
    /// Whether the value lies in a list or a map.
    is_in_list: bool,
    /// Whether the value lies in `metadata`, of the object or of its template.
    is_in_metadata: bool,
}

#[derive(Clone, Copy)]
enum Name<'de> {
    /// The object itself, an item of a list, or a key with escapes, which is no field.
    None,
    /// The value of an annotation.
    Annotation,
    /// The value of a key.
    Key(&'de str),
}

impl<'de> Path<'_, 'de> {
    /// Returns the nearest key and its path.
    fn key(&self) -> Option<(&'de str, &Self)> {
        match self.name {
            Name::Key(key) => Some((key, self)),
            Name::None | Name::Annotation => self.parent?.key(),
        }
    }

    fn field(&self) -> &'de str {
        self.key().map(|(key, _)| key).unwrap_or_default()
    }

    fn is_quoted(&self) -> bool {
        QUOTED_FIELDS.contains(&self.field())
    }

    /// Whether this is the map of an object's annotations.
    fn is_annotations(&self) -> bool {
        matches!(self.name, Name::Key("annotations")) && self.parent.is_some_and(|above| above.field() == "metadata")
    }

    /// Formats the path, such as `spec.nodeSelector`. Keys that are not plain names are left out, so that the path
    /// contains no text of the object.
    fn print(&self) -> String {
        let above = self.parent.map(Self::print).unwrap_or_default();
        match self.name {
            Name::Key(key) if is_plain(key) && above.is_empty() => key.to_owned(),
            Name::Key(key) if is_plain(key) => format!("{above}.{key}"),
            _ => above,
        }
    }
}

fn is_plain(key: &str) -> bool {
    (1..=63).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The position of the value that is read next.
#[derive(Clone, Copy)]
struct At<'p, 'de> {
    budget: &'p BoundsLeft,
    path: &'p Path<'p, 'de>,
    /// The receiver of the key, if the value is a key.
    key: Option<KeyOf<'p, 'de>>,
}

#[derive(Clone, Copy)]
struct KeyOf<'p, 'de> {
    found: &'p Cell<Option<&'de str>>,
    /// Whether the key is a field's name, of which nothing is kept.
    is_field: bool,
}

impl<'de> At<'_, 'de> {
    fn note(&self, limit: Limit) {
        let mut excess = self.budget.excess.borrow_mut();
        let excess = excess.get_or_insert_with(|| Excess::new(self.path.print(), limit));
        // Labels are also cut if an entry is too long.
        let of = |path: Option<&Path<'_, 'de>>| path.is_some_and(|path| path.field() == "labels");
        excess.0.cuts_labels |= of(Some(self.path)) || of(self.path.parent);
        let is_of_cpu = self.path.parent.is_some_and(|above| above.field() == "cpu");
        excess.0.cuts_model |= is_of_cpu && self.path.field() == "model";
    }

    /// Whether another entry may be read, after `count`.
    fn has_room(&self, count: usize, most: usize) -> bool {
        count < most && self.budget.entries.get() > 0
    }

    /// Counts an entry that is about to be read, or undoes that if the list has ended.
    fn count(&self, is_there: bool) {
        let left = self.budget.entries.get();
        self.budget.entries.set(if is_there { left - 1 } else { left + 1 });
    }

    /// Records that there is an entry beyond the bound.
    fn note_entry(&self, count: usize, most: usize) {
        self.note(if count < most { Limit::AllEntries } else { Limit::Entries(most) });
    }

    /// Returns how many bytes of a text are kept: all or none, unless it is only quoted. A text in no list or map, such
    /// as a guest's model, is kept whatever the lists before it hold, and texts beside the metadata whatever that
    /// holds.
    fn kept(&self, text: &str) -> usize {
        let whole = text.len();
        if self.key.is_some_and(|key| key.is_field) {
            return whole;
        }
        if matches!(self.path.name, Name::Annotation) {
            return if whole > QUOTED { 0 } else { whole };
        }
        if whole > TEXT && self.path.is_quoted() {
            return (0..=whole.min(QUOTED)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        }
        let is_charged = self.path.is_in_list || self.key.is_some();
        let text = &self.budget.text[usize::from(!self.path.is_in_metadata)];
        let left = if is_charged { text.get() } else { usize::MAX };
        let limit = if whole > TEXT {
            Limit::Text(TEXT)
        } else if whole > left {
            Limit::AllText
        } else {
            if is_charged {
                text.set(left - whole);
            }
            return whole;
        };
        self.note(limit);
        0
    }
}

/// A deserializer, or a seed, within the bounds.
struct Within<'p, 'de, D> {
    inner: D,
    at: At<'p, 'de>,
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* Watch { visitor, at: self.at, is_struct: false })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Within<'_, 'de, D> {
    type Error = D::Error;

    forward! {
        deserialize_any();
        deserialize_str();
        deserialize_string();
        deserialize_option();
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_identifier();
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, Watch { visitor, at: self.at, is_struct: true })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        // The raw text of a value, for which serde_json uses a private protocol: it is borrowed, or at most as long as
        // the object.
        if name.starts_with("$serde_json::private::") {
            return self.inner.deserialize_newtype_struct(name, visitor);
        }
        self.inner.deserialize_newtype_struct(name, Watch { visitor, at: self.at, is_struct: false })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    // Values of fixed size.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<'_, 'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Within { inner: deserializer, at: self.at })
    }
}

/// A visitor that gets no more of a value than the bounds allow.
struct Watch<'p, 'de, V> {
    visitor: V,
    at: At<'p, 'de>,
    is_struct: bool,
}

macro_rules! pass_on {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    pass_on! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(&text[..self.at.kept(text)])
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        if let Some(key) = self.at.key {
            key.found.set(Some(text));
        }
        self.visitor.visit_borrowed_str(&text[..self.at.kept(text)])
    }

    fn visit_string<E: Error>(self, mut text: String) -> Result<V::Value, E> {
        text.truncate(self.at.kept(&text));
        self.visitor.visit_string(text)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Within { inner: deserializer, at: self.at })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Within { inner: deserializer, at: self.at })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let most = entries(self.at.path.field());
        self.visitor.visit_seq(Counted { inner, at: self.at, most, count: 0, is_struct: false, key: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let most = if self.is_struct {
            usize::MAX
        } else if self.at.path.is_annotations() {
            RENAMED_ANNOTATIONS
        } else {
            entries(self.at.path.field())
        };
        self.visitor.visit_map(Counted { inner, at: self.at, most, count: 0, is_struct: self.is_struct, key: None })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(inner)
    }
}

/// A list, map or struct whose entries are counted; a struct's fields are not.
struct Counted<'p, 'de, A> {
    inner: A,
    at: At<'p, 'de>,
    most: usize,
    count: usize,
    is_struct: bool,
    key: Option<&'de str>,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Counted<'_, 'de, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if !self.at.has_room(self.count, self.most) {
            if self.inner.next_element::<IgnoredAny>()?.is_some() {
                self.at.note_entry(self.count, self.most);
                while self.inner.next_element::<IgnoredAny>()?.is_some() {}
            }
            return Ok(None);
        }
        let is_in_metadata = self.at.path.is_in_metadata;
        let path = Path { parent: Some(self.at.path), name: Name::None, is_in_list: true, is_in_metadata };
        let at = At { budget: self.at.budget, path: &path, key: None };
        self.at.count(true);
        let item = self.inner.next_element_seed(Within { inner: seed, at })?;
        match item {
            Some(_) => self.count += 1,
            None => self.at.count(false),
        }
        Ok(item)
    }
}

/// The text of a key, borrowed if it holds no escapes.
struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

impl<'de, A: MapAccess<'de>> Counted<'_, 'de, A> {
    /// Returns the key of the next annotation that is ever read; the others are skipped.
    fn next_annotation<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(key) = self.inner.next_key_seed(KeyText)? {
            let is_own = is_annotation_in_own_domain(&key);
            if is_own || (self.count < self.most && key.len() <= TEXT && is_read_annotation(&key)) {
                self.count += usize::from(!is_own);
                return match key {
                    Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
                    Cow::Owned(key) => seed.deserialize(StringDeserializer::new(key)),
                }
                .map(Some);
            }
            self.inner.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Counted<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if !self.is_struct && self.at.path.is_annotations() {
            return self.next_annotation(seed);
        }
        if !self.is_struct && !self.at.has_room(self.count, self.most) {
            if self.inner.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                self.at.note_entry(self.count, self.most);
                while self.inner.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            }
            return Ok(None);
        }
        let found = Cell::new(None);
        let key = KeyOf { found: &found, is_field: self.is_struct };
        let at = At { budget: self.at.budget, path: self.at.path, key: Some(key) };
        let name = self.inner.next_key_seed(Within { inner: seed, at })?;
        self.key = found.get();
        if name.is_some() && !self.is_struct {
            self.count += 1;
            self.at.count(true);
        }
        Ok(name)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let name = if !self.is_struct && self.at.path.is_annotations() {
            Name::Annotation
        } else {
            self.key.map_or(Name::None, Name::Key)
        };
        let is_in_list = self.at.path.is_in_list || !self.is_struct;
        let is_in_metadata = self.at.path.is_in_metadata || self.is_struct && matches!(name, Name::Key("metadata"));
        let path = Path { parent: Some(self.at.path), name, is_in_list, is_in_metadata };
        let at = At { budget: self.at.budget, path: &path, key: None };
        self.inner.next_value_seed(Within { inner: seed, at })
    }
}
