//! The encoder of decisions: the AdmissionReview that answers a request, within the limits of the API server and its
//! clients.
//!
//! - The API server drops a warning with a newline or another control character, and a denial's message is printed in a
//!   terminal: all text is [`Shown`], and only a denial has line feeds, between its own lines.
//! - A warning has at most [`WARNING_CHARS`] characters, and there are at most [`WARNINGS`] of them: beyond 4,096 in
//!   one request the API server truncates all and drops some.
//! - KubeVirt's controllers take a refusal with the text `exceeded quota` or `violates PodSecurity` for one of those,
//!   so neither phrase is ever sent.
//! - kubectl prints only the causes of a 422. Without causes, the code is 403, for which it prints the message.
//! - A validating webhook that returns a patch fails the request, so a patch is sent only on [`Webhook::Mutate`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::PatchOperation;
use serde::ser::{Error as _, Serialize, Serializer};

use super::Webhook;
use super::review::{API_VERSION, KIND};
use crate::domain::Domain;
use crate::fit::shown::Shown;

/// Maximum length of a warning, characters.
pub(crate) const WARNING_CHARS: usize = 256;
/// Maximum number of warnings of one answer.
pub(crate) const WARNINGS: usize = 4;
/// Maximum size of all warnings of one request, from all webhooks together, characters.
const CHANNEL: usize = 4096;
// This holds even if the limit counts bytes and every character takes four.
const _: () = assert!(WARNINGS * WARNING_CHARS * 4 <= CHANNEL);

/// The prefix of each warning, because kubectl prints none.
const PREFIX: &str = "cpufit: ";

/// Messages to the sender of a request, a line each; each names its object, none has a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The first lines, which are always kept.
    pub first: Vec<String>,
    /// Next steps: dropped if there is no room.
    pub advice: Vec<String>,
    /// Further findings: kept in preference to the advice, and printed after it.
    pub notes: Vec<String>,
}

impl Warnings {
    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }

    /// Returns the lines, without those for which there is no room.
    fn lines(&self) -> impl Iterator<Item = &String> {
        let is_shown = |line: &&String| !Shown::within(line, WARNING_CHARS).as_str().is_empty();
        let first = self.first.iter().filter(is_shown).take(WARNINGS);
        let room = WARNINGS - first.clone().count();
        let notes = self.notes.iter().filter(is_shown).take(room);
        let advice = self.advice.iter().filter(is_shown).take(room - notes.clone().count());
        first.chain(advice).chain(notes)
    }
}

/// Converts lines of equal importance.
impl From<Vec<String>> for Warnings {
    fn from(first: Vec<String>) -> Self {
        Self { first, ..Self::default() }
    }
}

/// The form of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialKind {
    /// Status 403: kubectl prints the message and not the causes.
    Forbidden,
    /// Status 422: kubectl prints the causes, one bullet each, and not the message.
    Invalid,
}

impl DenialKind {
    /// Returns the HTTP status.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Invalid => 422,
        }
    }

    /// Returns `status.reason` of the answer.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid",
        }
    }
}

/// A decision about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// The request is admitted.
    Admit {
        /// The warnings to the sender.
        warnings: Warnings,
        /// Audit annotations, by key.
        audit: BTreeMap<String, String>,
        /// The changes of the object; only on [`Webhook::Mutate`].
        patch: Vec<PatchOperation>,
    },
    /// The request is denied.
    Deny {
        /// The denial.
        denial: Denial,
        /// The warnings to the sender in addition.
        warnings: Warnings,
        /// Audit annotations, by key.
        audit: BTreeMap<String, String>,
    },
}

impl Decision {
    /// Admits without warnings.
    pub fn admit() -> Self {
        Self::admit_with(Warnings::default())
    }

    /// Admits with these warnings.
    pub fn admit_with(warnings: impl Into<Warnings>) -> Self {
        Self::Admit { warnings: warnings.into(), audit: BTreeMap::new(), patch: Vec::new() }
    }

