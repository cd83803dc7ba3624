//! Commands to paste into a shell.
//!
//! A [`Command`] is a list of words. A word is text of this crate, or text of an object that is valid by the
//! rules of Kubernetes for its use: [`Name`], [`Namespace`], [`LabelKey`], [`LabelValue`], [`CpuModel`],
//! [`MachineType`]. Each word is quoted for a POSIX shell when it is printed. If a text of the object is not
//! valid, the remedy has no command: its [`Script`] is one comment that says which text is not valid, and why.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use thiserror::Error;

use super::shown::Shown;
use super::syntax;

/// Maximum length of an invalid text in a comment, in characters.
const MAX_INVALID_CHARS: usize = 63;

/// The verbs of kubectl that change nothing.
const READING_VERBS: [&str; 3] = ["get", "describe", "logs"];

/// A text of an object that is not valid for its use in a command.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} {} is not valid: {why}", quoted_for_people(text))]
pub struct Invalid {
    what: &'static str,
    text: String,
    why: &'static str,
}

/// A word of a command, not yet quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandWord(Cow<'static, str>);

impl From<&'static str> for CommandWord {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

macro_rules! checked {
    ($($(#[$meta:meta])* $name:ident, $what:literal, $rule:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            ///
            /// Returns the text and the rule that it breaks.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let rule: fn(&str) -> Result<(), &'static str> = $rule;
                let invalid = |why| Invalid { what: $what, text: text.to_owned(), why };
                rule(text).map(|()| Self(text.to_owned())).map_err(invalid)
            }
        }

        impl From<$name> for CommandWord {
            fn from(valid: $name) -> Self {
                Self(Cow::Owned(valid.0))
            }
        }
    )*};
}

checked! {
    /// The name of an object. Mirrors `IsDNS1123Subdomain` of `k8s.io/apimachinery/pkg/util/validation`.
    Name, "name", syntax::subdomain;
    /// The name of a namespace, or an empty text if none is known. Mirrors `IsDNS1123Label`.
    Namespace, "namespace", |text| if text.is_empty() { Ok(()) } else { syntax::dns_label(text) };
    /// A label's key. Mirrors `IsQualifiedName`.
    LabelKey, "label key", syntax::qualified;
    /// A label's value. Mirrors `IsValidLabelValue`.
    LabelValue, "label value", syntax::label_value;
    /// A CPU model, which is the last part of a label's key.
    CpuModel, "CPU model", syntax::label_name;
    /// A CPU feature, which is the last part of a label's key.
    CpuFeature, "CPU feature", syntax::label_name;
    /// A machine type, which is the last part of a label's key.
    MachineType, "machine type", syntax::label_name;
    /// The name of a user, or of an object that may have any name but a path.
    UserName, "user", syntax::printable;
    /// The path of a file or a folder.
    FilePath, "path", syntax::printable;
}

impl Name {
    /// Formats the name for kubectl's arguments: `vmi/db`.
    #[must_use]
    pub fn of(self, kind: &'static str) -> CommandWord {
        CommandWord(Cow::Owned(format!("{kind}/{}", self.0)))
    }
}

impl LabelKey {
    /// Formats the argument with which `kubectl label` sets the label: `key=value`.
    pub(crate) fn set_to(self, value: &LabelValue) -> CommandWord {
        CommandWord(Cow::Owned(format!("{}={}", self.0, value.0)))
    }

    /// Formats the argument with which `kubectl label` and `kubectl annotate` remove the key: `key-`.
    #[must_use]
    pub fn removed(self) -> CommandWord {
        CommandWord(Cow::Owned(format!("{}-", self.0)))
    }
}

impl CommandWord {
    /// Joins text of this crate and a word: `spec.nodeName=node-a`.
    pub(crate) fn joined(start: &'static str, rest: impl Into<Self>) -> Self {
        Self(Cow::Owned(format!("{start}{}", rest.into().0)))
    }

