//! The decoder of an `admission.k8s.io/v1` AdmissionReview; only the fields that are judged are read.
//!
//! ```
//! use cpufit::admission::review::{Operation, decode};
//!
//! let request = decode(br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",
//!     "kind":{"version":"v1","kind":"Pod"},"operation":"CREATE","object":{"spec":{}}}}"#)?;
//! assert_eq!(request.operation, Operation::Create);
//! assert!(request.object.is_some());
//! # Ok::<(), cpufit::admission::review::ReviewError>(())
//! ```
//!
//! The request borrows from the bytes and its objects remain unparsed text: the fields that a kind needs are read from
//! them by [`object`], once it is known that the kind matters. A pod is parsed at once: it is large, and finding the
//! end of its text takes as long as parsing it. Unknown fields are skipped and `null` means absent, as in Go's decoder.
//! A repeated field of the review itself is refused, because either value would be a guess; inside objects the last one
//! counts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::bounds::{Bounded, Measured};
use crate::fit::shown::Shown;
use crate::kubevirt::wire::{Pod, Text};
use crate::word::words;

/// The `apiVersion` that is supported.
pub(crate) const API_VERSION: &str = "admission.k8s.io/v1";
/// The `kind` that is supported.
pub(crate) const KIND: &str = "AdmissionReview";

/// The `request` of an AdmissionReview.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The `uid`, which the answer repeats; never empty.
    pub uid: Text<'a>,
    /// The `kind` of the object; its `kind` is never empty.
    pub kind: GroupVersionKind<'a>,
    /// The `resource` that the request was sent to.
    pub resource: GroupVersionResource<'a>,
    /// The `subResource`, such as `eviction`; empty for the resource itself.
    pub sub_resource: Text<'a>,
    /// The `name`; empty if the API server has yet to generate it from `generateName`.
    pub name: Text<'a>,
    /// The `namespace`; empty for cluster-scoped objects.
    pub namespace: Text<'a>,
    /// The `operation`.
    pub operation: Operation,
    /// The sender: `userInfo`.
    pub user: User<'a>,
    /// Whether nothing will be stored: `dryRun`.
    pub dry_run: bool,
    /// The `object`; present on CREATE and UPDATE, and then a JSON object.
    pub object: Option<ReviewedObject<'a>>,
    /// The `oldObject`, stored before an UPDATE or DELETE; a JSON object if present.
    pub old_object: Option<&'a RawValue>,
}

/// The object of a review.
#[derive(Clone, Debug)]
pub enum ReviewedObject<'a> {
    /// The text as sent; [`object`] reads the fields that its kind needs.
    Text(&'a RawValue),
    /// A pod that was parsed without error.
    Pod(Arc<Pod<'a>>),
}

impl<'a> ReviewedObject<'a> {
    /// Parses the object as a pod.
    ///
    /// # Errors
    /// Returns the field that prevents this.
    pub fn pod(&self) -> Result<Pod<'a>, ReviewError> {
        match self {
            Self::Text(raw) => object("request.object", raw),
            Self::Pod(pod) => Ok((**pod).clone()),
        }
    }
}

/// `metav1.GroupVersionKind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, expecting = "an object")]
pub struct GroupVersionKind<'a> {
    /// The `group`; empty for the core group.
    #[serde(borrow, deserialize_with = "nullable")]
    pub group: Text<'a>,
    /// `version`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub version: Text<'a>,
    /// `kind`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub kind: Text<'a>,
}

impl GroupVersionKind<'_> {
    fn is(&self, group: &str, kind: &str) -> bool {
        *self.group == *group && *self.kind == *kind
    }
}

/// `metav1.GroupVersionResource`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, expecting = "an object")]
pub struct GroupVersionResource<'a> {
    /// The `group`; empty for the core group.
    #[serde(borrow, deserialize_with = "nullable")]
    pub group: Text<'a>,
    /// `version`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub version: Text<'a>,
    /// `resource`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub resource: Text<'a>,
}

