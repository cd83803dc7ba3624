//! The object that holds a guest's specification, which a person edits.

/// The object that holds the guest's specification: a VM, a replica set, a pool, or the VMI itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the object")]
pub struct Definition {
    /// The kind of object that creates the guest; `None` for a VMI that nothing recreates.
    pub template: Option<Template>,
    /// The name of that object, if it is not the guest's.
    pub template_name: Option<String>,
    /// Whether the object is in the cluster: that of the template, else the VMI.
    pub origin: Origin,
    /// The path of the guest's spec in the judged object: that of its template, `spec`, or empty for a pod.
    pub field_root: String,
    /// The guest's own `spec.nodeSelector`, which a person wrote, sorted by key.
    pub own_selector: Vec<(String, String)>,
    /// The entries that remain for keys of `own_selector` if those are removed: added by KubeVirt to every
    /// launcher, by the cluster's configuration, or by another field. Sorted by key.
    pub under_own: Vec<(String, String)>,
    /// The keys of `own_selector` whose entries the VM and its instancetype no longer have, sorted: a restart removes
    /// them, an edit of the VM does not.
    pub dropped_from_vm: Vec<String>,
    /// The keys of `own_selector` whose entries the VM's instancetype has or may have, and its template has not,
    /// sorted: neither a restart nor an edit of the VM removes them.
    pub not_of_template: Vec<String>,
    /// The way in which the VM starts the guest again.
    pub restart_request: RestartRequest,
    /// Whether its VMI exists and has not started. KubeVirt changes neither the CPU of that VMI nor its launcher pod,
    /// so a change of the VM counts once the guest is created again.
    pub waits: bool,
    /// Whether the VM waits for a restart (condition `RestartRequired`), so that KubeVirt applies no change of
    /// it to the running guest.
    pub restart_required: bool,
    /// Whether KubeVirt applies a change of the VM's node selector or node affinity to the running guest.
    pub live_update: bool,
    /// Whether it applies a change of the VM's tolerations.
    pub live_tolerations: bool,
}

/// Whether the object that holds the guest's specification is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It is, so that a command can change it.
    #[default]
    Stored,
    /// It is in a manifest that the cluster's object does not equal, or in the request that creates it: no command can
    /// change it.
    Submitted,
}

/// The kind of object that has the guest's name and holds its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A VirtualMachine, which a restart keeps.
    VirtualMachine,
    /// A `VirtualMachineInstanceReplicaSet`: its VMIs stay unchanged until they are deleted.
    ReplicaSet,
    /// A `VirtualMachinePool`, which applies a change to its VMs itself (`spec.updateStrategy`).
    Pool,
}

impl Template {
    /// Returns the resource's name for kubectl's arguments.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::VirtualMachine => "vm",
            Self::ReplicaSet => "vmirs",
            Self::Pool => "vmpool",
        }
    }

    /// Returns the path of the guest's spec in the object.
    #[must_use]
    pub fn path(self) -> &'static [&'static str] {
        match self {
            Self::VirtualMachine | Self::ReplicaSet => &["spec", "template", "spec"],
            Self::Pool => &["spec", "virtualMachineTemplate", "spec", "template", "spec"],
        }
    }
}

/// The way in which a VM starts its guest again, by its `spec.runStrategy`. Mirrors `RestartVMRequestHandler`
/// and `StopVMRequestHandler` (`pkg/virt-api/rest/lifecycle.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartRequest {
    /// A restart.
    #[default]
    Restart,
    /// `Once`: a restart is refused. A stop sets `Halted`; setting `Once` again starts the guest.
    Once,
    /// `Halted`: the guest is being stopped, and a restart is refused.
    Halted,
}
