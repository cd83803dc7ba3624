//! Names of all possible texts: checks, findings, remedies, reasons. A new one must be named here, or this does not
//! compile; one that no situation produces fails the test.

use crate::fit::check::{self, Check, Detail, NoTarget, WithheldModel};
use crate::fit::fleet::NodeHealth;
use crate::fit::remedy::{self, NoDrop, NoLabels, NoModel, NoRemoval, NoRestart, NoUncordon, NotToAdd, WhyNot};
use crate::fit::subject::NotStarted;
use crate::fit::verdict::{Unknown, Verdict};

macro_rules! named {
    ($function:ident, $list:ident, $type:ty, $($pattern:pat => $name:literal,)*) => {
        fn $function(value: &$type) -> &'static str {
            match value { $($pattern => $name,)* }
        }
        const $list: &[&str] = &[$($name,)*];
    };
}

named! { detail, DETAILS, Detail,
    Detail::Unknown(Unknown::NoNodes) => "unknown: no nodes",
    Detail::Unknown(Unknown::NoLabels) => "unknown: no labels",
    // Too large to read, or no time: tested by tests/cost, src/bounds and the promises.
    Detail::Unknown(Unknown::UnreadNode { .. } | Unknown::NotInTime | Unknown::NotJudged(_)) => "",
    // No situation here asks libvirt: `fit::libvirt` has its own tests.
    Detail::LibvirtRefuses(_)
    | Detail::LibvirtRefusesToo(_)
    | Detail::FailsAtStart(_)
    | Detail::NoTarget(NoTarget::LibvirtRefuses(_)) => "",
    Detail::Noted(_) => "noted",
    Detail::Refused(_) => "",
    Detail::NoStartNode(_) => "no start node",
    Detail::NoTarget(NoTarget::Nowhere(_)) => "no target: nowhere",
    Detail::NoTarget(NoTarget::NoOtherNode { .. }) => "no target: no other node",
    Detail::NoTarget(NoTarget::None { .. }) => "no target: none",
    Detail::NoTarget(NoTarget::One { .. }) => "no target: one",
    Detail::NoTarget(NoTarget::ByStart { .. }) => "no target: by start",
    Detail::OwnNode(_) => "own node",
    Detail::NotMigratable(_) => "not migratable",
    Detail::WillNotMigrate(_) => "will not migrate",
    Detail::LibvirtRefused(_) => "libvirt refused",
    Detail::NotStarted(NotStarted::Refused { .. }) => "not started: refused",
    Detail::NotStarted(NotStarted::Reported { .. }) => "not started: reported",
    Detail::NotStarted(NotStarted::Failed { .. }) => "not started: failed",
    Detail::OutdatedLauncher => "outdated launcher",
    Detail::MigrationWanted(_) => "migration wanted",
    Detail::RestartRequired => "restart required",
    Detail::KnownNotUsable(_) => "known, not usable",
    Detail::Withheld(WithheldModel::Model { .. }) => "withheld: model",
    Detail::Withheld(WithheldModel::Still { .. }) => "withheld: still there",
    Detail::Withheld(WithheldModel::HostModels { .. }) => "withheld: host models",
    Detail::Withheld(WithheldModel::OnlyLabelled { is_unlisted: true, .. }) => "withheld: a label left behind",
    Detail::Withheld(WithheldModel::OnlyLabelled { is_unlisted: false, .. }) => "withheld: a label",
    Detail::Contradiction(_) => "contradiction",
    Detail::EmptyLabel(_) => "empty label",
    Detail::NoVirtHandler(check::NoVirtHandler { why: check::NotPlaced::NotKnown, .. }) => "no virt-handler: not known",
    Detail::NoVirtHandler(_) => "no virt-handler",
    Detail::NoCpuLabels(_) => "no CPU labels",
    Detail::OtherArchitectures(_) => "other architectures",
    Detail::AskedBy(_) => "asked by",
    Detail::UnknownHost(_) => "unknown host",
    Detail::ChosenNodes(_) => "chosen nodes",
    Detail::SimilarFeature(_) => "similar feature",
    Detail::StartOutlook(_) => "start outlook",
    Detail::OwnHostModel(_) => "own host model",
    Detail::HostModelUnasked(_) => "host model unasked",
    Detail::HostModelKnown(_) => "host model known",
    Detail::OptionalFeature(_) => "optional feature",
    Detail::SourceLabels(check::SourceLabels::NoHostModel { .. }) => "source labels: no host model",
    Detail::SourceLabels(check::SourceLabels::Vendors { .. }) => "source labels: vendors",
    Detail::UnlikeHosts(_) => "unlike hosts",
    Detail::UnlikeVendors(_) => "unlike vendors",
    Detail::ModelCoverage(_) => "model coverage",
    Detail::PodRules(_) => "pod rules",
    Detail::BoundVolumes(_) => "bound volumes",
    Detail::StaleModel(_) => "stale model",
    Detail::DrainWaits(_) => "drain waits",
    Detail::DrainShutsDown(_) => "drain shuts down",
    Detail::SourceNotReady(check::SourceNotReady { health: NodeHealth::Down, .. }) => "source down",
    Detail::MigrationsOff(_) => "migrations off",
    Detail::SourceNotReady(_) => "source not ready",
    Detail::NotReady(_) => "not ready",
}

