//! The instancetype and the preference that a VirtualMachine uses: the ControllerRevision that it is pinned to takes
//! precedence over the named object.
//!
//! Mirrors `pkg/instancetype/find` (`spec.go`, `revision.go`), `pkg/instancetype/preference/find`, and
//! `syncStatusWithMatcher` of `pkg/instancetype/revision/store.go` for whether a revision in the status counts.

use std::borrow::Cow;

use super::infer::{self, Inferred};
use super::not_known;
use crate::bounds::Excess;
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::revision::Copied;
use crate::kubevirt::wire::{InstancetypeSpec, Matcher, Meta, PreferenceSpec, StatusRef, VirtualMachine};

/// An instancetype or a preference, and how it was found.
pub(super) struct FoundObject<'c, T> {
    pub(super) spec: &'c T,
    /// A note about an assumption.
    pub(super) assumed: Option<Finding>,
    /// Whether another specification may apply: the object that KubeVirt reads is not known, and this is a later one.
    pub(super) is_guess: bool,
    /// The reason why the object was not read whole; `None` if it was.
    pub(super) excess: Option<Excess>,
    /// The reference to the object after virt-api's inference.
    pub(super) matcher: Matcher,
    /// The reference to a ControllerRevision that differs from the live object, or that no live object is known for.
    pub(super) older: Option<OlderCopy>,
}

/// A ControllerRevision that takes precedence over the object that it is a copy of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OlderCopy {
    /// The name of the revision.
    pub(crate) revision: String,
    /// Whether the live object is known, so that its specification is known to differ.
    pub(crate) is_live_known: bool,
    /// Whether `revisionName` of the VM's specification names it.
    pub(crate) in_spec: bool,
    /// Whether the VM's status names it, or another one.
    pub(crate) in_status: bool,
}

/// The object that a VirtualMachine uses; `None` if it names none; an error if an object is missing.
pub(super) type Result<'c, T> = std::result::Result<Option<FoundObject<'c, T>>, Box<Finding>>;

/// Whether it is not known what an object holds that the VirtualMachine names.
pub(super) fn is_unknown<T>(found: &Result<'_, T>) -> bool {
    match found {
        Ok(found) => found.as_ref().is_some_and(|found| found.is_guess),
        Err(_) => true,
    }
}

/// Finds the instancetype of a VirtualMachine.
pub(super) fn instancetype<'c>(vm: &VirtualMachine, cluster: &'c Cluster) -> Result<'c, InstancetypeSpec> {
    let Some(matcher) = inferred(Inferred::Instancetype, vm.spec.instancetype.as_ref(), vm, cluster)? else {
        return Ok(None);
    };
    let search = RevisionSearch {
        what: Inferred::Instancetype,
        kinds: [Resource::Instancetypes, Resource::ClusterInstancetypes],
        vm,
        matcher: &matcher,
        status: |vm: &VirtualMachine| vm.status.instancetype_ref.clone(),
        cluster,
    };
    let live =
        |namespace: &str, name: &str| cluster.instancetype(namespace, name).map(|found| (&found.metadata, &found.spec));
    let copied = |copy: &'c Copied| match copy {
        Copied::Instancetype(spec) => Some(&**spec),
        Copied::Preference(_) | Copied::Unreadable(_) => None,
    };
    search.find(live, copied).map(Some)
}

/// Finds the preference of a VirtualMachine.
pub(super) fn preference<'c>(vm: &VirtualMachine, cluster: &'c Cluster) -> Result<'c, PreferenceSpec> {
    let Some(matcher) = inferred(Inferred::Preference, vm.spec.preference.as_ref(), vm, cluster)? else {
        return Ok(None);
    };
    let search = RevisionSearch {
        what: Inferred::Preference,
        kinds: [Resource::Preferences, Resource::ClusterPreferences],
        vm,
        matcher: &matcher,
        status: |vm: &VirtualMachine| vm.status.preference_ref.clone(),
        cluster,
    };
    let live =
        |namespace: &str, name: &str| cluster.preference(namespace, name).map(|found| (&found.metadata, &found.spec));
    let copied = |copy: &'c Copied| match copy {
        Copied::Preference(spec) => Some(&**spec),
        Copied::Instancetype(_) | Copied::Unreadable(_) => None,
    };
    search.find(live, copied).map(Some)
}

