//! Changes of KubeVirt's release and configuration, and their effect on guests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;

use crate::fit::plural;
use crate::fit::word::Word;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::eviction::Parallel;
use crate::kubevirt::feature_gate::FeatureGate;
use crate::kubevirt::release::{RULES, Release, ReleaseKnown};
use crate::kubevirt::wire::{
    Architectures, BindingPlugin, Configuration, DeveloperConfiguration, MigrationConfiguration, NetworkConfiguration,
    PermittedHostDevices,
};
use crate::world::World;

/// A changed setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubeVirtChange {
    /// The setting: `observedKubeVirtVersion`, `defaultArchitecture`, or the field below `spec.configuration` of the
    /// KubeVirt resource.
    pub setting: String,
    /// The value before; null if it was not set.
    pub before: Option<String>,
    /// The value now; null if it is not set.
    pub after: Option<String>,
    /// The effect on guests, as far as it is known; else empty.
    pub means: String,
}

/// Returns the new side under the old release and configuration of KubeVirt.
pub(super) fn as_before(old: &World, new: &World) -> World {
    let mut out = new.clone();
    out.cluster.config = old.cluster.config.clone();
    out.cluster.release = old.cluster.release.clone();
    out.cluster.withheld = Arc::clone(&old.cluster.withheld);
    out
}

/// Whether a side holds a KubeVirt resource: without one its configuration is not known.
fn is_known(cluster: &Cluster) -> bool {
    cluster.has_kubevirt()
}

/// Returns why KubeVirt was not compared, if only one side holds its resource.
pub(super) fn not_known(old: &Cluster, new: &Cluster) -> Option<String> {
    let side = match (is_known(old), is_known(new)) {
        (true, false) => "new",
        (false, true) => "old",
        _ => return None,
    };
    Some(format!(
        "the {side} side holds no KubeVirt resource: nothing can be said of whether KubeVirt's release and configuration changed"
    ))
}

/// Returns the changes of KubeVirt's configuration with a known effect on guests, of an edit of the KubeVirt resource.
pub(crate) fn of_configuration(old: &Configuration, new: &Configuration) -> Vec<KubeVirtChange> {
    let mut out = Changes::default();
    out.configuration(old, new);
    out.0.retain(|change| !change.means.is_empty());
    out.0
}

/// Returns the changes, release first.
pub(super) fn changes(old: &Cluster, new: &Cluster) -> Vec<KubeVirtChange> {
    let mut out = Changes::default();
    if let (ReleaseKnown::Observed(before), ReleaseKnown::Observed(after)) = (&old.release, &new.release) {
        out.add("observedKubeVirtVersion", Some(before), Some(after), || of_release(*before, *after));
    }
    if is_known(old) && is_known(new) {
        let (before, after) = (&old.config.default_architecture, &new.config.default_architecture);
        out.at_next_start("defaultArchitecture", before, after);
        out.configuration(&old.config.configuration, &new.config.configuration);
    }
    out.0
}

const AT_NEXT_START: &str = "guests that state none get it at their next start; those that run keep theirs";
const DEFAULT_AT_NEXT_START: &str =
    "guests that state none get KubeVirt's own default at their next start; those that run keep theirs";

/// Returns what a step between two releases changes; empty if no rule that is known does.
fn of_release(before: Release, after: Release) -> String {
    let changed = RULES.iter().filter(|rule| (rule.holds)(before) != (rule.holds)(after));
    let said: Vec<&str> = changed.map(|rule| if (rule.holds)(after) { rule.on } else { rule.off }).collect();
    if said.is_empty() { String::new() } else { format!("from now on: {}", said.join("; ")) }
}

/// Returns what new names and names that are gone mean.
fn both(
    gained: &[&str],
    on: impl FnOnce(&[&str]) -> String,
    lost: &[&str],
    off: impl FnOnce(&[&str]) -> String,
) -> String {
    let on = (!gained.is_empty()).then(|| on(gained));
    let off = (!lost.is_empty()).then(|| off(lost));
    on.into_iter().chain(off).collect::<Vec<_>>().join("; ")
}

