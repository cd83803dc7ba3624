//! The verbs, run as people and scripts run them.

mod answers;
mod audits;
mod certificates;
mod compared;
mod connect;
mod devices;
mod drain;
mod empties;
mod explained;
mod files;
mod formats;
mod gates;
mod habits;
mod hostile;
mod libvirt;
mod libvirt_next;
mod libvirt_nodes;
mod lines;
mod obstacles;
mod official;
mod pasted;
mod proxies;
mod pruned;
mod scripts;

/// A policy that denies unschedulable guests.
const POLICY: &str =
    "apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata: {name: strict}\nspec: {enforce: Unschedulable}\n";
