//! What an administrator wants: which guests are warned about, recorded or denied, and who is exempt.
//!
//! A [`Policy`] is one `CPUPolicy` (`cpufit.io/v1alpha1`), read by [`Policy::from_json`]. [`governing`] chooses the one
//! that a guest is under; without any, [`Policy::builtin`] governs. [`rule()`] turns a verdict into a [`Ruling`]. All
//! are pure functions; the three dials, enforce, warn and audit, work as those of Kubernetes' pod security admission.

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

/// `apiVersion` of a `CPUPolicy`, and of the kinds of objects that only dumps hold.
pub(crate) const API_VERSION: &str = "cpufit.io/v1alpha1";
/// `kind` of a `CPUPolicy`.
pub(crate) const KIND: &str = "CPUPolicy";

/// One `CPUPolicy`. The field's name in YAML stands first in its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// `namespaceSelector`: whose guests, by the labels of their namespace. Default: all.
    pub namespace_selector: LabelSelector,
    /// `virtualMachineSelector`: which guests, by the labels of the `VirtualMachineInstance` (for a `VirtualMachine`
    /// those of its template). Default: all.
    pub virtual_machine_selector: LabelSelector,
    /// `nodeSelector`: which nodes these guests live on, by the nodes' labels. Default: all.
    pub node_selector: LabelSelector,
    /// `enforce`: deny from this impact up. Only what is structural is ever denied. Default: `None`.
    pub enforce: Dial,
    /// `warn`: answer with warnings from this impact up. Default: `Fragile`.
    pub warn: Dial,
    /// `audit`: record in audit annotations and Events from this impact up. Default: `Fragile`.
    pub audit: Dial,
    /// `commonModel`: the CPU model these guests should share. Default: none.
    pub common_model: Option<CommonModel>,
    /// `launcherSelectors`: what becomes of the selectors that launcher pods inherit. Default: `Keep`.
    pub launcher_selectors: LauncherSelectors,
    /// `exemptions`: who is never denied.
    pub exemptions: Exemptions,
}

impl Policy {
    /// The policy of a cluster that has none: it warns and records, and never denies or changes anything.
    #[must_use]
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

    /// Whether the guest is one of those the policy is about.
    #[must_use]
    pub fn selects(&self, guest: &PolicySubject<'_>) -> bool {
        let selects = |selector: &LabelSelector, labels, is_cut| {
            if is_cut { selector.can_match(labels) } else { selector.matches(labels) }
        };
        selects(&self.namespace_selector, guest.namespace_labels, guest.unread.namespace_labels)
            && selects(&self.virtual_machine_selector, guest.labels, guest.unread.labels)
    }

    /// Whether it refuses guests for the CPU model they have.
    fn refuses_models(&self) -> bool {
        self.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny)
    }

    /// How closely it describes its guests: the labels it asks for of namespace and guest together, then of the guest
    /// alone. Of two policies as specific as each other the name decides which governs.
    #[must_use]
    pub(crate) fn specificity(&self) -> (usize, usize) {
        let of_guest = self.virtual_machine_selector.specificity();
        (self.namespace_selector.specificity() + of_guest, of_guest)
    }

    /// Why the guest's request is not to be denied, if so.
    ///
    /// What KubeVirt's controllers create to start, restart, scale, clone or restore a guest is exempt whatever the policy
    /// says: a restart or a recovery must not fail for a policy. Their migrations are while `exemptions.controllers` is true.
    #[must_use]
    pub fn exempt(&self, guest: &PolicySubject<'_>, kind: RequestKind) -> Option<Exemption> {
        let Exemptions { users, namespaces, controllers } = &self.exemptions;
        if is_left_alone(guest.namespace_labels) {
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

/// Whether a namespace with these labels is left alone entirely, whatever the policies say.
#[must_use]
pub(crate) fn is_left_alone(namespace_labels: &BTreeMap<String, String>) -> bool {
    well_known::EXEMPT.is_set(namespace_labels)
}

/// The guest a policy is sought for, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct PolicySubject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The labels of the `VirtualMachineInstance`; of a `VirtualMachine` those of its template.
    pub labels: &'a BTreeMap<String, String>,
    /// Who sent the request.
    pub user: &'a UserName,
    /// The namespace of the `KubeVirt` resource, where it is known: see [`UserName::is_kubevirt_controller`].
    pub kubevirt_namespace: Option<&'a str>,
    /// What of it was not read.
    pub unread: Unread,
}

/// What is not known of a guest, because an object is too large to be read whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Labels of the namespace: any may be among those that were not read.
    pub namespace_labels: bool,
    /// Labels of the guest.
    pub labels: bool,
    /// Which nodes take it, and so which policies' nodes it lives on.
    pub nodes: bool,
}

impl PolicySubject<'_> {
    /// The same guest, of which so much was not read.
    #[must_use]
    pub fn less(mut self, excess: Option<&Excess>) -> Self {
        self.unread.labels |= excess.is_some_and(Excess::cuts_labels);
        self.unread.nodes |= excess.is_some();
        self
    }
}

