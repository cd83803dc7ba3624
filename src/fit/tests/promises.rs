//! Tests of remedies as promises: after a remedy is applied and the guest is judged again, the finding is
//! gone.

mod damage;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::fit::assess::targets_by_start;
use crate::fit::author::{AskedAt, Author, Authors, Holder};
use crate::fit::check::Doubt;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Effort, Judgement, assess};
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::placement::{Affinity, Expression, NodeSelector, Placement, Term, Toleration};
use crate::fit::remedy::{self, Action, Outage, Remedy, RemedyId, Uncordon};
use crate::fit::subject::{
    AfterStart, CpuFeatures, CpuMode, FailedMigration, HostModelRule, ListOwner, ListedFeature, Migration,
    ObsoleteModels, Pinned, PinnedTo, Refresh, Running, Setting, SettingChange, SettingSet, Stage, Start, Subject,
    Template,
};
use crate::fit::verdict::{Assessment, Check, Outcome, Unknown, Verdict};
use crate::testing::fleet::{
    arm, cascade_lake, feature, give, ice_lake, known, machine, model, rome, set, skylake, take, tsc, vendor,
};
use crate::testing::thorough::one_in;
use crate::testing::{Tweak, at_least};

use damage::{Damage, damage, damaged};

const ZONE: &str = "topology.kubernetes.io/zone";
/// A feature that nodes once offered and none offers now: after an upgrade it remains in inherited selectors.
const STALE: &str = "amd-stibp";
const FAST: i64 = 2_500_000_000;
const SLOW: i64 = 2_100_000_000;

/// The demands of the guest.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Guest {
    mode: &'static str,
    features: Vec<&'static str>,
    machine: &'static str,
    zone: Option<&'static str>,
    host: Option<usize>,
    tsc: bool,
    /// Whether it requires dedicated CPUs.
    dedicated: bool,
    /// A CPU feature that it forbids.
    forbidden: Option<&'static str>,
    /// Whether it requires SEV, whose labels have no value.
    sev: bool,
    /// Whether its host model, or its named model, is on the list of obsolete ones.
    obsolete: bool,
    /// The zone in its own required node affinity, if it has one.
    affinity: Option<&'static str>,
    live_update: bool,
    refused: bool,
    knows_start: bool,
    vendor: bool,
    strict: bool,
    /// Its node has the label of another vendor as well.
    mislabelled: bool,
    /// Its toleration of another value than that of the tainted nodes.
    near: bool,
    /// Whether the target pod of its migration waits, made when the labels had a feature more.
    pending: bool,
}

/// The stage at which it is judged.
#[derive(Clone, Debug)]
enum Point {
    Start,
    Migration { inherited: bool, stale: bool, added_zone: Option<&'static str>, added_host: Option<usize>, known: bool },
}

/// The hardware of a node.
#[derive(Clone, Copy, Debug)]
enum Kind {
    CascadeLake,
    Skylake,
    IceLake,
    Rome,
    Arm,
}

impl Kind {
    fn node(self, at: usize) -> Node {
        let kind = match self {
            Self::CascadeLake => cascade_lake,
            Self::Skylake => skylake,
            Self::IceLake => ice_lake,
            Self::Rome => rome,
            Self::Arm => arm,
        };
        kind(&format!("n{at}"))
    }
}

/// Nodes and a guest, described by their deviations: short enough to be read when a promise is broken.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    nodes: Vec<(Kind, Damage)>,
    guest: Guest,
    point: Point,
    source: usize,
}

