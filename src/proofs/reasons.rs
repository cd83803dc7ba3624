//! Verdicts, findings and reasons, compared with the oracle.

use serde_json::Value;

use super::Fault;
use super::libvirt::Word;
use super::raw::{Demand, RawNode, nodes};
use super::seen::{Answered, Seen};
use crate::fit::check::{ChosenNodes, HostModelKnown, KeptOff, NoStartNode, OwnHostModel, SourceNotReady, UnknownHost};
use crate::fit::fleet::NodeHealth;
use crate::fit::label;
use crate::fit::models;
use crate::fit::remedy::{
    Cordoned, NoDrop, NoLabels, NoModel, NoNode, NoRemoval, NoRestart, NoUncordon, NotToAdd, VirtHandler, WhyNot,
};
use crate::fit::subject::{CpuMode, MigrationLimit, Stage};
use crate::fit::verdict::{Detail, Impact, Outcome};
use crate::judge::Evaluation;

const FEATURE: &str = "cpu-feature.node.kubevirt.io/";
/// The prefix of labels that state that a node can run a model.
const MODEL: &str = "cpu-model.node.kubevirt.io/";

/// Returns the false statements in an answer.
pub(super) fn faults(answered: &Answered, seen: &Seen) -> Vec<Fault> {
    let Some(case) = &answered.case else { return Vec::new() };
    let Some(predicted) = case.prepared.predicted.as_ref().filter(|_| case.prepared.not_judged.is_none()) else {
        return Vec::new();
    };
    let tolerations: Vec<Value> =
        predicted.tolerations.iter().map(|toleration| serde_json::to_value(toleration).expect("JSON")).collect();
    let raw = RawCase {
        case,
        all: nodes(seen),
        demand: Demand::new(&case.prepared.subject.placement, &tolerations),
        tolerations: &tolerations,
        migrations: migrations(seen),
        libvirt: Word {
            answers: case.prepared.subject.asked.as_ref(),
            forbidden: &case.prepared.subject.features.forbidden,
        },
    };
    let mut wrong = raw.numbers();
    wrong.extend(
        case.verdict
            .findings
            .iter()
            .filter(|finding| !raw.is_so(&finding.detail))
            .map(|finding| ("a finding is false", format!("{:?}", finding.detail))),
    );
    wrong.extend(
        case.verdict
            .not_helping
            .iter()
            .filter(|not| !raw.holds(&not.why))
            .map(|not| ("a reason is false", format!("{:?}", not.why))),
    );
    wrong.into_iter().map(|(rule, what)| Fault::new(rule, format!("{}: {what}", answered.asked))).collect()
}

/// Returns `spec.configuration.migrations` of the KubeVirt resource.
fn migrations(seen: &Seen) -> Option<&Value> {
    let kubevirt = seen.situation.objects.iter().find(|object| object["kind"] == "KubeVirt")?;
    Some(&kubevirt["spec"]["configuration"]["migrations"])
}

struct RawCase<'j> {
    case: &'j Evaluation<'static>,
    all: Vec<RawNode<'j>>,
    demand: Demand<'j>,
    tolerations: &'j [Value],
    /// `spec.configuration.migrations` of the KubeVirt resource.
    migrations: Option<&'j Value>,
    libvirt: Word<'j>,
}