/// The policy that governs a guest: of those that select it the most specific one.
///
/// For a guest that is too large to be read completely, it is one of the policies that could select it; policies that deny guests
/// for their model come first, so that no addition to a guest avoids such a policy.
///
/// Mirrors `MigrationPolicyList.MatchPolicy` of KubeVirt: most matching labels of namespace and guest together, then
/// most of the guest alone, then the name that comes first in the alphabet. It differs where KubeVirt knows no such
/// thing: expressions count like labels, and a policy without selectors selects every guest instead of none.
/// `None` where no policy selects the guest: then [`Policy::builtin`] governs.
#[must_use]
pub(crate) fn governing<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    guest: &PolicySubject<'_>,
) -> Option<&'p Policy> {
    let is_known = guest.unread == Unread::default();
    let rank = |policy: &&'p Policy| {
        (!is_known && !policy.refuses_models(), Reverse(policy.specificity()), policy.name.as_str())
    };
    policies.into_iter().filter(|policy| policy.selects(guest)).min_by_key(rank)
}

/// From which impact up something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dial {
    /// `None`: never.
    Off,
    /// The impact's name: for this impact and worse ones.
    From(Impact),
}

impl Dial {
    /// Whether an impact is bad enough. No impact never is.
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
    /// `replaces`: the CPU modes it takes the place of, each once. Default: `[Unset, HostModel]`.
    pub replaces: Vec<ReplacedMode>,
    /// `otherwise`: what becomes of a guest that still does not use it. Default: `Warn`.
    pub otherwise: Otherwise,
    /// `announce`: how it is said that a guest gets it. Default: `Warning`.
    pub announce: Announce,
}

/// What `replaces` is where it is left out.
const DEFAULT_REPLACES: [ReplacedMode; 2] = [ReplacedMode::Unset, ReplacedMode::HostModel];

words! {
    /// A way in which a guest states its CPU, that a common model may take the place of.
    ReplacedMode {
        /// No model is stated.
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
    /// What becomes of a guest that does not use the common model in the end.
    Otherwise {
        /// Nothing is said.
        Allow = "Allow",
        /// It is admitted with a warning.
        Warn = "Warn",
        /// It is denied.
        Deny = "Deny",
    }
}

words! {
    /// How to announce that a guest gets the common model instead of its own.
    Announce {
        /// By a warning, which `--warnings-as-errors` makes an error, beside the Event.
        Warning = "Warning",
        /// By the Event `CPUModelReplaced` of the guest alone.
        Event = "Event",
    }
}

words! {
    /// What becomes of the selectors that launcher pods inherit.
    LauncherSelectors {
        /// They stay as KubeVirt made them.
        Keep = "Keep",
        /// CPU features that no node advertises any more are removed from migration target pods.
        DropStale = "DropStale",
        /// Pods of guests on the common model ask for that model and for what the guest itself asks.
        Common = "Common",
    }
}

/// Who is never denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemptions {
    /// `users`: user names as the API server knows them. Default: none.
    pub users: Vec<UserName>,
    /// `namespaces`: by name. Default: none.
    pub namespaces: Vec<String>,
    /// `controllers`: the migrations of KubeVirt's own controllers, whose drains and updates would hang. Default: true.
    pub controllers: bool,
}

impl Default for Exemptions {
    fn default() -> Self {
        Self { users: Vec::new(), namespaces: Vec::new(), controllers: true }
    }
}

words! {
    /// Why a request is not denied whatever the verdict.
    Exemption {
        /// Its namespace has the label [`well_known::EXEMPT`]: nothing is said or recorded either.
        LabelledNamespace = "labelled-namespace",
        /// The policy lists its namespace.
        Namespace = "namespace",
        /// The policy lists the user.
        User = "user",
        /// It comes from one of KubeVirt's own controllers.
        Controller = "controller",
        /// It updates an object that would have been denied as well, and makes nothing worse.
        NotWorse = "not-worse",
    }
}

impl Exemption {
    /// Whether the request is left alone entirely: no warning and no record.
    #[must_use]
    pub(crate) fn is_silent(self) -> bool {
        self == Self::LabelledNamespace
    }
}

/// Who sent a request, as `userInfo.username` says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// No user: for judgements without a request.
    pub const NOBODY: &'static Self = &Self(String::new());

    /// The name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Namespace and name, where it is a service account.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.0.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// Whether it is one of KubeVirt's own controllers, for which a denial is a drain that hangs.
    ///
    /// Distributions install KubeVirt into namespaces of their own, so any namespace will do unless the right one is
    /// given. Giving it keeps others from passing for a controller with a service account of the same name.
    /// `kubevirt-apiserver` is not among them: it asks on behalf of a person with virtctl, who reads the denial.
    /// Mirrors `pkg/virt-api/webhooks/serviceaccounts.go` without that one.
    #[must_use]
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