fn guest() -> impl Strategy<Value = Guest> {
    let rarely = prop::bool::weighted;
    let mode = select(
        &["host-model", "host-model", "host-model", "host-passthrough", "Icelake-Server-noTSX", "EPYC-Rome"][..],
    );
    let features = prop_oneof![6 => Just(Vec::new()), 1 => Just(vec!["gfni"]), 1 => Just(vec!["fpu", "vme"])];
    let machine = select(&["q35", "q35", "q35", "pc-q35-9.2", "pc-q35-4.2"][..]);
    let zone = prop::option::weighted(0.2, select(&["z1", "z2", "z9"][..]));
    let host = prop::option::weighted(0.1, 0_usize..8);
    let own = (rarely(0.1), prop::option::weighted(0.15, select(&["z1", "z2", "z9"][..])), any::<bool>());
    let rest = (rarely(0.15), rarely(0.1), rarely(0.9), rarely(0.8), rarely(0.2));
    let others = (prop::option::weighted(0.08, select(&["hle", "vme"][..])), rarely(0.05), rarely(0.1), rarely(0.05));
    (mode, features, machine, zone, host, rest, own, others).prop_map(
        |(mode, features, machine, zone, host, (tsc, refused, knows_start, vendor, strict), own, others)| Guest {
            dedicated: own.0,
            affinity: own.1,
            live_update: own.2,
            forbidden: others.0,
            sev: others.1,
            obsolete: others.2,
            mode,
            features,
            machine,
            zone,
            host,
            tsc,
            refused,
            knows_start,
            vendor,
            strict,
            mislabelled: others.3,
            near: false,
            pending: false,
        },
    )
}

fn point() -> impl Strategy<Value = Point> {
    let rarely = prop::bool::weighted;
    let added_zone = prop::option::weighted(0.15, select(&["z1", "z2", "z9"][..]));
    let added_host = prop::option::weighted(0.2, 0_usize..8);
    let migration = (rarely(0.4), rarely(0.4), added_zone, added_host, rarely(0.95)).prop_map(
        |(inherited, stale, added_zone, added_host, known)| Point::Migration {
            inherited,
            stale,
            added_zone,
            added_host,
            known,
        },
    );
    prop_oneof![1 => Just(Point::Start), 3 => migration]
}

pub(super) fn situation(wanted: RemedyId) -> impl Strategy<Value = Situation> {
    let kind = prop_oneof![
        6 => Just(Kind::CascadeLake),
        1 => Just(Kind::Skylake),
        1 => Just(Kind::IceLake),
        1 => Just(Kind::Rome),
        1 => Just(Kind::Arm)
    ];
    let nodes = prop::collection::vec((kind, damage()), 1..7);
    let parts = (nodes, guest(), point(), 0_usize..7, any::<bool>());
    parts.prop_map(move |(nodes, guest, point, source, steered)| {
        let situation = Situation { source: source % nodes.len(), nodes, guest, point };
        if steered { situation.steer(wanted) } else { situation }
    })
}

impl Situation {
    /// Makes the conditions of a rare remedy more likely; the judgement still decides whether it is offered.
    fn steer(mut self, wanted: RemedyId) -> Self {
        let other = (self.source + 1) % self.nodes.len();
        let source_kind = self.nodes[self.source].0;
        let Self { nodes, guest, point, .. } = &mut self;
        let (kind, damage) = &mut nodes[other];
        let mut host_model = || {
            guest.mode = "host-model";
            guest.features.clear();
        };
        match (wanted, point) {
            (RemedyId::RemoveSkipNode | RemedyId::RemoveLabels, Point::Migration { inherited, stale, .. }) => {
                host_model();
                *kind = source_kind;
                damage.lost = vec!["vme"];
                damage.frozen = true;
                damage.unlabelled = false;
                *stale = false;
                *inherited &= wanted != RemedyId::RemoveLabels;
            }
            (RemedyId::DropStale, Point::Migration { inherited, stale, .. }) => {
                host_model();
                (*inherited, *stale) = (true, true);
            }
            (RemedyId::DropAddedSelector, Point::Migration { added_zone, .. }) => {
                host_model();
                *kind = source_kind;
                *added_zone = Some("z9");
            }
            (RemedyId::MigrateAgain, Point::Migration { added_zone, added_host, .. }) => {
                host_model();
                *kind = source_kind;
                (*added_zone, *added_host, guest.pending) = (None, None, true);
            }
            (RemedyId::RemoveTscLabel, _) => guest.tsc = true,
            (RemedyId::EnableCpuManager, _) => {
                guest.dedicated = true;
                *kind = source_kind;
                *damage = Damage { slow_clock: true, cordoned: false, tainted: false, unwell: false, ..damage.clone() };
                damage.lost.clear();
            }
            (RemedyId::ChangeAffinity, _) => guest.affinity = Some("z9"),
            (RemedyId::ChangeTolerations, _) => (guest.near, damage.tainted) = (true, true),
            (RemedyId::DisableFeature, _) => {
                guest.features.clear();
                guest.forbidden = Some("vme");
            }
            (RemedyId::DropSetting, _) => guest.features = vec!["gfni"],
            (RemedyId::UpgradeKubeVirt, _) => guest.sev = true,
            (RemedyId::RemoveVendorLabel, _) => (guest.mislabelled, guest.vendor) = (true, true),
            (RemedyId::ChangeTogether, _) => (guest.dedicated, guest.machine) = (guest.host.is_none(), "pc-q35-4.2"),
            (RemedyId::EditObsoleteModels, _) => {
                host_model();
                guest.obsolete = true;
                *kind = Kind::CascadeLake;
                *damage = Damage { frozen: false, cordoned: false, tainted: false, unwell: false, ..damage.clone() };
            }
            _ => {}
        }
        self
    }

