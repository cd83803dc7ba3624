//! The reasons why there is no answer of libvirt.

use std::fmt;

use crate::fit::fleet::{Lookup, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::plural::number;

/// The reason why there is no answer: of a guest about its own CPU, or of a node about that CPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Silence {
    /// No running guest's launcher is known on the node.
    #[error("not asked: no launcher is known there")]
    NoLauncher,
    /// The launcher of the guest itself is not known.
    #[error("not asked: its launcher is not known")]
    NoOwnLauncher,
    /// Answers are read from files, and this one is not in them.
    #[error("no saved answer")]
    NotSaved,
    /// The saved answer is from an earlier start of the guest: another VMI, with another CPU.
    #[error("no saved answer since it was started again")]
    StartedAgain,
    /// There are saved answers of several starts of the guest, and a dump without UIDs does not identify the
    /// current one.
    #[error("no saved answer that is known to be of this start: there are some of several")]
    SeveralStarts,
    /// The saved answers are from another machine with this name, or from this one when it had another host
    /// model.
    #[error("no saved answer of the node as it is: it was labelled {saved} then, and is labelled {now} now")]
    OtherMachine {
        /// The labels of the machine when it was asked.
        saved: String,
        /// The labels now.
        now: String,
    },
    /// The saved answers are from before the node was added: another machine may have had its name.
    #[error("no saved answer since the node was added")]
    NodeAdded,
    /// The guest's CPU is not known, so there is nothing to compare.
    #[error("not asked: the guest's CPU is not known")]
    GuestUnknown,
    /// The guest cannot run there, regardless of libvirt's answer.
    #[error("not asked: {0}")]
    KeptOff(NotAskedBecause),
    /// The API server refuses exec to the user.
    #[error("not asked: exec is refused ({0})")]
    Forbidden(String),
    /// The command could not be started, or the connection broke.
    #[error("not asked: exec failed ({0})")]
    NotRun(String),
    /// The launcher's container `compute` does not run: the kubelet's reason, or its state.
    #[error("not asked: the container compute of the launcher there does not run ({0})")]
    NotRunning(String),
    /// The launcher has no `bash`.
    #[error("not asked: the launcher there has no bash")]
    NoShell,
    /// The launcher has no `virsh`.
    #[error("not asked: the launcher there has no virsh")]
    NoVirsh,
    /// The launcher's `virsh` lacks this command (added in libvirt 4.4).
    #[error("not asked: virsh there does not know {0}")]
    NoVerb(String),
    /// Earlier commands there exceeded this many seconds each.
    #[error("not asked: earlier questions there had no answer within {0} s")]
    GivenUp(u64),
    /// Earlier commands there took this many seconds in all.
    #[error("not asked: earlier questions there took more than {0} s in all")]
    TimeSpent(u64),
    /// The command exceeded this many seconds.
    #[error("no answer within {0} s")]
    TooSlow(u64),
    /// The answer exceeded this many bytes.
    #[error("an answer of more than {0} bytes, which was not read")]
    TooLong(usize),
    /// Virsh failed with this message.
    #[error("virsh failed: {0}")]
    Failed(String),
    /// The answer does not have libvirt's format.
    #[error("an answer that cannot be read: {0}")]
    Unreadable(String),
    /// The guest has no CPU that can be compared.
    #[error("libvirt describes no CPU to compare: the guest has {0}")]
    NoModel(String),
    /// A reason in a file of answers that consists of text alone.
    #[error("{0}")]
    Recorded(String),
}

