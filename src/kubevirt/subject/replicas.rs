//! Preparation of the guests of a replica set or a pool.

use super::origin::is_applied;
use super::{Prepared, of_guest};
use crate::fit::author::Holder;
use crate::fit::subject::{Origin, Template};
use crate::fit::verdict::{Detail, Finding};
use crate::kubevirt::authors::seen_from_replicas;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::{Guest, guest_of};
use crate::kubevirt::replicas::{Replicas, ReplicasKind};

impl Replicas {
    /// Prepares any guest of this object for judgement.
    #[must_use]
    pub fn prepared(&self, cluster: &Cluster) -> Prepared<'static> {
        self.judged_as(guest_of(&self.vm, cluster), cluster)
    }

    /// Prepares any guest of this object, given the guest made from its template.
    pub(crate) fn judged_as(&self, guest: Guest, cluster: &Cluster) -> Prepared<'static> {
        let mut out = of_guest(&self.vm, guest, cluster);
        // A VM or VMI with the object's name is not one of its guests.
        out.subject.definition.template = Some(match self.kind {
            ReplicasKind::ReplicaSet => Template::ReplicaSet,
            ReplicasKind::Pool => Template::Pool,
        });
        (out.subject.definition.template_name, out.subject.running) = (None, None);
        out.subject.definition.waits = false;
        let meta = &self.vm.metadata;
        let stored = cluster.replicas(self.kind, &meta.namespace, &meta.name);
        let is_stored = stored.is_some_and(|stored| is_applied(&self.vm, &stored.vm));
        out.subject.definition.origin = if is_stored { Origin::Stored } else { Origin::Submitted };
        out.subject.definition.field_root = self.kind.field(&out.subject.definition.field_root);
        let holder = match self.kind {
            ReplicasKind::ReplicaSet => Holder::ReplicaSet,
            ReplicasKind::Pool => Holder::Pool,
        };
        seen_from_replicas(&mut out.subject.authors, holder, |field| self.kind.field(field));
        if let Some(foreseen) = &mut out.subject.live_migratable.foreseen {
            foreseen.field = self.kind.field(&foreseen.field);
        }
        out.notes.iter_mut().chain(&mut out.not_judged).for_each(|finding| self.relocate(finding));
        if let Some(rendered) = &mut out.predicted {
            rendered.excess = rendered.excess.take().map(|excess| excess.at(|field| self.kind.field(field)));
        }
        out
    }

    /// Changes the field of a finding, also inside its text, to the field of this object.
    fn relocate(&self, finding: &mut Finding) {
        let field = self.kind.field(&finding.field);
        if field == finding.field {
            return;
        }
        if let Detail::Noted(words) | Detail::Refused(words) = &mut finding.detail {
            *words = words.replace(&finding.field, &field);
        }
        finding.field = field;
    }
}