words! {
    /// The operation on the object.
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    Operation {
        /// `CREATE`.
        Create = "CREATE",
        /// `UPDATE`.
        Update = "UPDATE",
        /// `DELETE`.
        Delete = "DELETE",
        /// `CONNECT`.
        Connect = "CONNECT",
    }
}

/// The sender: `authenticationv1.UserInfo`. The API server judges rights, so groups, UID and extra are not read.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, expecting = "an object")]
pub struct User<'a> {
    /// The `username`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub username: Text<'a>,
}

/// A reason why bytes are not a review that can be judged. Each prints as one line with the problem and its place.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReviewError {
    /// An empty body.
    #[error("the body is empty; an {API_VERSION} {KIND} is expected")]
    Empty,
    /// A body that is not UTF-8.
    #[error("the body is not UTF-8 (byte {offset}); JSON must be")]
    NotUtf8 {
        /// Number of valid bytes before the error.
        offset: usize,
    },
    /// A text that ends too early.
    #[error("the body is cut off: {reason} (line {line}, column {column})")]
    Truncated {
        /// The structure that was open at the end.
        reason: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A body that is not JSON.
    #[error("the body is not JSON: {reason} (line {line}, column {column})")]
    NotJson {
        /// The parser's message.
        reason: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON that is nested too deeply.
    #[error("{path} is nested too deeply")]
    TooDeep {
        /// The path.
        path: String,
    },
    /// JSON, but a list, text or number.
    #[error("the body is JSON but not an object; an {API_VERSION} {KIND} is expected")]
    NotAnObject,
    /// An object of another kind.
    #[error("kind is {found:?}, expected {KIND:?}")]
    WrongKind {
        /// The kind it has.
        found: String,
    },
    /// A review with another version.
    #[error("apiVersion is {found:?}, but only {API_VERSION} is served: list \"v1\" in admissionReviewVersions")]
    WrongVersion {
        /// The version it has.
        found: String,
    },
    /// A review without a request.
    #[error("the review holds no request")]
    NoRequest,
    /// A required field that is absent, `null` or empty.
    #[error("{path} is missing or empty")]
    Missing {
        /// The field.
        path: &'static str,
    },
    /// A CREATE or UPDATE without an object.
    #[error("request.object is missing on {operation}{}", if *.old { "; there is only request.oldObject" } else { "" })]
    NoObject {
        /// The operation.
        operation: Operation,
        /// Whether there is an `oldObject`.
        old: bool,
    },
    /// A field with an invalid value.
    #[error("{path}: {reason}")]
    Field {
        /// The path of the field.
        path: String,
        /// The problem.
        reason: String,
    },
}

/// Maximum length of a parser's message that is passed on, characters: it may quote the input.
const REASON_CHARS: usize = 160;

/// A review in its wire format.
#[derive(Default, serde::Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    expecting = "an object",
    bound(deserialize = "R: Deserialize<'de> + Default")
)]
struct Envelope<'a, R> {
    #[serde(borrow, deserialize_with = "nullable")]
    api_version: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    kind: Text<'a>,
    request: Option<R>,
}

/// The fields that identify a review.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object")]
struct Head<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    api_version: Text<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    kind: Text<'a>,
}

/// A request in its wire format; if `READ`, with a parsed pod instead of its text.
#[derive(Default)]
struct WireRequest<'a, const READ: bool> {
    uid: Text<'a>,
    kind: GroupVersionKind<'a>,
    resource: GroupVersionResource<'a>,
    sub_resource: Text<'a>,
    name: Text<'a>,
    namespace: Text<'a>,
    operation: Option<Operation>,
    user_info: User<'a>,
    dry_run: bool,
    object: Option<ReviewedObject<'a>>,
    old_object: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum RequestField {
    Uid,
    Kind,
    Resource,
    SubResource,
    Name,
    Namespace,
    Operation,
    UserInfo,
    DryRun,
    Object,
    OldObject,
    #[serde(other)]
    Unknown,
}

