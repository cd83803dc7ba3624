//! Replica sets and pools: objects from whose template KubeVirt makes many guests.
//!
//! A `VirtualMachineInstanceReplicaSet` holds a template of VMIs, a `VirtualMachinePool` a template of VMs. Each is
//! judged as one VirtualMachine of its template; findings name the fields of the object itself.
//!
//! Mirrors `pkg/virt-controller/watch/replicaset/replicaset.go` (`scale`) and
//! `pkg/virt-controller/watch/pool/pool.go` (`scaleOut`, `indexVMSpec`) of KubeVirt: each guest gets labels,
//! annotations and specification of the template; guests differ only in the names of objects, of volumes and of their
//! data sources.

use super::resource::Resource;
use super::wire::{Pool, Reader, ReplicaSet, VirtualMachine, VmSpec};

/// A replica set or a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicas {
    /// The kind.
    pub kind: ReplicasKind,
    /// The VirtualMachine that stands for each of its guests, under the name of the object itself.
    pub vm: VirtualMachine,
}

/// A kind of object that holds the template of many guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReplicasKind {
    /// `VirtualMachineInstanceReplicaSet`, group `kubevirt.io`.
    ReplicaSet,
    /// `VirtualMachinePool`, group `pool.kubevirt.io`; `v1alpha1` and `v1beta1` have the same shape.
    Pool,
}

impl ReplicasKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::ReplicaSet, Self::Pool];

    /// Returns the row in the table of resources.
    #[must_use]
    pub const fn resource(self) -> Resource {
        match self {
            Self::ReplicaSet => Resource::ReplicaSets,
            Self::Pool => Resource::Pools,
        }
    }

    /// Returns the API group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.resource().group()
    }

    /// Returns the kind's name.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.resource().kind()
    }

    /// Returns the short name for kubectl.
    pub(crate) const fn short_name(self) -> &'static str {
        self.resource().names().short[0]
    }

    /// Returns the path in the object for a field of the VirtualMachine that stands for its guests: for a pool,
    /// `spec.virtualMachineTemplate.spec.template.spec` for `spec.template.spec`. A path in the pool, such as that of a
    /// field beyond a bound, stays as it is: a VirtualMachine has none of this form.
    #[must_use]
    pub fn field(self, of_vm: &str) -> String {
        match (self, of_vm.strip_prefix("spec")) {
            (Self::Pool, Some(below)) if below.starts_with(".virtualMachineTemplate") => of_vm.to_owned(),
            (Self::Pool, Some(below)) if below.is_empty() || below.starts_with('.') => {
                format!("spec.virtualMachineTemplate.spec{below}")
            }
            _ => of_vm.to_owned(),
        }
    }
}

impl From<ReplicaSet> for Replicas {
    fn from(set: ReplicaSet) -> Self {
        let spec = VmSpec { template: set.spec.template, ..VmSpec::default() };
        Self {
            kind: ReplicasKind::ReplicaSet,
            vm: VirtualMachine { metadata: set.metadata, spec, ..VirtualMachine::default() },
        }
    }
}

impl From<Pool> for Replicas {
    fn from(pool: Pool) -> Self {
        let vm = VirtualMachine {
            metadata: pool.metadata,
            spec: pool.spec.virtual_machine_template.spec,
            ..VirtualMachine::default()
        };
        Self { kind: ReplicasKind::Pool, vm }
    }
}

impl Replicas {
    /// Reads an object of one of these kinds.
    ///
    /// # Errors
    ///
    /// An error of `reader`: the object is malformed or too large.
    pub fn read<'a, R: Reader<'a>>(kind: ReplicasKind, reader: &R) -> Result<Self, R::Error> {
        Ok(match kind {
            ReplicasKind::ReplicaSet => reader.read::<ReplicaSet>()?.into(),
            ReplicasKind::Pool => reader.read::<Pool>()?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::bounds::Bounded;
    use crate::testing::cluster::cluster;
    use crate::testing::fleet::mixed;

    const IN_POOL: &str = "spec.virtualMachineTemplate.spec.template.spec";

    #[rstest]
    #[case::of_its_template(ReplicasKind::Pool, "spec.template.spec", IN_POOL)]
    #[case::of_its_instancetype(
        ReplicasKind::Pool,
        "spec.instancetype",
        "spec.virtualMachineTemplate.spec.instancetype"
    )]
    #[case::in_the_pool(ReplicasKind::Pool, IN_POOL, IN_POOL)]
    #[case::beside_the_specification(ReplicasKind::Pool, "metadata.labels", "metadata.labels")]
    #[case::of_a_set(ReplicasKind::ReplicaSet, "spec.template.spec", "spec.template.spec")]
    fn a_field_has_one_path(#[case] kind: ReplicasKind, #[case] field: &str, #[case] expected: &str) {
        assert_eq!(kind.field(field), expected);
        assert_eq!(kind.field(&kind.field(field)), expected, "the path names no field of the object");
    }

    /// A selector beyond its bound, and one of the pool's own labels.
    #[test]
    fn the_field_of_a_pool_that_is_too_large_is_the_one_to_shorten() {
        let many: serde_json::Map<_, _> = (0..3000).map(|at| (format!("k{at}"), json!("v"))).collect();
        let template = |selector| json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}});
        let in_selector = json!({"spec": {"virtualMachineTemplate": template(json!(many))}});
        let in_labels = json!({"metadata": {"labels": many}});
        for (object, field) in
            [(in_selector, format!("{IN_POOL}.nodeSelector")), (in_labels, "metadata.labels".to_owned())]
        {
            let Bounded(pool): Bounded<Pool> = serde_json::from_str(&object.to_string()).expect("a pool");
            let prepared = Replicas::from(pool).prepared(&cluster("1.9.0", mixed(), []));
            let finding = prepared.not_judged.expect("it is too large");
            assert_eq!(finding.field, field, "the warning names a field that no pool has");
            let words = finding.words().unwrap_or_default();
            assert!(words.contains(&format!("judge: {field} holds")), "{words}");
        }
    }
}