    pub(super) fn build(&self) -> (Fleet, Subject<'static>) {
        let pristine: Vec<Node> = self.nodes.iter().enumerate().map(|(at, (kind, _))| kind.node(at)).collect();
        let damaged = pristine.iter().zip(&self.nodes).map(|(node, (_, damage))| damaged(node, damage));
        let damaged = damaged.map(|node| if self.guest.obsolete { withheld(node, self.guest.mode) } else { node });
        let mut nodes: Vec<Node> = damaged.collect();
        if self.guest.mislabelled {
            give(&mut nodes[self.source], ["AMD", "Intel"].map(vendor));
        }
        let fleet = Fleet::new(nodes);
        let subject = subject(&pristine, &fleet, &self.guest, &self.point, self.source);
        (fleet, subject)
    }
}

/// Returns the models on the list of obsolete ones: that of the guest, or the host model of most nodes.
fn listed(mode: &str) -> Vec<String> {
    vec![if mode.starts_with("host-") { "Cascadelake-Server" } else { mode }.to_owned()]
}

/// Returns a node as the labeller leaves it with that list.
fn withheld(node: Node, mode: &str) -> Node {
    node.tweak(|node| {
        for name in listed(mode) {
            take(node, &[model(&name), known(&name)]);
            if node.labels.contains_key(&format!("{}{name}", label::HOST_MODEL_CPU)) {
                set(node, label::OBSOLETE_HOST_MODEL, "true");
            }
        }
    })
}