/// Written by hand because the kind, which API servers send first, decides how the object is read.
impl<'de: 'a, 'a, const READ: bool> Deserialize<'de> for WireRequest<'a, READ> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RequestVisitor<'a, const READ: bool>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a, const READ: bool> Visitor<'de> for RequestVisitor<'a, READ> {
            type Value = WireRequest<'a, READ>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                use RequestField as Field;
                fn value<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(map: &mut A) -> Result<T, A::Error> {
                    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
                }
                let mut out = WireRequest::default();
                let mut seen = [false; Field::Unknown as usize];
                while let Some(field) = map.next_key::<Field>()? {
                    if seen.get_mut(field as usize).is_some_and(|seen| std::mem::replace(seen, true)) {
                        return Err(A::Error::custom(format_args!("duplicate field {field:?}")));
                    }
                    match field {
                        Field::Uid => out.uid = value(&mut map)?,
                        Field::Kind => out.kind = value(&mut map)?,
                        Field::Resource => out.resource = value(&mut map)?,
                        Field::SubResource => out.sub_resource = value(&mut map)?,
                        Field::Name => out.name = value(&mut map)?,
                        Field::Namespace => out.namespace = value(&mut map)?,
                        Field::Operation => out.operation = map.next_value()?,
                        Field::UserInfo => out.user_info = value(&mut map)?,
                        Field::DryRun => out.dry_run = value(&mut map)?,
                        Field::Object if READ && out.kind.is("", "Pod") => {
                            let pod = map.next_value::<Option<Bounded<Pod<'a>>>>()?;
                            out.object = pod.map(|Bounded(pod)| ReviewedObject::Pod(Arc::new(pod)));
                        }
                        Field::Object => {
                            out.object = map.next_value::<Option<&'a RawValue>>()?.map(ReviewedObject::Text);
                        }
                        Field::OldObject => out.old_object = map.next_value()?,
                        Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(RequestVisitor(PhantomData))
    }
}

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Decodes a review.
///
/// # Errors
/// Returns why the bytes are not an `admission.k8s.io/v1` AdmissionReview with a request that can be judged.
pub fn decode(body: &[u8]) -> Result<Request<'_>, ReviewError> {
    // Checked once, so that the parser need not check each string again.
    let text = std::str::from_utf8(body).map_err(|error| ReviewError::NotUtf8 { offset: error.valid_up_to() })?;
    match serde_json::from_str::<Envelope<'_, WireRequest<'_, true>>>(text) {
        Ok(envelope) => check(text, envelope),
        // The pod may be malformed, which matters only if it is judged.
        Err(_) => match serde_json::from_str::<Envelope<'_, WireRequest<'_, false>>>(text) {
            Ok(envelope) => check(text, envelope),
            Err(error) => Err(explain_envelope(text, &error)),
        },
    }
}

fn check<'a, const READ: bool>(
    text: &str,
    envelope: Envelope<'a, WireRequest<'a, READ>>,
) -> Result<Request<'a>, ReviewError> {
    let Envelope { api_version, kind, request } = envelope;
    // Arrays would fill the fields by position.
    if !text.trim_start().starts_with('{') {
        return Err(ReviewError::NotAnObject);
    }
    check_head(&Head { api_version, kind })?;
    check_request(request.ok_or(ReviewError::NoRequest)?)
}

/// Parses the needed fields of an object of the request, within the bounds; `path` is its name in messages, such as
/// `request.object`.
///
/// # Errors
/// Returns the path of a field that has not the type `T` needs, or is nested too deeply.
pub fn object<'a, T: Deserialize<'a> + Measured>(path: &str, raw: &'a RawValue) -> Result<T, ReviewError> {
    match serde_json::from_str(raw.get()) {
        Ok(Bounded(object)) => Ok(object),
        Err(error) => Err(explain::<Bounded<T>>(path, raw.get(), &error)),
    }
}

fn check_head(head: &Head<'_>) -> Result<(), ReviewError> {
    if head.kind.0 != KIND {
        return Err(ReviewError::WrongKind { found: clip(&head.kind) });
    }
    if head.api_version.0 != API_VERSION {
        return Err(ReviewError::WrongVersion { found: clip(&head.api_version) });
    }
    Ok(())
}