#[derive(Default)]
struct Changes(Vec<KubeVirtChange>);

impl Changes {
    fn add<T: Display + PartialEq>(
        &mut self,
        setting: &str,
        before: Option<T>,
        after: Option<T>,
        means: impl FnOnce() -> String,
    ) {
        if before != after {
            let [before, after] = [before, after].map(|value| value.map(|value| value.to_string()));
            self.0.push(KubeVirtChange { setting: setting.to_owned(), before, after, means: means() });
        }
    }

    fn text(&mut self, setting: &str, before: &str, after: &str, means: &str) {
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        self.add(setting, set(before), set(after), || means.to_owned());
    }

    /// Compares a setting that guests have from their next start on if they state none themselves.
    fn at_next_start(&mut self, setting: &str, before: &str, after: &str) {
        self.text(setting, before, after, if after.is_empty() { DEFAULT_AT_NEXT_START } else { AT_NEXT_START });
    }

    fn names<T: AsRef<str>>(
        &mut self,
        setting: &str,
        before: impl IntoIterator<Item = T>,
        after: impl IntoIterator<Item = T>,
        means: impl FnOnce(&[&str], &[&str]) -> String,
    ) {
        let (before, after): (Vec<T>, Vec<T>) = (before.into_iter().collect(), after.into_iter().collect());
        let [before, after]: [BTreeSet<&str>; 2] =
            [&before, &after].map(|names| names.iter().map(AsRef::as_ref).collect());
        let gained: Vec<&str> = after.difference(&before).copied().collect();
        let lost: Vec<&str> = before.difference(&after).copied().collect();
        let listed = |names: &BTreeSet<&str>| {
            Some(names.iter().copied().collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
        };
        self.add(setting, listed(&before), listed(&after), || means(&gained, &lost));
    }

    /// Compares every field: a field that is not listed does not compile.
    fn configuration(&mut self, old: &Configuration, new: &Configuration) {
        let Configuration {
            cpu_model,
            eviction_strategy,
            vm_rollout_strategy,
            migrations,
            machine_type,
            architecture_configuration,
            developer_configuration,
            obsolete_cpu_models,
            min_cpu_model,
            default_runtime_class,
            network,
            permitted_host_devices,
            emulated_machines,
        } = old;
        self.at_next_start("cpuModel", cpu_model, &new.cpu_model);
        self.text(
            "evictionStrategy",
            eviction_strategy,
            &new.eviction_strategy,
            match new.eviction_strategy.as_str() {
                // Mirrors `defaultClusterConfig` of `pkg/virt-config/configuration.go`.
                "" | "None" if matches!(eviction_strategy.as_str(), "" | "None") => {
                    "None is the default: nothing changes"
                }
                "LiveMigrate" => "guests that state none are migrated at a drain, or stay, from now on",
                "LiveMigrateIfPossible" => {
                    "guests that state none are migrated at a drain where they can be, else shut down, from now on"
                }
                "External" => "guests that state none wait at a drain for something else than KubeVirt, from now on",
                "" | "None" => "guests that state none are shut down at a drain, from now on",
                _ => "",
            },
        );
        self.text(
            "vmRolloutStrategy",
            vm_rollout_strategy,
            &new.vm_rollout_strategy,
            "it says whether a change of a VirtualMachine's node selector or affinity reaches its running guest",
        );
        self.migrations(migrations, &new.migrations);
        self.at_next_start("machineType", machine_type, &new.machine_type);
        self.machines("emulatedMachines", emulated_machines.as_ref(), new.emulated_machines.as_ref());
        self.architectures(architecture_configuration, &new.architecture_configuration);
        self.developer(developer_configuration, &new.developer_configuration);
        let (before, after) = (obsolete_cpu_models, &new.obsolete_cpu_models);
        self.names("obsoleteCPUModels", before.keys(), after.keys(), |gained, lost| {
            match (before.is_empty(), after.is_empty()) {
                (true, _) => format!(
                    "the list takes the place of the built-in one, and withholds the labels of {}",
                    plural::fold_names(gained, 8)
                ),
                (_, true) => format!(
                    "the built-in list counts again; no longer withheld by the list: {}",
                    plural::fold_names(lost, 8)
                ),
                _ => {
                    let withheld = (!gained.is_empty())
                        .then(|| format!("labels of {} are withheld from nodes", plural::fold_names(gained, 8)));
                    let free = (!lost.is_empty()).then(|| {
                        let are = plural::number(lost.len(), "is", "are");
                        format!("{} {are} no longer withheld", plural::fold_names(lost, 8))
                    });
                    withheld.into_iter().chain(free).collect::<Vec<_>>().join("; ")
                }
            }
        });
        self.text("minCPUModel", min_cpu_model, &new.min_cpu_model, "no node-labeller reads it since 0.56");
        self.text(
            "defaultRuntimeClass",
            default_runtime_class,
            &new.default_runtime_class,
            "launchers that are created from now on get the node selector and the tolerations of the runtime class",
        );
        self.network(network, &new.network);
        let mediated = |of: &Option<PermittedHostDevices>| -> Vec<String> {
            of.iter().flat_map(|of| &of.mediated_devices).map(|device| device.resource_name.clone()).collect()
        };
        self.names(
            "permittedHostDevices.mediatedDevices",
            mediated(permitted_host_devices),
            mediated(&new.permitted_host_devices),
            |gained, lost| {
                let gpu = |names: &[&str], may: &str| {
                    let names = plural::or_names(names, 8);
                    format!("guests with one GPU {names} {may} be migrated, since 1.9 and with the feature gate VGPULiveMigration")
                };
                both(gained, |names| gpu(names, "may"), lost, |names| gpu(names, "may no longer"))
            },
        );
    }

    fn network(&mut self, old: &NetworkConfiguration, new: &NetworkConfiguration) {
        let NetworkConfiguration { binding } = old;
        let migrated = |of: &BTreeMap<String, BindingPlugin>| -> Vec<String> {
            of.iter().filter(|(_, plugin)| plugin.migration.is_some()).map(|(name, _)| name.clone()).collect()
        };
        self.names("network.binding", migrated(binding), migrated(&new.binding), |gained, lost| {
            let on = |names: &[&str], are: &str| {
                format!("guests with the plugin {} on the pod network are {are}", plural::or_names(names, 8))
            };
            both(gained, |names| on(names, "migrated"), lost, |names| on(names, "no longer migrated"))
        });
    }

    fn migrations(&mut self, old: &MigrationConfiguration, new: &MigrationConfiguration) {
        let MigrationConfiguration {
            match_selinux_level_on_migration,
            parallel_migrations_per_cluster,
            parallel_outbound_migrations_per_node,
        } = old;
        self.add(
            "migrations.matchSELinuxLevelOnMigration",
            match_selinux_level_on_migration.as_ref(),
            new.match_selinux_level_on_migration.as_ref(),
            String::new,
        );
        let pace = |before: Option<i64>, after: Option<i64>, default: u32| {
            let default = i64::from(default);
            if before.unwrap_or(default) == after.unwrap_or(default) {
                format!("{default} is the default: nothing changes")
            } else if after == Some(0) {
                "KubeVirt starts no migration, and a drain waits for the guests that it would migrate".to_owned()
            } else {
                "how many guests migrate at a time".to_owned()
            }
        };
        self.add(
            "migrations.parallelMigrationsPerCluster",
            parallel_migrations_per_cluster.as_ref(),
            new.parallel_migrations_per_cluster.as_ref(),
            || pace(*parallel_migrations_per_cluster, new.parallel_migrations_per_cluster, Parallel::DEFAULT.cluster),
        );
        self.add(
            "migrations.parallelOutboundMigrationsPerNode",
            parallel_outbound_migrations_per_node.as_ref(),
            new.parallel_outbound_migrations_per_node.as_ref(),
            || {
                pace(
                    *parallel_outbound_migrations_per_node,
                    new.parallel_outbound_migrations_per_node,
                    Parallel::DEFAULT.outbound,
                )
            },
        );
    }

    fn architectures(&mut self, old: &Architectures, new: &Architectures) {
        let Architectures { default_architecture, amd64, arm64, s390x } = old;
        let rows = [
            ("architectureConfiguration.defaultArchitecture", default_architecture, &new.default_architecture),
            ("architectureConfiguration.amd64.machineType", &amd64.machine_type, &new.amd64.machine_type),
            ("architectureConfiguration.arm64.machineType", &arm64.machine_type, &new.arm64.machine_type),
            ("architectureConfiguration.s390x.machineType", &s390x.machine_type, &new.s390x.machine_type),
        ];
        for (setting, before, after) in rows {
            self.at_next_start(setting, before, after);
        }
        let lists = [
            ("architectureConfiguration.amd64.emulatedMachines", amd64, &new.amd64),
            ("architectureConfiguration.arm64.emulatedMachines", arm64, &new.arm64),
            ("architectureConfiguration.s390x.emulatedMachines", s390x, &new.s390x),
        ];
        for (setting, before, after) in lists {
            self.machines(setting, before.emulated_machines.as_ref(), after.emulated_machines.as_ref());
        }
    }

    fn machines(&mut self, setting: &str, before: Option<&Vec<String>>, after: Option<&Vec<String>>) {
        self.names(setting, before.into_iter().flatten(), after.into_iter().flatten(), |_, _| {
            "guests with a machine type that matches no pattern are refused at their next start".to_owned()
        });
    }

    fn developer(&mut self, old: &DeveloperConfiguration, new: &DeveloperConfiguration) {
        let DeveloperConfiguration {
            feature_gates,
            disabled_feature_gates,
            node_selectors,
            use_emulation,
            minimum_cluster_tsc_frequency,
        } = old;
        for (setting, before, after) in [
            ("developerConfiguration.featureGates", feature_gates, &new.feature_gates),
            ("developerConfiguration.disabledFeatureGates", disabled_feature_gates, &new.disabled_feature_gates),
        ] {
            self.names(setting, before, after, |gained, lost| {
                let gates = gained.iter().chain(lost).filter_map(|name| FeatureGate::of(name));
                let changed = gates.filter(|&gate| old.gate(gate) != new.gate(gate));
                changed.map(|gate| of_gate(gate, new.gate(gate))).collect::<Vec<_>>().join("; ")
            });
        }
        let pair = |(key, value): (&String, &String)| format!("{key}={value}");
        self.names(
            "developerConfiguration.nodeSelectors",
            node_selectors.iter().map(pair),
            new.node_selectors.iter().map(pair),
            |gained, lost| {
                let asks = |verb: &str, labels: &[&str]| {
                    (!labels.is_empty()).then(|| format!("{verb} for {}", plural::fold_names(labels, 8)))
                };
                let parts: Vec<String> = asks("ask", gained).into_iter().chain(asks("no longer ask", lost)).collect();
                format!("all launchers and migration targets that are created from now on {}", parts.join(", and "))
            },
        );
        let (before, after) = (use_emulation.then_some(true), new.use_emulation.then_some(true));
        self.add("developerConfiguration.useEmulation", before.as_ref(), after.as_ref(), || {
            let asks = if new.use_emulation { "do not ask" } else { "ask" };
            format!("launchers that are created from now on {asks} for devices.kubevirt.io/kvm")
        });
        self.add(
            "developerConfiguration.minimumClusterTSCFrequency",
            minimum_cluster_tsc_frequency.as_ref(),
            new.minimum_cluster_tsc_frequency.as_ref(),
            || "guests that ask for a TSC frequency get another one at their next start".to_owned(),
        );
    }
}

/// Returns the effect of a feature gate that was turned on or off.
fn of_gate(gate: FeatureGate, is_on: bool) -> String {
    let (on, off) = gate.effect();
    if is_on { format!("{gate} is on: {on}") } else { format!("{gate} is off: {off}") }
}
