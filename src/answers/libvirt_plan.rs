//! The plan of queries to libvirt about a running guest's CPU: its own launcher, and one on each node that labels alone
//! exclude it from, or nothing.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::anti_affinity::Residents;
use super::probe;
use super::recommend::best_by_node;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Depth;
use crate::fit::libvirt::NotAskedBecause;
use crate::fit::remedy::Action;
use crate::fit::subject::{CpuMode, Subject};
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::cluster::Launcher;
use crate::kubevirt::migration;
use crate::kubevirt::wire::{Meta, Vmi, Vmim};
use crate::libvirt::answer;
use crate::libvirt::facts::Machine;
use crate::policy::UserName;
use crate::well_known;
use crate::world::World;

/// A launcher pod: namespace and name.
pub(crate) type LauncherName = (String, String);

/// Number of launchers of a node that are tried, apart from those in which exec is refused.
pub(crate) const LAUNCHERS_TRIED: usize = 3;
/// Maximum namespaces whose launchers on a node are tried. Each in which exec is refused costs two requests in a run,
/// or a few more while several nodes are asked at once.
const MAX_NAMESPACES_TRIED: usize = 16;
/// Number of models that a guest's CPU is compared with.
const MAX_MODELS_ASKED: usize = 16;

/// The queries to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The guests.
    pub guests: Vec<PlannedGuest>,
    /// The running guests without a known launcher, which cannot be queried.
    pub unreachable: Vec<GuestName>,
    /// The launchers of each candidate node; empty if none runs there.
    pub launchers: BTreeMap<String, Vec<NodeLauncher>>,
    /// The candidate nodes as their labels describe them.
    pub machines: BTreeMap<String, Machine>,
}

/// A launcher through which a node's libvirt can be queried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeLauncher {
    /// The pod.
    pub pod: LauncherName,
    /// Whether its guest has the label `kubevirt.io/outdatedLauncherImage`. The target pod of a migration is rendered
    /// with the current image: mirrors `RenderMigrationManifest` of `pkg/virt-controller/services/template.go`.
    pub is_outdated: bool,
}

/// A guest, identified by one of its starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The UID of its VMI.
    pub uid: String,
}

impl GuestName {
    fn of(vmi: &Vmi) -> Self {
        let Meta { namespace, name, uid, .. } = &vmi.metadata;
        Self { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() }
    }

    /// Returns namespace and name.
    pub(crate) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

/// A guest to query about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedGuest {
    /// The guest.
    pub guest: GuestName,
    /// The pod it runs in.
    pub launcher: LauncherName,
    /// The node it runs on.
    pub node: String,
    /// The nodes to query.
    pub nodes: Vec<String>,
}

/// Plans the queries about these guests. Guests that do not run are skipped, and one that is given twice, as by its VM
/// and its VMI, counts once.
pub(crate) fn plan<'v>(world: &World, guests: impl IntoIterator<Item = &'v Vmi>) -> Plan {
    let cluster = &world.cluster;
    let mut out = Plan::default();
    let by_node = launchers(world);
    let mut namespaces: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut planned = BTreeSet::new();
    let is_first = |vmi: &&'v Vmi| planned.insert((&vmi.metadata.namespace, &vmi.metadata.name));
    for vmi in guests.into_iter().filter(|vmi| migration::runs(vmi)).filter(is_first) {
        let Some(launcher) = cluster.current_launcher(vmi) else {
            out.unreachable.push(GuestName::of(vmi));
            continue;
        };
        let nodes = nodes_to_ask(world, vmi);
        for node in &nodes {
            namespaces.entry(node.clone()).or_default().insert(&vmi.metadata.namespace);
            let machine = || cluster.fleet.find(node).map(|node| Machine::of(&cluster.fleet, node)).unwrap_or_default();
            out.machines.entry(node.clone()).or_insert_with(machine);
        }
        out.guests.push(PlannedGuest {
            guest: GuestName::of(vmi),
            launcher: (launcher.namespace.clone(), launcher.name.clone()),
            node: launcher.node.clone(),
            nodes,
        });
    }
    for (node, namespaces) in namespaces {
        let there = by_node.get(node.as_str()).map(Vec::as_slice).unwrap_or_default();
        out.launchers.insert(node, some_of(there, &namespaces));
    }
    out
}

/// A launcher, and whether it is outdated.
type Known<'w> = (&'w Launcher, bool);

/// The order in which launchers are tried: whether it is outdated, whether it is terminating, how many of its namespace
/// come before it, and whether it is of another namespace than the guests.
type Rank = (bool, bool, usize, bool);