fn check_request<const READ: bool>(request: WireRequest<'_, READ>) -> Result<Request<'_>, ReviewError> {
    let WireRequest {
        uid,
        kind,
        resource,
        sub_resource,
        name,
        namespace,
        operation,
        user_info: user,
        dry_run,
        object,
        old_object,
    } = request;
    if uid.is_empty() {
        return Err(ReviewError::Missing { path: "request.uid" });
    }
    if kind.kind.is_empty() {
        return Err(ReviewError::Missing { path: "request.kind.kind" });
    }
    let operation = operation.ok_or(ReviewError::Missing { path: "request.operation" })?;
    let text = match &object {
        Some(ReviewedObject::Text(raw)) => Some(*raw),
        Some(ReviewedObject::Pod(_)) | None => None,
    };
    for (path, raw) in [("request.object", text), ("request.oldObject", old_object)] {
        if raw.is_some_and(|raw| !raw.get().starts_with('{')) {
            return Err(ReviewError::Field { path: path.to_owned(), reason: "not a JSON object".to_owned() });
        }
    }
    if matches!(operation, Operation::Create | Operation::Update) && object.is_none() {
        return Err(ReviewError::NoObject { operation, old: old_object.is_some() });
    }
    Ok(Request { uid, kind, resource, sub_resource, name, namespace, operation, user, dry_run, object, old_object })
}

/// Returns the most specific problem of the body: an object of another kind need not resemble a review elsewhere.
fn explain_envelope(text: &str, error: &serde_json::Error) -> ReviewError {
    let body = text.trim_start();
    if body.is_empty() {
        return ReviewError::Empty;
    }
    if error.classify() == Category::Data {
        if !body.starts_with('{') {
            return ReviewError::NotAnObject;
        }
        if let Ok(Err(wrong)) = serde_json::from_str::<Head<'_>>(text).map(|head| check_head(&head)) {
            return wrong;
        }
    }
    explain::<Envelope<'_, WireRequest<'_, false>>>("", text, error)
}