impl Silence {
    /// Returns the reason in one word, as JSON spells it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoLauncher => "no-launcher",
            Self::NoOwnLauncher => "no-own-launcher",
            Self::NotSaved => "not-saved",
            Self::StartedAgain => "started-anew",
            Self::SeveralStarts => "several-starts",
            Self::OtherMachine { .. } => "other-machine",
            Self::NodeAdded => "node-added",
            Self::GuestUnknown => "guest-unknown",
            Self::KeptOff(_) => "kept-off",
            Self::Forbidden(_) => "forbidden",
            Self::NotRun(_) => "not-run",
            Self::NotRunning(_) => "not-running",
            Self::NoShell => "no-shell",
            Self::NoVirsh => "no-virsh",
            Self::NoVerb(_) => "no-verb",
            Self::GivenUp(_) => "given-up",
            Self::TimeSpent(_) => "time-spent",
            Self::TooSlow(_) => "too-slow",
            Self::TooLong(_) => "too-long",
            Self::Failed(_) => "failed",
            Self::Unreadable(_) => "unreadable",
            Self::NoModel(_) => "no-model",
            Self::Recorded(_) => "recorded",
        }
    }

    /// Returns the part of the sentence that the code does not imply: libvirt's message, a name, a number.
    /// Empty without a detail.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::NoLauncher
            | Self::NoOwnLauncher
            | Self::NotSaved
            | Self::StartedAgain
            | Self::SeveralStarts
            | Self::NodeAdded
            | Self::GuestUnknown
            | Self::NoShell
            | Self::NoVirsh => String::new(),
            Self::OtherMachine { saved, now } => format!("{saved}, {now}"),
            Self::KeptOff(by) => by.to_string(),
            Self::Forbidden(words)
            | Self::NotRun(words)
            | Self::NotRunning(words)
            | Self::NoVerb(words)
            | Self::Failed(words)
            | Self::Unreadable(words)
            | Self::NoModel(words)
            | Self::Recorded(words) => words.clone(),
            Self::GivenUp(seconds) | Self::TimeSpent(seconds) | Self::TooSlow(seconds) => seconds.to_string(),
            Self::TooLong(bytes) => bytes.to_string(),
        }
    }

    /// Restores the reason that a file stores as code and detail. `None` if the code is not known, or the
    /// reason follows from the files themselves.
    pub(crate) fn of_code(code: &str, detail: &str) -> Option<Self> {
        let alone = [Self::NoLauncher, Self::NoOwnLauncher, Self::NoShell, Self::NoVirsh];
        let with_words = [
            Self::Forbidden,
            Self::NotRun,
            Self::NotRunning,
            Self::NoVerb,
            Self::Failed,
            Self::Unreadable,
            Self::NoModel,
        ];
        let seconds = [Self::GivenUp, Self::TimeSpent, Self::TooSlow];
        let seconds = seconds.into_iter().filter_map(|silence| detail.parse().ok().map(silence));
        let bytes = detail.parse().ok().map(Self::TooLong);
        let with_words =
            with_words.into_iter().filter(|_| !detail.is_empty()).map(|silence| silence(detail.to_owned()));
        alone.into_iter().chain(with_words).chain(seconds).chain(bytes).find(|silence| silence.code() == code)
    }
}

/// The reason why a guest cannot run on a node regardless of its CPU, so that libvirt there is not asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotAskedBecause {
    /// The guest is of another architecture.
    Architecture,
    /// The guest's pod names another node.
    OtherNode,
    /// The node lacks these labels, which the guest selects and which do not describe the CPU.
    Labels(Vec<(String, String)>),
    /// The node does not meet the guest's node affinity.
    Affinity,
}

impl NotAskedBecause {
    /// Returns why the guest cannot run on a node, apart from CPU labels, a cordon, taints and virt-handler;
    /// `None` if there is no reason, so that libvirt there is asked.
    #[must_use]
    pub fn of(lookup: &Lookup<'_, '_>, node: NodeIndex) -> Option<Self> {
        let wanted = lookup.placement().get(label::ARCH);
        if wanted.zip(lookup.fleet().label(node, label::ARCH)).is_some_and(|(wanted, has)| wanted != has) {
            return Some(Self::Architecture);
        }
        let refusal = lookup.refusal(node);
        if refusal.other_node {
            return Some(Self::OtherNode);
        }
        let may_come_right = |key: &str| Family::of(key).is_cpu() || Family::of(key) == Family::Schedulable;
        let others: Vec<_> = refusal.missing.into_iter().filter(|(key, _)| !may_come_right(key)).collect();
        if !others.is_empty() {
            return Some(Self::Labels(others));
        }
        (!refusal.affinity.is_empty()).then_some(Self::Affinity)
    }
}

