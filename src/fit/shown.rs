//! Text from objects in a form that is safe to print.
//!
//! Names, models, keys and messages can contain any character if an object comes from a file or an untrusted
//! sender. Printed unchanged, a newline forges a row, an escape sequence rewrites the screen, and a
//! bidirectional override reorders a line.

use std::borrow::Cow;
use std::fmt;

/// Maximum length of `namespace/name` at the start of a sentence, in characters: two names of the 63
/// characters that KubeVirt accepts, and the slash. A longer one is cut, to leave room for the sentence.
pub(crate) const TITLE_CHARS: usize = 127;

/// Text that a terminal shows unchanged: characters that are not printable are replaced by `\u{…}`.
///
/// Escaped are controls (C0, DEL, C1), line and paragraph separators, all format characters (bidirectional
/// overrides and isolates, zero-width characters, the byte order mark), blanks other than U+0020, combining
/// marks, and code points that are private or not assigned. A backslash is kept. The text is one line, and
/// escaping it again changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shown<'a>(Cow<'a, str>);

impl<'a> Shown<'a> {
    /// Escapes the characters that are not printable as `\u{…}`.
    pub(crate) fn new(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        if text.chars().all(is_printable) {
            return Self(text);
        }
        let mut out = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            if is_printable(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
        }
        Self(Cow::Owned(out))
    }

    /// Escapes the text without blanks and controls at its ends, cut to `most` characters of output; a cut
    /// text ends in `…`. No `\u{…}` is cut in two.
    pub(crate) fn within(text: &'a str, most: usize) -> Self {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        let shown = Self::new(text);
        // The length in bytes is an upper bound of the number of characters, so most texts need no counting.
        if shown.0.len() <= most || shown.0.chars().nth(most).is_none() {
            return shown;
        }
        let mut out = String::new();
        let mut room = most.saturating_sub(1);
        for c in text.chars() {
            let needed = if is_printable(c) { 1 } else { c.escape_unicode().count() };
            let Some(left) = room.checked_sub(needed) else { break };
            room = left;
            if needed == 1 { out.push(c) } else { out.extend(c.escape_unicode()) }
        }
        out.truncate(out.trim_end().len());
        out.push('…');
        Self(Cow::Owned(out))
    }

    /// Returns the text as a `str`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text as a `Cow`.
    pub(crate) fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a terminal prints the character visibly. Beyond ASCII, these are the characters that the standard
/// library's debug format prints unescaped, except for letters and symbols that are blank.
pub(crate) fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => false,
        _ => !c.is_ascii() && c.escape_debug().next() == Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::newline("a\nb", r"a\u{a}b")]
    #[case::carriage_return("a\rb", r"a\u{d}b")]
    #[case::tab("a\tb", r"a\u{9}b")]
    #[case::nul("\0", r"\u{0}")]
    #[case::colour("\u{1b}[31mred", r"\u{1b}[31mred")]
    #[case::title_of_the_window("\u{1b}]0;x\u{7}", r"\u{1b}]0;x\u{7}")]
    #[case::delete("\u{7f}", r"\u{7f}")]
    #[case::c1_control_sequence("\u{9b}1m", r"\u{9b}1m")]
    #[case::next_line("\u{85}", r"\u{85}")]
    #[case::line_separator("\u{2028}", r"\u{2028}")]
    #[case::paragraph_separator("\u{2029}", r"\u{2029}")]
    #[case::zero_width("\u{200b}\u{200c}\u{200d}", r"\u{200b}\u{200c}\u{200d}")]
    #[case::marks_of_direction("\u{200e}\u{200f}\u{61c}", r"\u{200e}\u{200f}\u{61c}")]
    #[case::embeddings_and_overrides(
        "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
        r"\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}"
    )]
    #[case::isolates("\u{2066}\u{2067}\u{2068}\u{2069}", r"\u{2066}\u{2067}\u{2068}\u{2069}")]
    #[case::byte_order_mark("\u{feff}", r"\u{feff}")]
    #[case::tag("\u{e0041}", r"\u{e0041}")]
    #[case::hangul_fillers("\u{115f}\u{1160}\u{3164}\u{ffa0}", r"\u{115f}\u{1160}\u{3164}\u{ffa0}")]
    #[case::blank_braille("\u{2800}", r"\u{2800}")]
    #[case::soft_hyphen("\u{ad}", r"\u{ad}")]
    #[case::blank_that_does_not_break("\u{a0}", r"\u{a0}")]
    #[case::combining("e\u{301}", r"e\u{301}")]
    #[case::letters("Käse, Ελλάδα, 漢字, naïve …", "Käse, Ελλάδα, 漢字, naïve …")]
    #[case::backslash(r"C:\u{a}", r"C:\u{a}")]
    fn unprintable_characters_are_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Shown::new(text).as_str(), shown);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let within = |text, most| Shown::within(text, most).to_string();
        assert_eq!(within("käse", 4), "käse");
        assert_eq!(within("käsekuchen", 4), "käs…");
        assert_eq!(within("ab cd", 4), "ab…", "no blank is left before the ellipsis");
        assert_eq!(within("a\nb", 7), "a\\u{a}b");
        assert_eq!(within("a\nb", 6), "a…", "half of an escape says nothing");
        assert_eq!(within("\n ab\r\n", 2), "ab", "a trailing newline is not part of the message");
        assert_eq!(within("", 4), "");
    }

    /// Whether the Unicode standard assigns the character a meaning for direction, joining or lines.
    fn is_dangerous(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn shown_texts_have_no_line_breaks_and_no_bidirectional_controls(text in any::<String>()) {
            let shown = Shown::new(text.as_str());
            prop_assert!(!shown.as_str().contains(is_dangerous), "{shown:?}");
            prop_assert_eq!(shown.as_str().lines().count(), usize::from(!text.is_empty()));
            prop_assert_eq!(Shown::new(shown.as_str()), shown.clone(), "escaped twice it would be another text");
            let most = text.len() % 9;
            prop_assert!(Shown::within(&text, most).as_str().chars().count() <= most.max(1));
        }

        #[test]
        fn every_character_is_shown_or_escaped(c in any::<char>()) {
            let shown = Shown::new(c.to_string()).into_cow().into_owned();
            let escaped: String = c.escape_unicode().collect();
            prop_assert!(shown == c.to_string() && !is_dangerous(c) || shown == escaped, "{shown:?}");
        }
    }
}