    /// Returns the warnings as they are sent: one line each, within the limits of the channel.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings_in(&Domain::default())
    }

    /// Returns the warnings for a cluster with this domain: within the limits for the cluster's names, in KubeVirt's
    /// own names.
    pub(crate) fn warnings_in(&self, domain: &Domain) -> Vec<String> {
        let (Self::Admit { warnings, .. } | Self::Deny { warnings, .. }) = self;
        let sent = |line: &String| {
            let line = format!("{PREFIX}{}", Shown::within(line, usize::MAX));
            domain.inward(Shown::within(&domain.outward(&line), WARNING_CHARS).as_str()).into_owned()
        };
        warnings.lines().map(sent).collect()
    }

    /// Counts the warnings that are sent.
    pub(crate) fn warning_count(&self) -> usize {
        let (Self::Admit { warnings, .. } | Self::Deny { warnings, .. }) = self;
        warnings.lines().count()
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The form in which it is shown.
    pub code: DenialKind,
    /// The message: one line that is complete in itself, because controllers show only that.
    pub message: String,
    /// Further lines after it.
    pub details: Vec<String>,
    /// Group of the object.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// The fields to blame.
    pub causes: Vec<FieldCause>,
}

/// A field to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldCause {
    /// The field's path.
    pub field: String,
    /// The problem with it, on one line.
    pub message: String,
}

/// Encodes the answer as JSON, in one buffer, with the names of a cluster of this domain.
///
/// # Errors
/// Returns an error for a patch that cannot be written as JSON; this crate produces none.
pub fn render(webhook: Webhook, uid: &str, decision: &Decision, domain: &Domain) -> Result<Vec<u8>, serde_json::Error> {
    let mut buffer = Vec::with_capacity(512);
    serde_json::to_writer(&mut buffer, &Review::new(webhook, uid, decision, domain))?;
    Ok(match domain.exchanged(&buffer) {
        Cow::Borrowed(_) => buffer,
        Cow::Owned(renamed) => renamed,
    })
}

/// Returns a denial's message as it is sent, line by line.
pub fn lines(denial: &Denial) -> impl Iterator<Item = String> {
    let first = Shown::within(&denial.message, usize::MAX);
    let details = denial.details.iter().map(|line| format!("  {}", Shown::within(line, usize::MAX)));
    std::iter::once(first.to_string()).chain(details).map(|line| unmistakable(line.into()).into_owned())
}

/// Returns the code as it is sent: kubectl would print nothing for a 422 without causes.
fn code(denial: &Denial) -> DenialKind {
    match denial.code {
        DenialKind::Invalid if denial.causes.is_empty() => DenialKind::Forbidden,
        code => code,
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Base64Json<'a>>,
}

#[derive(serde::Serialize)]
struct Status<'a> {
    code: u16,
    message: String,
    reason: &'static str,
    details: Details<'a>,
}

#[derive(serde::Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause<'a>>,
}

#[derive(serde::Serialize)]
struct Cause<'a> {
    /// `metav1.CauseType`.
    reason: &'static str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: Cow<'a, str>,
}

/// A patch as the protocol carries it: JSON as base64 in a JSON string.
struct Base64Json<'a>(&'a [PatchOperation], &'a Domain);

impl Serialize for Base64Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_vec(self.0).map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(self.1.exchanged(&json)))
    }
}

impl<'a> Review<'a> {
    fn new(webhook: Webhook, uid: &'a str, decision: &'a Decision, domain: &'a Domain) -> Self {
        let warnings = decision.warnings_in(domain);
        let response = match decision {
            Decision::Admit { audit, patch, .. } => {
                let patch = (webhook == Webhook::Mutate && !patch.is_empty()).then_some(Base64Json(patch, domain));
                Response {
                    uid,
                    allowed: true,
                    status: None,
                    warnings,
                    audit_annotations: audit,
                    patch_type: patch.as_ref().map(|_| "JSONPatch"),
                    patch,
                }
            }
            Decision::Deny { denial, audit, .. } => Response {
                uid,
                allowed: false,
                status: Some(Status::new(denial)),
                warnings,
                audit_annotations: audit,
                patch_type: None,
                patch: None,
            },
        };
        Self { kind: KIND, api_version: API_VERSION, response }
    }
}