impl fmt::Display for NotAskedBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Architecture => f.write_str("its architecture is not the guest's"),
            Self::OtherNode => f.write_str("the guest's pod names another node"),
            Self::Labels(lacking) => {
                let first = lacking.iter().take(2).map(|(key, value)| format!("{key}={value}"));
                write!(f, "it lacks {}", first.collect::<Vec<_>>().join(", "))?;
                match lacking.len().saturating_sub(2) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }?;
                let are = number(lacking.len(), "is no label", "are no labels");
                write!(f, ", which {are} of the CPU")
            }
            Self::Affinity => f.write_str("it does not meet the node affinity"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fit::fleet::Fleet;
    use crate::fit::node::Node;
    use crate::fit::placement::Placement;

    fn words() -> String {
        "in its words".to_owned()
    }

    /// Returns the next reason, so that the compiler requires a line for each new one.
    fn after(silence: &Silence) -> Option<Silence> {
        Some(match silence {
            Silence::NoLauncher => Silence::NoOwnLauncher,
            Silence::NoOwnLauncher => Silence::NotSaved,
            Silence::NotSaved => Silence::StartedAgain,
            Silence::StartedAgain => Silence::SeveralStarts,
            Silence::SeveralStarts => Silence::OtherMachine { saved: "host-model-cpu A".to_owned(), now: words() },
            Silence::OtherMachine { .. } => Silence::NodeAdded,
            Silence::NodeAdded => Silence::GuestUnknown,
            Silence::GuestUnknown => Silence::KeptOff(NotAskedBecause::Architecture),
            Silence::KeptOff(NotAskedBecause::Architecture) => Silence::KeptOff(NotAskedBecause::OtherNode),
            Silence::KeptOff(NotAskedBecause::OtherNode) => {
                Silence::KeptOff(NotAskedBecause::Labels(vec![("zone".to_owned(), "b".to_owned())]))
            }
            Silence::KeptOff(NotAskedBecause::Labels(_)) => Silence::KeptOff(NotAskedBecause::Affinity),
            Silence::KeptOff(NotAskedBecause::Affinity) => Silence::Forbidden(words()),
            Silence::Forbidden(_) => Silence::NotRun(words()),
            Silence::NotRun(_) => Silence::NotRunning(words()),
            Silence::NotRunning(_) => Silence::NoShell,
            Silence::NoShell => Silence::NoVirsh,
            Silence::NoVirsh => Silence::NoVerb("hypervisor-cpu-compare".to_owned()),
            Silence::NoVerb(_) => Silence::GivenUp(10),
            Silence::GivenUp(_) => Silence::TimeSpent(120),
            Silence::TimeSpent(_) => Silence::TooSlow(10),
            Silence::TooSlow(_) => Silence::TooLong(1024),
            Silence::TooLong(_) => Silence::Failed(words()),
            Silence::Failed(_) => Silence::Unreadable(words()),
            Silence::Unreadable(_) => Silence::NoModel("host-passthrough".to_owned()),
            Silence::NoModel(_) => Silence::Recorded(words()),
            Silence::Recorded(_) => return None,
        })
    }

    fn all() -> Vec<Silence> {
        std::iter::successors(Some(Silence::NoLauncher), after).collect()
    }

    #[test]
    fn each_reason_for_a_missing_answer_has_its_own_sentence_and_code() {
        let said: Vec<String> = all().iter().map(|silence| format!("{:<16}{silence}", silence.code())).collect();
        let expected = [
            "no-launcher     not asked: no launcher is known there",
            "no-own-launcher not asked: its launcher is not known",
            "not-saved       no saved answer",
            "started-anew    no saved answer since it was started again",
            "several-starts  no saved answer that is known to be of this start: there are some of several",
            "other-machine   no saved answer of the node as it is: it was labelled host-model-cpu A then, and is labelled \
             in its words now",
            "node-added      no saved answer since the node was added",
            "guest-unknown   not asked: the guest's CPU is not known",
            "kept-off        not asked: its architecture is not the guest's",
            "kept-off        not asked: the guest's pod names another node",
            "kept-off        not asked: it lacks zone=b, which is no label of the CPU",
            "kept-off        not asked: it does not meet the node affinity",
            "forbidden       not asked: exec is refused (in its words)",
            "not-run         not asked: exec failed (in its words)",
            "not-running     not asked: the container compute of the launcher there does not run (in its words)",
            "no-shell        not asked: the launcher there has no bash",
            "no-virsh        not asked: the launcher there has no virsh",
            "no-verb         not asked: virsh there does not know hypervisor-cpu-compare",
            "given-up        not asked: earlier questions there had no answer within 10 s",
            "time-spent      not asked: earlier questions there took more than 120 s in all",
            "too-slow        no answer within 10 s",
            "too-long        an answer of more than 1024 bytes, which was not read",
            "failed          virsh failed: in its words",
            "unreadable      an answer that cannot be read: in its words",
            "no-model        libvirt describes no CPU to compare: the guest has host-passthrough",
            "recorded        in its words",
        ];
        assert_eq!(said, expected);
    }

    /// Reasons that came from asking are read back unchanged; those that follow from the files themselves are
    /// found again.
    #[test]
    fn reasons_for_missing_answers_are_saved_by_code_and_detail() {
        let follows = [
            "not-saved",
            "started-anew",
            "several-starts",
            "other-machine",
            "node-added",
            "guest-unknown",
            "kept-off",
            "recorded",
        ];
        let codes: BTreeSet<&str> = all().iter().map(Silence::code).collect();
        assert!(follows.iter().all(|code| codes.contains(code)));
        for silence in all() {
            let read = Silence::of_code(silence.code(), &silence.detail());
            assert_eq!(read, Some(silence.clone()).filter(|silence| !follows.contains(&silence.code())));
        }
        assert_eq!(Silence::of_code("too-slow", "soon"), None);
        assert_eq!(Silence::of_code("rain", ""), None);
        for silence in all().iter().filter(|silence| !silence.detail().is_empty()) {
            assert_eq!(Silence::of_code(silence.code(), ""), None, "a sentence without its end: {silence}");
        }
    }

    /// The reasons that do not depend on CPU labels, a cordon, taints or virt-handler.
    #[test]
    fn only_labels_of_the_cpu_are_put_to_libvirt() {
        let node = |name: &str, labels: &[(&str, &str)]| {
            let mut node = Node { name: name.to_owned(), ..Node::default() };
            node.labels.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            node
        };
        let all = [("zone", "a"), ("kubernetes.io/arch", "amd64")];
        let arm = [("zone", "a"), ("kubernetes.io/arch", "arm64")];
        let mut cordoned = node("cordoned", &all);
        cordoned.cordoned = true;
        let nodes = vec![node("cpu", &all), node("zone", &all[1..]), node("arm", &arm), cordoned];
        let fleet = Fleet::new(nodes);
        let mut placement = Placement::default();
        for (key, value) in [all[0], all[1], ("cpu-feature.node.kubevirt.io/fpu", "true"), (label::SCHEDULABLE, "true")]
        {
            placement.selector.insert(key, value);
        }
        let lookup = fleet.look_up(&placement);
        let kept_off = |name: &str| fleet.find(name).and_then(|node| NotAskedBecause::of(&lookup, node));
        assert_eq!(kept_off("cpu"), None, "labels of the CPU are what libvirt is asked about");
        assert_eq!(kept_off("cordoned"), None);
        assert_eq!(kept_off("zone"), Some(NotAskedBecause::Labels(vec![("zone".to_owned(), "a".to_owned())])));
        assert_eq!(kept_off("arm"), Some(NotAskedBecause::Architecture));
    }

    #[test]
    fn many_labels_are_folded() {
        let labels = ["a", "b", "c", "d"].map(|key| (key.to_owned(), "1".to_owned()));
        assert_eq!(
            NotAskedBecause::Labels(labels.into()).to_string(),
            "it lacks a=1, b=1 and 2 more, which are no labels of the CPU"
        );
    }
}
