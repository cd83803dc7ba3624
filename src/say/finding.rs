//! A finding of a check as one sentence without its end: it follows the name of the guest, or stands alone.

use super::{host_model, withheld};
use crate::fit::check::{
    AlikeHosts, BoundVolumes, DrainShutsDown, DrainWaits, EmptyLabel, FromStart, HostModelKnown, KeptOff,
    KnownNotUsable, LibvirtRefused, ModelCoverage, NoStartNode, NoTarget, OptionalFeature, OwnHostModel, OwnNode,
    SimilarFeature, SourceNotReady, StaleModel, StartOutlook, UnlikeHosts, UnlikeVendors, UsableOn, WithheldModel,
};
use crate::fit::fleet::NodeHealth;
use crate::fit::label::{self, Family};
use crate::fit::libvirt::Incompatible;
use crate::fit::plural::{and_names, counted, fold_entries, fold_lack, fold_names, nodes, number, or_names};
use crate::fit::shown::Shown;
use crate::fit::subject::{MigrationLimit, NotMigratable, PendingChange, ShutDownBy, UnmetAtStart};
use crate::fit::verdict::{Check, Detail, Finding, Unknown, Verdict};

/// Number of kinds of start listed.
const MAX_STARTS: usize = 4;
/// Number of libvirt's reasons listed.
const MAX_REFUSALS: usize = 3;

/// Returns the finding in words.
pub(crate) fn message(finding: &Finding) -> String {
    detail(&finding.detail, None)
}

/// Returns the data of a finding in words. `fewer`: the number of items to list; `None` for the whole text.
fn detail(found: &Detail, fewer: Option<usize>) -> String {
    let most = |whole: usize| fewer.unwrap_or(whole);
    match found {
        Detail::Unknown(why) => unknown(why),
        Detail::Noted(words) => words.clone(),
        Detail::Refused(why) => format!("KubeVirt refuses the guest: {why}"),
        Detail::NoStartNode(found) => no_start_node(found),
        Detail::NoTarget(found) => no_target(found),
        Detail::OwnNode(found) => own_node(found, most(5)),
        Detail::DrainWaits(found) => drain_waits(found),
        Detail::DrainShutsDown(found) => drain_shuts_down(found),
        Detail::StartOutlook(found) => start_outlook(found),
        Detail::OwnHostModel(found) => own_host_model(found, most(3)),
        Detail::HostModelUnasked(found) => host_model::unasked(found, most(4)),
        Detail::HostModelKnown(found) => host_model::known(found, most(4)),
        Detail::OptionalFeature(found) => host_model::optional(found, most(4)),
        Detail::SourceLabels(found) => super::nodes::source_labels(found, most(4)),
        Detail::UnlikeHosts(found) => unlike_hosts(found, most(4)),
        Detail::UnlikeVendors(found) => unlike_vendors(found, most(4)),
        Detail::PodRules(found) => super::pod_rules::found(found),
        Detail::BoundVolumes(found) => bound_volumes(found, most(3)),
        Detail::StaleModel(StaleModel { model, node, now }) => format!(
            "its selector asks for cpu-model-migration {model}, which came with an earlier migration and is not on {node}, where it \
             runs, any more: the host model of {node} is {now} now"
        ),
        Detail::UnknownHost(found) => super::nodes::unknown_host(found),
        Detail::ChosenNodes(found) => super::nodes::chosen(found, most(3)),
        Detail::SimilarFeature(SimilarFeature { is_model, required, similar, offering, total }) => format!(
            "no node offers CPU {} {required}; {offering} of {} {} the similar {similar}: rename it, if that is meant",
            if *is_model { "model" } else { "feature" },
            nodes(*total),
            number(*offering, "offers", "offer")
        ),
        Detail::AskedBy(asked) => super::author::asked_by(asked),
        Detail::NotMigratable(refused) => not_migratable(refused),
        Detail::WillNotMigrate(refused) => format!("KubeVirt will not migrate it: {}", condition(refused)),
        Detail::LibvirtRefused(LibvirtRefused { target, reason, is_of_cpu, unlabelled }) => {
            let to = if target.is_empty() { String::new() } else { format!(", to {target},") };
            if !is_of_cpu {
                return format!("the last try{to} failed, which is not due to labels: {reason}");
            }
            let labels = if *unlabelled { " (no node has a label for that)" } else { ", whatever the labels say" };
            format!("the last try{to} failed in libvirt{labels}: {reason}")
        }
        Detail::NotStarted(why) => super::not_started::start_failed(why),
        Detail::LibvirtRefuses(refusals) => libvirt_refuses(refusals),
        Detail::LibvirtRefusesToo(refusals) => libvirt_refuses_too(refusals),
        Detail::FailsAtStart(nodes) => fails_at_start(nodes),
        Detail::OutdatedLauncher => {
            "runs in an outdated launcher: its QEMU may be older than that on a target; a restart ends that".to_owned()
        }
        Detail::MigrationWanted(pending) => migration_wanted(pending),
        Detail::RestartRequired => {
            "its VM waits for a restart (condition RestartRequired): until then KubeVirt applies no change of the VM to the running \
             guest"
                .to_owned()
        }
        Detail::KnownNotUsable(KnownNotUsable { model, known, total }) => format!(
            "CPU model {model} is known on {known} of {}, usable on 0 of {total}: cpu-model-migration labels do not mean \
             usable",
            nodes(*total)
        ),
        Detail::ModelCoverage(found) => model_coverage(found, most(3)),
        Detail::Withheld(found) => withheld::sentence(found),
        Detail::Contradiction(found) => {
            let entry = label::short(&found.key, &found.value);
            format!("requires and forbids {entry}: no node can ever meet both")
        }
        Detail::EmptyLabel(found) => empty_label(found),
        Detail::NoVirtHandler(found) => super::nodes::no_virt_handler(found),
        Detail::NoCpuLabels(found) => super::nodes::no_cpu_labels(found),
        Detail::OtherArchitectures(found) => super::nodes::other_architectures(found, most(3)),
        Detail::MigrationsOff(limit) => migrations_off(*limit),
        Detail::SourceNotReady(found) => source_not_ready(found),
        Detail::NotReady(names) => not_ready(names),
    }
}