named! { why_not, REASONS, WhyNot,
    WhyNot::NotMigratable(_) => "KubeVirt refuses to migrate",
    WhyNot::WillNotMigrate(_) => "KubeVirt will refuse to migrate",
    WhyNot::MigrationsOff(_) => "KubeVirt starts no migration",
    WhyNot::SourceDown(_) => "the source is down",
    WhyNot::LibvirtRefused => "libvirt refused to migrate",
    WhyNot::RefusedThere { .. } => "libvirt refused it there",
    WhyNot::Uncordon(NoUncordon::NoneCordoned) => "uncordon: none cordoned",
    WhyNot::Uncordon(NoUncordon::NotTheCause(_)) => "uncordon: not the cause",
    WhyNot::Restart(NoRestart::StartsNowhere) => "restart: starts nowhere",
    WhyNot::Restart(NoRestart::NoMore { .. }) => "restart: no more",
    WhyNot::Restart(NoRestart::Added) => "restart: added selector",
    WhyNot::Model(NoModel::Added) => "model: added selector",
    WhyNot::Restart(NoRestart::LibvirtRefuses { .. }) => "",
    WhyNot::Model(NoModel::StillLacks { .. }) => "model: still lacks",
    WhyNot::Model(NoModel::NoNode(_)) => "model: no node",
    WhyNot::Model(NoModel::NoMore { .. }) => "model: no more nodes",
    WhyNot::Model(NoModel::NoneShared { .. }) => "model: none shared",
    WhyNot::Model(NoModel::HasIt { .. }) => "model: has it",
    WhyNot::Labels(NoLabels::NoNode(_)) => "labels: no node",
    WhyNot::Labels(NoLabels::NothingMissing { .. }) => "labels: nothing missing",
    WhyNot::Labels(NoLabels::NotToAdd { lacks: NotToAdd::TscFrequency(_), .. }) => "labels: TSC frequency",
    WhyNot::Labels(NoLabels::NotToAdd { lacks: NotToAdd::Heartbeat { .. }, .. }) => "labels: heartbeat",
    WhyNot::Labels(NoLabels::NotToAdd { lacks: NotToAdd::EarlierName { .. }, .. }) => "labels: earlier name",
    WhyNot::Labels(NoLabels::NotToAdd { lacks: NotToAdd::MachineType(_), .. }) => "labels: machine type",
    WhyNot::Labels(NoLabels::LibvirtRefuses { .. } | NoLabels::Untrue { .. })
    | WhyNot::Removal(NoRemoval::LibvirtRefuses { .. })
    | WhyNot::Model(
        NoModel::NotUsable(_) | NoModel::NotProvided(_) | NoModel::HasNotUsable(_) | NoModel::HasRefused { .. },
    ) => "",
    WhyNot::Labels(NoLabels::OtherHardware { .. }) => "labels: other hardware",
    WhyNot::Removal(NoRemoval::Inherited) => "removal: inherited",
    WhyNot::Removal(NoRemoval::NotHostModel { .. }) => "removal: no host-model",
    WhyNot::Removal(NoRemoval::NothingTooMuch) => "removal: nothing too much",
    WhyNot::Removal(NoRemoval::OtherHardware { .. }) => "removal: other hardware",
    WhyNot::Drop(NoDrop::NothingInherited) => "drop: nothing inherited",
    WhyNot::Drop(NoDrop::NothingStale) => "drop: nothing stale",
    WhyNot::Drop(NoDrop::ModelKey { .. }) => "drop: model key",
    WhyNot::Drop(NoDrop::LastFeature) => "drop: last feature",
    WhyNot::Drop(NoDrop::NotEnough { .. }) => "drop: not enough",
}

/// Returns the names of all possible texts.
pub(super) fn all() -> Vec<String> {
    let checks =
        check::ALL.iter().filter(|spec| spec.id != Check::LibvirtRefuses).map(|spec| format!("check {:?}", spec.id));
    let remedies = remedy::ALL.iter().map(|spec| format!("remedy {:?}", spec.id));
    let named = DETAILS.iter().chain(REASONS).filter(|name| !name.is_empty()).map(ToString::to_string);
    checks.chain(remedies).chain(named).collect()
}

/// Returns the names of the texts in a verdict.
pub(super) fn of(verdict: &Verdict) -> Vec<String> {
    let mut out = Vec::new();
    for finding in &verdict.findings {
        out.extend([format!("check {:?}", finding.check), detail(&finding.detail).to_owned()]);
        out.extend(finding.remedies.iter().map(|remedy| format!("remedy {:?}", remedy.action.id())));
    }
    out.extend(verdict.not_helping.iter().map(|not| why_not(&not.why).to_owned()));
    out
}