impl<'a> Status<'a> {
    fn new(denial: &'a Denial) -> Self {
        let Denial { code: _, message: _, details: _, group, kind, name, causes } = denial;
        let code = code(denial);
        let causes = causes.iter().map(|FieldCause { field, message }| Cause {
            reason: "FieldValueInvalid",
            message: unmistakable(Shown::within(message, usize::MAX).into_cow()),
            field: Shown::new(field).into_cow(),
        });
        Self {
            code: code.code(),
            message: lines(denial).collect::<Vec<_>>().join("\n"),
            reason: code.reason(),
            details: Details { name, group, kind, causes: causes.collect() },
        }
    }
}

/// Replaces the phrases by which KubeVirt's controllers distinguish refusals.
fn unmistakable(text: Cow<'_, str>) -> Cow<'_, str> {
    const PHRASES: [(&str, &str); 2] =
        [("violates PodSecurity", "violates Pod Security"), ("exceeded quota", "exceeded the quota")];
    PHRASES.iter().fold(
        text,
        |text, (phrase, instead)| {
            if text.contains(phrase) { Cow::Owned(text.replace(phrase, instead)) } else { text }
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pretty(webhook: Webhook, decision: &Decision) -> String {
        let rendered = render(webhook, "u-1", decision, &Domain::default()).unwrap();
        serde_json::to_string_pretty(&serde_json::from_slice::<Value>(&rendered).unwrap()).unwrap()
    }

    #[test]
    fn a_renamed_cluster_gets_its_own_names_in_warnings_within_their_length_and_in_patches() {
        let domain: Domain = "internal.virtualization.example.io".parse().unwrap();
        let patch = r#"[{"op": "remove", "path": "/spec/nodeSelector/cpu-feature.node.kubevirt.io~1fpu"}]"#;
        let keys = (0..9).map(|index| format!("cpu-feature.node.kubevirt.io/f{index}")).collect::<Vec<_>>();
        let decision = Decision::Admit {
            warnings: vec![keys.join(", ")].into(),
            audit: BTreeMap::new(),
            patch: serde_json::from_str(patch).unwrap(),
        };
        let rendered = render(Webhook::Mutate, "u-1", &decision, &domain).unwrap();
        let value: Value = serde_json::from_slice(&rendered).unwrap();
        let warning = value["response"]["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("cpufit: cpu-feature.node.internal.virtualization.example.io/f0, "), "{warning}");
        assert_eq!(warning.chars().count(), WARNING_CHARS, "the API server would cut it, or room is wasted: {warning}");
        let sent = STANDARD.decode(value["response"]["patch"].as_str().unwrap()).unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent[0]["path"], "/spec/nodeSelector/cpu-feature.node.internal.virtualization.example.io~1fpu");
    }

    fn line(webhook: Webhook, decision: &Decision) -> String {
        String::from_utf8(render(webhook, "u-1", decision, &Domain::default()).unwrap()).unwrap()
    }

    fn denial(code: DenialKind, causes: &[(&str, &str)]) -> Denial {
        Denial {
            code,
            message: "shop/web: no node offers CPU model X".to_owned(),
            details: vec!["node-a lacks it".to_owned()],
            group: "kubevirt.io".to_owned(),
            kind: "VirtualMachine".to_owned(),
            name: "web".to_owned(),
            causes: causes
                .iter()
                .map(|(field, message)| FieldCause { field: (*field).to_owned(), message: (*message).to_owned() })
                .collect(),
        }
    }

    fn deny(denial: Denial) -> Decision {
        Decision::Deny { denial, warnings: Warnings::default(), audit: BTreeMap::new() }
    }

    fn sent(warnings: impl Into<Warnings>) -> Vec<String> {
        Decision::admit_with(warnings).warnings()
    }

    fn numbered(word: &str, count: usize) -> Vec<String> {
        (1..=count).map(|at| format!("{word} {at}")).collect()
    }

    #[test]
    fn an_admission_without_warnings_has_no_empty_fields() {
        insta::assert_snapshot!(line(Webhook::Validate, &Decision::admit()), @r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u-1","allowed":true}}"#);
    }

    #[test]
    fn a_response_has_the_warnings_and_the_audit_annotations() {
        let decision = Decision::Admit {
            warnings: vec!["shop/db cannot migrate now".to_owned(), "node-d fits but is cordoned".to_owned()].into(),
            audit: BTreeMap::from([("verdict".to_owned(), "pinned".to_owned())]),
            patch: Vec::new(),
        };
        insta::assert_snapshot!(pretty(Webhook::Validate, &decision), @r#"
        {
          "apiVersion": "admission.k8s.io/v1",
          "kind": "AdmissionReview",
          "response": {
            "allowed": true,
            "auditAnnotations": {
              "verdict": "pinned"
            },
            "uid": "u-1",
            "warnings": [
              "cpufit: shop/db cannot migrate now",
              "cpufit: node-d fits but is cordoned"
            ]
          }
        }
        "#);
    }

    #[test]
    fn a_denial_lists_the_cause_of_each_field() {
        let field = "spec.template.spec.domain.cpu.model";
        let decision = deny(denial(DenialKind::Invalid, &[(field, "X runs on 1 of 5 nodes")]));
        insta::assert_snapshot!(pretty(Webhook::Validate, &decision), @r#"
        {
          "apiVersion": "admission.k8s.io/v1",
          "kind": "AdmissionReview",
          "response": {
            "allowed": false,
            "status": {
              "code": 422,
              "details": {
                "causes": [
                  {
                    "field": "spec.template.spec.domain.cpu.model",
                    "message": "X runs on 1 of 5 nodes",
                    "reason": "FieldValueInvalid"
                  }
                ],
                "group": "kubevirt.io",
                "kind": "VirtualMachine",
                "name": "web"
              },
              "message": "shop/web: no node offers CPU model X\n  node-a lacks it",
              "reason": "Invalid"
            },
            "uid": "u-1"
          }
        }
        "#);
    }

    #[test]
    fn a_plain_denial_keeps_its_lines_and_may_warn_too() {
        let Decision::Deny { denial, audit, .. } = deny(denial(DenialKind::Forbidden, &[])) else { unreachable!() };
        let decision = Decision::Deny { denial, warnings: vec!["and more".to_owned()].into(), audit };
        insta::assert_snapshot!(line(Webhook::Validate, &decision), @r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u-1","allowed":false,"status":{"code":403,"message":"shop/web: no node offers CPU model X\n  node-a lacks it","reason":"Forbidden","details":{"name":"web","group":"kubevirt.io","kind":"VirtualMachine"}},"warnings":["cpufit: and more"]}}"#);
    }

    #[test]
    fn a_denial_without_causes_is_not_sent_as_invalid() {
        let rendered = line(Webhook::Validate, &deny(denial(DenialKind::Invalid, &[])));
        assert!(rendered.contains(r#""code":403"#), "kubectl would print no reason at all: {rendered}");
        assert!(rendered.contains(r#""reason":"Forbidden""#), "{rendered}");
    }

    #[test]
    fn a_patch_is_base64_and_sent_by_the_mutating_webhook_only() {
        let patch: Vec<PatchOperation> =
            serde_json::from_value(json!([{"op": "add", "path": "/spec/domain/cpu", "value": {"model": "X"}}]))
                .unwrap();
        let decision = Decision::Admit { warnings: Warnings::default(), audit: BTreeMap::new(), patch };
        let rendered: Value = serde_json::from_str(&line(Webhook::Mutate, &decision)).unwrap();
        assert_eq!(rendered["response"]["patchType"], "JSONPatch");
        let patch = STANDARD.decode(rendered["response"]["patch"].as_str().unwrap()).unwrap();
        insta::assert_snapshot!(String::from_utf8(patch).unwrap(), @r#"[{"op":"add","path":"/spec/domain/cpu","value":{"model":"X"}}]"#);
        let rendered = line(Webhook::Validate, &decision);
        assert!(!rendered.contains("patch"), "the API server fails a request whose validating webhook patches");
    }

    #[test]
    fn at_most_four_warnings_and_no_empty_one() {
        let five = ["", "\n", "1", "2", "3", "4", "5"].map(str::to_owned).to_vec();
        assert_eq!(sent(five), ["cpufit: 1", "cpufit: 2", "cpufit: 3", "cpufit: 4"]);
    }

    #[test]
    fn notes_take_precedence_over_advice_and_are_printed_after_it() {
        let all = |first, advice, notes| Warnings {
            first: numbered("first", first),
            advice: numbered("advice", advice),
            notes: numbered("note", notes),
        };
        assert_eq!(sent(all(1, 9, 1)), ["cpufit: first 1", "cpufit: advice 1", "cpufit: advice 2", "cpufit: note 1"]);
        assert_eq!(sent(all(1, 9, 9)), ["cpufit: first 1", "cpufit: note 1", "cpufit: note 2", "cpufit: note 3"]);
        assert_eq!(sent(all(5, 1, 1)).len(), WARNINGS, "the API server would cut what follows");
    }

    #[test]
    fn a_warning_of_many_lines_arrives_on_one() {
        let line = "shop/db\ncannot\tmigrate\u{7f}now\u{9b}1m\r\n".to_owned();
        let sent_line = r"cpufit: shop/db\u{a}cannot\u{9}migrate\u{7f}now\u{9b}1m";
        assert_eq!(sent(vec![line]), [sent_line], "it would vanish whole");
    }

    #[test]
    fn a_long_warning_is_cut_between_characters() {
        let room = WARNING_CHARS - PREFIX.len();
        let long = sent(vec!["ü".repeat(room + 1)]).remove(0);
        assert_eq!(long.chars().count(), WARNING_CHARS);
        assert!(long.ends_with("ü…"));
        assert_eq!(sent(vec!["ü".repeat(room)]).remove(0), format!("{PREFIX}{}", "ü".repeat(room)));
    }

    #[test]
    fn denials_contain_no_text_that_kubevirt_takes_for_another_cause() {
        let mut refusal = denial(DenialKind::Invalid, &[("f", "exceeded\nquota, violates PodSecurity")]);
        refusal.message = "label exceeded quota\nviolates PodSecurity\u{1b}[31m, exceeded\tquota".to_owned();
        refusal.details = vec!["node \u{202e}a\nadmitted".to_owned()];
        let rendered = line(Webhook::Validate, &deny(refusal));
        for phrase in ["exceeded quota", "violates PodSecurity"] {
            assert!(!rendered.contains(phrase), "KubeVirt would report another cause: {rendered}");
        }
        insta::assert_snapshot!(rendered, @r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u-1","allowed":false,"status":{"code":422,"message":"label exceeded the quota\\u{a}violates Pod Security\\u{1b}[31m, exceeded\\u{9}quota\n  node \\u{202e}a\\u{a}admitted","reason":"Invalid","details":{"name":"web","group":"kubevirt.io","kind":"VirtualMachine","causes":[{"reason":"FieldValueInvalid","message":"exceeded\\u{a}quota, violates Pod Security","field":"f"}]}}}}"#);
    }
}
