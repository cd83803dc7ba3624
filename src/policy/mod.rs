//! The policies of an administrator: which guests cause warnings, records or denials, and which requests are
//! exempt.
//!
//! A [`Policy`] is one `CPUPolicy` (`cpufit.io/v1alpha1`), read by [`Policy::from_json`]. [`governing`]
//! chooses the policy of a guest; without one, [`Policy::builtin`] governs. [`rule()`] turns a verdict into a
//! [`Ruling`]. All are pure functions; the three dials, enforce, warn and audit, work like those of
//! Kubernetes' pod security admission.

mod read;
mod rule;
mod select;
mod selector;
mod tree;
mod write;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use crate::bounds::Excess;
use crate::fit::verdict::Impact;
use crate::well_known;
use crate::word::{readable, words};

pub use crate::word::{UnknownWord, Word};
pub use read::PolicyError;
pub use rule::{Grounds, RequestFacts, RequestKind, Ruling, rule};
pub(crate) use select::lives_on;
pub use selector::{LabelCondition, LabelSelector, Operator};
pub use tree::PolicyProblem;

/// `apiVersion` of a `CPUPolicy`, and of the kinds of objects that exist only in dumps.
pub(crate) const API_VERSION: &str = "cpufit.io/v1alpha1";
/// `kind` of a `CPUPolicy`.
pub(crate) const KIND: &str = "CPUPolicy";

/// A `CPUPolicy`. Each field's description begins with its name in YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// `namespaceSelector`: the guests to which the policy applies, by the labels of their namespace. Default:
    /// all.
    pub namespace_selector: LabelSelector,
    /// `virtualMachineSelector`: the guests to which the policy applies, by the labels of the
    /// `VirtualMachineInstance` (for a `VirtualMachine` those of its template). Default: all.
    pub virtual_machine_selector: LabelSelector,
    /// `nodeSelector`: the nodes on which these guests live, by the nodes' labels. Default: all.
    pub node_selector: LabelSelector,
    /// `enforce`: deny from this impact up. Only structural causes are ever denied. Default: `None`.
    pub enforce: Dial,
    /// `warn`: answer with warnings from this impact up. Default: `Fragile`.
    pub warn: Dial,
    /// `audit`: record in audit annotations and Events from this impact up. Default: `Fragile`.
    pub audit: Dial,
    /// `commonModel`: the CPU model these guests should share. Default: none.
    pub common_model: Option<CommonModel>,
    /// `launcherSelectors`: the handling of selectors that launcher pods inherit. Default: `Keep`.
    pub launcher_selectors: LauncherSelectors,
    /// `exemptions`: the requests that are never denied.
    pub exemptions: Exemptions,
}

impl Policy {
    /// Returns the policy of a cluster that has none: it warns and records, and never denies or changes
    /// anything.
    pub(crate) fn builtin() -> Self {
        Self {
            name: "built-in".to_owned(),
            namespace_selector: LabelSelector::default(),
            virtual_machine_selector: LabelSelector::default(),
            node_selector: LabelSelector::default(),
            enforce: Dial::Off,
            warn: Dial::From(Impact::Fragile),
            audit: Dial::From(Impact::Fragile),
            common_model: None,
            launcher_selectors: LauncherSelectors::Keep,
            exemptions: Exemptions::default(),
        }
    }

    /// Whether the policy's selectors match the guest.
    #[must_use]
    pub fn selects(&self, guest: &PolicySubject<'_>) -> bool {
        let selects = |selector: &LabelSelector, labels, is_cut| {
            if is_cut { selector.can_match(labels) } else { selector.matches(labels) }
        };
        selects(&self.namespace_selector, guest.namespace_labels, guest.unread.namespace_labels)
            && selects(&self.virtual_machine_selector, guest.labels, guest.unread.labels)
    }

