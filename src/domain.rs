//! The domain of KubeVirt's names: `kubevirt.io`, or another one in a distribution that renames it.
//!
//! A renaming distribution keeps the names and replaces `kubevirt.io` in labels, annotations and API groups. This crate
//! uses KubeVirt's own names everywhere. A [`Domain`] translates text of a cluster at input, and text for people and
//! for the API server at output; no code in between is affected. Inputs are objects of dumps and manifests, responses
//! of the API server, bodies of reviews, and arguments. Outputs are pages, responses to reviews, requests to the API
//! server, the files of `--save-libvirt-facts`, and the log.
//!
//! The translation exchanges the two domains, so it is its own inverse: text that only passes through is unchanged, and
//! a label of `kubevirt.io` that an earlier installation left on a node is not confused with a current one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::fit::{label, syntax};

/// KubeVirt's own domain.
const KUBEVIRT: &str = "kubevirt.io";
/// Maximum length of a domain, in bytes. With it, a label's key has room for a name, and an exchanged text is at most
/// six times as long.
const LONGEST_DOMAIN: usize = 63;
/// Domains of Kubernetes and this program: a translation would affect names that KubeVirt does not own. Below
/// KubeVirt's own domain, two names would have one translation.
const RESERVED_DOMAINS: [&str; 4] = ["kubernetes.io", "k8s.io", "cpufit.io", KUBEVIRT];

/// The domain of KubeVirt's names in one cluster; `kubevirt.io` by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain(Option<Arc<str>>);

/// A reason why a text cannot be the domain.
#[derive(Debug, Error)]
pub enum DomainError {
    /// The text is not a domain.
    #[error("{text:?} is not a domain: {rule}; give one such as internal.virtualization.example.io")]
    Syntax {
        /// The given text.
        text: String,
        /// The rule that it violates.
        rule: &'static str,
    },
    /// The text is longer than [`LONGEST_DOMAIN`].
    #[error("{0:?} is not a domain that KubeVirt is renamed to: it is longer than {LONGEST_DOMAIN} bytes")]
    TooLong(String),
    /// The text has no dot.
    #[error("{0:?} is not a domain: it has no dot; give one such as internal.virtualization.example.io")]
    OneLabel(String),
    /// The domain has names of others.
    #[error("{0} is not a domain that KubeVirt is renamed to: Kubernetes, KubeVirt or cpufit has names in it")]
    Taken(String),
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        if text == KUBEVIRT {
            return Ok(Self::default());
        }
        syntax::subdomain(text).map_err(|rule| DomainError::Syntax { text: text.to_owned(), rule })?;
        if text.len() > LONGEST_DOMAIN {
            return Err(DomainError::TooLong(text.to_owned()));
        }
        if !text.contains('.') {
            return Err(DomainError::OneLabel(text.to_owned()));
        }
        if RESERVED_DOMAINS
            .iter()
            .any(|taken| text.strip_suffix(taken).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        {
            return Err(DomainError::Taken(text.to_owned()));
        }
        Ok(Self(Some(text.into())))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or(KUBEVIRT))
    }
}

impl Domain {
    /// Whether the domain is KubeVirt's own, so that nothing is translated.
    pub(crate) fn is_own(&self) -> bool {
        self.0.is_none()
    }

    /// Translates text of the cluster to KubeVirt's own names.
    pub(crate) fn inward<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.exchanged(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Only ASCII is exchanged, so the text stays UTF-8.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Translates text of this program to the names of the cluster.
    pub(crate) fn outward<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.inward(text)
    }

