//! Redaction of sentences of Kubernetes, KubeVirt and libvirt: plain words and CPU features are kept, names are renamed
//! as in the objects.

use super::{Class, NewNames, Phase, is_public};
use crate::fit::models;

/// Words of libvirt and of this program about libvirt's answers, which look like names.
const KEPT_WORDS: [&str; 3] = ["host-model", "host-passthrough", "hypervisor-cpu-compare"];

/// Words of the scheduler's sentences, which are parsed: a label may have the same text.
const SCHEDULER_WORDS: &str = "a affinity anti are available by claims conflict cpu deallocate didn enforced \
    ephemeral exceed existing find for found free had have helpful host in insufficient is limit many match max memory \
    new no node nodes not of on persistent persistentvolumes pod pods ports preemption requested rules satisfy \
    scheduler scheduling selector storage t taint taints that the to tolerate too unschedulable unbound untolerated \
    victims volume volumes were with";

/// Whether a character is of a name.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a character is of the key of a label or the name of a resource.
fn is_of_key(c: char) -> bool {
    is_of_name(c) || c == '/'
}

/// Splits off the beginning whose characters are all accepted, without full stops at its end.
fn split_while(text: &str, is_of_it: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !is_of_it(c)).unwrap_or(text.len());
    text.split_at(text[..end].trim_end_matches('.').len())
}

/// Splits `{key: value}` at the beginning of a text into key, the text between, value, and the rest behind the brace.
fn taint(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (inner, rest) = text.strip_prefix('{')?.split_once('}')?;
    let (key, value) = inner.split_once(':').unwrap_or((inner, ""));
    let between = &inner[key.len()..inner.len() - value.trim_start().len()];
    let value = value.trim_start();
    let is_taint = !key.is_empty() && key.chars().all(is_of_key) && value.chars().all(is_of_name);
    is_taint.then_some((key, between, value, rest))
}

impl NewNames {
    /// Renames in a sentence; `features` are CPU features that it names.
    pub(super) fn sentence(&mut self, text: &str, features: &[String]) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some((key, between, value, after)) = taint(rest) {
                let (new_key, value) = (self.key(key), self.label_value(key, value));
                out.extend(["{", &new_key, between, &value, "}"]);
                rest = after;
            } else if is_of_name(c) {
                rest = self.next_name(&mut out, rest, features);
            } else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    /// Appends the new name of the word or key at the beginning of a text, and returns the rest.
    fn next_name<'t>(&mut self, out: &mut String, text: &'t str, features: &[String]) -> &'t str {
        let (key, rest) = split_while(text, is_of_key);
        if out.ends_with("Insufficient ") && !key.is_empty() {
            // A resource without a domain is one of Kubernetes.
            out.push_str(&if key.contains('/') { self.key(key) } else { key.to_owned() });
            return rest;
        }
        if let Some(new) = self.renamed_key(key) {
            out.push_str(&new);
            let Some(value) = rest.strip_prefix('=') else { return rest };
            let (value, rest) = split_while(value, is_of_name);
            out.push('=');
            out.push_str(&self.label_value(key, value));
            return rest;
        }
        let (word, rest) = split_while(text, is_of_name);
        if word.is_empty() {
            let (stops, rest) = text.split_at(text.len() - text.trim_start_matches('.').len());
            out.push_str(stops);
            return rest;
        }
        out.push_str(&if features.iter().any(|feature| feature == word) { word.to_owned() } else { self.word(word) });
        rest
    }

    /// Returns the new name of a key with a domain that is public, or that an object has; `None` for other text.
    fn renamed_key(&self, key: &str) -> Option<String> {
        if self.phase != Phase::Rename || !key.contains('/') {
            return None;
        }
        if is_public(key) { Some(key.to_owned()) } else { self.known(Class::LabelKey, key) }
    }

    fn word(&mut self, word: &str) -> String {
        let classes = [Class::Node, Class::Guest, Class::Object, Class::Namespace, Class::Pod];
        if let Some(new) = classes.into_iter().find_map(|class| self.known(class, word)) {
            return new;
        }
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || KEPT_WORDS.contains(&word) || models::features(word).is_some() {
            return word.to_owned();
        }
        let is_of_scheduler = SCHEDULER_WORDS.split_whitespace().any(|known| known.eq_ignore_ascii_case(word));
        let classes = [Class::LabelKey, Class::LabelValue, Class::Policy, Class::User];
        if let Some(new) = classes.into_iter().find_map(|class| self.known(class, word)).filter(|_| !is_of_scheduler) {
            return new;
        }
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_plain { word.to_owned() } else { self.name(Class::Word, word) }
    }
}