/// Returns the launchers of running guests, by node.
fn launchers(world: &World) -> BTreeMap<&str, Vec<Known<'_>>> {
    let mut out: BTreeMap<&str, Vec<Known<'_>>> = BTreeMap::new();
    for (vmi, launcher) in probe::launchers(&world.cluster) {
        let is_outdated = well_known::OUTDATED_LAUNCHER.is_set(&vmi.metadata.labels);
        out.entry(&launcher.node).or_default().push((launcher, is_outdated));
    }
    out
}

/// Returns the launchers to try, in order: outdated ones last, and of the others terminating ones; one of each
/// namespace before a second one, because exec may be refused in one and allowed in another; and the guests' namespaces
/// before others. Whether exec is allowed is not known here, so a few of each namespace are kept.
fn some_of(launchers: &[Known<'_>], namespaces: &BTreeSet<&str>) -> Vec<NodeLauncher> {
    let mut ranked: Vec<(Rank, &Launcher)> = Vec::new();
    for &(launcher, is_outdated) in launchers {
        let last = (is_outdated, launcher.is_terminating);
        let like = |((outdated, terminating, ..), other): &&(Rank, &Launcher)| {
            (*outdated, *terminating) == last && other.namespace == launcher.namespace
        };
        let before = ranked.iter().filter(like).count();
        let is_of_another = !namespaces.contains(launcher.namespace.as_str());
        ranked.push(((last.0, last.1, before, is_of_another), launcher));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut kept = namespaces_tried(&ranked);
    let mut is_kept = |(_, pod): &&(Rank, &Launcher)| {
        kept.get_mut(pod.namespace.as_str()).is_some_and(|places| {
            let has_place = *places > 0;
            *places = places.saturating_sub(1);
            has_place
        })
    };
    let known = |((is_outdated, ..), pod): &(Rank, &Launcher)| NodeLauncher {
        pod: (pod.namespace.clone(), pod.name.clone()),
        is_outdated: *is_outdated,
    };
    ranked.iter().filter(&mut is_kept).map(known).collect()
}

/// Returns the namespaces whose launchers are kept, with the number of launchers: the guests' namespaces first, then
/// others in order.
fn namespaces_tried<'l>(ranked: &[(Rank, &'l Launcher)]) -> BTreeMap<&'l str, usize> {
    let mut out = BTreeMap::new();
    let (own, others): (Vec<_>, Vec<_>) = ranked.iter().partition(|((.., is_of_another), _)| !is_of_another);
    for (_, pod) in own.into_iter().chain(others) {
        if out.len() < MAX_NAMESPACES_TRIED {
            out.insert(pod.namespace.as_str(), LAUNCHERS_TRIED);
        }
    }
    out
}

/// The named models that guests may get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedModels {
    /// The model recommended for the pool of each node.
    recommended: BTreeMap<NodeIndex, String>,
    /// The common models of policies, with the names of the policies.
    of_policies: BTreeMap<String, Vec<String>>,
}

/// A world, with results that are shared by all guests and computed at first use.
pub(crate) struct Survey<'w> {
    /// The world.
    pub world: &'w World,
    models: OnceCell<NamedModels>,
    reachable: OnceCell<BTreeSet<&'w str>>,
    residents: OnceCell<Residents<'w>>,
}

impl<'w> Survey<'w> {
    pub(crate) fn of(world: &'w World) -> Self {
        Self { world, models: OnceCell::new(), reachable: OnceCell::new(), residents: OnceCell::new() }
    }

    /// Returns the models that a guest on a node may get, with their origin.
    pub(crate) fn models(&self, node: Option<NodeIndex>) -> BTreeMap<String, NamedBy> {
        self.models.get_or_init(|| NamedModels::of(self.world)).on(node)
    }

    /// Returns the running guests and other pods, with their rules about each other.
    pub(crate) fn residents(&self) -> &Residents<'w> {
        self.residents.get_or_init(|| Residents::of(self.world))
    }

    /// Returns the nodes with a known launcher of a running guest: their libvirt can be queried.
    pub(crate) fn reachable(&self) -> &BTreeSet<&'w str> {
        self.reachable.get_or_init(|| probe::reachable(&self.world.cluster))
    }
}

/// The origin of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedBy {
    /// The policies with this common model.
    pub policies: Vec<String>,
    /// Whether it is recommended for the pool of the guest's node.
    pub recommended: bool,
}

impl NamedModels {
    pub(crate) fn of(world: &World) -> Self {
        let mut of_policies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for policy in &world.policies {
            if let Some(common) = &policy.common_model {
                of_policies.entry(common.name.clone()).or_default().push(policy.name.clone());
            }
        }
        Self { recommended: best_by_node(world), of_policies }
    }

    /// Returns the models that a guest on a node may get, with their origin: those recommended for other nodes may be
    /// of another vendor.
    fn on(&self, node: Option<NodeIndex>) -> BTreeMap<String, NamedBy> {
        let of_policy = |(model, policies): (&String, &Vec<String>)| {
            (model.clone(), NamedBy { policies: policies.clone(), recommended: false })
        };
        let mut out: BTreeMap<String, NamedBy> = self.of_policies.iter().map(of_policy).collect();
        if let Some(model) = node.and_then(|node| self.recommended.get(&node)) {
            out.entry(model.clone()).or_default().recommended = true;
        }
        out
    }
}