    /// Translates text in either direction; it need not be UTF-8.
    pub(crate) fn exchanged<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let mut found = self.found(text).peekable();
        if found.peek().is_none() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(self.exchanged_length(text));
        let mut copied = 0;
        for (at, from, to) in found {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(to);
            copied = at + from.len();
        }
        out.extend_from_slice(&text[copied..]);
        Cow::Owned(out)
    }

    /// Returns the length of the exchanged text in bytes.
    pub(crate) fn exchanged_length(&self, text: &[u8]) -> usize {
        self.found(text).fold(text.len(), |length, (_, from, to)| length - from.len() + to.len())
    }

    /// Finds the domains in a text: position, the domain found, and its replacement.
    fn found<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = (usize, &'t [u8], &'t [u8])> {
        let ours = KUBEVIRT.as_bytes();
        let theirs = self.0.as_deref().map_or(ours, str::as_bytes);
        // If one domain begins with the other, the longer one counts.
        let pairs =
            if theirs.len() > ours.len() { [(theirs, ours), (ours, theirs)] } else { [(ours, theirs), (theirs, ours)] };
        let firsts = [ours[0], theirs[0]];
        let mut at = if self.is_own() { text.len() } else { 0 };
        std::iter::from_fn(move || {
            loop {
                at += text[at..].iter().position(|byte| firsts.contains(byte))?;
                let found =
                    pairs.into_iter().find(|(from, _)| text[at..].starts_with(from) && is_whole(text, at, from.len()));
                let Some((from, to)) = found else {
                    at += 1;
                    continue;
                };
                let start = at;
                at += from.len();
                return Some((start, from, to));
            }
        })
    }
}

/// Whether a byte may be part of a label of a domain.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether this part of a text is a whole name. More of a domain may precede it, as in `node.kubevirt.io`.
fn is_whole(text: &[u8], at: usize, length: usize) -> bool {
    let begins = at == 0 || !is_word(text[at - 1]);
    // A dot at the end of a sentence ends the name.
    let after = &text[at + length..];
    let ends = after.strip_prefix(b".").unwrap_or(after).first().is_none_or(|&byte| !is_word(byte));
    begins && ends
}

/// A text that arrives in pieces and is exchanged; names that span two pieces are translated too.
#[derive(Debug)]
pub struct Pieces {
    domain: Domain,
    /// The end of the input so far, where a name may continue.
    rest: Vec<u8>,
}

impl Pieces {
    /// Creates an empty text.
    #[must_use]
    pub fn new(domain: Domain) -> Self {
        Self { domain, rest: Vec::new() }
    }

    /// Adds a piece. Returns the text that can be passed on.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(piece);
        let end = self.rest.iter().rposition(|&byte| !is_word(byte) && byte != b'.').map_or(0, |last| last + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        self.domain.exchanged(&whole).into_owned()
    }

    /// Returns the rest of the text.
    pub fn finish(&mut self) -> Vec<u8> {
        self.domain.exchanged(&std::mem::take(&mut self.rest)).into_owned()
    }
}

/// Evidence about the domain of a dump: KubeVirt's keys of labels, annotations and selectors, and its API versions.
#[derive(Debug, Default)]
pub struct DomainEvidence {
    /// The domains in keys such as `cpu-model.node.DOMAIN/…`.
    families: BTreeSet<String>,
    /// The domains in keys `DOMAIN/schedulable`.
    schedulable: BTreeSet<String>,
    is_own: bool,
}

/// Keys that the node-labeller writes on nodes.
const NODE_LABELS: [&str; 9] = [
    label::CPU_FEATURE,
    label::CPU_MODEL,
    label::CPU_MODEL_MIGRATION,
    label::CPU_VENDOR,
    label::HOST_MODEL_CPU,
    label::HOST_MODEL_REQUIRED,
    label::HYPERV,
    label::MACHINE_TYPE,
    label::TSC_FREQUENCY,
];
/// Fields with a key or an API version as their value.
const FIELDS_OF_NAMES: [&str; 3] = ["apiVersion", "key", "topologyKey"];
/// The field that lists who wrote which field, also fields that no longer exist.
const MANAGED_FIELDS: &str = "managedFields";

impl DomainEvidence {
    /// Reads an object of a dump; the domains in other text than keys and API versions do not count. Returns whether
    /// further objects can add anything.
    pub fn look(&mut self, api_version: &str, object: &Value) -> bool {
        self.name(api_version);
        self.names_in(object);
        !self.is_own
    }

    fn names_in(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields.iter().filter(|(field, _)| *field != MANAGED_FIELDS) {
                    match value {
                        Value::String(name) if FIELDS_OF_NAMES.contains(&field.as_str()) => self.name(name),
                        _ => self.name(field),
                    }
                    self.names_in(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.names_in(item)),
            _ => {}
        }
    }

