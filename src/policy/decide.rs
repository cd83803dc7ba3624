//! From a verdict to an answer.

use super::{Exemption, Policy};
use crate::fit::verdict::{Cause, Verdict};

/// At most so many warnings go with one answer: headline, nearest node, next step and one more.
const MAX_WARNINGS: usize = 4;

/// What is asked for, as far as it decides whether and how it can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// A `VirtualMachine`: its fields are the person's to mend.
    VirtualMachine,
    /// A `VirtualMachineInstance`: its fields are the person's to mend.
    VirtualMachineInstance,
    /// A `VirtualMachineInstanceMigration`: nothing in it can be mended, for the guest is to blame.
    Migration,
    /// A launcher pod at a guest's start.
    LauncherPod,
    /// A launcher pod as a migration's target. Never denied: its migration would stay pending for ever.
    TargetPod,
    /// An eviction, or a change of a node, a policy or KubeVirt's configuration. Never denied: people are told.
    Other,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::VirtualMachine,
        Self::VirtualMachineInstance,
        Self::Migration,
        Self::LauncherPod,
        Self::TargetPod,
        Self::Other,
    ];

    /// Whether a policy can deny it at all.
    #[must_use]
    pub fn is_deniable(self) -> bool {
        match self {
            Self::VirtualMachine | Self::VirtualMachineInstance | Self::Migration | Self::LauncherPod => true,
            Self::TargetPod | Self::Other => false,
        }
    }

    /// Whether the person who sent it can mend its fields.
    #[must_use]
    pub fn is_mendable(self) -> bool {
        matches!(self, Self::VirtualMachine | Self::VirtualMachineInstance)
    }
}

/// What must be known of a request beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// What is asked for.
    pub kind: RequestKind,
    /// Why it is exempt, by [`Policy::exempt`].
    pub exemption: Option<Exemption>,
}

/// One field that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldCause {
    /// The field's path.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The words for a verdict. Each is one line that names its object; none bears a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The verdict in one sentence, complete in itself: the first line of a denial, the first warning.
    pub headline: String,
    /// Further warnings: the nearest node, the next step.
    pub lines: Vec<String>,
    /// What else was found. Said, beside a denial too, where [`Verdict::is_always_reported`] says so.
    pub notes: Vec<String>,
    /// A denial's further lines.
    pub details: Vec<String>,
    /// The fields to blame.
    pub causes: Vec<FieldCause>,
    /// What becomes of the guest's CPU model. Said first, whatever the dials say.
    pub model: Option<String>,
    /// The field to blame where the policy refuses guests that do not use its common model.
    pub unmet: Option<FieldCause>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ruling {
    /// It may pass.
    Admit {
        /// What the client is told.
        warnings: Vec<String>,
        /// Whether it is recorded in audit annotations and Events.
        audit: bool,
        /// The exemption without which it would have been denied.
        spared: Option<Exemption>,
    },
    /// It may not.
    Deny(Denial),
}

/// A request that is turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The HTTP status, chosen for what kubectl prints of it.
    pub kind: DenialKind,
    /// The reason, on one line that is complete in itself and names the policy.
    pub message: String,
    /// Further lines below it.
    pub details: Vec<String>,
    /// The fields to blame; the first one names the policy.
    pub causes: Vec<FieldCause>,
    /// What the client is told beside it.
    pub warnings: Vec<String>,
    /// Whether it is recorded in audit annotations and Events.
    pub audit: bool,
}

/// How a denial is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialKind {
    /// 403: kubectl prints the message and not the causes.
    Forbidden,
    /// 422: kubectl prints the causes, one bullet each, and not the message.
    Invalid,
}

impl DenialKind {
    /// The HTTP status.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Invalid => 422,
        }
    }

    /// `status.reason` of the answer.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid",
        }
    }
}

/// Decides what becomes of a request.
///
/// Denied is only what a policy enforces, what is structural, and what nobody exempted: a guess, a cordon or a zone
/// never denies. A guest that does not use the common model is denied where the policy says so. A request from a
/// namespace that is left alone passes without a word.
pub fn decide(policy: &Policy, request: RequestFacts, verdict: &Verdict, words: &Words) -> Ruling {
    let RequestFacts { kind, exemption } = request;
    if exemption.is_some_and(Exemption::is_silent) {
        return Ruling::Admit { warnings: Vec::new(), audit: false, spared: None };
    }
    let impact = verdict.assessment.outcome.impact();
    let audit = policy.audit.reached(impact);
    let told = verdict.is_always_reported();
    let notes: &[String] = if told { &words.notes } else { &[] };

    let enforced =
        policy.enforce.reached(impact) && verdict.assessment.cause == Some(Cause::Structural) && kind.is_deniable();
    let unmet = words.unmet.as_ref().filter(|_| kind.is_deniable());
    if (enforced || unmet.is_some()) && exemption.is_none() {
        return Ruling::Deny(denial(policy, kind, words, unmet.filter(|_| !enforced), notes, audit));
    }
    let spared = words.unmet.as_ref().map(|unmet| format!("{} (policy {})", unmet.message, policy.name));
    let model = words.model.as_ref().or(spared.as_ref());
    let warnings = if policy.warn.reached(impact) {
        warnings(model, Some(&words.headline), &words.lines, notes)
    } else if told && notes.is_empty() {
        warnings(model, Some(&words.headline), &[], &[])
    } else {
        warnings(model, None, &[], notes)
    };
    Ruling::Admit { warnings, audit, spared: exemption.filter(|_| enforced || unmet.is_some()) }
}

/// `alone` is the only reason, where there is one: the guest's CPU model.
fn denial(
    policy: &Policy,
    kind: RequestKind,
    words: &Words,
    alone: Option<&FieldCause>,
    notes: &[String],
    audit: bool,
) -> Denial {
    let mut causes: Vec<FieldCause> = match alone {
        Some(unmet) => vec![unmet.clone()],
        None => words.causes.iter().chain(&words.unmet).cloned().collect(),
    };
    let (headline, details) = match alone {
        Some(unmet) => (&unmet.message, &[][..]),
        None => (&words.headline, &words.details[..]),
    };
    let fields_named = !causes.is_empty() && causes.iter().all(|cause| !cause.field.is_empty());
    let by = format!(" (policy {})", policy.name);
    if let Some(first) = causes.first_mut() {
        first.message.push_str(&by);
    }
    Denial {
        kind: if kind.is_mendable() && fields_named { DenialKind::Invalid } else { DenialKind::Forbidden },
        message: format!("{headline}{by}"),
        details: details.to_vec(),
        causes,
        warnings: warnings(words.model.as_ref(), None, &[], notes),
        audit,
    }
}

/// The model and the headline first; of the rest the notes are kept before the lines, and stand after them.
fn warnings(model: Option<&String>, headline: Option<&String>, lines: &[String], notes: &[String]) -> Vec<String> {
    let first: Vec<&String> = model.into_iter().chain(headline).filter(|line| !line.is_empty()).collect();
    let room = MAX_WARNINGS - first.len();
    let notes = &notes[..notes.len().min(room)];
    let lines = &lines[..lines.len().min(room - notes.len())];
    first.into_iter().chain(lines).chain(notes).map(|line| format!("cpufit: {line}")).collect()
}