/// Returns the start of the guest without these keys, or with another affinity.
fn without(start: &Start<'static>, guest: &Guest, keys: &[String]) -> Start<'static> {
    let mut out = start.clone();
    out.placement.selector.retain(|(key, _)| !keys.iter().any(|dropped| dropped == key));
    let is_own = out.placement.selector.iter().any(|(key, _)| label::is_inherited(key));
    if out.mode == CpuMode::HostModel && !is_own {
        out.after_start.host_model = if guest.strict { HostModelRule::CopiedOrRefused } else { HostModelRule::Copied };
    }
    out
}

/// Returns the settings that a user could change in the guest, and sets of them.
fn changes(start: &Start<'static>, guest: &Guest) -> (Vec<SettingChange<'static>>, Vec<SettingSet<'static>>) {
    type Change<'g> = Box<dyn Fn(&Start<'static>) -> Start<'static> + 'g>;
    let listed = |names: &[&str]| -> Vec<ListedFeature> {
        names.iter().enumerate().map(|(at, name)| ListedFeature { at, name: (*name).to_owned() }).collect()
    };
    let mut all: Vec<(Setting, Change<'_>)> = Vec::new();
    if !guest.features.is_empty() {
        let keys: Vec<String> = guest.features.iter().map(|name| feature(name)).collect();
        all.push((Setting::Features(listed(&guest.features)), Box::new(move |start| without(start, guest, &keys))));
    }
    if let Some(name) = guest.forbidden {
        let disabled = |start: &Start<'static>| {
            let free = Guest { forbidden: None, ..guest.clone() };
            start.clone().tweak(|start| start.placement.affinity = affinity(&free, start.mode == CpuMode::HostModel))
        };
        all.push((Setting::Forbidden(listed(&[name])), Box::new(disabled)));
    }
    if guest.dedicated {
        let keys = [label::CPU_MANAGER.to_owned()];
        all.push((Setting::DedicatedCpus, Box::new(move |start| without(start, guest, &keys))));
    }
    let of = (0..all.len()).flat_map(|one| (one + 1..all.len()).map(move |other| vec![one, other]));
    let of = of.chain((all.len() == 3).then(|| vec![0, 1, 2]));
    let all_of = |of: &[usize]| of.iter().fold(start.clone(), |start, at| all[*at].1(&start));
    let sets = of.map(|of| SettingSet { start: all_of(&of), of }).collect();
    let change = |(setting, change): (Setting, Change<'_>)| SettingChange {
        setting,
        set_by: None,
        start: change(start),
        ends_refusal: false,
    };
    (all.into_iter().map(change).collect(), sets)
}

fn entry(key: impl Into<String>, value: impl Into<String>) -> (Cow<'static, str>, Cow<'static, str>) {
    (Cow::Owned(key.into()), Cow::Owned(value.into()))
}

/// Returns the guest's required node affinity: KubeVirt's condition for host-model guests is added to each of
/// its own terms.
fn affinity(guest: &Guest, host_model: bool) -> Option<Affinity> {
    let added = host_model.then(|| Expression::DoesNotExist(label::OBSOLETE_HOST_MODEL.to_owned()));
    let own = guest.affinity.map(|zone| Expression::In(ZONE.to_owned(), vec![zone.to_owned()]));
    let forbidden = guest.forbidden.map(|name| Expression::DoesNotExist(feature(name)));
    let expressions: Vec<Expression> = own.into_iter().chain(added).chain(forbidden).collect();
    let term = Term { expressions, names: Vec::new() };
    (!term.is_empty()).then(|| NodeSelector { terms: vec![term] }.into())
}

/// Returns the guest's authors, as far as remedies depend on them.
fn authors(guest: &Guest, host_model: bool) -> Authors {
    let path = "spec.template.spec.affinity".to_owned();
    let field = AskedAt { author: Author::Field { of: Holder::VirtualMachine, path: path.clone() }, field: path };
    let rule = Expression::DoesNotExist(label::OBSOLETE_HOST_MODEL.to_owned());
    let kubevirt = AskedAt { author: Author::KubeVirt, field: String::new() };
    let forbidden = guest.forbidden.map(|name| (Expression::DoesNotExist(feature(name)), kubevirt.clone()));
    let rules = host_model.then_some((rule, kubevirt)).into_iter().chain(forbidden).collect();
    Authors { rules, affinity: Some(field), ..Authors::default() }
}

/// Returns the placement with the vendor that leaves the most nodes.
fn with_best<'a>(vendors: &[String], placement: Placement<'a>, source: &str, fleet: &Fleet) -> Placement<'a> {
    let fitting = |placement: &Placement<'_>| {
        let nodes = fleet.look_up(placement).passes().fitting;
        nodes.iter().filter(|&node| fleet.name(node) != source).count()
    };
    vendors.iter().map(|vendor| placement.with_vendor(vendor)).max_by_key(fitting).unwrap_or(placement)
}

