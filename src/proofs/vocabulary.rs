//! The words of texts and of objects.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::testing::situation::Situation;

/// Returns the words of a text: names and keys unsplit, without surrounding punctuation.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| !(c.is_alphanumeric() || "-_./".contains(c));
    text.split(part).map(|word| word.trim_matches(['.', '-', '/'])).filter(|word| !word.is_empty())
}

/// Returns all words of a situation's objects; for a label key also its name.
pub(super) fn of_situation(situation: &Situation) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let all = situation.nodes.iter().chain(&situation.objects).chain(&situation.reviews);
    all.for_each(|object| gather(object, &mut out));
    if situation.libvirt.is_some() {
        gather(&Value::String(format!("{:?}", situation.world().cluster.libvirt)), &mut out);
    }
    out
}

fn gather(value: &Value, out: &mut BTreeSet<String>) {
    let mut put = |text: &str| {
        for word in words(text) {
            out.insert(word.to_owned());
            out.extend(word.split('/').map(str::to_owned));
        }
    };
    match value {
        Value::String(text) => put(text),
        Value::Array(items) => items.iter().for_each(|item| gather(item, out)),
        Value::Object(fields) => {
            fields.keys().for_each(|key| put(key));
            fields.values().for_each(|field| gather(field, out));
        }
        Value::Number(number) => put(&number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}
