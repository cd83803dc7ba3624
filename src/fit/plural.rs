//! Numbers with their nouns, lists, and folded lists.

use std::collections::BTreeMap;

pub(crate) use super::label::fold_names;
use super::label::{Family, name, short};

/// Returns `1 node`, `7 nodes`.
pub(crate) fn nodes(count: usize) -> String {
    counted(count, "node", "nodes")
}

/// Returns a number and its noun.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", number(count, one, many))
}

/// Returns the noun for a number.
pub(crate) fn number<'w>(count: usize, one: &'w str, many: &'w str) -> &'w str {
    if count == 1 { one } else { many }
}

/// Returns a cell of a table, without blanks: `fpu,vme,+3`; `-` for none.
pub(crate) fn compact(names: &[String], most: usize) -> String {
    let more = names.len().checked_sub(most).filter(|more| *more > 0).map(|more| format!("+{more}"));
    let cell = names.iter().take(most).cloned().chain(more).collect::<Vec<_>>().join(",");
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// Returns `3`, or `1 to 3`.
pub(crate) fn range((least, most): (usize, usize)) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// Returns entries grouped by family, at most `most` names, the rest counted:
///
/// `cpu-feature fpu, vme and 3 more; cpu-model-migration GraniteRapids`.
pub(crate) fn fold<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>, most: usize) -> String {
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
            _ => format!("{} {}", family.as_str(), names.join(", ")),
        })
        .collect::<Vec<_>>()
        .join("; ");
    if total > most { format!("{out} and {} more", total - most) } else { out }
}

/// Returns the missing entries: `cpu-feature fpu, vme; kubevirt.io/schedulable (has false, needs true)`. `has` holds
/// the values of labels that exist with another value.
pub(crate) fn fold_lack(missing: &[(String, String)], has: &BTreeMap<String, String>, most: usize) -> String {
    let has_another = |(key, _): &&(String, String)| has.contains_key(key);
    let (other, absent): (Vec<_>, Vec<_>) = missing.iter().partition(has_another);
    let shown = other.len().min(most);
    let other = other.iter().map(|(key, value)| {
        let label = match Family::of(key) {
            Family::Other | Family::Schedulable | Family::Hostname => key.as_str().into(),
            _ => short(key, "true"),
        };
        format!("{label} (has {}, needs {})", value_in_words(&has[key]), value_in_words(value))
    });
    let absent_room = most - shown;
    let hidden = missing.len() - shown - absent.len().min(absent_room);
    let absent = fold(absent.iter().take(absent_room).map(|(key, value)| (key.as_str(), value.as_str())), most);
    let groups: Vec<String> =
        Some(absent).filter(|text| !text.is_empty()).into_iter().chain(other.take(shown)).collect();
    let groups = groups.join("; ");
    if hidden > 0 { format!("{groups} and {hidden} more") } else { groups }
}

fn value_in_words(value: &str) -> &str {
    if value.is_empty() { "an empty value" } else { value }
}

/// Joins names: `a`, `a and b`, `a, b and c`, `a, b and 7 more`.
pub(crate) fn and_names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    join_names(names, most, "and")
}

/// Joins alternatives: `a`, `a or b`, `a, b or c`, `a, b and 7 more`.
pub(crate) fn or_names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    join_names(names, most, "or")
}

fn join_names<S: AsRef<str>>(names: &[S], most: usize, word: &str) -> String {
    match names {
        [first @ .., last] if names.len() <= most && !first.is_empty() => {
            format!("{} {word} {}", fold_names(first, most), last.as_ref())
        }
        _ => fold_names(names, most),
    }
}

/// Folds entries that own their text, as [`fold`] does.
pub(crate) fn fold_entries(entries: &[(String, String)], most: usize) -> String {
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

    #[test]
    fn a_label_with_another_value_is_printed_with_that_value() {
        let missing = [("cpumanager", "true"), ("kubevirt.io/sev", "true"), ("zone", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let has = [("cpumanager", "false"), ("kubevirt.io/sev", "")];
        let has = has.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(
            fold_lack(&missing, &has, 9),
            "zone=; cpumanager (has false, needs true); kubevirt.io/sev (has an empty value, needs true)"
        );
        assert_eq!(fold_lack(&missing, &has, 1), "cpumanager (has false, needs true) and 2 more");
    }

    #[test]
    fn names_in_a_sentence() {
        assert_eq!(and_names(&["a"], 3), "a");
        assert_eq!(and_names(&["a", "b"], 3), "a and b");
        assert_eq!(and_names(&["a", "b", "c"], 3), "a, b and c");
        assert_eq!(and_names(&["a", "b", "c", "d"], 2), "a, b and 2 more");
    }
}
