//! Replica sets and pools.

use serde::de::{Deserialize, Deserializer};

use super::{EachText, Meta, VmSpec, VmiTemplate, nullable};

wire! {
    /// A `VirtualMachineInstanceReplicaSet`.
    ReplicaSet {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: ReplicaSetSpec,
    }
    /// `spec` of a `VirtualMachineInstanceReplicaSet`.
    ReplicaSetSpec {
        /// `template`.
        template: VmiTemplate,
    }
    /// A `VirtualMachinePool`.
    Pool {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: PoolSpec,
    }
    /// `spec` of a `VirtualMachinePool`.
    PoolSpec {
        /// `virtualMachineTemplate`.
        virtual_machine_template: VmTemplate,
    }
    /// `spec.virtualMachineTemplate` of a `VirtualMachinePool`.
    VmTemplate {
        /// `spec`.
        spec: VmSpec,
    }
}