/// Builds the guest's subject as KubeVirt would, at its start or at a migration away from a node.
fn subject(pristine: &[Node], fleet: &Fleet, guest: &Guest, point: &Point, source: usize) -> Subject<'static> {
    let source_name = pristine[source].name.clone();
    let name_of = |at: &Option<usize>| at.map(|at| pristine[at % pristine.len()].name.clone());
    let mode = CpuMode::parse(guest.mode);

    let mut own: Vec<(String, String)> = Vec::new();
    own.extend(guest.zone.map(|zone| (ZONE.to_owned(), zone.to_owned())));
    own.extend(name_of(&guest.host).map(|host| (label::HOSTNAME.to_owned(), host)));
    let mut selector = vec![entry(label::SCHEDULABLE, "true"), entry(label::ARCH, "amd64")];
    selector.extend(own.iter().map(|(key, value)| entry(key, value)));
    selector.push(entry(machine(guest.machine), "true"));
    selector.extend(guest.features.iter().map(|name| entry(feature(name), "true")));
    if let CpuMode::Named(name) = &mode {
        selector.push(entry(model(name), "true"));
    }
    if guest.tsc {
        selector.push(entry(tsc(SLOW), "true"));
    }
    if guest.dedicated {
        selector.push(entry(label::CPU_MANAGER, "true"));
    }
    if guest.sev {
        selector.push(entry(label::SEV, "true"));
    }
    let affinity = affinity(guest, mode == CpuMode::HostModel);
    let near = Toleration { key: "dedicated".to_owned(), value: "vms".to_owned(), ..Toleration::default() };
    let tolerations = guest.near.then_some(near).into_iter().collect();
    let placement =
        Placement { selector: selector.into_iter().collect(), affinity, tolerations, ..Placement::default() };
    let after_start = AfterStart { host_model: host_model_rule(guest, &mode), vendor: guest.vendor };
    let (own_models, by_policy) = (Vec::new(), None);
    let features = CpuFeatures::default();
    let start =
        Start { mode: mode.clone(), placement: placement.clone(), own_models, features, by_policy, after_start };

    let mut subject = Subject::new("shop", "db", Stage::Start(after_start), placement.clone());
    if let Point::Migration { inherited, stale, added_zone, added_host, known } = point {
        let mut added: Vec<(String, String)> = Vec::new();
        added.extend(added_zone.map(|zone| (ZONE.to_owned(), zone.to_owned())));
        added.extend(name_of(added_host).map(|host| (label::HOSTNAME.to_owned(), host)));
        added.retain(|(key, _)| placement.get(key).is_none());
        added.sort_unstable();
        let selector = &mut subject.placement.selector;
        selector.extend(added.iter().map(|(key, value)| entry(key, value)));
        let own = !guest.features.is_empty() && mode == CpuMode::HostModel;
        let inherited = *inherited && !own && mode == CpuMode::HostModel;
        // The guest inherited the labels of a node of its class at that time.
        let then = Fleet::new(vec![pristine[source].clone()]);
        let class = if inherited {
            then.host_model_class(0)
        } else {
            fleet.host_model_class(fleet.find(&source_name).expect("the source"))
        };
        if mode == CpuMode::HostModel && guest.features.is_empty() {
            for (key, value) in class.model.iter().flatten() {
                selector.extend([entry(key, value)]);
            }
            if inherited && *stale {
                selector.extend([entry(feature(STALE), "true")]);
            }
        }
        let hidden = class.model.iter().flatten().filter(|(key, _)| selector.get(key).is_none());
        let unasked = own.then(|| hidden.cloned().collect());
        if guest.vendor {
            selector.extend(class.vendors.first().map(|key| entry(key, "true")));
        }
        let vendors = if guest.vendor && *known { class.vendors.clone() } else { Vec::new() };
        let source = known.then(|| source_name.clone());
        subject.placement = with_best(&vendors, subject.placement, &source_name, fleet);
        let new_target = guest.pending.then(|| Box::new(subject.placement.clone()));
        if guest.pending {
            subject.placement.selector.extend([entry(feature(STALE), "true")]);
        }
        let is_under_way = guest.pending;
        subject.stage = Stage::Migration(Migration {
            source,
            inherited,
            added,
            unasked,
            is_under_way,
            new_target,
            vendors,
            ..Migration::default()
        });
        subject.running = Some(Running { node: source_name, placement: Some(placement) });
        subject.failed = failed(guest);
    } else {
        "spec".clone_into(&mut subject.definition.field_root);
    }
    subject.authors = authors(guest, mode == CpuMode::HostModel);
    (subject.changes, subject.combined) = changes(&start, guest);
    subject.refreshes = refreshed(&start, guest).into_iter().collect();
    subject.configured.obsolete = guest.obsolete.then(|| obsolete(guest));
    subject.configured.fixed_in = Some("1.5.3");
    subject.configured.known_models_in = Some("1.6.4");
    subject.definition.live_update = guest.live_update;
    subject.definition.live_tolerations = guest.live_update;
    subject.mode = mode;
    own.sort_unstable();
    subject.definition.own_selector = own;
    subject.machine_type = Some(guest.machine.to_owned());
    subject.definition.template = Some(Template::VirtualMachine);
    subject.restart = guest.knows_start.then_some(start);
    subject
}

