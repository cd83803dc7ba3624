//! Guests that a dump leaves out, as far as the dump itself shows it: their launchers, the status of their VMs, or
//! that it is a snapshot of single namespaces.

use std::collections::BTreeSet;

use crate::fit::plural::{fold_names, number};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::subject;
use crate::kubevirt::wire::VirtualMachine;

/// The values of `status.printableStatus` with which a VMI exists and runs. Mirrors `setPrintableStatus`
/// (`pkg/virt-controller/watch/vm/vm.go`).
const RUNNING: [&str; 3] = ["Running", "Paused", "Migrating"];

/// Whether a VirtualMachine runs, as far as a dump shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// It runs by its status, and the dump does not hold its VMI.
    Runs,
    /// The dump holds no VMI, and the VM has no status, as in a manifest.
    NotKnown,
    /// It does not run.
    Stopped,
}

impl RunState {
    /// Returns the state of a VM without a VMI. In a live cluster such a VM does not run.
    pub(crate) fn without_vmi(vm: &VirtualMachine, cluster: &Cluster) -> Self {
        let printed = vm.status.printable_status.as_str();
        if cluster.is_live || cluster.vmi(&vm.metadata.namespace, &vm.metadata.name).is_some() {
            Self::Stopped
        } else if RUNNING.contains(&printed) {
            Self::Runs
        } else if printed.is_empty() && !subject::starts_none(vm) && cluster.vmis().next().is_none() {
            Self::NotKnown
        } else {
            Self::Stopped
        }
    }
}

/// The guests that a dump leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MissingGuests {
    /// Guests that run and whose VMI is not in the dump, as `namespace/name`.
    without_vmi: BTreeSet<String>,
    /// VMs without a VMI and without a status, so that it is not known whether they run.
    without_status: BTreeSet<String>,
    /// Whether the dump holds no VMI at all.
    has_no_vmi: bool,
    /// Whether it holds neither a VirtualMachine nor a VMI.
    has_no_guest: bool,
    /// Words for the only namespaces whose guests it holds; `None` if it is no snapshot of single namespaces.
    only: Option<String>,
}

impl MissingGuests {
    /// Returns the missing guests among those that `is_wanted` accepts by namespace and name; none for a live cluster.
    pub(crate) fn of(cluster: &Cluster, is_wanted: &dyn Fn(&str, &str) -> bool) -> Self {
        if cluster.is_live {
            return Self::default();
        }
        let ran = cluster.vms().filter(|vm| RUNNING.contains(&vm.status.printable_status.as_str()));
        let ran = ran.map(|vm| (vm.metadata.namespace.as_str(), vm.metadata.name.as_str()));
        let launched = cluster.launchers().filter(|pod| !pod.is_terminating);
        let launched = launched.map(|pod| (pod.namespace.as_str(), pod.guest.as_str()));
        let is_missing = |&(namespace, name): &(&str, &str)| {
            cluster.vmi(namespace, name).is_none() && !name.is_empty() && is_wanted(namespace, name)
        };
        let has_no_vmi = cluster.vmis().next().is_none();
        let is_not_known = |vm: &&VirtualMachine| {
            RunState::without_vmi(vm, cluster) == RunState::NotKnown
                && is_wanted(&vm.metadata.namespace, &vm.metadata.name)
        };
        Self {
            without_status: cluster.vms().filter(is_not_known).map(|vm| subject::title(&vm.metadata)).collect(),
            without_vmi: ran
                .chain(launched)
                .filter(is_missing)
                .map(|(namespace, name)| format!("{namespace}/{name}"))
                .collect(),
            has_no_vmi,
            has_no_guest: has_no_vmi && cluster.vms().next().is_none(),
            only: only(cluster),
        }
    }

    /// Returns the guests that run and whose VMI is missing, as `namespace/name`.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.without_vmi
    }

    /// Whether the guests that run are not known: the dump holds no VMI and there are some, or no guest at all.
    pub(crate) fn are_all_missing(&self) -> bool {
        self.has_no_guest || (self.has_no_vmi && !(self.without_vmi.is_empty() && self.without_status.is_empty()))
    }

    /// Whether the rest of the dump shows that guests run.
    pub(crate) fn are_any(&self) -> bool {
        !(self.without_vmi.is_empty() && self.without_status.is_empty())
    }

    /// Returns the guests that run, or may run, and whose VMI is missing, in one line; also that the dump holds no
    /// guest at all.
    pub(crate) fn without_vmi(&self) -> Option<String> {
        let complete = concat!("does the dump hold what `", crate::dump_command!(), "` prints?");
        let names: Vec<&str> = self.without_vmi.iter().map(String::as_str).collect();
        let who = fold_names(&names, 3);
        match (names.is_empty(), self.has_no_guest, self.has_no_vmi) {
            (true, true, _) => {
                Some(format!("the dump holds no guest (VirtualMachine or VirtualMachineInstance): {complete}"))
            }
            (true, false, _) if !self.without_status.is_empty() => {
                let names: Vec<&str> = self.without_status.iter().map(String::as_str).collect();
                let (run, have) = (number(names.len(), "runs", "run"), number(names.len(), "it has", "they have"));
                Some(format!(
                    "the dump holds no VirtualMachineInstance, and whether {} {run} is not known, because {have} no \
                     status: {complete}",
                    fold_names(&names, 3)
                ))
            }
            (true, false, _) => None,
            (false, _, true) => {
                Some(format!("the dump holds no VirtualMachineInstance, and by the rest of it {who} run: {complete}"))
            }
            (false, _, false) => Some(format!(
                "by the rest of the dump {who} run, and it holds no VirtualMachineInstance of {}",
                if names.len() == 1 { "it" } else { "them" }
            )),
        }
    }

    /// Returns `the dump is a snapshot of namespace shop alone: …`.
    pub(crate) fn elsewhere(&self) -> Option<String> {
        self.only.as_ref().map(|only| format!("the dump {only}: guests of other namespaces are not known"))
    }

    /// Returns all that is missing, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.without_vmi().into_iter().chain(self.elsewhere()).collect()
    }
}

/// Returns `is a snapshot of namespace shop alone`; `None` if the dump holds guests of other namespaces too.
pub(crate) fn only(cluster: &Cluster) -> Option<String> {
    let only = &cluster.only_namespaces;
    let mut all = cluster.vms().map(|vm| &vm.metadata).chain(cluster.vmis().map(|vmi| &vmi.metadata));
    if !all.all(|meta| only.contains(&meta.namespace)) {
        return None;
    }
    let names: Vec<&str> = only.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("is a snapshot of namespace {one} alone")),
        more => Some(format!("holds snapshots of the namespaces {} alone", fold_names(more, 5))),
    }
}
