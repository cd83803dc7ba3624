//! Answers of libvirt about the guests and nodes of a situation.
//!
//! Each node has a true CPU, which its labels describe except for a few features: the labels of some are lost, and some
//! that are labelled do not exist. A guest has the CPU that libvirt gave it on its node, and each answer compares the
//! two.

use std::collections::{BTreeMap, BTreeSet};

use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::Family;
use crate::fit::libvirt::{Accelerator, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, Silence, Usable};
use crate::fit::models;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::Vmi;
use crate::libvirt::LibvirtFacts;
use crate::libvirt::facts::{AnswerOrigin, GuestFacts, KeptAnswer, Machine, Sourced};
use crate::testing::random::Random;

/// Features that no label of these nodes shows.
const HIDDEN: [&str; 3] = ["amx-bf16", "fsrm", "xsaves"];

/// The true CPU of a node.
struct Host {
    model: String,
    vendor: Option<String>,
    features: BTreeSet<String>,
}

impl Host {
    fn of(random: &mut Random, fleet: &Fleet, node: NodeIndex) -> Self {
        let names = |family| fleet.names_under(node, family);
        let model = names(Family::HostModelCpu).first().copied().unwrap_or("qemu64").to_owned();
        let mut features: BTreeSet<String> = names(Family::CpuFeature).into_iter().map(str::to_owned).collect();
        if let Some(own) = models::features(&model) {
            features.extend(own.into_iter().map(str::to_owned));
        }
        for name in ["fpu", "vme", "gfni", "aes"].into_iter().chain(HIDDEN) {
            match random.below(10) {
                0..=2 => drop(features.insert(name.to_owned())),
                3 => drop(features.remove(name)),
                _ => {}
            }
        }
        let vendor = names(Family::CpuVendor).first().map(|&name| name.to_owned());
        Self { model, vendor, features }
    }

    /// Returns the CPU of a guest with these features under this model's name.
    fn cpu(&self, model: &str, features: &BTreeSet<String>) -> Cpu {
        let own: BTreeSet<String> = models::features(model).into_iter().flatten().map(str::to_owned).collect();
        Cpu {
            model: model.to_owned(),
            vendor: self.vendor.clone(),
            require: features.difference(&own).cloned().collect(),
            disable: own.difference(features).cloned().collect(),
            forbid: BTreeSet::new(),
        }
    }

    fn described(&self, labelled: &[&str]) -> LibvirtHost {
        let usable = |model: &&str| {
            let needs: BTreeSet<&str> = models::features(model).unwrap_or_default();
            let lacks: Vec<String> =
                needs.into_iter().filter(|name| !self.features.contains(*name)).map(str::to_owned).collect();
            if lacks.is_empty() { Usable::Yes } else { Usable::No(lacks) }
        };
        LibvirtHost {
            model: Some(self.cpu(&self.model, &self.features)),
            models: Some(labelled.iter().map(|model| ((*model).to_owned(), usable(model))).collect()),
        }
    }

    fn answer(&self, features: &BTreeSet<String>) -> LibvirtAnswer {
        let missing: Vec<String> = features.difference(&self.features).cloned().collect();
        if !missing.is_empty() {
            return LibvirtAnswer::Incompatible(Incompatible { missing, ..Incompatible::default() });
        }
        if *features == self.features { LibvirtAnswer::Identical } else { LibvirtAnswer::Superset }
    }
}

/// Returns answers about all running guests and all nodes of a cluster; some did not answer.
pub(super) fn answers(seed: u64, cluster: &Cluster) -> LibvirtFacts {
    let random = &mut Random::new(seed ^ 0x11b);
    let fleet = &cluster.fleet;
    let mut out = LibvirtFacts::default();
    let hosts: Vec<Host> = (0..fleet.len()).map(|node| Host::of(random, fleet, node)).collect();
    let mut cpus: BTreeMap<GuestCpu, BTreeSet<String>> = BTreeMap::new();
    for vmi in cluster.vmis() {
        let Some(node) = fleet.find(&vmi.status.node_name) else { continue };
        let key = (vmi.metadata.namespace.clone(), vmi.metadata.name.clone());
        let features = features_of(random, vmi, &hosts[node]);
        let cpu = if random.percent(8) {
            Err(Silence::NotRun("the connection was closed".to_owned()))
        } else {
            let model = named_model(vmi).unwrap_or(&hosts[node].model);
            let cpu = GuestCpu { cpu: hosts[node].cpu(model, &features), accelerator: Accelerator::Kvm };
            cpus.insert(cpu.clone(), features);
            Ok(cpu)
        };
        let facts = GuestFacts { cpu: now(cpu), losses: BTreeMap::new() };
        out.add_guest(key, vmi.metadata.uid.clone(), facts).expect("one answer for each guest");
    }
    for (node, host) in hosts.iter().enumerate() {
        let is_silent = random.percent(12);
        let silence = || Err(Silence::NoLauncher);
        let models: Vec<&str> = fleet.names_under(node, Family::CpuModel);
        let described = if is_silent { silence() } else { Ok(host.described(&models)) };
        let about = cpus.iter().map(|(cpu, features)| {
            (cpu.clone(), if is_silent { now(Err(Silence::NoLauncher)) } else { now(Ok(host.answer(features))) })
        });
        let name = fleet.name(node);
        out.add_node(
            name,
            &Machine::of(fleet, node),
            [(Accelerator::Kvm, now(described))],
            about.collect::<Vec<_>>(),
            is_silent.then(|| Sourced::new(Silence::NoLauncher, AnswerOrigin::default())),
        )
        .expect("one answer for each node");
    }
    out
}

fn now<T>(value: Result<T, Silence>) -> KeptAnswer<T> {
    Sourced::new(value, AnswerOrigin::default())
}

/// Returns the model that a guest names.
fn named_model(vmi: &Vmi) -> Option<&str> {
    let model = vmi.spec.domain.cpu.as_ref().map_or("", |cpu| cpu.model.as_str());
    (!model.is_empty() && !model.starts_with("host-")).then_some(model)
}

/// Returns the features of a guest: those of its model, or of its node, where it now runs or from where it came.
fn features_of(random: &mut Random, vmi: &Vmi, host: &Host) -> BTreeSet<String> {
    let mut out = match named_model(vmi).and_then(models::features) {
        Some(features) => features.into_iter().map(str::to_owned).collect(),
        None => host.features.clone(),
    };
    // It runs there.
    out.retain(|name| host.features.contains(name));
    for feature in vmi.spec.domain.cpu.iter().flat_map(|cpu| &cpu.features) {
        match feature.policy.as_str() {
            "disable" | "forbid" => drop(out.remove(&feature.name)),
            "optional" if !host.features.contains(&feature.name) => {}
            _ => drop(out.insert(feature.name.clone())),
        }
    }
    // A guest that came from another node lacks what that lacks.
    if random.percent(25) {
        out.remove("amx-bf16");
        out.remove("gfni");
    }
    out
}
