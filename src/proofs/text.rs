//! Rules for every line, regardless of its content: nothing empty, numbers that agree with their nouns, limits of the
//! channel.

use super::seen::{Channel, Said};
use crate::admission::response::WARNING_CHARS;

/// Text that no line may contain. A blank in a cell that is split at blanks is shown as an escape: the cell must be a
/// name, or `-`.
const FAULTY: [&str; 27] = [
    "?.",
    "?,",
    "((",
    "\\u{20}",
    "of the 1 ",
    ", ,",
    ",,",
    ";;",
    "; ;",
    " ,",
    " ;",
    " .",
    "..",
    ":.",
    ": .",
    "()",
    "( ",
    " )",
    ": ;",
    ": ,",
    "and  ",
    "and 0 more",
    "''",
    ".,",
    ",.",
    ";.",
    ":;",
];
/// Words with which no sentence, clause or bracket ends.
const OPEN: [&str; 11] = ["lacks", "lack", "the", "of", "with", "than", "and", "or", "are", "by", "no"];
/// Counted nouns, singular and plural.
const NOUNS: [(&str, &str); 8] = [
    ("node", "nodes"),
    ("guest", "guests"),
    ("label", "labels"),
    ("entry", "entries"),
    ("feature", "features"),
    ("key", "keys"),
    ("problem", "problems"),
    ("minute", "minutes"),
];
/// Verbs after a counted noun or names, singular and plural.
pub(super) const VERBS: [(&str, &str); 10] = [
    ("is", "are"),
    ("fits", "fit"),
    ("lacks", "lack"),
    ("takes", "take"),
    ("meets", "meet"),
    ("fails", "fail"),
    ("carries", "carry"),
    ("offers", "offer"),
    ("keeps", "keep"),
    ("has", "have"),
];

/// Returns the rules that a line breaks.
pub(super) fn faults(said: &Said) -> Vec<&'static str> {
    let Said { channel, line } = said;
    let mut out = Vec::new();
    let mut rule = |holds: bool, name: &'static str| {
        if !holds {
            out.push(name);
        }
    };
    let prose = without_quotes(line.split("      # ").next().unwrap_or_default());
    rule(!line.trim().is_empty(), "a line is empty");
    rule(!line.contains(char::is_control), "a control character is shown");
    rule(!prose.trim().contains("  "), "two blanks");
    rule(!FAULTY.iter().any(|faulty| prose.contains(faulty)), "something in a list is empty, or punctuation is double");
    let words: Vec<&str> = prose.split_whitespace().collect();
    rule(words.len() < 2 || !is_open(&words), "a clause ends with what must be followed by something");
    rule(is_balanced(&prose) || line.ends_with('…'), "a bracket is not closed");
    rule(!numbers(&words).any(|(count, word)| disagrees(count, word)), "a number and its noun disagree");
    rule(verbs_agree(&words), "a number and its verb disagree");
    rule(!exceeds(&words), "a part is greater than the whole");
    match channel {
        Channel::Warning => {
            rule(line.chars().count() <= WARNING_CHARS, "a warning is too long");
            rule(!line.contains('…'), "a warning is cut");
        }
        Channel::Denial => {
            rule(line.contains(" (policy ") && !line.contains('…'), "a denial is not complete in its first line");
        }
        Channel::Event => rule(line.len() <= 1024, "a note is too long"),
        Channel::Detail
        | Channel::Cause
        | Channel::Annotation
        | Channel::Cell
        | Channel::Line
        | Channel::Json
        | Channel::Condition => {}
    }
    out
}

/// Text after `libvirt` if it was not asked: what it may do, what only it decides, and the commands that ask it.
const UNASKED: [&str; 8] = [
    " may ",
    " will likely ",
    " there may ",
    " alone, which checks again",
    " decides",
    " has the last word",
    " checks next to nothing",
    " accepts that on no node",
];
/// Text after `libvirt` if a guest's status holds its message about a failed migration or start.
const REFUSED: [&str; 4] =
    [" refused", " refuses to start it", ", whatever the labels say: ", " (no node has a label for that): "];