/// Returns why no guest is migrated: this limit is 0.
pub(crate) fn migrations_off(limit: MigrationLimit) -> String {
    let MigrationLimit { field, by_hyperconverged } = limit;
    let by = if by_hyperconverged { ", by spec.liveMigrationConfig of HyperConverged" } else { "" };
    format!("KubeVirt starts no migration: {field} of its resource is 0{by}")
}

/// Returns `node-d fits by labels and taints, but is not Ready`.
pub(crate) fn not_ready<S: AsRef<str>>(nodes: &[S]) -> String {
    let (fits, is) = (number(nodes.len(), "fits", "fit"), number(nodes.len(), "is", "are"));
    format!("{} {fits} by labels and taints, but {is} not Ready", fold_names(nodes, 3))
}

/// Returns `waits for a migration: its new vCPUs count once it has migrated (condition HotVCPUChange)`.
fn migration_wanted(pending: &[PendingChange]) -> String {
    let what = |change: &PendingChange| match change {
        PendingChange::VCpus => "vCPUs",
        PendingChange::Memory => "memory",
        PendingChange::Volumes => "volumes",
        PendingChange::Interfaces => "network interfaces",
    };
    let what: Vec<&str> = pending.iter().map(what).collect();
    let conditions: Vec<&str> = pending.iter().map(|change| change.condition()).collect();
    let noun = number(pending.len(), "condition", "conditions");
    let counts = if let [PendingChange::Memory] = pending { "counts" } else { "count" };
    let copied = if pending.contains(&PendingChange::Volumes) {
        "; that migration copies its data, and a restart before it does not"
    } else {
        ""
    };
    format!(
        "waits for a migration: its new {} {counts} once it has migrated ({noun} {}){copied}",
        and_names(&what, what.len()),
        and_names(&conditions, conditions.len())
    )
}

fn source_not_ready(found: &SourceNotReady) -> String {
    let SourceNotReady { node, health } = found;
    let sign = match health {
        NodeHealth::Down => return source_down(node),
        NodeHealth::Unschedulable => format!("has {}=false", label::SCHEDULABLE),
        NodeHealth::NotReady | NodeHealth::Well => "is not Ready".to_owned(),
    };
    format!("{node}, where it runs, {sign}: it migrates only if virt-handler there still works")
}

