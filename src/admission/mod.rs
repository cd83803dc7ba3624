//! The admission protocol: [`review`] turns bytes into a request, [`response`] a decision into bytes.
//!
//! Nothing here knows of HTTP, so the command line reads and prints reviews with the same code as the webhook.

use std::borrow::Cow;
use std::fmt;

pub mod response;
pub mod review;

/// Which webhook was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `POST /validate`: may warn and deny.
    Validate,
    /// `POST /mutate`: may patch as well.
    Mutate,
    /// `POST /authorize`: only whether the sender has the right to what an annotation asks for.
    Authorize,
}

impl Stage {
    /// All, in the order of the routes' names in logs and metrics.
    pub const ALL: [Self; 3] = [Self::Validate, Self::Mutate, Self::Authorize];

    /// As logs and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Mutate => "mutate",
            Self::Authorize => "authorize",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text on one line of at most `max` characters: control characters become spaces, what is too long ends in `…`.
pub(crate) fn one_line(text: &str, max: usize) -> Cow<'_, str> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    // Bytes bound characters, so most texts need no counting.
    let fits = text.len() <= max || text.chars().nth(max).is_none();
    if fits && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let kept = if fits { max } else { max.saturating_sub(1) };
    let mut line: String = text.chars().take(kept).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if !fits {
        line.truncate(line.trim_end().len());
        line.push('…');
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters_never_inside_one() {
        assert_eq!(one_line("käse", 4), "käse");
        assert_eq!(one_line("käsekuchen", 4), "käs…");
        assert_eq!(one_line("äääää", 3), "ää…");
        assert_eq!(one_line("ab cd", 4), "ab…", "no blank is left before the ellipsis");
        assert_eq!(one_line("", 4), "");
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(one_line("\na\nb\tc\u{1b}[1m\u{85}d\r\n", 80), "a b c [1m d");
    }
}