/// Returns the reference to the instancetype or preference that a VirtualMachine names, or that virt-api infers.
fn inferred<'v>(
    what: Inferred,
    matcher: Option<&'v Matcher>,
    vm: &VirtualMachine,
    cluster: &Cluster,
) -> std::result::Result<Option<Cow<'v, Matcher>>, Box<Finding>> {
    let Some(matcher) = matcher else { return Ok(None) };
    let unknown = |words| Box::new(Finding::noted(Check::Unknown, format!("spec.{}", what.field()), words));
    infer::matcher(what, matcher, vm, cluster).map_err(unknown)
}

/// A search for an instancetype or a preference.
struct RevisionSearch<'v, 'c> {
    what: Inferred,
    /// The namespaced kind and the cluster-wide kind.
    kinds: [Resource; 2],
    vm: &'v VirtualMachine,
    matcher: &'v Matcher,
    status: fn(&VirtualMachine) -> Option<StatusRef>,
    cluster: &'c Cluster,
}

impl<'c> RevisionSearch<'_, 'c> {
    fn find<T: PartialEq>(
        &self,
        live: impl Fn(&str, &str) -> Option<(&'c Meta, &'c T)>,
        copied: impl Fn(&'c Copied) -> Option<&'c T>,
    ) -> std::result::Result<FoundObject<'c, T>, Box<Finding>> {
        let (what, name) = (self.what.field(), &self.matcher.name);
        if name.is_empty() {
            return self
                .missing(format!("{what} has neither a name nor a volume to infer one from: KubeVirt refuses the VM"));
        }
        let Some((resource, namespace)) = self.kind() else {
            let [of_namespace, of_cluster] = self.kinds.map(Resource::kind);
            return self.missing(format!(
                "kind {} of the {what} is neither {of_namespace} nor {of_cluster}: KubeVirt refuses the VM",
                self.matcher.kind
            ));
        };
        let live = live(namespace, name);
        let Some(pinned) = self.pinned() else {
            return match live {
                Some((meta, spec)) => {
                    let (excess, matcher) = (self.excess(meta), self.matcher.clone());
                    Ok(FoundObject { spec, assumed: None, is_guess: false, excess, matcher, older: None })
                }
                None => self.missing(format!(
                    "{} {name} is not known, and so not what the guest asks for; {}",
                    resource.kind(),
                    not_known(self.cluster, &[resource])
                )),
            };
        };
        if let Some(revision) = self.cluster.revision(&self.vm.metadata.namespace, &pinned) {
            return match (copied(&revision.copy), &revision.copy) {
                (Some(spec), _) => {
                    let has_changed = live.is_some_and(|(_, now)| now != spec);
                    let words = || {
                        format!(
                            "the VM uses ControllerRevision {pinned} of {what} {name}, which has changed since: the change does \
                             not reach the VM until its revision is cleared"
                        )
                    };
                    Ok(FoundObject {
                        spec,
                        assumed: has_changed.then(|| self.finding(Check::Assumed, words())),
                        is_guess: false,
                        excess: self.excess(&revision.metadata),
                        matcher: self.matcher.clone(),
                        older: (has_changed || live.is_none()).then(|| OlderCopy {
                            revision: pinned.clone(),
                            is_live_known: has_changed,
                            in_spec: !self.matcher.revision_name.is_empty(),
                            in_status: self.status_ref().is_some_and(|status| status.controller_revision_ref.is_some()),
                        }),
                    })
                }
                (None, Copied::Unreadable(why)) => self.missing(format!(
                    "ControllerRevision {pinned}, to which the VM's {what} is pinned, {why}: what the guest asks for is not known"
                )),
                (None, _) => self.missing(format!(
                    "ControllerRevision {pinned}, to which the VM's {what} is pinned, is no copy of one: KubeVirt does not \
                     start the VM"
                )),
            };
        }
        match live {
            Some((meta, spec)) if is_copy_of(&pinned, meta) != Some(false) => {
                let is_guess = is_copy_of(&pinned, meta).is_none();
                let assumed = is_guess.then(|| {
                    self.finding(Check::Assumed, format!(
                        "the VM is pinned to ControllerRevision {pinned}, which is not known: judged by {what} {name} as it is \
                         now; {}", not_known(self.cluster, &[Resource::Revisions])
                    ))
                });
                let (excess, matcher) = (self.excess(meta), self.matcher.clone());
                Ok(FoundObject { spec, assumed, is_guess, excess, matcher, older: None })
            }
            _ => self.missing(format!(
                "the VM is pinned to ControllerRevision {pinned} of {what} {name}, which is not known, and so not what the guest \
                 asks for; {}", not_known(self.cluster, &[Resource::Revisions])
            )),
        }
    }

    /// Returns the kind that is named, and the namespace of the object; `None` for a kind that KubeVirt does not know.
    fn kind(&self) -> Option<(Resource, &str)> {
        let [of_namespace, of_cluster] = self.kinds;
        let asked = &self.matcher.kind;
        let is = |resource: Resource| {
            asked.eq_ignore_ascii_case(resource.kind()) || asked.eq_ignore_ascii_case(resource.plural())
        };
        if asked.is_empty() || is(of_cluster) {
            Some((of_cluster, ""))
        } else {
            is(of_namespace).then_some((of_namespace, &self.vm.metadata.namespace))
        }
    }

    /// Returns the name of the ControllerRevision that takes precedence over the named object. Mirrors
    /// `revisionFinder.Find` of `pkg/instancetype/find/revision.go`.
    fn pinned(&self) -> Option<String> {
        let matcher = self.matcher;
        if !matcher.revision_name.is_empty() {
            return Some(matcher.revision_name.clone());
        }
        let status = self.status_ref()?;
        let is_same = |asked: &str, known: &str| asked.is_empty() || known.is_empty() || asked == known;
        let pinned = status.controller_revision_ref.map(|revision| revision.name).filter(|name| !name.is_empty())?;
        if !is_same(&matcher.name, &status.name) || !is_same(&matcher.kind, &status.kind) {
            return None;
        }
        let known = self.cluster.revision(&self.vm.metadata.namespace, &pinned);
        let is_its = known.is_none_or(|known| known.object == matcher.name);
        (is_its || !self.cluster.release.release().compares_revision_name()).then_some(pinned)
    }

    /// Returns the reference in the VM's status. A manifest without status is applied over the existing VirtualMachine,
    /// which keeps its status.
    fn status_ref(&self) -> Option<StatusRef> {
        let stored = || self.cluster.vm(&self.vm.metadata.namespace, &self.vm.metadata.name).and_then(self.status);
        (self.status)(self.vm).or_else(stored)
    }

    fn excess(&self, meta: &Meta) -> Option<Excess> {
        let excess = meta.excess.clone()?;
        let field = match self.what {
            Inferred::Instancetype => "spec.instancetype.name",
            Inferred::Preference => "spec.preference.name",
        };
        Some(excess.of(&format!("{} {}", self.what.field(), self.matcher.name), field))
    }

    fn finding(&self, check: Check, message: String) -> Finding {
        Finding::noted(check, format!("spec.{}", self.what.field()), message)
    }

    fn missing<T>(&self, message: String) -> std::result::Result<T, Box<Finding>> {
        Err(Box::new(self.finding(Check::Unknown, message)))
    }
}

/// Whether a ControllerRevision of this name is a copy of an object's current version, by the UID and generation that
/// KubeVirt writes into the name (`GenerateName` of `pkg/instancetype/revision/store.go`); `None` if the dump lacks
/// them.
fn is_copy_of(revision: &str, object: &Meta) -> Option<bool> {
    if object.uid.is_empty() || object.generation == 0 {
        return None;
    }
    Some(revision.ends_with(&format!("-{}-{}", object.uid, object.generation)))
}