impl RawCase<'_> {
    fn source(&self) -> Option<&str> {
        self.case.prepared.subject.source()
    }

    /// Whether a node takes a pod with this demand, by its labels and by libvirt.
    fn takes(&self, node: RawNode<'_>, demand: &Demand<'_>) -> bool {
        node.takes(demand) && !self.is_refused(node, demand)
    }

    /// Whether libvirt refuses the guest on a node, or its start there.
    fn is_refused(&self, node: RawNode<'_>, demand: &Demand<'_>) -> bool {
        match &self.case.prepared.subject.stage {
            Stage::Migration(_) => self.libvirt.refusal(node.name()).is_some(),
            Stage::Start(_) => self.libvirt.fails_at_start(demand, node),
        }
    }

    fn find(&self, name: &str) -> Option<RawNode<'_>> {
        self.all.iter().copied().find(|node| node.name() == name)
    }

    fn others(&self) -> impl Iterator<Item = RawNode<'_>> {
        let source = self.source();
        self.all.iter().copied().filter(move |node| Some(node.name()) != source && node.is_neighbour(&self.demand))
    }

    /// Iterates over the nodes of the guest's architecture, with its own node.
    fn of_its_architecture(&self) -> impl Iterator<Item = RawNode<'_>> {
        let source = self.source();
        self.all.iter().copied().filter(move |node| Some(node.name()) == source || node.is_neighbour(&self.demand))
    }

    /// Compares the nodes that fit, the verdict, and the nearest nodes.
    fn numbers(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        let verdict = &self.case.verdict;
        let source = self.source();
        let takes = self.all.iter().filter(|node| Some(node.name()) != source && self.takes(**node, &self.demand));
        let mut fitting: Vec<&str> = takes.map(|node| node.name()).collect();
        fitting.sort_unstable();
        let is_known = !matches!(verdict.assessment.outcome, Outcome::Unknown(_));
        if is_known && verdict.assessment.fitting.count() != fitting.len() {
            out.push(("other nodes fit", format!("{fitting:?}")));
        }
        let expected = match (&self.case.prepared.subject.stage, fitting.len()) {
            (Stage::Migration(_), 0) => Some(Some(Impact::Pinned)),
            (Stage::Migration(_), 1) => Some(Some(Impact::Fragile)),
            (Stage::Migration(_), _) => Some(None),
            (Stage::Start(_), 0) => Some(Some(Impact::Unschedulable)),
            (Stage::Start(_), _) => None,
        };
        if is_known && expected.is_some_and(|expected| expected != verdict.assessment.outcome.impact()) {
            out.push(("the verdict is another", format!("{fitting:?} fit")));
        }
        for near in &verdict.nearest {
            let Some(node) = self.find(&near.node) else { continue };
            let missing = node.missing(&self.demand);
            let is_same = near.missing.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() == missing;
            if !is_same || near.has.iter().any(|(key, has)| node.label(key) != Some(has.as_str())) {
                out.push(("a node lacks something else", format!("{near:?}, not {missing:?}")));
            }
        }
        for blocked in &verdict.blocked {
            let Some(node) = self.find(&blocked.node) else { continue };
            let fits_else = node.missing(&self.demand).is_empty() && node.meets_affinity(&self.demand);
            if !fits_else || !node.keeps_off(&self.demand, true) || blocked.cordoned && !node.is_cordoned() {
                out.push(("a node is not kept out by cordon or taint alone", format!("{blocked:?}")));
            }
        }
        for excluded in &verdict.excluded {
            let Some(node) = self.find(&excluded.node) else { continue };
            if !node.missing(&self.demand).is_empty() || node.meets_affinity(&self.demand) {
                out.push(("a node is not kept out by affinity alone", format!("{excluded:?}")));
            }
        }
        out
    }

    /// Whether libvirt refuses the guest on all of these nodes, which take it by labels.
    fn refuse(&self, nodes: &[String]) -> bool {
        let is_refused = |name: &String| {
            self.find(name).is_some_and(|node| node.takes(&self.demand)) && self.libvirt.refusal(name).is_some()
        };
        nodes.iter().all(is_refused)
    }

    /// Whether a finding about libvirt's answers is what they say.
    fn is_as_answered(&self, detail: &Detail) -> bool {
        let is_so = |name: &str, why, takes: bool| {
            self.find(name).is_some_and(|node| node.takes(&self.demand) == takes)
                && self.libvirt.refusal(name) == Some(why)
        };
        match detail {
            Detail::LibvirtRefuses(refusals) => refusals.iter().all(|(name, why)| is_so(name, why, true)),
            Detail::LibvirtRefusesToo(refusals) => refusals.iter().all(|(name, why)| is_so(name, why, false)),
            Detail::FailsAtStart(nodes) => nodes.iter().all(|(name, unmet)| {
                let fails =
                    |node: RawNode<'_>| node.takes(&self.demand) && self.libvirt.fails_at_start(&self.demand, node);
                !unmet.is_empty() && self.find(name).is_some_and(fails)
            }),
            _ => false,
        }
    }

    /// Whether a finding is true of the nodes.
    fn is_so(&self, detail: &Detail) -> bool {
        match detail {
            Detail::OwnNode(found) => self
                .find(&found.node)
                .is_some_and(|node| found.missing.iter().all(|(key, value)| node.label(key) != Some(value.as_str()))),
            Detail::KnownNotUsable(found) => {
                let has = |prefix: &str| {
                    let key = format!("{prefix}{}", found.model);
                    self.of_its_architecture().filter(|node| node.label(&key) == Some("true")).count()
                };
                has(MODEL) == 0
                    && has("cpu-model-migration.node.kubevirt.io/") == found.known
                    && found.total == self.of_its_architecture().count()
            }
            Detail::SimilarFeature(found) => {
                let family = if found.is_model { MODEL } else { FEATURE };
                let offering = |name: &str| {
                    let key = format!("{family}{name}");
                    self.of_its_architecture().filter(|node| node.label(&key) == Some("true")).count()
                };
                self.demand.selector.contains_key(format!("{family}{}", found.required).as_str())
                    && offering(&found.required) == 0
                    && offering(&found.similar) == found.offering
                    && found.total == self.of_its_architecture().count()
            }
            Detail::HostModelKnown(found) => self.is_known_there(found),
            Detail::OptionalFeature(found) => {
                let own = self.find(&found.node);
                let is_true = |node: RawNode<'_>, key: &str| node.label(key) == Some("true");
                found.doubtful.iter().all(|(name, entries)| {
                    !entries.is_empty()
                        && entries.iter().all(|(key, _)| {
                            own.is_some_and(|own| is_true(own, key))
                                && self.find(name).is_some_and(|node| !is_true(node, key))
                        })
                })
            }
            Detail::UnknownHost(found) => self.is_unknown_host(found),
            Detail::ChosenNodes(found) => self.is_chosen(found),
            Detail::OwnHostModel(found) => self.is_own_host_model(found),
            Detail::UnlikeVendors(found) => found.vendors.iter().all(|(vendor, nodes)| {
                let key = format!("{}{vendor}", label::CPU_VENDOR);
                nodes.iter().all(|name| self.find(name).is_some_and(|node| node.label(&key) == Some("true")))
            }),
            Detail::EmptyLabel(found) => {
                found.nodes.iter().all(|node| self.find(node).is_some_and(|node| node.label(&found.key) == Some("")))
                    && found
                        .without
                        .iter()
                        .all(|node| self.find(node).is_some_and(|node| node.label(&found.key).is_none()))
            }
            Detail::NoVirtHandler(found) => found
                .nodes
                .iter()
                .all(|node| self.find(node).is_some_and(|node| node.label(label::SCHEDULABLE).is_none())),
            Detail::NoCpuLabels(found) => found.nodes.iter().chain(&found.skipped).all(|name| {
                self.find(name).is_some_and(|node| {
                    ["cpu-", "host-model-", "hyperv."].iter().all(|family| !node.has_key_with(family))
                        && node.label(label::SCHEDULABLE).is_some()
                })
            }),
            Detail::OtherArchitectures(found) => found.counts.iter().all(|(name, count)| {
                *name != found.wanted
                    && self.all.iter().filter(|node| node.label("kubernetes.io/arch") == Some(name.as_str())).count()
                        == *count
            }),
            Detail::NoStartNode(found) => self.is_kept_off(found),
            Detail::MigrationsOff(limit) => self.is_off(*limit),
            Detail::SourceNotReady(found) => self.is_not_ready(found),
            Detail::NotReady(names) => names
                .iter()
                .all(|name| self.find(name).is_some_and(|node| !node.is_ready() && node.takes(&self.demand))),
            Detail::Contradiction(found) => self.demand.selector.get(found.key.as_str()) == Some(&found.value.as_str()),
            Detail::LibvirtRefuses(_) | Detail::LibvirtRefusesToo(_) | Detail::FailsAtStart(_) => {
                self.is_as_answered(detail)
            }
            // No label decides these: objects other than nodes do, or the tests of the check compare them.
            Detail::Unknown(_)
            | Detail::Noted(_)
            | Detail::Refused(_)
            | Detail::NoTarget(_)
            | Detail::StartOutlook(_)
            | Detail::AskedBy(_)
            | Detail::HostModelUnasked(_)
            | Detail::SourceLabels(_)
            | Detail::UnlikeHosts(_)
            | Detail::PodRules(_)
            | Detail::BoundVolumes(_)
            | Detail::StaleModel(_)
            | Detail::DrainWaits(_)
            | Detail::DrainShutsDown(_)
            | Detail::NotMigratable(_)
            | Detail::WillNotMigrate(_)
            | Detail::LibvirtRefused(_)
            | Detail::NotStarted(_)
            | Detail::OutdatedLauncher
            | Detail::RestartRequired
            | Detail::ModelCoverage(_)
            | Detail::Withheld(_)
            | Detail::MigrationWanted(_) => true,
        }
    }

    /// Whether this limit of the KubeVirt resource is 0, and nothing is offered that only a migration could use.
    fn is_off(&self, limit: MigrationLimit) -> bool {
        self.migrations.is_some_and(|migrations| migrations[limit.field] == 0)
            && self.source().is_some()
            && self.case.verdict.findings.iter().all(|finding| finding.remedies.is_empty())
    }

    /// Whether a source has the signs of its health.
    fn is_not_ready(&self, found: &SourceNotReady) -> bool {
        let said = match found.health {
            NodeHealth::Well => return false,
            NodeHealth::NotReady => (false, false),
            NodeHealth::Unschedulable => (true, true),
            NodeHealth::Down => (false, true),
        };
        let signs = |node: RawNode<'_>| (node.is_ready(), node.label(label::SCHEDULABLE) == Some("false"));
        self.source() == Some(found.node.as_str()) && self.find(&found.node).is_some_and(|node| signs(node) == said)
    }

    /// Whether no node is the host that is chosen, and the count without that choice is right.
    fn is_unknown_host(&self, found: &UnknownHost) -> bool {
        let counts = self.without(&[label::HOSTNAME]);
        self.all.iter().all(|node| node.label(label::HOSTNAME) != Some(&found.host))
            && found.without.is_none_or(|count| (found.judged, count) == counts)
    }

    /// Whether nodes know a host model by name and lack entries of it, as is said.
    fn is_known_there(&self, found: &HostModelKnown) -> bool {
        let usable = format!("{MODEL}{}", found.model);
        let known = format!("cpu-model-migration.node.kubevirt.io/{}", found.model);
        let own = self.find(&found.node);
        let reported = match &self.case.prepared.subject.stage {
            Stage::Migration(migration) => migration.reported.as_ref(),
            Stage::Start(_) => None,
        };
        let has = |key: &str| match reported {
            Some(reported) => reported.labels.contains(key),
            None => own.is_some_and(|own| own.label(key) == Some("true")),
        };
        let lacks = |node: RawNode<'_>, key: &str| node.label(key) != Some("true") && has(key);
        found.doubtful.iter().all(|(name, entries)| {
            self.find(name).is_some_and(|node| {
                node.label(&usable) != Some("true")
                    && node.label(&known) == Some("true")
                    && !entries.is_empty()
                    && entries.iter().all(|(key, _)| lacks(node, key))
            })
        })
    }

    /// Whether a host model is usable by name on some of its nodes and not on others, as is said.
    fn is_own_host_model(&self, found: &OwnHostModel) -> bool {
        let usable = format!("{MODEL}{}", found.model);
        let is_usable = |name: &String| self.find(name).map(|node| node.label(&usable) == Some("true"));
        let own = format!("{}{}", label::HOST_MODEL_CPU, found.model);
        found.total == self.of_its_architecture().count()
            && found.usable.iter().all(|name| is_usable(name) == Some(true))
            && found.unusable.iter().all(|name| is_usable(name) == Some(false))
            && found.unusable.iter().all(|name| self.find(name).is_some_and(|node| node.label(&own) == Some("true")))
    }

    /// Whether a choice of nodes is described as it is.
    fn is_chosen(&self, found: &ChosenNodes) -> bool {
        let keys: Vec<&str> = found.entries.iter().map(|(key, _)| key.as_str()).collect();
        let is_vendor = |key: &&str| key.starts_with("cpu-vendor.");
        let (judged, without) = self.without(&keys);
        let fitting = self.others().filter(|node| self.takes(*node, &self.demand)).count();
        // Without a vendor that a migration adds, KubeVirt adds that of the source.
        let is_counted = keys.iter().any(is_vendor) || found.without == without;
        (found.judged, found.fitting) == (judged, fitting) && is_counted
    }

    /// Counts the candidate nodes, and those of them that take the guest without these keys of its selector.
    fn without(&self, keys: &[&str]) -> (usize, usize) {
        let mut demand = Demand::new(&self.case.prepared.subject.placement, self.tolerations);
        demand.selector.retain(|key, _| !keys.contains(key));
        (self.others().count(), self.others().filter(|node| self.takes(*node, &demand)).count())
    }

    /// Whether no node of its architecture is left except the one that it runs on or may start on.
    fn has_no_node(&self, none: NoNode) -> bool {
        let others = self.others().count();
        let home = match self.source() {
            Some(source) => usize::from(self.find(source).is_some()),
            None => usize::from(self.others().any(|node| node.takes(&self.demand))),
        };
        let starts = if self.source().is_some() { 0 } else { home };
        let known = others + if self.source().is_some() { home } else { 0 };
        others == starts && none.is_alone == (home == 1) && none.has_others == (known < self.all.len())
    }

    /// Whether this reason excludes the guest from all nodes.
    fn is_kept_off(&self, found: &NoStartNode) -> bool {
        let lacks = self.others().any(|node| !node.missing(&self.demand).is_empty());
        let fails =
            self.others().any(|node| node.missing(&self.demand).is_empty() && !node.meets_affinity(&self.demand));
        let is_nowhere = |key: &str, value: &str| self.all.iter().all(|node| node.label(key) != Some(value));
        let by = match found.by {
            // Cordons, taints and virt-handler states may be temporary.
            KeptOff::Temporary => self.others().any(|node| {
                let lacks = node.missing(&self.demand);
                lacks.keys().all(|key| key == label::SCHEDULABLE) && node.meets_affinity(&self.demand)
            }),
            KeptOff::Selector => lacks && !fails,
            KeptOff::Affinity => fails && !lacks,
            KeptOff::Both => lacks && fails,
            KeptOff::Unknown => !lacks && !fails,
            KeptOff::Libvirt => {
                let fails = |node: &RawNode<'_>| self.libvirt.fails_at_start(&self.demand, *node);
                self.others().any(|node| node.takes(&self.demand))
                    && self.others().filter(|node| node.takes(&self.demand)).all(|node| fails(&node))
            }
        };
        let is_only = self.others().next().is_none();
        found.judged == self.others().count()
            && found.has_others == (self.others().count() < self.all.len())
            && found.nowhere.iter().all(|(key, value)| is_nowhere(key, value))
            && (is_only || !found.nowhere.is_empty() || by)
    }

    /// Whether a node's labels name another CPU than the guest's: their host model differs from that of the guest's own
    /// node, or the node lacks a part of it in all labels that the labeller writes. Models that are usable there do not
    /// need all that the node lacks.
    fn is_other_hardware(&self, name: &str) -> bool {
        let Some((node, source)) = self.find(name).zip(self.source().and_then(|name| self.find(name))) else {
            return false;
        };
        let subject = &self.case.prepared.subject;
        let is_chosen = |key: &str| {
            let is_added = matches!(&subject.stage, Stage::Migration(migration) if migration.adds(key));
            is_added || subject.definition.own_selector.iter().any(|(own, _)| own == key)
        };
        let missing = node.missing(&self.demand);
        let of_cpu = |key: &&String| {
            let is = |family: &str| key.starts_with(family);
            !is_chosen(key)
                && (is(FEATURE)
                    || is("cpu-model.")
                    || is("cpu-model-migration.")
                    || is("cpu-vendor.")
                    || is("host-model-cpu."))
        };
        let mut lacks = missing.keys().filter(of_cpu).peekable();
        let (its, own) = (node.host_models(), source.host_models());
        let is_written = |key: &str| {
            let of = |family: &str, other: &str| {
                let name = key.strip_prefix(family)?;
                node.label(&format!("{other}{name}"))
            };
            of(FEATURE, "host-model-required-features.node.kubevirt.io/").is_some()
                || of("cpu-model-migration.node.kubevirt.io/", "host-model-cpu.node.kubevirt.io/").is_some()
        };
        let is_of_usable_model = |key: &str| {
            let feature = key.strip_prefix(FEATURE);
            feature.is_some_and(|feature| node.usable_models().iter().any(|model| models::proves(model, feature)))
        };
        lacks.peek().is_some()
            && !its.is_empty()
            && !own.is_empty()
            && missing.keys().filter(of_cpu).any(|key| !is_of_usable_model(key))
            && (its != own || lacks.any(|key| !is_written(key)))
    }

    /// Whether each cordoned node is named once, with its reason.
    fn holds_of_cordons(&self, found: &Cordoned) -> bool {
        let Cordoned { source, more, tolerated, other_architecture } = found;
        let named = [more, tolerated, other_architecture].into_iter().flatten().chain(source);
        let named: Vec<&str> = named.map(String::as_str).collect();
        let mut sorted = named.clone();
        sorted.sort_unstable();
        let mut cordoned: Vec<&str> =
            self.all.iter().filter(|node| node.is_cordoned()).map(|node| node.name()).collect();
        cordoned.sort_unstable();
        let all = |names: &[String], is: &dyn Fn(RawNode<'_>) -> bool| {
            names.iter().all(|name| self.find(name).is_some_and(is))
        };
        // The cordon alone.
        let cordon_keeps_off = |node: RawNode<'_>| node.is_kept_off_by_cordon(&self.demand);
        let fits_but_for_it = |node: RawNode<'_>| {
            !self.is_refused(node, &self.demand)
                && node.missing(&self.demand).is_empty()
                && node.meets_affinity(&self.demand)
                && !node.keeps_off(&self.demand, false)
        };
        sorted == cordoned
            && source.as_deref().is_none_or(|source| Some(source) == self.source())
            && all(more, &|node| node.is_neighbour(&self.demand) && cordon_keeps_off(node) && !fits_but_for_it(node))
            && all(tolerated, &|node| node.is_neighbour(&self.demand) && !cordon_keeps_off(node))
            && all(other_architecture, &|node| !node.is_neighbour(&self.demand))
    }

    /// Whether the added entries alone keep the guest off a node.
    fn is_added(&self) -> bool {
        let Stage::Migration(migration) = &self.case.prepared.subject.stage else { return false };
        self.others().any(|node| {
            let mut missing = node.missing(&self.demand);
            missing.retain(|key, _| !migration.adds(key));
            missing.is_empty()
        })
    }

    /// Whether a reason is true of the nodes.
    fn holds(&self, why: &WhyNot) -> bool {
        let subject = &self.case.prepared.subject;
        let lacks =
            |node: &str, key: &str| self.find(node).is_some_and(|node| node.missing(&self.demand).contains_key(key));
        match why {
            WhyNot::NotMigratable(_) => subject.live_migratable.refused.is_some(),
            WhyNot::WillNotMigrate(reason) => {
                subject.live_migratable.foreseen.as_ref().is_some_and(|foreseen| foreseen.refused.reason == *reason)
                    && self.case.verdict.findings.iter().all(|finding| finding.remedies.is_empty())
            }
            WhyNot::MigrationsOff(limit) => self.is_off(*limit),
            WhyNot::SourceDown(name) => {
                let is_down = |node: RawNode<'_>| !node.is_ready() && node.label(label::SCHEDULABLE) == Some("false");
                self.source() == Some(name.as_str())
                    && self.find(name).is_some_and(is_down)
                    && self.case.verdict.findings.iter().all(|finding| finding.remedies.is_empty())
            }
            WhyNot::LibvirtRefused => subject.failed.is_some() && self.case.verdict.assessment.fitting.count() > 0,
            // Among candidate nodes; a cordon that the guest tolerates does not count.
            WhyNot::Uncordon(NoUncordon::NoneCordoned) => !self.all.iter().any(|node| node.is_cordoned()),
            WhyNot::Uncordon(NoUncordon::NotTheCause(found)) => self.holds_of_cordons(found),
            WhyNot::RefusedThere { node } => {
                subject.failed.as_ref().is_some_and(|failed| failed.is_of_cpu && failed.target == *node)
            }
            WhyNot::Restart(NoRestart::LibvirtRefuses { nodes }) => !nodes.is_empty() && self.refuse(nodes),
            WhyNot::Restart(why) => subject.restart.as_ref().is_some_and(|start| {
                let demand = Demand::new(&start.placement, self.tolerations);
                let starts = self.all.iter().filter(|node| node.takes(&demand));
                let starts = starts.filter(|node| !self.libvirt.fails_at_start(&demand, **node));
                match why {
                    NoRestart::StartsNowhere => starts.count() == 0,
                    // The dependence on the start node only removes nodes: there are at least this many others.
                    NoRestart::NoMore { most } => *most < starts.count().max(1),
                    NoRestart::LibvirtRefuses { nodes } => self.refuse(nodes),
                    NoRestart::Added => self.is_added(),
                }
            }),
            WhyNot::Model(NoModel::StillLacks { node, missing, .. }) => missing.iter().all(|(key, value)| {
                !key.starts_with("cpu-model.")
                    && self.find(node).is_some_and(|node| node.label(key) != Some(value.as_str()))
            }),
            WhyNot::Model(NoModel::NoNode(none)) | WhyNot::Labels(NoLabels::NoNode(none)) => self.has_no_node(*none),
            WhyNot::Model(NoModel::NoMore { most }) => subject.restart.as_ref().is_some_and(|start| {
                let named = start.with_any_model();
                let demand = Demand::new(&named.placement, self.tolerations);
                let takes = |node: &&RawNode<'_>| node.takes(&demand) && !self.libvirt.fails_at_start(&demand, **node);
                let starts = self.all.iter().filter(takes).count();
                let holds = most.map_or(starts == 0, |most| most < starts);
                holds && self.others().next().is_some() && self.others().all(|node| node.missing(&demand).is_empty())
            }),
            WhyNot::Model(NoModel::Added) => self.is_added(),
            WhyNot::Model(NoModel::HasIt { model }) => {
                subject.restart.as_ref().is_some_and(|start| start.mode == CpuMode::Named(model.clone()))
            }
            // The current models come from a table with its own tests. Libvirt's answers are tested by a separate
            // table.
            WhyNot::Model(
                NoModel::NoneShared { .. }
                | NoModel::NotUsable(_)
                | NoModel::NotProvided(_)
                | NoModel::HasNotUsable(_)
                | NoModel::HasRefused { .. },
            )
            | WhyNot::Labels(NoLabels::LibvirtRefuses { .. } | NoLabels::Untrue { .. })
            | WhyNot::Removal(NoRemoval::LibvirtRefuses { .. }) => true,
            WhyNot::Labels(NoLabels::NothingMissing { runs, .. }) => {
                *runs == self.source().is_some()
                    && self.others().next().is_some()
                    && self.others().all(|node| node.missing(&self.demand).is_empty())
                    && !self.others().any(|node| node.lacks_by_affinity(&self.demand))
            }
            WhyNot::Labels(NoLabels::NotToAdd { node, lacks: what }) => match what {
                NotToAdd::TscFrequency(key) => lacks(node, key),
                NotToAdd::Heartbeat { key, virt_handler } => {
                    let is_so = |known: RawNode<'_>| match virt_handler {
                        VirtHandler::MayRun => true,
                        VirtHandler::NodeNotReady => !known.is_ready(),
                        VirtHandler::Absent => known.label(label::SCHEDULABLE).is_none(),
                    };
                    lacks(node, key) && self.find(node).is_some_and(is_so)
                }
                NotToAdd::EarlierName { key, value } => {
                    lacks(node, key)
                        && self.all.iter().any(|known| {
                            known.name() == node.as_str()
                                && known.label(key).is_none()
                                && known.label("cpumanager") == Some(value)
                        })
                }
                NotToAdd::MachineType(name) => lacks(node, &format!("machine-type.node.kubevirt.io/{name}")),
            },
            WhyNot::Labels(NoLabels::OtherHardware { node }) | WhyNot::Removal(NoRemoval::OtherHardware { node }) => {
                self.is_other_hardware(node)
            }
            WhyNot::Removal(NoRemoval::Inherited) => self
                .demand
                .selector
                .keys()
                .any(|key| key.contains("cpu-feature.node.") || key.contains("cpu-model-migration.node.")),
            WhyNot::Removal(NoRemoval::NotHostModel { mode }) => *mode != CpuMode::HostModel && *mode == subject.mode,
            WhyNot::Removal(NoRemoval::NothingTooMuch) => {
                matches!(subject.stage, Stage::Start(_)) && !self.all.iter().any(|node| node.has_too_much(&self.demand))
            }
            WhyNot::Drop(why) => self.holds_of_drop(why),
        }
    }

    fn holds_of_drop(&self, why: &NoDrop) -> bool {
        let subject = &self.case.prepared.subject;
        let offered = |key: &str| self.all.iter().any(|node| node.label(key) == self.demand.selector.get(key).copied());
        let own = |key: &str| subject.definition.own_selector.iter().any(|(own, _)| own == key);
        let inherits = matches!(&subject.stage, Stage::Migration(migration) if migration.inherited);
        let mut features = self.demand.selector.keys().copied().filter(|key| key.starts_with(FEATURE) && !own(key));
        match why {
            NoDrop::NothingInherited => !inherits,
            NoDrop::NothingStale => inherits && features.all(offered),
            NoDrop::ModelKey { key, features: stale } => {
                let gone: Vec<&str> = features.filter(|key| !offered(key)).collect();
                inherits && !offered(key) && gone == *stale
            }
            NoDrop::LastFeature => inherits && !features.any(offered),
            NoDrop::NotEnough { keys } => {
                let mut without = Demand::new(&subject.placement, self.tolerations);
                without.selector.retain(|key, _| !keys.iter().any(|dropped| dropped == key));
                let count = |demand: &Demand<'_>| self.others().filter(|node| self.takes(*node, demand)).count();
                keys.iter().all(|key| !offered(key)) && count(&without) <= count(&self.demand)
            }
        }
    }
}
