//! Migrations, and the state of one in the status of its guest.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};

use super::{Condition, EachText, Meta, Present, nullable};

wire! {
    /// `status.migrationState`.
    MigrationState {
        /// `failureReason`: libvirt's last error.
        failure_reason: String,
        /// `failed`.
        failed: bool,
        /// `abortRequested`: a user deleted the migration.
        abort_requested: bool,
        /// `abortStatus`: `Succeeded` also where virt-launcher itself gave up.
        abort_status: String,
        /// `completed`.
        completed: bool,
        /// `targetNode`.
        target_node: String,
        /// `sourceState`: set on the receiving side of a decentralized migration.
        source_state: Option<SourceState>,
        /// `targetState`: set by the same side, once it waits for its source.
        target_state: Option<Present>,
    }
    /// `status.migrationState.sourceState`.
    SourceState {
        /// `node`.
        node: String,
        /// `pod`.
        pod: String,
        /// `migrationUID`.
        #[serde(rename = "migrationUID")]
        migration_uid: String,
        /// `nodeSelectors`: labels of the source's node, reported by the source cluster.
        node_selectors: BTreeMap<String, String>,
        /// `selinuxContext`.
        selinux_context: String,
    }
    /// A VirtualMachineInstanceMigration.
    Vmim {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: VmimSpec,
        /// `status`.
        status: VmimStatus,
    }
    /// `status` of a VirtualMachineInstanceMigration.
    VmimStatus {
        /// `phase`.
        phase: String,
        /// `conditions`.
        conditions: Vec<Condition>,
    }
    /// `spec` of a VirtualMachineInstanceMigration.
    VmimSpec {
        /// `vmiName`.
        vmi_name: String,
        /// `addedNodeSelector`.
        added_node_selector: BTreeMap<String, String>,
        /// `receive`: set if this cluster is the target of a decentralized migration.
        receive: Option<MigrationId>,
        /// `sendTo`: set if this cluster is the source of a decentralized migration.
        send_to: Option<MigrationId>,
    }
    /// `spec.receive` and `spec.sendTo` of a VirtualMachineInstanceMigration.
    MigrationId {
        /// `migrationID`: the same for both migrations.
        #[serde(rename = "migrationID")]
        migration_id: String,
    }
}