/// Returns libvirt's refusal of an earlier migration, if there was one.
fn failed(guest: &Guest) -> Option<FailedMigration> {
    let names = |is: bool, name: &str| if is { vec![name.to_owned()] } else { Vec::new() };
    guest.refused.then(|| FailedMigration {
        is_of_cpu: true,
        target: "n0".to_owned(),
        reason: "guest CPU doesn't match specification".to_owned(),
        missing: names(guest.strict, "vmx-exit-load-perf-global-ctrl"),
        extra: names(!guest.strict, "ht"),
    })
}

fn obsolete(guest: &Guest) -> ObsoleteModels {
    ObsoleteModels {
        models: listed(guest.mode),
        edits: listed(guest.mode).into_iter().map(|model| (model, false)).collect(),
        rest: Vec::new(),
        owner: ListOwner::KubeVirt { namespace: "kubevirt".to_owned(), name: "kubevirt".to_owned() },
    }
}

fn host_model_rule(guest: &Guest, mode: &CpuMode) -> HostModelRule {
    match mode {
        CpuMode::HostModel if !guest.features.is_empty() => HostModelRule::NotAsked,
        CpuMode::HostModel if guest.strict => HostModelRule::CopiedOrRefused,
        CpuMode::HostModel => HostModelRule::Copied,
        _ => HostModelRule::NotAsked,
    }
}