    /// Reads a key or an API version.
    fn name(&mut self, name: &str) {
        let (domain, rest) = name.split_once('/').unwrap_or((name, ""));
        // The domain may itself have `node.` in it.
        let below_family = NODE_LABELS
            .iter()
            .filter_map(|label| label.split_once(KUBEVIRT))
            .find_map(|(family, _)| domain.strip_prefix(family));
        if domain == KUBEVIRT || domain.strip_suffix(KUBEVIRT).is_some_and(|before| before.ends_with(".node.")) {
            self.is_own = true;
        } else if let Some(domain) = below_family {
            self.families.insert(domain.to_owned());
        } else if label::SCHEDULABLE.strip_prefix(KUBEVIRT).and_then(|name| name.strip_prefix('/')) == Some(rest) {
            self.schedulable.insert(domain.to_owned());
        }
    }

    /// Returns the domain if the dump uses one throughout: in the node-labeller's keys and for `schedulable`, and never
    /// `kubevirt.io`.
    #[must_use]
    pub fn domain(&self) -> Option<Domain> {
        let mut families = self.families.iter();
        let one = families.next().filter(|_| families.next().is_none() && !self.is_own)?;
        self.schedulable.contains(one).then(|| one.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fit::label::Family;
    use crate::fit::word::Word as _;

    fn domain(text: &str) -> Domain {
        text.parse().expect("a domain")
    }

    #[test]
    fn only_whole_domain_names_are_replaced() {
        let renamed = domain("internal.virtualization.example.io");
        for (own, theirs) in [
            ("kubevirt.io/schedulable", "internal.virtualization.example.io/schedulable"),
            ("cpu-model.node.kubevirt.io/EPYC", "cpu-model.node.internal.virtualization.example.io/EPYC"),
            ("kubevirt.io=virt-launcher", "internal.virtualization.example.io=virt-launcher"),
            ("/apis/kubevirt.io/v1/x", "/apis/internal.virtualization.example.io/v1/x"),
            ("virtualmachines.kubevirt.io \"db\"", "virtualmachines.internal.virtualization.example.io \"db\""),
            ("The group is kubevirt.io.", "The group is internal.virtualization.example.io."),
            ("a~1kubevirt.io~1b", "a~1kubevirt.io~1b"),
            ("/spec/nodeSelector/kubevirt.io~1sev", "/spec/nodeSelector/internal.virtualization.example.io~1sev"),
            ("kubevirt.io.example.com/a", "kubevirt.io.example.com/a"),
            ("mykubevirt.io/a", "mykubevirt.io/a"),
            ("kubevirt.iota", "kubevirt.iota"),
            ("", ""),
        ] {
            assert_eq!(renamed.outward(own), theirs);
            assert_eq!(renamed.inward(theirs), own);
            assert_eq!(Domain::default().outward(own), own);
        }
    }

    #[test]
    fn an_invalid_domain_is_refused_with_the_fix() {
        for text in [
            "",
            "io",
            "Kubevirt.io",
            "a..b",
            "kubevirt.io/",
            "-a.io",
            "kubernetes.io",
            "x.k8s.io",
            "cpufit.io",
            "internal.kubevirt.io",
            "io.kubevirt.io",
            &format!("{}.io", "x".repeat(61)),
        ] {
            let error = text.parse::<Domain>().expect_err(text).to_string();
            assert!(error.contains("domain"), "{error}");
        }
        assert!(domain("kubevirt.io").is_own());
        assert_eq!(domain("mykubernetes.io").to_string(), "mykubernetes.io");
        domain(&format!("{}.io", "x".repeat(60)));
    }

    const PARTS: [&str; 16] = [
        "internal.kubevirt.io",
        "io.kubevirt.io",
        "kubevirt.io",
        "kubevirt",
        ".io",
        "virt.io",
        "io",
        ".",
        "/",
        "node.",
        "a",
        "-",
        " ",
        "internal.",
        "example",
        "ä",
    ];
    const DOMAINS: [&str; 4] = ["internal.virtualization.example.io", "kubevirt.io.example", "virt.io", "a.io"];

    proptest! {
        #[test]
        fn translating_a_domain_twice_changes_nothing(
            of in prop::sample::select(&DOMAINS[..]),
            parts in prop::collection::vec(prop::sample::select([&PARTS[..], &DOMAINS[..]].concat()), 0..12),
            cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            let (domain, text) = (domain(of), parts.concat());
            let out = domain.outward(&text).into_owned();
            prop_assert_eq!(domain.exchanged_length(text.as_bytes()), out.len());
            let back = domain.inward(&out);
            prop_assert_eq!(back.as_ref(), text.as_str());
            let mut pieces = Pieces::new(domain);
            let mut whole = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                whole.extend(pieces.push(piece));
                rest = after;
            }
            whole.extend(pieces.push(rest));
            whole.extend(pieces.finish());
            prop_assert_eq!(String::from_utf8_lossy(&whole).into_owned(), out);
        }
    }

    const D: &str = "virt.example.io";

    /// Returns the domain of a dump with this one object.
    fn recognised(object: &Value) -> Option<String> {
        let mut evidence = DomainEvidence::default();
        evidence.look("v1", object);
        evidence.domain().map(|domain| domain.to_string())
    }

    fn labelled(keys: &[String]) -> Value {
        let labels: Value = keys.iter().map(|key| (key.clone(), Value::from("true"))).collect();
        json!({"kind": "Node", "metadata": {"labels": labels}})
    }

    #[test]
    fn a_dump_of_one_domain_is_recognised() {
        let keys = |domain: &str| [format!("cpu-model.node.{domain}/EPYC"), format!("{domain}/schedulable")];
        let both = |first: &str, second: &str| labelled(&[keys(first), keys(second)].concat());
        for domain in [D, "virt.node.example.io", "node.example.io"] {
            assert_eq!(recognised(&labelled(&keys(domain))).as_deref(), Some(domain));
        }
        assert_eq!(recognised(&labelled(&keys(KUBEVIRT))), None);
        assert_eq!(recognised(&both(D, KUBEVIRT)), None, "two domains");
        assert_eq!(recognised(&both("a.example.io", "b.example.io")), None, "two domains");
        let twice = ["cpu-model.node.a.io/EPYC", "kubevirt.a.io/schedulable"].map(str::to_owned);
        assert_eq!(recognised(&labelled(&twice)), None, "renamed in two ways");
        assert_eq!(recognised(&Value::Null), None);
    }

    #[test]
    fn each_label_of_the_node_labeller_is_evidence() {
        for family in Family::ALL.iter().filter(|family| family.is_labeller()) {
            let keys = [format!("{}.node.{D}/x", family.as_str()), format!("{D}/schedulable")];
            assert_eq!(recognised(&labelled(&keys)).as_deref(), Some(D), "nodes with {} alone", family.as_str());
        }
    }

    /// Every place of a text with KubeVirt's own domain, beside labels of another domain.
    #[test]
    fn keys_and_api_versions_alone_are_evidence_against_a_domain() {
        let with = |field: &str, value: Value| {
            let mut node = labelled(&[format!("machine-type.node.{D}/virt"), format!("{D}/schedulable")]);
            node[field] = value;
            recognised(&node)
        };
        let own = "kubevirt.io/schedulable";
        for (field, value) in [
            ("annotations", json!({"description": "from https://kubevirt.io/labs/manifests/vm.yaml"})),
            (
                "annotations",
                json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{{\"{own}\":\"true\"}}")}),
            ),
            ("spec", json!({"command": [own, "cpu-model.node.kubevirt.io/EPYC"]})),
            ("managedFields", json!([{"apiVersion": "kubevirt.io/v1", "fieldsV1": {own: {}}}])),
            ("apiVersion", json!("cdi.kubevirt.io/v1beta1")),
        ] {
            assert_eq!(with(field, value.clone()).as_deref(), Some(D), "{field}: {value}");
        }
        for (field, value) in [
            ("apiVersion", json!("kubevirt.io/v1")),
            ("labels", json!({own: "true"})),
            ("labels", json!({"kubevirt.io": "virt-launcher"})),
            ("annotations", json!({"kubevirt.io/latest-observed-api-version": "v1"})),
            ("nodeSelector", json!({"hyperv.node.kubevirt.io/base": "true"})),
            ("matchExpressions", json!([{"key": own, "operator": "Exists"}])),
            ("topologyKey", json!(own)),
        ] {
            assert_eq!(with(field, value.clone()), None, "{field}: {value}");
        }
    }
}
