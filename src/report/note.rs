//! The note of an Event, which is the only place that creates its text.

use super::Reason;
use crate::fit::shown::Shown;
use crate::fit::syntax;
use crate::kubevirt::wire::EachText;

/// Maximum length of a note, bytes: the limit of `events.k8s.io/v1`.
const MAX_NOTE_BYTES: usize = 1024;

/// Fields with text that is never repeated: annotations are compared with known words. Times contain no words, but they
/// contain colons, which no label may have.
const UNSAID: [&str; 2] = ["annotations", "creation_timestamp"];

/// Whether an Event may repeat text of a reviewed object: all its text that is read consists of names, label keys and
/// label values. CPU models, features and machine types are label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotable(bool);

impl Quotable {
    /// Checks all text of an object that could be repeated.
    #[must_use]
    pub fn of(object: &impl EachText) -> Self {
        let mut is_quotable = true;
        object.each_text("", &mut |field, text| {
            // A generated name's prefix usually ends in a dash.
            let text = if field == "generate_name" { text.trim_end_matches(['-', '.']) } else { text };
            is_quotable &= UNSAID.contains(&field) || is_name_or_label(text);
        });
        Self(is_quotable)
    }
}

/// The text of an Event: one line of printable text, within the limit of Events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note(String);

impl Note {
    /// Creates a note about a review. `line` is repeated if the reviewed object is `quotable`; else the note contains
    /// the meaning of the reason, and that details are left out.
    #[must_use]
    pub fn new(reason: Reason, line: &str, quotable: Quotable) -> Self {
        if quotable.0 {
            return Self::of_watched(line);
        }
        let meaning = reason.meaning();
        Self(format!(
            "{meaning}; details are left out: the reviewed object holds text that is no name, label key or value"
        ))
    }

    /// Creates a note that consists only of text from the watch.
    pub(crate) fn of_watched(line: &str) -> Self {
        let line = Shown::within(line, usize::MAX).to_string();
        if line.len() <= MAX_NOTE_BYTES {
            return Self(line);
        }
        let end =
            (0..=MAX_NOTE_BYTES - '…'.len_utf8()).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
        Self(format!("{}…", &line[..end]))
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether text is a label key, a label value, or an object's name; the empty text is a label value.
fn is_name_or_label(text: &str) -> bool {
    [syntax::qualified, syntax::label_value, syntax::subdomain].iter().any(|rule| rule(text).is_ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::word::Word as _;

    #[rstest]
    #[case::empty("", true)]
    #[case::model("Skylake-Server-noTSX-IBRS", true)]
    #[case::feature("tsc_adjust", true)]
    #[case::machine("pc-q35-rhel9.4.0", true)]
    #[case::key("cpu-feature.node.kubevirt.io/amd-stibp", true)]
    #[case::long_name(&"a23456789.".repeat(20).trim_end_matches('.').to_owned(), true)]
    #[case::words("call us", false)]
    #[case::address("https://evil.example/x", false)]
    #[case::path("a/b/c", false)]
    #[case::key_without_a_name("example.com/", false)]
    #[case::key_without_a_prefix("/name", false)]
    #[case::ends_in_a_dash("zone-", false)]
    #[case::too_long(&"A".repeat(64), false)]
    #[case::newline("a\nb", false)]
    #[case::letters_of_others("приветик", false)]
    #[case::quote("zone'", false)]
    #[case::colon("a:b", false)]
    fn names_and_labels(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_name_or_label(text), expected);
    }

    #[rstest]
    #[case::short("one line", "one line")]
    #[case::lines("one\n  two\r\nthree \n", r"one\u{a}  two\u{d}\u{a}three")]
    #[case::none("", "")]
    #[case::escape("a\u{1b}[31mb", r"a\u{1b}[31mb")]
    #[case::direction("a\u{202e}b\u{2066}c\u{2028}d", r"a\u{202e}b\u{2066}c\u{2028}d")]
    fn a_note_is_one_printable_line(#[case] message: &str, #[case] expected: &str) {
        assert_eq!(Note::of_watched(message).as_str(), expected);
    }

    #[test]
    fn a_note_fits_for_every_text() {
        for text in ["é".repeat(2000), "x".repeat(1025), "ab€".repeat(400)] {
            let note = Note::of_watched(&text).0;
            let fits = (1020..=MAX_NOTE_BYTES).contains(&note.len()) && note.ends_with('…');
            assert!(fits, "the API server refuses {} bytes", note.len());
        }
        for &reason in Reason::ALL {
            let note = Note::new(reason, "evil words", Quotable(false)).0;
            assert!(note.len() <= MAX_NOTE_BYTES && !note.contains("evil"), "{note}");
        }
    }
}