/// Returns the start by the present preference. The guest's features are those of an older copy, and the present one
/// does not have them.
fn refreshed(start: &Start<'static>, guest: &Guest) -> Option<Refresh<'static>> {
    let keys: Vec<String> = guest.features.iter().map(|name| feature(name)).collect();
    let pinned = Pinned { of: PinnedTo::Preference, name: "own".to_owned(), in_spec: true, in_status: false };
    (!keys.is_empty()).then(|| Refresh { pinned: vec![pinned], start: without(start, guest, &keys) })
}

/// Returns the severity: 0 if the guest fits, higher is worse.
fn badness(assessment: &Assessment) -> usize {
    match &assessment.outcome {
        Outcome::Fits => 0,
        Outcome::Impaired(impact) => 1 + *impact as usize,
        Outcome::Unknown(_) => usize::MAX,
    }
}

/// Returns the smallest number of targets of a guest that is to start, over its start nodes.
fn fewest_targets(subject: &Subject<'_>, fleet: &Fleet) -> usize {
    let Stage::Start(after_start) = subject.stage else { return 0 };
    let fitting = assess(subject, fleet).fitting;
    targets_by_start(subject, &subject.placement, after_start, &fitting, fleet).into_keys().min().unwrap_or(0)
}

/// Applies a remedy and judges again.
fn verify_remedy(
    subject: &Subject<'_>,
    fleet: &Fleet,
    before: &Assessment,
    check: Check,
    remedy: &Remedy,
) -> Result<(), String> {
    let Remedy { action, then_fits: (least, most), luck: _ } = remedy;
    let (after, changed) = action.apply(subject, fleet);
    let now = fleet.with(changed);
    let verdict = assess(&after, &now);
    let described = format!(
        "{:?} was promised, {action:?}, {least} to {most}; then {:?} instead of {:?}",
        action.id(),
        verdict.outcome,
        before.outcome
    );

    let source = subject.source().and_then(|name| fleet.find(name));
    // A guest that can migrate gets away without a restart.
    let gets_away = action.outage(subject) == Outage::Restart
        && before.fitting.is_empty()
        && source.is_some_and(|node| fleet.is_cordoned(node))
        && !verdict.fitting.is_empty()
        && source.and_then(|node| now.find(fleet.name(node))).is_none_or(|node| !verdict.fitting.contains(node));
    let is_gone = match check {
        // It is the last remedy of all findings.
        _ if action.id() == RemedyId::AddNode => badness(&verdict) < badness(before),
        // The labels always fitted; libvirt's refusal of the old guest is void after a restart.
        Check::LibvirtRefused => after.failed.is_none() && badness(&verdict) <= 1,
        // The guest could start everywhere and had a target; now every start node leaves more targets.
        Check::StartOutlook => fewest_targets(&after, &now) > fewest_targets(subject, fleet),
        // No node is in doubt any more, and every start node leaves a target.
        Check::HostModelUnasked | Check::HostModelKnown | Check::UnlikeHosts => {
            let verdict = Judgement::new(&after, &now, Depth::Full).verdict();
            verdict.found(check).is_none() && fewest_targets(&after, &now) > 0
        }
        // Each try succeeds that asks for the true vendor.
        Check::SourceLabels => {
            let verdict = Judgement::new(&after, &now, Depth::Full).verdict();
            verdict.found(check).is_none() && badness(&verdict.assessment) <= badness(before)
        }
        _ => badness(&verdict) < badness(before),
    };
    // Where libvirt has the last word, the targets that the guest has now are not known by labels.
    let is_certain = check.spec().doubt != Some(Doubt::Libvirt);
    if subject.source().is_some() && is_certain && *most < before.fitting.count() {
        return Err(format!("people act and the guest has fewer targets than before: {described}"));
    }
    if !is_gone && !gets_away {
        return Err(format!("people act and the guest is no better off: {described}"));
    }
    // A guest that cannot start gets start nodes; another one gets targets, whichever remedy it is.
    let starts = matches!(subject.stage, Stage::Migration(_)) || !before.fitting.is_empty();
    let counts: Vec<usize> = match &after.stage {
        Stage::Start(after_start) if starts => {
            targets_by_start(&after, &after.placement, *after_start, &verdict.fitting, &now).into_keys().collect()
        }
        _ => vec![verdict.fitting.count()],
    };
    // A node on which libvirt refused the guest's CPU fits by labels, and is no target of a guest that keeps it.
    let is_refused = |name: &String| fleet.find(name).is_some_and(|node| before.fitting.contains(node));
    let refused = subject.failed.as_ref().filter(|failed| failed.is_of_cpu).map(|failed| &failed.target);
    let lost = usize::from(action.id() == RemedyId::AddNode && refused.is_some_and(is_refused));
    let (actual_least, actual_most) =
        (counts.iter().min().copied().unwrap_or(0) - lost, counts.iter().max().copied().unwrap_or(0) - lost);
    if actual_least < *least || actual_most > *most {
        return Err(format!("fewer or more nodes fit, {actual_least} to {actual_most}, than was said: {described}"));
    }
    if let Action::Uncordon(Uncordon { nodes }) = action {
        for node in nodes {
            let alone = Action::from(Uncordon { nodes: vec![node.clone()] });
            let (after, changed) = alone.apply(subject, fleet);
            let now = fleet.with(changed);
            if !assess(&after, &now).fitting.contains(now.find(node).unwrap_or(usize::MAX)) {
                return Err(format!("uncordoning {node} does not help: {described}"));
            }
        }
    }
    Ok(())
}

/// Returns every remedy that is offered, with the check that offers it.
fn offered(subject: &Subject<'_>, fleet: &Fleet) -> (Verdict, Vec<(Check, Remedy)>) {
    let verdict = Judgement::new(subject, fleet, Depth::Full).verdict();
    let remedies =
        verdict.findings.iter().flat_map(|f| f.remedies.iter().map(|remedy| (f.check, remedy.clone()))).collect();
    (verdict, remedies)
}

/// All remedies are tested: one that is never offered fails here.
#[test]
fn a_remedy_removes_the_finding_that_it_is_offered_for() {
    // The situations are the same at each run: whether a remedy is offered often enough must not depend on
    // chance.
    let config = Config { cases: 10_000 / one_in() as u32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let times = RefCell::new(BTreeMap::<RemedyId, usize>::new());
    // A true vendor can be proved of few random nodes, few nodes have no other fault than their taint, and few pods
    // wait with requirements of the past: more situations are made for these remedies.
    let rare = [RemedyId::RemoveVendorLabel, RemedyId::ChangeTolerations, RemedyId::MigrateAgain].map(|id| [id; 5]);
    let rare = rare.concat();
    let ids: Vec<RemedyId> = remedy::ALL.iter().map(|spec| spec.id).chain(rare).collect();
    let outcome = runner.run(&select(ids).prop_flat_map(situation), |situation| {
        let (fleet, subject) = situation.build();
        let (verdict, remedies) = offered(&subject, &fleet);
        for (check, remedy) in &remedies {
            *times.borrow_mut().entry(remedy.action.id()).or_default() += 1;
            verify_remedy(&subject, &fleet, &verdict.assessment, *check, remedy).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    for spec in remedy::ALL {
        let times = times.borrow().get(&spec.id).copied().unwrap_or(0);
        assert!(times >= at_least(20), "{:?} was offered {times} times: too few to trust it", spec.id);
    }
}

/// A judgement that ends early reports less and nothing different: regardless of its number of steps, no outcome
/// differs, and no remedy is offered, or known not to help, unless the complete judgement agrees.
#[test]
fn a_judgement_that_ends_early_adds_no_other_statement() {
    let config = Config { cases: 600 / one_in() as u32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ids: Vec<RemedyId> = remedy::ALL.iter().map(|spec| spec.id).collect();
    let unknown = RefCell::new(0);
    let outcome = runner.run(&select(ids).prop_flat_map(situation), |situation| {
        let (fleet, subject) = situation.build();
        let steps = Cell::new(0);
        let within = |most: usize| {
            steps.set(0);
            let is_over = || {
                steps.set(steps.get() + 1);
                steps.get() > most
            };
            Judgement::new(&subject, &fleet, Effort::until(Depth::Full, &is_over)).verdict()
        };
        let whole = within(usize::MAX);
        let all = steps.get();
        prop_assert_eq!(&whole, &Judgement::new(&subject, &fleet, Depth::Full).verdict());
        let remedies = |verdict: &Verdict| -> Vec<Remedy> {
            verdict.findings.iter().flat_map(|finding| finding.remedies.clone()).collect()
        };
        for most in [0, 1, 2, all / 3, all / 2, all.saturating_sub(1)] {
            let part = within(most);
            if part.assessment.outcome == Outcome::Unknown(Unknown::NotInTime) {
                *unknown.borrow_mut() += 1;
                prop_assert!(remedies(&part).is_empty());
                continue;
            }
            prop_assert_eq!(&part.assessment, &whole.assessment);
            let known = remedies(&whole);
            prop_assert!(remedies(&part).iter().all(|remedy| known.contains(remedy)), "{:?}", part);
            prop_assert!(part.not_helping.iter().all(|why| whole.not_helping.contains(why)), "{:?}", part);
            prop_assert!(part.excluded.is_empty() || part.excluded == whole.excluded);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let unknown = unknown.into_inner();
    assert!(unknown >= at_least(20), "{unknown} were ended before they were assessed: too few to trust it");
}