    /// Formats the path of a field, of these parts: `spec.domain.cpu.model`.
    #[must_use]
    pub fn field(parts: &[&[&'static str]]) -> Self {
        Self(Cow::Owned(parts.concat().join(".")))
    }

    /// Formats a JSON pointer to the end of a list, where a patch adds: `/spec/list/-`.
    #[must_use]
    pub(crate) fn end_of(parts: &[&[&'static str]]) -> Self {
        Self(Cow::Owned(parts.concat().into_iter().chain(["-"]).flat_map(|step| ["/", step]).collect()))
    }

    /// Formats a JSON pointer to an element of a list, or to the value `below` it: `/spec/list/0/name`.
    #[must_use]
    pub fn pointer(list: &[&'static str], at: usize, below: &[&'static str]) -> Self {
        let at = at.to_string();
        let steps = list.iter().copied().chain([at.as_str()]).chain(below.iter().copied());
        Self(Cow::Owned(steps.flat_map(|step| ["/", step]).collect()))
    }
}

/// The API version of HyperConverged that has these fields: `v1` has them elsewhere, and the API server
/// converts.
pub(crate) const HYPERCONVERGED: &str = "hyperconvergeds.v1beta1.hco.kubevirt.io";

/// A JSON value, for patches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`: a merge patch removes the key.
    Null,
    /// A string.
    Text(CommandWord),
    /// An object.
    Object(Vec<(CommandWord, Json)>),
    /// A list.
    Array(Vec<Json>),
    /// `true`.
    True,
    /// `false`.
    False,
}

impl Json {
    /// Nests the value below these keys: for `["spec", "running"]`, `{"spec":{"running":…}}`.
    #[must_use]
    pub fn below(self, path: &[&'static str]) -> Self {
        path.iter().rev().fold(self, |value, &key| Self::Object(vec![(key.into(), value)]))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Text(CommandWord(text)) => write_json_string(text, f),
            Self::Array(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                f.write_char(']')
            }
            Self::Object(entries) => {
                for (at, (CommandWord(key), value)) in entries.iter().enumerate() {
                    f.write_char(if at == 0 { '{' } else { ',' })?;
                    write_json_string(key, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_str(if entries.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

impl From<Json> for CommandWord {
    fn from(json: Json) -> Self {
        Self(Cow::Owned(json.to_string()))
    }
}

fn write_json_string(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\0'..='\u{1f}' | '\u{7f}' => write!(f, "\\u{:04x}", u32::from(c))?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// A command with an optional comment behind it, or a comment alone. [`Display`](fmt::Display) leaves the comment out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    words: Vec<CommandWord>,
    comment: Vec<CommandWord>,
    /// The text piped to its standard input.
    input: Option<CommandWord>,
}

impl Command {
    /// Starts a command of `kubectl` with these words: `["uncordon"]`.
    #[must_use]
    pub fn kubectl<const N: usize>(words: [&'static str; N]) -> Self {
        Self::default().arg("kubectl").args(words)
    }

    /// Starts a command of `virtctl` with these words: `["restart"]`.
    #[must_use]
    pub fn virtctl<const N: usize>(words: [&'static str; N]) -> Self {
        Self::default().arg("virtctl").args(words)
    }

    /// Builds a comment without a command: a line that says what to do.
    #[must_use]
    pub fn remark(words: impl IntoIterator<Item = CommandWord>) -> Self {
        Self { comment: words.into_iter().collect(), ..Self::default() }
    }

    /// Adds a word.
    #[must_use]
    pub fn arg(mut self, word: impl Into<CommandWord>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Adds words.
    #[must_use]
    pub fn args(mut self, words: impl IntoIterator<Item = impl Into<CommandWord>>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds `-n` and the namespace, if it is known.
    #[must_use]
    pub fn namespace(self, namespace: Namespace) -> Self {
        if namespace.0.is_empty() { self } else { self.arg("-n").arg(namespace) }
    }

    /// Adds a comment behind the command.
    #[must_use]
    pub fn comment(mut self, text: &'static str) -> Self {
        self.comment = vec![text.into()];
        self
    }

    /// Pipes the object to its standard input (`-f -`).
    pub(crate) fn fed(mut self, object: Json) -> Self {
        self.input = Some(object.into());
        self
    }

    /// Whether it is a comment without a command.
    pub(crate) fn is_remark(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether the command changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        let verb = self.words.get(1).map(|CommandWord(verb)| verb.as_ref());
        verb.is_some_and(|verb| READING_VERBS.contains(&verb))
    }

    /// Returns the line to paste, with its comment.
    #[must_use]
    pub fn line(&self) -> String {
        self.step().to_string()
    }

    fn step(&self) -> Step {
        let comment: Vec<&str> = self.comment.iter().map(|CommandWord(text)| text.as_ref()).collect();
        let comment = comment.join(" ");
        match (self.is_remark(), comment.is_empty()) {
            (true, _) => Step::ByHand(comment),
            (false, true) => Step::Run(self.to_string()),
            (false, false) => Step::Run(format!("{self}      # {comment}")),
        }
    }
}

/// A step of a script, printed as a line to paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command, with its comment.
    Run(String),
    /// An edit by hand, in words.
    ByHand(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(line) => f.write_str(line),
            Self::ByHand(words) => write!(f, "# {words}"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(CommandWord(input)) = &self.input {
            write!(f, "printf %s {} | ", quoted(input))?;
        }
        for (at, CommandWord(word)) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_char(' ')?;
            }
            f.write_str(&quoted(word))?;
        }
        Ok(())
    }
}

/// The commands to run, in order, or the text that is not valid for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(Result<Vec<Command>, Invalid>);

impl From<Result<Vec<Command>, Invalid>> for Script {
    fn from(commands: Result<Vec<Command>, Invalid>) -> Self {
        Self(commands)
    }
}

impl Script {
    /// Returns the lines to paste: a single comment if a text is not valid.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.steps().iter().map(Step::to_string).collect()
    }

    /// Returns the steps, in order: a single one by hand if a text is not valid.
    pub(crate) fn steps(&self) -> Vec<Step> {
        match &self.0 {
            Ok(commands) => commands.iter().map(Command::step).collect(),
            Err(invalid) => vec![Step::ByHand(format!("no command: {invalid}"))],
        }
    }

    /// Puts a command before all others.
    #[must_use]
    pub(crate) fn preceded_by(self, first: Result<Command, Invalid>) -> Self {
        let or_remark = |invalid: Invalid| Command::remark([CommandWord(format!("no command: {invalid}").into())]);
        let first = first.unwrap_or_else(or_remark);
        let rest = self.0.unwrap_or_else(|invalid| vec![or_remark(invalid)]);
        Self(Ok([vec![first], rest].concat()))
    }

    /// Returns the commands before the first edit by hand: the ones that a program may run on its own.
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = self.0.iter().flatten();
        commands.take_while(|command| !command.is_remark()).map(Command::line).collect()
    }

    /// Returns in words what is left to do after [`commands`](Self::commands): the first edit by hand, and all after
    /// it, in order; `None` if the commands do everything.
    pub(crate) fn by_hand(&self) -> Option<String> {
        let commands = match &self.0 {
            Ok(commands) => commands,
            Err(invalid) => return Some(format!("no command: {invalid}")),
        };
        let rest = commands.iter().skip_while(|command| !command.is_remark());
        let words = rest.map(|command| match command.step() {
            Step::ByHand(words) => words,
            Step::Run(_) => format!("then {command}"),
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Whether all its commands change nothing, so that running them is not enough.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self.0.as_deref(), Ok(commands) if !commands.is_empty() && commands.iter().all(Command::only_reads))
    }

    /// Returns the command if there is exactly one and it changes something.
    #[must_use]
    pub fn single(&self) -> Option<&Command> {
        match self.0.as_deref() {
            Ok([command]) if !command.is_remark() && !command.only_reads() => Some(command),
            _ => None,
        }
    }
}

/// Quotes the word for a POSIX shell; leaves it bare if no character of it is special to a shell.
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    // A word that begins with `=` is expanded by zsh.
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('=') {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Quotes a text on one line: comments are pasted too, and not every shell treats them as comments.
fn quoted_for_people(text: &str) -> String {
    let cut: String = text.chars().take(MAX_INVALID_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    let shown = format!("{}{more}", Shown::new(cut));
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