    /// Whether the policy denies guests because of their CPU model.
    pub(crate) fn refuses_models(&self) -> bool {
        self.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny)
    }

    /// Whether the policy denies any guest.
    pub(crate) fn denies_guests(&self) -> bool {
        self.refuses_models() || self.enforce != Dial::Off
    }

    /// Returns the specificity of the selectors: the number of labels selected of namespace and guest
    /// together, then of the guest alone. If two policies are equally specific, the name decides which
    /// governs.
    pub(crate) fn specificity(&self) -> (usize, usize) {
        let of_guest = self.virtual_machine_selector.specificity();
        (self.namespace_selector.specificity() + of_guest, of_guest)
    }

    /// Returns the reason why the guest's request is exempt from denial, if there is one.
    ///
    /// Objects that KubeVirt's controllers create to start, restart, scale, clone or restore a guest are
    /// always exempt: a restart or a recovery must not fail because of a policy. Their migrations are exempt
    /// if `exemptions.controllers` is true.
    #[must_use]
    pub fn exempt(&self, guest: &PolicySubject<'_>, kind: RequestKind) -> Option<Exemption> {
        let Exemptions { users, namespaces, controllers } = &self.exemptions;
        if is_exempt(guest.namespace_labels) {
            Some(Exemption::LabelledNamespace)
        } else if namespaces.iter().any(|namespace| namespace == guest.namespace) {
            Some(Exemption::Namespace)
        } else if users.contains(guest.user) {
            Some(Exemption::User)
        } else if (*controllers || kind != RequestKind::Migration)
            && guest.user.is_kubevirt_controller(guest.kubevirt_namespace)
        {
            Some(Exemption::Controller)
        } else {
            None
        }
    }
}

/// Whether a namespace with these labels is exempt from everything, regardless of the policies.
pub(crate) fn is_exempt(namespace_labels: &BTreeMap<String, String>) -> bool {
    well_known::EXEMPT.is_set(namespace_labels)
}

/// The guest for which a policy is chosen, and the user of the request.
#[derive(Clone, Copy, Debug)]
pub struct PolicySubject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The labels of the `VirtualMachineInstance`; of a `VirtualMachine` those of its template.
    pub labels: &'a BTreeMap<String, String>,
    /// The user that sent the request.
    pub user: &'a UserName,
    /// The namespace of the `KubeVirt` resource, if it is known: see [`UserName::is_kubevirt_controller`].
    pub kubevirt_namespace: Option<&'a str>,
    /// The parts of the guest that were not read.
    pub unread: Unread,
}

/// The unknown parts of a guest, because an object is too large to be read whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Whether labels of the namespace are missing, so that any label may exist.
    pub namespace_labels: bool,
    /// Whether labels of the guest are missing.
    pub labels: bool,
    /// Whether the nodes that take it are unknown, and so the policies whose nodes it lives on.
    pub nodes: bool,
}

impl PolicySubject<'_> {
    /// Marks as unread the parts that `excess` cut off.
    #[must_use]
    pub fn less(mut self, excess: Option<&Excess>) -> Self {
        self.unread.labels |= excess.is_some_and(Excess::cuts_labels);
        self.unread.nodes |= excess.is_some();
        self
    }
}

/// Returns the policy that governs a guest: the most specific one that selects it. `None` if no policy selects
/// the guest: then [`Policy::builtin`] governs.
///
/// For a guest that is too large to be read completely, it is one of the policies that could select it;
/// policies that deny guests come first, so that no addition to a guest avoids such a policy.
///
/// Mirrors `matchPolicy` of `pkg/virt-controller/watch/migration/migrationpolicy.go` (KubeVirt): most matching labels
/// of namespace and guest together, then most of the guest alone, then the name that comes first in the alphabet. It
/// differs in two points that KubeVirt does not have: expressions count like labels, and a policy without selectors
/// selects every guest instead of none.
pub(crate) fn governing<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    guest: &PolicySubject<'_>,
) -> Option<&'p Policy> {
    let is_known = guest.unread == Unread::default();
    let rank = |policy: &&'p Policy| {
        (!is_known && !policy.denies_guests(), Reverse(policy.specificity()), policy.name.as_str())
    };
    policies.into_iter().filter(|policy| policy.selects(guest)).min_by_key(rank)
}

/// The impact from which up an action is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dial {
    /// `None`: the action is never taken.
    Off,
    /// The impact's name: the action is taken for this impact and worse ones.
    From(Impact),
}

impl Dial {
    /// Whether an impact reaches the threshold; `None` never does.
    #[must_use]
    pub fn reached(self, impact: Option<Impact>) -> bool {
        match (self, impact) {
            (Self::From(threshold), Some(impact)) => impact >= threshold,
            _ => false,
        }
    }
}

impl Word for Dial {
    const ALL: &'static [Self] =
        &[Self::Off, Self::From(Impact::Unschedulable), Self::From(Impact::Pinned), Self::From(Impact::Fragile)];

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "None",
            Self::From(impact) => impact.as_str(),
        }
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

readable!(Dial, ReplacedMode, Otherwise, Announce, LauncherSelectors);