/// Returns `cannot leave n1 now, which is not Ready: …`, for a guest on a node that is down.
pub(crate) fn source_down(node: &str) -> String {
    format!(
        "cannot leave {node} now, which is not Ready and whose virt-handler has stopped: virt-handler there migrates it, once it is back"
    )
}

/// Returns `CPU model X leaves out 4 of 6 nodes that could take the guest (a, b and 2 more); it is asked for by the
/// cluster's default (…)`.
fn model_coverage(found: &ModelCoverage, most: usize) -> String {
    let ModelCoverage { model, open, left_out, author, better } = found;
    // The field to blame names the author too, so it is left out if there is little room.
    let by = author.as_ref().filter(|_| most > 1).map(super::author::who);
    let by = by.map(|who| format!("; it is asked for by {who}")).unwrap_or_default();
    let better = better.as_ref().filter(|_| most > 2).map(|(model, count)| {
        let all = if count == open { "all " } else { "" };
        format!("; {model} runs on {all}{count}")
    });
    format!(
        "CPU model {model} leaves out {} of {} that could take the guest ({}){by}{}",
        left_out.len(),
        nodes(*open),
        fold_names(left_out, most),
        better.unwrap_or_default()
    )
}

/// Returns KubeVirt's reason: `DisksNotLiveMigratable: PVC web-disk is not shared`.
pub(crate) fn condition(refused: &NotMigratable) -> String {
    let message = refused.message.strip_prefix("cannot migrate VMI: ").unwrap_or(&refused.message);
    match (refused.reason.as_str(), message) {
        ("", "") => "condition LiveMigratable is False".to_owned(),
        ("", text) | (text, "") => text.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Returns why no eviction migrates a guest with this status of its condition `LiveMigratable`; empty means no
/// condition.
pub(crate) fn undecided(status: &str) -> String {
    match status {
        "" => "it has no condition LiveMigratable yet, which must be True".to_owned(),
        status => format!("its condition LiveMigratable is {}, not True", super::Shown::within(status, 20)),
    }
}

fn not_migratable(refused: &NotMigratable) -> String {
    format!("cannot migrate, whatever the labels say: KubeVirt refuses it ({})", condition(refused))
}

/// Returns the finding as a sentence that stands alone. A name at its beginning is kept as it is.
pub(crate) fn sentence(finding: &Finding) -> String {
    let message = message(finding);
    let begins_with_a_name = (begins_with_a_name(&finding.detail) && !message.starts_with("an "))
        || finding.check == Check::CommonModel
        || !message.split(' ').next().is_some_and(|word| word.chars().all(char::is_lowercase));
    let mut chars = message.chars();
    let mut out: String = match chars.next() {
        Some(first) if !begins_with_a_name => first.to_uppercase().collect(),
        first => first.into_iter().collect(),
    };
    out.push_str(chars.as_str());
    if !out.ends_with(['.', '?']) {
        out.push('.');
    }
    out
}

/// Whether the text begins with the name of a node or a label.
fn begins_with_a_name(detail: &Detail) -> bool {
    if let Detail::PodRules(found) = detail {
        return found.rules.is_empty() || found.is_nowhere();
    }
    if let Detail::SourceNotReady(found) = detail {
        return found.health != NodeHealth::Down;
    }
    if let Detail::AskedBy(asked) = detail {
        // Else it begins with the number of terms.
        return asked.alternatives.is_empty() || !asked.entries.is_empty();
    }
    matches!(
        detail,
        Detail::NotReady(_)
            | Detail::NoCpuLabels(_)
            | Detail::Withheld(WithheldModel::OnlyLabelled { .. })
            | Detail::EmptyLabel(_)
            | Detail::OwnHostModel(_)
            | Detail::HostModelUnasked(_)
            | Detail::HostModelKnown(HostModelKnown { runs: true, .. })
            | Detail::OptionalFeature(OptionalFeature { runs: true, .. })
            | Detail::SourceLabels(_)
    )
}

/// Returns `a drain of n1 waits until it is shut down: evictionStrategy LiveMigrate (spec.evictionStrategy of the
/// VMI)`.
fn drain_waits(found: &DrainWaits) -> String {
    let DrainWaits { node, strategy, author, single_node, undecided: status } = found;
    if let Some(status) = status {
        return format!(
            "a drain of {node} waits for it: its evictionStrategy is {strategy} ({}), and {}",
            super::author::who(author),
            undecided(status)
        );
    }
    let none = if *single_node { "; on a single-node cluster the strategy None lets it go on" } else { "" };
    format!(
        "a drain of {node} waits until it is shut down: its evictionStrategy is {strategy}, by {}{none}",
        super::author::who(author)
    )
}

/// Returns `a drain of n1 shuts it down: neither it nor the KubeVirt resource has an evictionStrategy`.
fn drain_shuts_down(found: &DrainShutsDown) -> String {
    let why = match &found.by {
        ShutDownBy::NoStrategy => "neither it nor the KubeVirt resource has an evictionStrategy".to_owned(),
        ShutDownBy::Strategy { stated, author } => {
            format!("its evictionStrategy is {}, by {}", Shown::within(stated, 40), super::author::who(author))
        }
        ShutDownBy::NotMigratable { author } => format!(
            "its evictionStrategy is LiveMigrateIfPossible, by {}, and it is not live-migratable",
            super::author::who(author)
        ),
    };
    format!("a drain of {} shuts it down: {why}", found.node)
}

/// Returns `where it starts decides where it can go: from a, b or c to 2 nodes and never to d; from d to 3 nodes`.
fn start_outlook(found: &StartOutlook) -> String {
    let from = |from: &FromStart| {
        let FromStart { nodes: names, targets, never, .. } = from;
        let never = match never.as_slice() {
            [] => String::new(),
            never => format!(" and never to {}", or_names(never, 3)),
        };
        format!("from {} to {}{never}", or_names(names, 3), nodes(*targets))
    };
    let hidden = found.starts.len().saturating_sub(MAX_STARTS);
    let shown: Vec<String> = found.starts.iter().take(MAX_STARTS).map(from).collect();
    let more = if hidden > 0 {
        format!("; {} more", counted(hidden, "kind of start", "kinds of start"))
    } else {
        String::new()
    };
    let by_name = found.starts.iter().take(MAX_STARTS).filter_map(|from| Some((from.by_name.as_ref()?, &from.nodes)));
    let by_name: Vec<String> = by_name
        .map(|(model, names)| {
            format!("; {model} by name would lose no node against host-model on {}", and_names(names, 3))
        })
        .collect();
    format!("where it starts decides where it can go: {}{more}{}", shown.join("; "), by_name.concat())
}

/// Returns `EPYC-Rome runs on 1 of 4 nodes (genoa-a); it is the host model of rome-a and rome-b but not usable there by
/// name`.
fn own_host_model(found: &OwnHostModel, most: usize) -> String {
    let OwnHostModel { model, usable, total, unusable, is_withheld } = found;
    let names = if usable.is_empty() { String::new() } else { format!(" ({})", fold_names(usable, most)) };
    // The reason is added only if there is room.
    let why = match (is_withheld, most) {
        (_, ..3) => "",
        (true, _) => ": KubeVirt's list of obsolete models withholds its label",
        (false, _) => ": a host model may lack some of the model that it is named after",
    };
    format!(
        "{model} runs on {} of {}{names}; it is the host model of {} but not usable there by name{why}",
        usable.len(),
        nodes(*total),
        and_names(unusable, most)
    )
}

/// Returns `host-passthrough keeps the CPU of n1 (EPYC-Rome): 1 node fits by labels and is unlike it (EPYC-Milan on
/// n2), and it may fail there`. With at most `most` names in each place; with one, no kinds.
fn unlike_hosts(found: &UnlikeHosts, most: usize) -> String {
    let UnlikeHosts { runs_on, hosts, cordoned } = found;
    let first = hosts.first().and_then(|of| of.vendor.as_ref());
    let differ = hosts.iter().any(|of| of.vendor.is_some() && of.vendor.as_ref() != first);
    let model = |of: &AlikeHosts| {
        let vendor = of.vendor.as_ref().filter(|_| differ).map(|vendor| format!(" of {vendor}")).unwrap_or_default();
        match of.with.as_slice() {
            [] => format!("{}{vendor}", of.model),
            with => format!("{}{vendor} with {}", of.model, fold_names(with, most)),
        }
    };
    // Between vendors, a guest that was moved finds instructions missing that it uses.
    let may = if differ && first.is_some() { "crash" } else { "fail" };
    let kinds = |hosts: &[AlikeHosts]| {
        let more = hosts.len().saturating_sub(most);
        let place = |of: &AlikeHosts| format!("{} on {}", model(of), and_names(&of.nodes, most));
        let mut places: Vec<String> = hosts.iter().take(most).map(place).collect();
        places.extend((more > 0).then(|| format!("{} more", counted(more, "kind", "kinds"))));
        if most > 1 { format!(" ({})", places.join("; ")) } else { String::new() }
    };
    match (runs_on, hosts.as_slice()) {
        (Some(node), [own, others @ ..]) => {
            let count: usize = others.iter().map(|of| of.nodes.len()).sum();
            let (fits, is) = (number(count, "fits", "fit"), number(count, "is", "are"));
            let own = if most > 1 { format!(" ({})", model(own)) } else { String::new() };
            let are = number(cordoned.len(), "is", "are");
            let like = match cordoned.as_slice() {
                names if !names.is_empty() && most > 1 => {
                    format!("; {} {are} like it, but cordoned", and_names(names, most))
                }
                _ => String::new(),
            };
            format!(
                "host-passthrough keeps the CPU of {node}{own}: {} {fits} by labels and {is} unlike it{}, and it may {may} there{like}",
                nodes(count),
                kinds(others),
            )
        }
        (_, hosts) => format!(
            "host-passthrough keeps the CPU of the node it starts on: the nodes that fit are unlike each other{}, and moved \
             between them it may {may}",
            kinds(hosts)
        ),
    }
}

/// Returns `its pod asks for no CPU vendor, so that nodes of another one fit by labels (AMD on a1 and a2; i1 is Intel):
/// moved there it may crash`.
fn unlike_vendors(found: &UnlikeVendors, most: usize) -> String {
    let on: Vec<String> =
        found.vendors.iter().map(|(vendor, nodes)| format!("{vendor} on {}", and_names(nodes, most))).collect();
    let on = on.join("; ");
    match &found.runs_on {
        Some((node, own)) => format!(
            "its pod asks for no CPU vendor, so that nodes of another one fit by labels ({on}; {node} is {own}): moved there it may \
             crash"
        ),
        None => format!(
            "its pod asks for no CPU vendor, and nor will its migrations: nodes of several fit by labels ({on}), and moved between \
             them it may crash"
        ),
    }
}

/// Returns `of 3 nodes that fit by labels, it can use root (PersistentVolume pv-1) on n1 alone; data (PersistentVolume
/// pv-2) on none`. With at most `most` names in each place.
fn bound_volumes(found: &BoundVolumes, most: usize) -> String {
    let BoundVolumes { fitting, volumes } = found;
    let place = |of: &UsableOn| match of.nodes.as_slice() {
        [] => "none".to_owned(),
        [one] => format!("{one} alone"),
        many => format!("{} alone", and_names(many, most)),
    };
    let volume = |of: &UsableOn| format!("{} (PersistentVolume {}) on {}", of.volume, of.persistent_volume, place(of));
    let named: Vec<String> = volumes.iter().take(most).map(volume).collect();
    let more = match volumes.len().saturating_sub(most) {
        0 => String::new(),
        more => format!("; {} not on all of them", counted(more, "more volume", "more volumes")),
    };
    let fit = number(*fitting, "fits", "fit");
    format!("of {} that {fit} by labels, it can use {}{more}", nodes(*fitting), named.join("; "))
}

/// Returns `conf-1 and conf-2 carry kubevirt.io/sev with an empty value, and true is asked for: …`.
fn empty_label(found: &EmptyLabel) -> String {
    let EmptyLabel { key, nodes, without, is_written_so } = found;
    let by = if *is_written_so {
        "KubeVirt 1.5.0 to 1.5.2 writes it so, 1.5.3 writes true"
    } else {
        "KubeVirt writes true since 1.5.3, and wrote it empty before"
    };
    let without = match without.as_slice() {
        [] => String::new(),
        names => format!("; {} {} no such label at all", and_names(names, 3), number(names.len(), "has", "have")),
    };
    format!(
        "{} {} {key} with an empty value, and true is asked for: {by}{without}",
        and_names(nodes, 3),
        number(nodes.len(), "carries", "carry"),
    )
}

/// Returns why there is no verdict.
pub(crate) fn unknown(why: &Unknown) -> String {
    match why {
        Unknown::NoNodes => "no node is known".to_owned(),
        Unknown::NoLabels => "no node has a CPU model or feature label: is virt-handler running?".to_owned(),
        Unknown::UnreadNode { node, why } => format!("node {node} might take it and is too large to read: {why}"),
        Unknown::NotInTime => "there was no time to judge it".to_owned(),
        Unknown::NotJudged(why) => why.clone(),
    }
}

fn no_start_node(found: &NoStartNode) -> String {
    let NoStartNode { judged, has_others, nowhere, next_time, by } = found;
    let cannot = if *next_time { "cannot start next time" } else { "cannot start" };
    if !nowhere.is_empty() {
        return format!("{cannot}: no node offers {}, which its selector requires", fold_entries(nowhere, 3));
    }
    let what = match by {
        KeptOff::Temporary | KeptOff::Libvirt | KeptOff::Unknown => None,
        KeptOff::Selector => Some("its selector"),
        KeptOff::Affinity => Some("its node affinity"),
        KeptOff::Both => Some("its selector and its node affinity"),
    };
    let of = if *has_others { " of its architecture" } else { "" };
    if *by == KeptOff::Libvirt {
        return format!("{cannot}: on the nodes that fit by labels it would fail, as libvirt there says");
    }
    let now = if *by == KeptOff::Temporary { " now" } else { "" };
    let none = match (judged, what) {
        (0, _) => return format!("{cannot}: no node is of its architecture"),
        (1, Some(what)) => format!("the only node{of} does not meet {what}"),
        (1, None) => format!("the only node{of} cannot take it{now}"),
        (many, Some(what)) => format!("none of {many} nodes{of} meets {what}"),
        (many, None) => format!("none of {many} nodes{of} can take it{now}"),
    };
    format!("{cannot}{now}: {none}")
}

fn no_target(found: &NoTarget) -> String {
    match found {
        NoTarget::Nowhere(entries) => {
            format!("cannot migrate: no node offers {}, which its selector requires", fold_entries(entries, 3))
        }
        NoTarget::NoOtherNode { has_others } => {
            let of = if *has_others { " of its architecture" } else { "" };
            format!("cannot migrate: there is no other node{of}")
        }
        NoTarget::None { judged, has_others, from_elsewhere, lasting, by_affinity } => {
            let of = if *has_others { " of its architecture" } else { "" };
            let (meets, fails) = match by_affinity {
                true => ("meets its selector and its node affinity and is free", "its selector or its node affinity"),
                false => ("meets its selector and is free", "its selector"),
            };
            let none = match (judged, from_elsewhere) {
                (1, false) => format!("the only other node{of} does not meet {fails} or is not free"),
                (1, true) => format!("the only node{of} does not meet {fails} or is not free"),
                (many, true) => format!("none of {many} nodes{of} {meets}"),
                (many, false) => format!("none of the {many} other nodes{of} {meets}"),
            };
            let now = if *lasting { "" } else { " now" };
            format!("cannot migrate{now}: {none}")
        }
        NoTarget::LibvirtRefuses(names) => format!(
            "cannot migrate: libvirt refuses its CPU on {}, which {} by labels, and no other node can take it now",
            fold_names(names, 3),
            number(names.len(), "fits", "fit")
        ),
        NoTarget::One { node, by_labels: false } => format!("can migrate to one node only: {node}"),
        NoTarget::One { node, by_labels: true } => format!("by its labels one node only would take it: {node}"),
        NoTarget::ByStart { targets, will_migrate: false, by_labels, .. } => match start_names(targets).as_slice() {
            [_] => few_starts(targets, *by_labels),
            names => format!(
                "{} on {} alone, and would not migrate between them",
                can_start(*by_labels),
                and_names(names, 3)
            ),
        },
        NoTarget::ByStart { mode, targets, mode_decides: true, .. } => format!("uses {mode}: {}", by_start(targets)),
        NoTarget::ByStart { targets, by_labels, .. } => few_starts(targets, *by_labels),
    }
}

/// Returns `libvirt refuses its CPU on node-b, which fits by labels (missing features hle, rtm)`.
pub(crate) fn libvirt_refuses(refusals: &[(String, Incompatible)]) -> String {
    let said = refusals.iter().map(|(node, why)| (&why.missing, incompatible(why), node.clone()));
    format!("libvirt refuses its CPU {}", by_reason(said, |why| format!(" ({why})")))
}

/// Returns `libvirt refuses its CPU on node-b, which is not free either (missing features hle, rtm)`.
fn libvirt_refuses_too(refusals: &[(String, Incompatible)]) -> String {
    let said = refusals.iter().map(|(node, why)| (&why.missing, incompatible(why), node.clone()));
    let which = |nodes: &[String]| format!("which {} not free either", number(nodes.len(), "is", "are"));
    format!("libvirt refuses its CPU {}", by_reason_of(said, which, |why| format!(" ({why})")))
}

/// Returns `it would fail at its start on node-c, which fits by labels: libvirt there does not list EPYC-Milan as
/// usable (missing: vaes)`.
fn fails_at_start(nodes: &[(String, Vec<UnmetAtStart>)]) -> String {
    let said = nodes.iter().map(|(node, unmet)| (unmet, unmet_at_start(unmet), node.clone()));
    format!("it would fail at its start {}", by_reason(said, |why| format!(": libvirt there {why}")))
}

/// Returns `on node-b and node-c, which fit by labels (…); for other reasons on 2 more nodes`. Nodes with alike
/// reasons are listed together.
fn by_reason<K: PartialEq>(said: impl Iterator<Item = (K, String, String)>, reason: impl Fn(&str) -> String) -> String {
    let fit = |nodes: &[String]| format!("which {} by labels", number(nodes.len(), "fits", "fit"));
    by_reason_of(said, fit, reason)
}

/// Returns [`by_reason`] with what `which` says of the nodes.
fn by_reason_of<K: PartialEq>(
    said: impl Iterator<Item = (K, String, String)>,
    which: impl Fn(&[String]) -> String,
    reason: impl Fn(&str) -> String,
) -> String {
    let mut parts = super::alike::fold(said);
    let hidden: usize = parts.drain(MAX_REFUSALS.min(parts.len())..).map(|(.., nodes)| nodes.len()).sum();
    let part = |(_, why, nodes): &(K, String, Vec<String>)| {
        format!("on {}, {}{}", fold_names(nodes, 3), which(nodes), reason(why))
    };
    let mut shown: Vec<String> = parts.iter().map(part).collect();
    if hidden > 0 {
        shown.push(format!("for other reasons on {}", counted(hidden, "more node", "more nodes")));
    }
    shown.join("; ")
}

/// Returns the requirements of a start that a node lacks according to its libvirt: `does not list EPYC-Milan as usable
/// (missing: vaes)`.
pub(crate) fn unmet_at_start(unmet: &[UnmetAtStart]) -> String {
    let mut parts = Vec::new();
    let (mut features, mut forbidden): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for unmet in unmet {
        match unmet {
            UnmetAtStart::Model { model, blockers } => {
                let why = match blockers.as_slice() {
                    [] => String::new(),
                    blockers => format!(" (missing: {})", fold_names(blockers, 4)),
                };
                parts.push(format!("does not list {model} as usable{why}"));
            }
            UnmetAtStart::FeaturesOfModel { model, missing } => {
                parts.push(format!("does not provide {} of {model}", fold_names(missing, 4)));
            }
            UnmetAtStart::Feature(name) => features.push(name),
            UnmetAtStart::Forbidden(name) => forbidden.push(name),
        }
    }
    if !features.is_empty() {
        parts.push(format!("does not provide {}", fold_names(&features, 4)));
    }
    if !forbidden.is_empty() {
        parts.push(format!("provides {}, which it forbids", fold_names(&forbidden, 4)));
    }
    parts.join(" and ")
}

/// Returns why libvirt refuses a CPU: `missing features hle, rtm`, or its own words, and whether only outdated
/// launchers were there to ask.
pub(crate) fn incompatible(why: &Incompatible) -> String {
    let words = match (why.missing.as_slice(), why.reason.as_str()) {
        ([], "") => "no reason given".to_owned(),
        ([], reason) => reason.to_owned(),
        (missing, _) => {
            format!("missing {} {}", number(missing.len(), "feature", "features"), fold_names(missing, 12))
        }
    };
    if why.by_outdated { format!("{words}; only outdated launchers there could be asked") } else { words }
}

/// Number of groups of start nodes that are named with their targets.
const MAX_TARGETS: usize = 4;

/// Returns `if it starts on node-e it can never migrate; from node-b to 4 nodes`; start nodes that are not named leave
/// more targets.
fn by_start(targets: &[(usize, Vec<String>)]) -> String {
    let from = |at: usize, count: usize, names: &[String]| {
        let names = or_names(names, 3);
        match (at, count) {
            (_, 0) => format!("if it starts on {names} it can never migrate"),
            (0, 1) => format!("if it starts on {names} it can migrate to 1 node only"),
            (0, many) => format!("if it starts on {names} it can migrate to {many} nodes"),
            (_, 1) => format!("from {names} only to 1 node"),
            (_, many) => format!("from {names} to {many} nodes"),
        }
    };
    let parts = targets.iter().take(MAX_TARGETS).enumerate().map(|(at, (count, names))| from(at, *count, names));
    let hidden: usize = targets.iter().skip(MAX_TARGETS).map(|(_, names)| names.len()).sum();
    let more = (hidden > 0).then(|| format!("from {} to more", counted(hidden, "other node", "other nodes")));
    parts.chain(more).collect::<Vec<_>>().join("; ")
}

/// Returns the start nodes, sorted.
fn start_names(targets: &[(usize, Vec<String>)]) -> Vec<&str> {
    let mut out: Vec<&str> = targets.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
    out.sort_unstable();
    out
}

/// Returns `can start on node-e alone, and could never leave it`: its few targets are not due to its CPU mode.
fn few_starts(targets: &[(usize, Vec<String>)], by_labels: bool) -> String {
    let can = can_start(by_labels);
    match start_names(targets).as_slice() {
        [one] => format!("{can} on {one} alone, and could never leave it"),
        names => format!("{can} on {} alone: from each it could go to 1 node only", and_names(names, 3)),
    }
}

/// Returns `by labels can start` where its volumes or devices leave fewer nodes, else `can start`.
fn can_start(by_labels: bool) -> &'static str {
    if by_labels { "by labels can start" } else { "can start" }
}

/// Whether another sentence contains it: for a required model, its coverage if that names the author too; for a host
/// model that the list of obsolete models withholds, the sentence about the list.
pub(crate) fn is_said_by_another(finding: &Finding, verdict: &Verdict) -> bool {
    if let Detail::OwnHostModel(found) = &finding.detail {
        return verdict.findings.iter().any(|other| {
            matches!(&other.detail, Detail::Withheld(WithheldModel::Model { model, .. }) if *model == found.model)
        });
    }
    let Detail::AskedBy(asked) = &finding.detail else { return false };
    let coverage = verdict.found(Check::ModelCoverage).map(|finding| &finding.detail);
    asked.rules.is_empty()
        && asked.entries.iter().all(|(key, _)| Family::of(key) == Family::CpuModel)
        && matches!(coverage, Some(Detail::ModelCoverage(found)) if found.author.as_ref() == Some(&asked.author))
}

/// Whether the sentence does not name the cause that excludes the guest from nodes.
pub(crate) fn asks_why(finding: &Finding) -> bool {
    match &finding.detail {
        Detail::NoStartNode(found) => found.nowhere.is_empty() && found.judged > 0 && found.by != KeptOff::Libvirt,
        Detail::NoTarget(NoTarget::ByStart { mode_decides, .. }) => !mode_decides,
        _ => false,
    }
}

/// Returns the finding in words, listing fewer and fewer items: the first text that fits is used.
pub(crate) fn shorter(finding: &Finding) -> impl Iterator<Item = String> + '_ {
    [None, Some(3), Some(2), Some(1)].into_iter().map(|fewer| detail(&finding.detail, fewer))
}

fn own_node(found: &OwnNode, most: usize) -> String {
    let OwnNode { node, missing, has, affinity } = found;
    let affinity: Vec<String> = affinity.iter().map(ToString::to_string).collect();
    let (what, lacks) = if missing.is_empty() {
        ("node affinity", fold_names(&affinity, most))
    } else {
        ("selector", fold_lack(missing, has, most))
    };
    format!(
        "its own node {node} no longer meets its pod's {what} ({lacks}): a restart of the kubelet there would fail the \
         running guest"
    )
}
