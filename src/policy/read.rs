//! A strict reader from JSON to a [`Policy`], which accepts what the API server would.

use std::fmt;

use serde::de::{Deserialize, Deserializer};

use super::selector::{LabelCondition, LabelSelector, Operator};
use super::tree::{FieldReader, PolicyProblem, Tree};
use super::{
    API_VERSION, Announce, CommonModel, DEFAULT_REPLACES, Exemptions, KIND, LauncherSelectors, Otherwise, Policy,
    ReplacedMode,
};
use crate::bounds::{Bounded, Excess, Measured};
use crate::fit::syntax;
use crate::word::{Word, parse, quoted};

/// The reason why a document is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is not JSON.
    #[error("not JSON: {0}")]
    Syntax(serde_json::Error),
    /// The text is JSON, but not a valid `CPUPolicy`.
    #[error("{}{}", Heading(name, problems), Further(problems))]
    Invalid {
        /// `metadata.name`; empty if it is missing.
        name: String,
        /// All problems, in the order of the reference.
        problems: Vec<PolicyProblem>,
    },
}

/// The policy's name and its problem, or its number of problems.
struct Heading<'a>(&'a str, &'a [PolicyProblem]);

impl fmt::Display for Heading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, problems) = self;
        f.write_str(KIND)?;
        if !name.is_empty() {
            write!(f, " {}", name.escape_debug())?;
        }
        if let [problem] = problems {
            return write!(f, ": {problem}");
        }
        write!(f, ": {} problems", problems.len())
    }
}

/// All problems, if there are several.
struct Further<'a>(&'a [PolicyProblem]);

impl fmt::Display for Further<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut several = self.0.iter().enumerate().filter(|_| self.0.len() > 1);
        several.try_for_each(|(at, problem)| write!(f, "{} {problem}", if at == 0 { ":" } else { ";" }))
    }
}

impl PolicyError {
    /// Returns the error line by line: several problems have a line each below the first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid { name, problems } if problems.len() > 1 => {
                let heading = Heading(name, problems).to_string();
                std::iter::once(heading).chain(problems.iter().map(|problem| format!("  {problem}"))).collect()
            }
            Self::Invalid { .. } | Self::Syntax(_) => vec![self.to_string()],
        }
    }
}

/// The fields of `metav1.ObjectMeta` that a dump may contain in addition to the name.
const METADATA: [&str; 14] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A document, read within the size limits.
struct Document {
    tree: Tree,
    excess: Option<Excess>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { tree: Tree::deserialize(deserializer)?, excess: None })
    }
}

impl Measured for Document {
    fn mark(&mut self, excess: Excess) {
        self.excess = Some(excess);
    }
}

impl Policy {
    /// Reads one `CPUPolicy` from its JSON text, as it is in a file or as the API server stores it.
    ///
    /// # Errors
    ///
    /// Returns [`PolicyError::Syntax`] if the text is not JSON, otherwise [`PolicyError::Invalid`] with every
    /// problem: a policy with problems is not applied in part.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        let Bounded(Document { tree, excess }) = serde_json::from_str(text).map_err(PolicyError::Syntax)?;
        let mut problems = Vec::new();
        let policy = FieldReader::root(&tree, &mut problems, policy);
        if let Some(excess) = excess {
            // Other problems may result from the part that was not read.
            problems = vec![PolicyProblem {
                field: excess.field().to_owned(),
                message: format!("{}: too much to read", excess.why()),
            }];
        }
        // The document is of another kind: its own fields are no misspellings of a policy's.
        if ["apiVersion", "kind"].iter().all(|field| problems.iter().any(|problem| problem.field == *field)) {
            problems.truncate(2);
        }
        match policy {
            Some(policy) if problems.is_empty() => Ok(policy),
            other => Err(PolicyError::Invalid { name: other.map(|policy| policy.name).unwrap_or_default(), problems }),
        }
    }
}

fn policy(root: &mut FieldReader<'_, '_>) -> Policy {
    exactly(root, "apiVersion", API_VERSION);
    exactly(root, "kind", KIND);
    let name = root.object("metadata", metadata);
    root.expect("spec", "with {} every field has its default");
    let mut policy = root.object("spec", spec);
    policy.name = name;
    root.ignore("status");
    policy
}

fn exactly(object: &mut FieldReader<'_, '_>, field: &'static str, wanted: &str) {
    match object.required(field, wanted) {
        Some(given) if given != wanted => object.problem(field, format!("must be {wanted}, is {}", quoted(given))),
        _ => {}
    }
}