/// Whether a line claims an answer of libvirt. `refused`: its message about a failed migration is known.
pub(super) fn speaks_for_libvirt(line: &str, refused: bool) -> bool {
    let lower = line.to_lowercase();
    let is_asked_for = |at: usize| lower[..at].ends_with("--ask-");
    let mut said = lower.match_indices("libvirt").filter(|(at, _)| !is_asked_for(*at));
    said.any(|(at, word)| {
        let rest = &lower[at + word.len()..];
        let begins = |all: &[&str]| all.iter().any(|begin| rest.starts_with(begin));
        !(begins(&UNASKED) || refused && begins(&REFUSED))
    })
}

/// Removes quoted text: patches are JSON, not prose. An apostrophe is not a quote.
fn without_quotes(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(" '") {
        let (before, quoted) = rest.split_at(at + 2);
        out.push_str(before.trim_end_matches('\''));
        out.push_str("QUOTED");
        rest = quoted.find('\'').map_or("", |end| &quoted[end + 1..]);
    }
    out + rest
}

fn is_open(words: &[&str]) -> bool {
    let ends = |at: usize, word: &str| {
        let bare = word.trim_end_matches([',', ';', ':', '.', ')']);
        let is_last = at + 1 == words.len();
        (is_last || bare.len() < word.len() && !word.ends_with(':')) && OPEN.contains(&bare)
    };
    words.iter().enumerate().any(|(at, word)| ends(at, word))
}

fn is_balanced(prose: &str) -> bool {
    let mut open = Vec::new();
    for c in prose.chars() {
        match c {
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => {
                let opening = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(opening) {
                    return false;
                }
            }
            _ => {}
        }
    }
    open.is_empty()
}

/// Returns each number with the noun after it; adjectives are skipped.
fn numbers<'w>(words: &'w [&'w str]) -> impl Iterator<Item = (usize, &'w str)> {
    let adjective = |word: &&str| ["other", "running", "CPU", "more", "stale", "selected"].contains(word);
    (0..words.len()).filter_map(move |at| {
        let count = words[at].trim_start_matches('(').parse().ok()?;
        let noun = words[at + 1..].iter().find(|word| !adjective(word))?;
        Some((count, noun.trim_end_matches([',', ';', ':', '.', ')'])))
    })
}

fn disagrees(count: usize, word: &str) -> bool {
    NOUNS.iter().any(|(one, many)| word == if count == 1 { *many } else { *one })
}

/// Whether verbs agree with numbers: `1 node is`, `2 nodes are`, `2 are arm64`.
fn verbs_agree(words: &[&str]) -> bool {
    (0..words.len()).all(|at| {
        let Ok(count) = words[at].parse::<usize>() else { return true };
        let Some(next) = words.get(at + 1) else { return true };
        let is_noun = NOUNS.iter().any(|(one, many)| next == one || next == many);
        let verb = if is_noun { words.get(at + 2) } else { Some(next) };
        // In "3 of 4 nodes are", the verb agrees with the part, which precedes. In "rack > 3 is", with the condition.
        let is_whole = at > 0 && ["of", ">", "<"].contains(&words[at - 1]);
        let wrong = |verb: &&str| VERBS.iter().any(|(one, many)| verb == if count == 1 { many } else { one });
        is_whole || !verb.is_some_and(wrong)
    })
}

/// Whether a part exceeds its whole, or a range is reversed: `2 of 1`, `3 to 2`.
fn exceeds(words: &[&str]) -> bool {
    let number = |at: usize| words.get(at)?.trim_matches(|c: char| c.is_ascii_punctuation()).parse::<usize>().ok();
    let pairs = (0..words.len()).filter(|at| matches!(words.get(at + 1), Some(&("of" | "to"))));
    let spelled = pairs.filter_map(|at| Some((number(at)?, number(at + 2)?))).any(|(part, whole)| part > whole);
    let cells = words.iter().filter_map(|word| word.split_once('/')).any(|(part, whole)| {
        matches!((part.parse::<usize>(), whole.parse::<usize>()), (Ok(part), Ok(whole)) if part > whole)
    });
    spelled || cells
}