/// Returns the named models that a guest's CPU is compared with, other than its own: that of its next start, the one
/// that a restart is offered with, its policy's common model, the one recommended for its node, and those of a few
/// other policies.
pub(crate) fn candidates(world: &World, guest: &PlannedGuest, models: &NamedModels) -> BTreeSet<String> {
    let manifest = migration_of(&guest.guest.namespace, &guest.guest.name);
    let Some(case) = judge::judge(world, &manifest, UserName::NOBODY, Depth::Full) else { return BTreeSet::new() };
    let node = world.cluster.fleet.find(&guest.node);
    let of_policy = case.policy.as_ref().and_then(|policy| policy.common_model.as_ref());
    let first = [
        at_next_start(&case.prepared.subject),
        offered(&case),
        of_policy.map(|common| common.name.as_str()),
        node.and_then(|node| models.recommended.get(&node)).map(String::as_str),
    ];
    let mut out = BTreeSet::new();
    for model in first.into_iter().flatten().chain(models.of_policies.keys().map(String::as_str)) {
        let is_asked = !has_model(&case.prepared.subject, model) && why_not_asked(model).is_none();
        if out.len() < MAX_MODELS_ASKED && is_asked {
            out.insert(model.to_owned());
        }
    }
    out
}

/// Returns why libvirt is not asked about a model, which may be any text of a template; `None` if it is.
pub(crate) fn why_not_asked(model: &str) -> Option<String> {
    answer::name(model).err().map(|silence| silence.detail())
}

/// Whether a running guest has this named model. The specification of its next start may name another one.
pub(crate) fn has_model(subject: &Subject<'_>, model: &str) -> bool {
    matches!(&subject.mode, CpuMode::Named(own) if own == model)
}

/// Returns the named model that a guest gets at its next start.
pub(crate) fn at_next_start<'s>(subject: &'s Subject<'_>) -> Option<&'s str> {
    match &subject.restart.as_ref()?.mode {
        CpuMode::Named(model) => Some(model),
        _ => None,
    }
}

/// Returns the common model that a restart would be offered with if the guest had to migrate now and had too few nodes;
/// `None` without one.
fn offered<'c>(case: &'c Evaluation<'_>) -> Option<&'c str> {
    let mut remedies = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
    remedies.find_map(|remedy| match &remedy.action {
        Action::UseModel(found) => Some(found.model.as_str()),
        _ => None,
    })
}

fn migration_of(namespace: &str, name: &str) -> Manifest<'static> {
    let mut vmim = Vmim::default();
    namespace.clone_into(&mut vmim.metadata.namespace);
    name.clone_into(&mut vmim.spec.vmi_name);
    Manifest::Migration(Box::new(vmim))
}

