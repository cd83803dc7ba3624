//! `-l`: a label selector in kubectl's syntax.
//!
//! Mirrors apimachinery's `pkg/labels` (`Parse`), except for `<` and `>`, which are not used with labels of guests.

use crate::fit::syntax;
use crate::policy::{LabelCondition, LabelSelector, Operator};

/// Parses a selector: `app=db,tier!=test,zone in (a, b),env notin (dev),spot,!retired`.
///
/// # Errors
///
/// Returns the invalid part, in one line.
pub(crate) fn parse(text: &str) -> Result<LabelSelector, String> {
    let mut selector = LabelSelector::default();
    if text.trim().is_empty() {
        return Ok(selector);
    }
    for term in terms(text)? {
        let term = term.trim();
        let condition = condition(term).map_err(|problem| format!("{term:?}: {problem}"))?;
        selector.match_expressions.push(condition);
    }
    Ok(selector)
}

/// Splits at the commas outside parentheses.
fn terms(text: &str) -> Result<Vec<&str>, String> {
    let (mut out, mut start, mut is_open) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !is_open => is_open = true,
            ')' if is_open => is_open = false,
            '(' | ')' => return Err(format!("{text:?}: a parenthesis too many")),
            ',' if !is_open => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if is_open {
        return Err(format!("{text:?}: a parenthesis is not closed"));
    }
    out.push(&text[start..]);
    Ok(out)
}

fn condition(term: &str) -> Result<LabelCondition, String> {
    let (key, operator, values) = if let Some(key) = term.strip_prefix('!') {
        (key, Operator::DoesNotExist, Vec::new())
    } else if let Some((key, value)) = term.split_once("!=") {
        (key, Operator::NotIn, vec![value])
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (key, Operator::In, vec![value])
    } else if let Some((head, list)) = term.split_once('(') {
        let list = list.strip_suffix(')').ok_or("the list of values ends with a parenthesis")?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace).ok_or("say KEY in (VALUE, …)")?;
        let operator = match word {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            other => return Err(format!("{other:?} is no operator: say in or notin")),
        };
        (key, operator, list.split(',').collect())
    } else {
        (term, Operator::Exists, Vec::new())
    };
    let key = key.trim();
    syntax::qualified(key).map_err(|rule| format!("{key:?} is no label key: {rule}"))?;
    let values: Vec<String> = values.into_iter().map(|value| value.trim().to_owned()).collect();
    for value in &values {
        syntax::label_value(value).map_err(|rule| format!("{value:?} is no label value: {rule}"))?;
    }
    Ok(LabelCondition { key: key.to_owned(), operator, values })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn selectors_select_what_kubectl_selects() {
        let labels: BTreeMap<String, String> =
            [("app", "db"), ("example.com/tier", "gold"), ("empty", "")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, expected) in [
            ("", true),
            ("app=db", true),
            ("app==db", true),
            ("app = db", true),
            ("app=web", false),
            ("app!=web", true),
            ("app!=db", false),
            // A missing label differs from any value.
            ("zone!=a", true),
            ("app", true),
            ("!app", false),
            ("zone", false),
            ("!zone", true),
            ("empty=", true),
            ("app=", false),
            ("app in (web, db)", true),
            ("app in (web)", false),
            ("app notin (web,mail)", true),
            ("app notin (db)", false),
            ("app=db,example.com/tier=gold", true),
            ("app=db,example.com/tier in (silver,bronze)", false),
            ("app in (db),!zone,empty", true),
            ("app in(db)", true),
        ] {
            assert_eq!(parse(text).map(|selector| selector.matches(&labels)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_selector_is_an_error() {
        for text in [
            ",",
            "app=db,",
            "=db",
            "a b",
            "app in",
            "app in (a",
            "app in a)",
            "app on (a)",
            "app=(a)",
            "app=a=b",
            "!",
            "app>1",
            "app=ü",
            "(a)",
            "a in (b))",
            "a in ((b)",
        ] {
            assert!(parse(text).is_err(), "{text} is taken for {:?}", parse(text));
        }
    }
}