/// Adds the field's path to the parser's error by parsing the text once more.
fn explain<'a, T: Deserialize<'a>>(base: &str, text: &'a str, error: &serde_json::Error) -> ReviewError {
    let (line, column) = (error.line(), error.column());
    let whole = error.to_string();
    let (reason, _) = whole.rsplit_once(" at line ").unwrap_or((&whole, ""));
    let reason = clip(reason);
    let path = || {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let found = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err();
        let found = found.map(|error| error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
        match (base, found.as_str()) {
            ("", "") => "the body".to_owned(),
            (base, "") => base.to_owned(),
            ("", found) => clip(found),
            (base, found) if found.starts_with('[') => clip(&format!("{base}{found}")),
            (base, found) => clip(&format!("{base}.{found}")),
        }
    };
    match error.classify() {
        Category::Eof => ReviewError::Truncated { reason, line, column },
        Category::Syntax if reason.starts_with("recursion limit") => ReviewError::TooDeep { path: path() },
        Category::Syntax | Category::Io => ReviewError::NotJson { reason, line, column },
        Category::Data => ReviewError::Field { path: path(), reason },
    }
}

fn clip(text: &str) -> String {
    Shown::within(text, REASON_CHARS).to_string()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::wire;

    /// Returns a valid review, changed by `tweak`.
    fn review(tweak: impl FnOnce(&mut Value)) -> String {
        let mut review = json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "u-1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
                "name": "virt-launcher-db-x7k2p",
                "namespace": "shop",
                "operation": "CREATE",
                "userInfo": {"username": "admin", "groups": ["system:masters"], "extra": {"a": ["b"]}},
                "object": {"spec": {"nodeSelector": {"a": "b"}}},
                "oldObject": null,
                "dryRun": true,
                "options": {"kind": "CreateOptions"}
            }
        });
        tweak(&mut review);
        review.to_string()
    }

    #[test]
    fn review_fields_without_escapes_are_borrowed() {
        let text = review(|_| {});
        let request = decode(text.as_bytes()).unwrap();
        assert!(matches!(request.uid.0, Cow::Borrowed("u-1")), "text without escapes costs no copy");
        assert_eq!(&*request.kind.kind, "Pod");
        assert_eq!(&*request.resource.resource, "pods");
        assert_eq!(&*request.sub_resource, "");
        assert_eq!((&*request.namespace, &*request.name), ("shop", "virt-launcher-db-x7k2p"));
        assert_eq!(request.operation, Operation::Create);
        assert_eq!(&*request.user.username, "admin");
        assert!(request.dry_run, "a dry run taken for a real one would leave an Event behind");
        let Some(ReviewedObject::Pod(pod)) = request.object else { panic!("a pod is read in passing") };
        assert_eq!(pod.spec.node_selector.0, [("a".into(), "b".into())]);
        assert!(request.old_object.is_none(), "null is absence");
    }

    #[test]
    fn null_is_read_as_absent_like_in_go() {
        let text = review(|review| {
            let request = review["request"].as_object_mut().unwrap();
            for field in ["resource", "subResource", "name", "namespace", "userInfo", "dryRun", "oldObject"] {
                request.insert(field.to_owned(), Value::Null);
            }
            request["kind"]["group"] = Value::Null;
        });
        let request = decode(text.as_bytes()).unwrap();
        assert!(request.user.username.is_empty());
        assert!(!request.dry_run);
    }

    #[test]
    fn escapes_are_resolved_in_keys_and_values() {
        let text = review(|_| {}).replace("\"uid\":\"u-1\"", r#""\u0075id":"u\u002d1""#);
        assert_eq!(&*decode(text.as_bytes()).unwrap().uid, "u-1");
    }

    #[rstest]
    #[case::delete_has_only_the_old("DELETE", json!(null), json!({}))]
    #[case::connect("CONNECT", json!({"kind": "PodExecOptions"}), json!(null))]
    #[case::update_with_both("UPDATE", json!({}), json!({}))]
    fn operations_without_an_object_are_decoded(#[case] operation: &str, #[case] object: Value, #[case] old: Value) {
        let text = review(|review| {
            review["request"]["operation"] = json!(operation);
            review["request"]["object"] = object;
            review["request"]["oldObject"] = old;
        });
        assert_eq!(decode(text.as_bytes()).unwrap().operation.as_str(), operation);
    }

    /// An object nested deeper than the stack allows is skipped as text, and refused when it would be parsed.
    #[test]
    fn nesting_beyond_the_bound_is_an_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = review(|_| {}).replace(r#"{"a":"b"}"#, &deep);
        let request = decode(text.as_bytes()).unwrap();
        let Some(ReviewedObject::Text(raw)) = request.object else { panic!("what is not in order stays text") };
        assert_eq!(
            object::<wire::Pod<'_>>("request.object", raw).unwrap_err().to_string(),
            "request.object.spec.nodeSelector: invalid type: sequence, expected a map of strings"
        );
        let kept_whole = RawValue::from_string(format!(r#"{{"spec": {{"affinity": {deep}}}}}"#)).unwrap();
        assert!(matches!(object::<wire::Vmi>("request.object", &kept_whole), Err(ReviewError::TooDeep { .. })));
    }

    #[test]
    fn the_error_in_an_object_names_the_field() {
        let raw =
            serde_json::value::to_raw_value(&json!({"spec": {"tolerations": [{"key": "a"}, {"key": 5}]}})).unwrap();
        assert_eq!(
            object::<wire::Pod<'_>>("request.object", &raw).unwrap_err().to_string(),
            "request.object.spec.tolerations[1].key: invalid type: integer `5`, expected a string"
        );
    }

    #[test]
    fn error_messages_stay_short_and_on_one_line() {
        let text = review(|review| review["kind"] = json!(format!("a\nb{}", "x".repeat(10_000))));
        let message = decode(text.as_bytes()).unwrap_err().to_string();
        assert!(message.len() < 300 && !message.contains('\n'), "{message}");
        let text = review(|review| review["request"]["userInfo"] = json!("y".repeat(10_000)));
        let message = decode(text.as_bytes()).unwrap_err().to_string();
        assert!(message.len() < 300, "{message}");
    }
}