/// The CPU model that the guests of a policy should share, so that each can run on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonModel {
    /// `name`: a named CPU model, as in the label `cpu-model.node.kubevirt.io/<name>`. Required.
    pub name: String,
    /// `replaces`: the CPU modes that it replaces, each once. Default: `[Unset, HostModel]`.
    pub replaces: Vec<ReplacedMode>,
    /// `otherwise`: the handling of a guest that still does not use it. Default: `Warn`.
    pub otherwise: Otherwise,
    /// `announce`: the way in which the change is announced. Default: `Warning`.
    pub announce: Announce,
}

/// The default of `replaces`.
const DEFAULT_REPLACES: [ReplacedMode; 2] = [ReplacedMode::Unset, ReplacedMode::HostModel];

words! {
    /// A way of specifying the CPU that a common model may replace.
    ReplacedMode {
        /// No model.
        Unset = "Unset",
        /// `host-model`.
        HostModel = "HostModel",
        /// `host-passthrough`.
        HostPassthrough = "HostPassthrough",
        /// Another named model.
        Named = "Named",
    }
}

words! {
    /// The handling of a guest that does not use the common model in the end.
    Otherwise {
        /// No message.
        Allow = "Allow",
        /// Admission with a warning.
        Warn = "Warn",
        /// A denial.
        Deny = "Deny",
    }
}

words! {
    /// The announcement that a guest gets the common model instead of its own.
    Announce {
        /// A warning, which `--warnings-as-errors` makes an error, in addition to the Event.
        Warning = "Warning",
        /// Only the Event `CPUModelReplaced` of the guest.
        Event = "Event",
    }
}

words! {
    /// The handling of selectors that launcher pods inherit.
    LauncherSelectors {
        /// The entries stay as KubeVirt created them.
        Keep = "Keep",
        /// CPU features that no node has a label for are removed from migration target pods.
        DropStale = "DropStale",
        /// Pods of guests on the common model select only that model and the guest's own requirements.
        Common = "Common",
    }
}

/// The requests that are never denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemptions {
    /// `users`: user names as the API server reports them. Default: none.
    pub users: Vec<UserName>,
    /// `namespaces`: by name. Default: none.
    pub namespaces: Vec<String>,
    /// `controllers`: whether migrations of KubeVirt's own controllers are exempt, whose drains and updates
    /// would hang. Default: true.
    pub controllers: bool,
}

impl Default for Exemptions {
    fn default() -> Self {
        Self { users: Vec::new(), namespaces: Vec::new(), controllers: true }
    }
}

words! {
    /// The reason why a request is not denied, regardless of the verdict.
    Exemption {
        /// The namespace has the label [`well_known::EXEMPT`]: there are no warnings and no records either.
        LabelledNamespace = "labelled-namespace",
        /// The policy lists the namespace.
        Namespace = "namespace",
        /// The policy lists the user.
        User = "user",
        /// The request comes from a controller of KubeVirt.
        Controller = "controller",
        /// The request updates an object that would have been denied too, and makes nothing worse.
        NotWorse = "not-worse",
    }
}

impl Exemption {
    /// Whether the request is exempt from everything: there is neither a warning nor a record.
    pub(crate) fn is_entire(self) -> bool {
        self == Self::LabelledNamespace
    }
}

/// The user that sent a request (`userInfo.username`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// The empty user name, for judgements without a request.
    pub const NOBODY: &'static Self = &Self(String::new());

    /// Returns the name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns namespace and name of a service account; `None` for another user.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.0.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// Whether the user is a kubelet, or a controller of Kubernetes in `kube-system`.
    pub(crate) fn is_of_kubernetes(&self) -> bool {
        self.0.starts_with("system:node:")
            || self.service_account().is_some_and(|(namespace, _)| namespace == "kube-system")
    }

    /// Whether the user is a controller of KubeVirt, for which a denial means a drain that hangs.
    ///
    /// Distributions install KubeVirt into other namespaces, so any namespace matches unless
    /// `kubevirt_namespace` is given. Giving it excludes service accounts with a controller's name in another
    /// namespace. `kubevirt-apiserver` is not included: it acts for a person with virtctl, who reads the
    /// denial. Mirrors `pkg/virt-api/webhooks/serviceaccounts.go` without that one.
    pub(crate) fn is_kubevirt_controller(&self, kubevirt_namespace: Option<&str>) -> bool {
        self.service_account().is_some_and(|(namespace, name)| {
            matches!(name, "kubevirt-controller" | "kubevirt-handler" | "kubevirt-synchronization-controller")
                && kubevirt_namespace.is_none_or(|installed| installed == namespace)
        })
    }
}

impl From<&str> for UserName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for UserName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