fn metadata(object: &mut FieldReader<'_, '_>) -> String {
    let name = object.required("name", "it names the policy");
    if let Some(Err(reason)) = name.map(syntax::subdomain) {
        object.problem("name", format!("{} is not a name: {reason}", quoted(name.unwrap_or_default())));
    }
    for field in METADATA {
        object.ignore(field);
    }
    name.unwrap_or_default().to_owned()
}

fn spec(object: &mut FieldReader<'_, '_>) -> Policy {
    // Absent fields have the values of the built-in policy.
    let default = Policy::builtin();
    let policy = Policy {
        name: String::new(),
        namespace_selector: object.object("namespaceSelector", selector),
        virtual_machine_selector: object.object("virtualMachineSelector", selector),
        node_selector: object.object("nodeSelector", selector),
        enforce: object.word("enforce").unwrap_or(default.enforce),
        warn: object.word("warn").unwrap_or(default.warn),
        audit: object.word("audit").unwrap_or(default.audit),
        common_model: object.optional("commonModel", common_model),
        launcher_selectors: object.word("launcherSelectors").unwrap_or(default.launcher_selectors),
        exemptions: object.object("exemptions", exemptions),
    };
    if policy.launcher_selectors == LauncherSelectors::Common && policy.common_model.is_none() {
        object.problem(
            "launcherSelectors",
            "Common needs commonModel: name the CPU model that the selectors are reduced to",
        );
    }
    policy
}

fn selector(object: &mut FieldReader<'_, '_>) -> LabelSelector {
    let match_labels = object.map("matchLabels", |key, value| {
        syntax::qualified(key).map_err(|reason| format!("not a label key: {reason}"))?;
        syntax::label_value(value).map_err(|reason| format!("{} is not a label value: {reason}", quoted(value)))
    });
    let match_labels = match_labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let conditions = object.objects("matchExpressions", condition);
    LabelSelector { match_labels, match_expressions: conditions.into_iter().flatten().collect() }
}

fn condition(object: &mut FieldReader<'_, '_>) -> Option<LabelCondition> {
    let key = object.required("key", "a condition is about a label");
    if let Some((key, Err(reason))) = key.map(|key| (key, syntax::qualified(key))) {
        object.problem("key", format!("{} is not a label key: {reason}", quoted(key)));
    }
    let operator = object.required("operator", &all::<Operator>()).and_then(|text| {
        let operator = parse::<Operator>(text);
        operator.map_err(|error| object.problem("operator", error.to_string())).ok()
    });
    let values = object.texts("values", |value| {
        syntax::label_value(value).map_err(|reason| format!("{} is not a label value: {reason}", quoted(value)))
    });
    let (key, operator) = (key?, operator?);
    if operator.takes_values() && values.is_empty() {
        object.problem("values", format!("{operator} needs at least one value"));
    } else if !operator.takes_values() && !values.is_empty() {
        object.problem("values", format!("{operator} takes no values"));
    }
    Some(LabelCondition { key: key.to_owned(), operator, values })
}

fn common_model(object: &mut FieldReader<'_, '_>) -> CommonModel {
    let name = object.required("name", "name a CPU model, such as Skylake-Server-noTSX-IBRS");
    match name {
        Some("") => object.problem("name", "must not be empty: name a CPU model, such as Skylake-Server-noTSX-IBRS"),
        Some(mode @ ("host-model" | "host-passthrough")) => {
            object.problem("name", format!("{mode} differs from host to host: name a CPU model that nodes share"));
        }
        // The model is searched in the label cpu-model.node.kubevirt.io/<name>.
        Some(given) => {
            if let Err(reason) = syntax::label_name(given) {
                object.problem("name", format!("{} is not a CPU model's name: {reason}", quoted(given)));
            }
        }
        None => {}
    }
    CommonModel {
        name: name.unwrap_or_default().to_owned(),
        replaces: object
            .set("replaces", |text| parse::<ReplacedMode>(text).map_err(|error| error.to_string()))
            .unwrap_or_else(|| DEFAULT_REPLACES.to_vec()),
        otherwise: object.word("otherwise").unwrap_or(Otherwise::Warn),
        announce: object.word("announce").unwrap_or(Announce::Warning),
    }
}

fn exemptions(object: &mut FieldReader<'_, '_>) -> Exemptions {
    let users =
        object.set("users", |user| if user.is_empty() { Err("must not be empty".to_owned()) } else { Ok(user.into()) });
    let namespaces = object.set("namespaces", |namespace| {
        syntax::dns_label(namespace)
            .map(|()| namespace.to_owned())
            .map_err(|reason| format!("{} is not a namespace: {reason}", quoted(namespace)))
    });
    Exemptions {
        users: users.unwrap_or_default(),
        namespaces: namespaces.unwrap_or_default(),
        controllers: object.boolean("controllers").unwrap_or(true),
    }
}

fn all<T: Word>() -> String {
    T::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", ")
}
