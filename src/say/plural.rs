//! Numbers with their nouns, lists, and long lists folded.

pub use crate::fit::label::fold_names;
use crate::fit::label::{Family, name, short};
use crate::fit::verdict::Nearest;

/// `1 node`, `7 nodes`.
#[must_use]
pub fn nodes(count: usize) -> String {
    counted(count, "node", "nodes")
}

/// A number and the word for that many.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", number(count, one, many))
}

/// The word for that many.
#[must_use]
pub fn number<'w>(count: usize, one: &'w str, many: &'w str) -> &'w str {
    if count == 1 { one } else { many }
}

/// `3`, or `1 to 3`.
#[must_use]
pub fn range((least, most): (usize, usize)) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// Many entries as people read them, grouped by family, at most `most` names, the rest counted.
///
/// `cpu-feature fpu, vme and 3 more; cpu-model-migration GraniteRapids`.
#[must_use]
pub fn fold<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>, most: usize) -> String {
    let mut groups: Vec<(Family, Vec<String>)> = Vec::new();
    let mut total = 0;
    for (key, value) in entries {
        total += 1;
        if total > most {
            continue;
        }
        let family = Family::of(key);
        let text = match family {
            Family::Other | Family::Schedulable | Family::Hostname | Family::SchedulingTsc => {
                short(key, value).into_owned()
            }
            _ if value == "true" => name(key).to_owned(),
            _ => format!("{}={value}", name(key)),
        };
        match groups.iter_mut().find(|(f, _)| *f == family) {
            Some((_, names)) => names.push(text),
            None => groups.push((family, vec![text])),
        }
    }
    let out = groups
        .iter()
        .map(|(family, names)| match family {
            Family::Other | Family::Schedulable | Family::Hostname | Family::SchedulingTsc => names.join(", "),
            _ => format!("{} {}", family.word(), names.join(", ")),
        })
        .collect::<Vec<_>>()
        .join("; ");
    if total > most { format!("{out} and {} more", total - most) } else { out }
}

/// What a node lacks: `cpu-feature fpu, vme; kubevirt.io/schedulable=true (has false)`.
#[must_use]
pub fn fold_lack(near: &Nearest, most: usize) -> String {
    let has_another = |(key, _): &&(String, String)| near.has.contains_key(key);
    let (other, absent): (Vec<_>, Vec<_>) = near.missing.iter().partition(has_another);
    let shown = other.len().min(most);
    let other = other.iter().map(|(key, value)| match near.has[key].as_str() {
        "" => format!("{key}={value} (its value is empty)"),
        has => format!("{key}={value} (has {has})"),
    });
    let absent_room = most - shown;
    let hidden = near.missing.len() - shown - absent.len().min(absent_room);
    let absent = fold(absent.iter().take(absent_room).map(|(key, value)| (key.as_str(), value.as_str())), most);
    let groups: Vec<String> =
        Some(absent).filter(|text| !text.is_empty()).into_iter().chain(other.take(shown)).collect();
    let groups = groups.join("; ");
    if hidden > 0 { format!("{groups} and {hidden} more") } else { groups }
}

/// The same of entries that own their text.
#[must_use]
pub fn fold_entries(entries: &[(String, String)], most: usize) -> String {
    fold(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_groups_by_family_and_counts_the_rest() {
        let entries = [
            ("cpu-feature.node.kubevirt.io/fpu", "true"),
            ("cpu-feature.node.kubevirt.io/vme", "true"),
            ("cpu-model-migration.node.kubevirt.io/X", "true"),
            ("kubernetes.io/arch", "arm64"),
        ];
        assert_eq!(fold(entries, 9), "cpu-feature fpu, vme; cpu-model-migration X; kubernetes.io/arch=arm64");
        assert_eq!(fold(entries, 1), "cpu-feature fpu and 3 more");
    }
}
