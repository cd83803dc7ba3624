//! Iteration over all text of an object, independent of its fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AnyAffinity, Present, Text, Texts};
use crate::bounds::Excess;

/// A value whose text can be visited.
pub trait EachText {
    /// Calls `visit` with each text and the name of the struct field that holds it. `field` is the name of the field
    /// that holds this value.
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str));
}

macro_rules! no_text {
    ($($name:ty),*) => {$(
        impl EachText for $name {
            fn each_text(&self, _: &'static str, _: &mut dyn FnMut(&'static str, &str)) {}
        }
    )*};
}

// The description of an excess holds no text of the object.
no_text!(bool, i64, Excess, Present, u32, u64);

impl EachText for String {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        visit(field, self);
    }
}

impl EachText for Text<'_> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        visit(field, self);
    }
}

impl EachText for Texts<'_> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            visit(field, text);
        }
    }
}

impl<T: EachText> EachText for Option<T> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        if let Some(item) = self {
            item.each_text(field, visit);
        }
    }
}

impl<T: EachText> EachText for Box<T> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        T::each_text(self, field, visit);
    }
}

impl<T: EachText> EachText for Vec<T> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        for item in self {
            item.each_text(field, visit);
        }
    }
}

impl<T: EachText> EachText for BTreeMap<String, T> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        for (key, value) in self {
            visit(field, key);
            value.each_text(field, visit);
        }
    }
}

impl EachText for Value {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        match self {
            Self::String(text) => visit(field, text),
            Self::Array(items) => items.each_text(field, visit),
            Self::Object(fields) => {
                for (key, value) in fields {
                    visit(field, key);
                    value.each_text(field, visit);
                }
            }
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}

impl EachText for AnyAffinity {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        self.value().each_text(field, visit);
    }
}