/// Returns, by name, the nodes that would take the guest except for CPU labels, a cordon, taints or virt-handler.
fn nodes_to_ask(world: &World, vmi: &Vmi) -> Vec<String> {
    let prepared = migration_of(&vmi.metadata.namespace, &vmi.metadata.name)
        .subject(world)
        .filter(|prepared| prepared.not_judged.is_none());
    let Some(prepared) = prepared else { return Vec::new() };
    let (subject, fleet) = (&prepared.subject, &world.cluster.fleet);
    let lookup = fleet.look_up(&subject.placement);
    let is_asked =
        |node: &NodeIndex| subject.source() != Some(fleet.name(*node)) && NotAskedBecause::of(&lookup, *node).is_none();
    fleet.in_name_order().into_iter().filter(is_asked).map(|node| fleet.name(node).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;

    use super::*;
    use crate::testing::cluster::{cluster, running, vmi};
    use crate::testing::fleet::cascade_lake;

    /// Parses `NAMESPACE/NAME`, followed by `!` for a terminating pod, and by `~` for an outdated one.
    fn pod(words: &str) -> Launcher {
        let is_terminating = words.contains('!');
        let (namespace, name) = words.trim_end_matches(['!', '~']).split_once('/').unwrap_or_default();
        Launcher {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            guest: name.to_owned(),
            owner: String::new(),
            node: "node-b".to_owned(),
            created: String::new(),
            is_terminating,
            labels: BTreeMap::new(),
            placement: Arc::default(),
            excess: None,
        }
    }

    /// The launchers of a node that are queried about guests of the namespaces `farm` and `shop`, in order.
    #[rstest]
    #[case::none(&[], &[])]
    #[case::its_own_namespace_first(&["bank/a", "shop/b"], &["shop/b", "bank/a"])]
    #[case::those_of_all_guests_first(&["bank/a", "shop/b", "farm/c"], &["shop/b", "farm/c", "bank/a"])]
    #[case::one_of_each_namespace_first(&["bank/a", "bank/b", "lab/c"], &["bank/a", "lab/c", "bank/b"])]
    #[case::of_one_namespace_more_than_one(&["shop/a", "shop/b", "shop/c", "shop/d"], &["shop/a", "shop/b", "shop/c"])]
    #[case::terminating_last(&["shop/a!", "bank/b"], &["bank/b", "shop/a"])]
    #[case::terminating_last_of_a_namespace(&["shop/a!", "shop/b", "bank/c"], &["shop/b", "bank/c", "shop/a"])]
    #[case::terminating_and_no_other(&["shop/a!"], &["shop/a"])]
    #[case::outdated_last(&["shop/a~", "bank/b"], &["bank/b", "shop/a~"])]
    #[case::outdated_after_a_second_one(&["shop/a~", "bank/b", "bank/c"], &["bank/b", "bank/c", "shop/a~"])]
    #[case::outdated_after_terminating(&["shop/a~", "bank/b!"], &["bank/b", "shop/a~"])]
    #[case::outdated_alone(&["shop/a~", "bank/b~!"], &["shop/a~", "bank/b~"])]
    #[case::its_own_namespace_alone_outdated(&["bank/a", "lab/b", "mill/c", "shop/d~"], &["bank/a", "lab/b", "mill/c", "shop/d~"])]
    #[case::its_own_namespace_behind_a_large_one(&["bank/a", "bank/b", "bank/c", "bank/d", "shop/e~"], &["bank/a", "bank/b", "bank/c", "shop/e~"])]
    fn launchers_are_tried_in_order(#[case] there: &[&str], #[case] expected: &[&str]) {
        let pods: Vec<Launcher> = there.iter().map(|words| pod(words)).collect();
        let known: Vec<Known<'_>> = pods.iter().zip(there).map(|(pod, words)| (pod, words.contains('~'))).collect();
        assert_eq!(names_of(&known), expected, "a node that can be asked would be said not to be");
    }

    fn names_of(known: &[Known<'_>]) -> Vec<String> {
        let tried = some_of(known, &["farm", "shop"].into());
        let words = |NodeLauncher { pod: (namespace, name), is_outdated }: &NodeLauncher| {
            format!("{namespace}/{name}{}", if *is_outdated { "~" } else { "" })
        };
        tried.iter().map(words).collect()
    }

    /// A node with guests of many tenants: the guests' own namespaces are kept, though theirs are outdated, and the
    /// number of namespaces is bounded.
    #[test]
    fn the_guests_own_namespaces_are_asked_on_a_node_of_many_tenants() {
        let others: Vec<Launcher> = (0..100).map(|number| pod(&format!("tenant-{number:03}/a"))).collect();
        let own = [pod("shop/a"), pod("farm/a")];
        let known: Vec<Known<'_>> =
            others.iter().map(|pod| (pod, false)).chain(own.iter().map(|pod| (pod, true))).collect();
        let tried = names_of(&known);
        assert_eq!(tried.len(), MAX_NAMESPACES_TRIED);
        assert_eq!(
            tried[MAX_NAMESPACES_TRIED - 2..],
            ["shop/a~", "farm/a~"],
            "exec is allowed there, and nobody tries"
        );
    }

    /// A template's model is any text; libvirt is asked about names alone, which a saved answer is read back with.
    #[rstest]
    #[case::a_name("EPYC-Milan", true)]
    #[case::a_blank("EPYC Rome", false)]
    #[case::a_blank_at_the_end("EPYC-Milan ", false)]
    #[case::empty("", false)]
    #[case::long(&"m".repeat(70), false)]
    #[case::markup("EPYC</model><feature policy='require' name='x'/><model>", false)]
    fn libvirt_is_asked_about_names_of_models_alone(#[case] model: &str, #[case] expected: bool) {
        let guest = running("db", "node-a", "Nehalem");
        let world =
            World { cluster: cluster("1.9.0", vec![cascade_lake("node-a")], vec![vmi(guest)]), ..World::default() };
        let models = NamedModels {
            of_policies: [(model.to_owned(), vec!["policy".to_owned()])].into(),
            ..NamedModels::default()
        };
        let guest = PlannedGuest {
            guest: GuestName { namespace: "shop".to_owned(), name: "db".to_owned(), uid: String::new() },
            launcher: ("shop".to_owned(), "virt-launcher-db".to_owned()),
            node: "node-a".to_owned(),
            nodes: Vec::new(),
        };
        let asked = candidates(&world, &guest, &models);
        assert_eq!(asked.contains(model), expected, "{asked:?}");
        assert_eq!(why_not_asked(model).is_none(), expected, "no answer, and no reason beside it");
    }
}
