//! The lists of a description (labels, node selectors, tolerations), one entry a line: also where the lines lost their
//! indentation, or a mailer broke them.

use crate::fit::syntax;

/// A list with an entry that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::snapshot) struct BrokenEntry {
    /// The index of its first line in the text.
    pub(in crate::snapshot) line: usize,
    /// The entry as far as it is known.
    pub(in crate::snapshot) text: String,
}

/// The lists whose entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// `key=value`.
    Labels,
    /// `key=value:Effect op=Exists for 300s`.
    Tolerations,
}

/// A line of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListLine<'t> {
    /// Its index in the text.
    pub(super) at: usize,
    /// The line without blanks around it.
    pub(super) text: &'t str,
    /// Whether it had its indentation, or follows the name of the list.
    pub(super) is_in_place: bool,
}

impl List {
    /// Returns the list that a field holds; `None` for other fields.
    pub(super) fn of(field: &str) -> Option<Self> {
        match field {
            "Labels" | "Node-Selectors" => Some(Self::Labels),
            "Tolerations" => Some(Self::Tolerations),
            _ => None,
        }
    }

    /// Whether a text is a whole entry.
    fn holds(self, entry: &str) -> bool {
        match self {
            Self::Labels => entry.split_once('=').is_some_and(|(key, value)| is_label(key, value)),
            Self::Tolerations => is_toleration(entry),
        }
    }

    /// Returns an entry from two parts of it; `None` if they are none.
    fn joined(self, one: &str, other: &str) -> Option<String> {
        let by: &[&str] = match self {
            Self::Labels => &[""],
            Self::Tolerations => &[" ", ""],
        };
        by.iter().map(|by| format!("{one}{by}{other}")).find(|entry| self.holds(entry))
    }

    /// Returns the entries of the lines. A line without indentation goes on with the entry above it where other lines
    /// have theirs (`is_indented`), else only where it is no entry by itself.
    ///
    /// # Errors
    ///
    /// Returns the first entry that no way of joining makes whole.
    pub(super) fn entries(self, lines: &[ListLine<'_>], is_indented: bool) -> Result<Vec<String>, BrokenEntry> {
        let mut out: Vec<BrokenEntry> = Vec::new();
        for line in lines.iter().filter(|line| !line.text.is_empty() && line.text != "<none>") {
            let last = out.last_mut().filter(|last| {
                let is_moved = !line.is_in_place && (is_indented || self.is_part(line.text));
                let is_whole = line.is_in_place && self.holds(line.text);
                is_moved || !is_whole && !self.holds(&last.text)
            });
            let joined = last.and_then(|last| {
                let joined = self.joined(&last.text, line.text).or_else(|| self.unfinished(&last.text, line.text))?;
                Some((last, joined))
            });
            match joined {
                Some((last, joined)) => last.text = joined,
                None => out.push(BrokenEntry { line: line.at, text: line.text.to_owned() }),
            }
        }
        match out.iter().find(|entry| !self.holds(&entry.text)) {
            Some(broken) => Err(broken.clone()),
            None => Ok(out.into_iter().map(|entry| entry.text).collect()),
        }
    }

    /// Whether a line may be the rest of the entry above it, though it may be one itself: `op=Exists for 300s`.
    fn is_part(self, line: &str) -> bool {
        !self.holds(line) || self == Self::Tolerations && line.starts_with("op=")
    }

    /// Returns the beginning of an entry that was broken more than once.
    fn unfinished(self, one: &str, other: &str) -> Option<String> {
        let is_open = self == Self::Labels && !one.contains('=') && !other.contains(['=', ' ']);
        is_open.then(|| format!("{one}{other}"))
    }
}

fn is_label(key: &str, value: &str) -> bool {
    syntax::qualified(key).is_ok() && (value.is_empty() || syntax::label_value(value).is_ok())
}

fn is_toleration(entry: &str) -> bool {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut words = entry.split_whitespace().peekable();
    let taint = words.next_if(|word| !word.starts_with("op="));
    let operator = words.next_if(|word| word.starts_with("op="));
    let rest: Vec<&str> = words.collect();
    let is_time = |time: &str| {
        let digits = time.strip_suffix('s').unwrap_or_default().trim_start_matches('-');
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_ended = match rest[..] {
        [] => true,
        ["for", time] => is_time(time),
        _ => false,
    };
    let is_taint = |taint: &str| {
        let (pair, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_of_key = if key.is_empty() { value.is_empty() } else { is_label(key, value) };
        is_of_key && (effect.is_empty() && !taint.ends_with(':') || EFFECTS.contains(&effect))
    };
    let is_operator = |word: &str| matches!(word, "op=Exists" | "op=Equal" | "op=Lt" | "op=Gt");
    is_ended
        && (taint.is_some() || operator.is_some())
        && taint.is_none_or(is_taint)
        && operator.is_none_or(is_operator)
}
