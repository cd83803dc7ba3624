//! The author of the requirements that nodes lack, in words.

use crate::fit::author::{Author, Holder};
use crate::fit::check::AskedBy;
use crate::fit::label;
use crate::fit::placement::AffinityRule;
use crate::fit::plural::{and_names, fold, number};

/// Number of entries or conditions named for one author.
const MAX_NAMES: usize = 4;

/// Returns the author: `spec.template.spec.domain.cpu.model of the VM`.
pub(crate) fn who(author: &Author) -> String {
    match author {
        Author::Field { of, path } => format!("{path} of the {}", holder(*of)),
        Author::Instancetype(named) | Author::Preference(named) if !named.revision.is_empty() => format!(
            "ControllerRevision {} (spec.{}), an older copy of {} {}",
            named.revision, named.field, named.kind, named.name
        ),
        Author::Instancetype(named) | Author::Preference(named) => {
            format!("{} {} (spec.{})", named.kind, named.name, named.field)
        }
        Author::DataSource { namespace, name } => {
            format!("DataSource {namespace}/{name}, from which it boots (label template.kubevirt.io/architecture)")
        }
        Author::Configuration(field) if author.is_of_all_guests() => {
            format!("the KubeVirt resource, of every guest (spec.configuration.{field})")
        }
        Author::HyperConverged(field) if author.is_of_all_guests() => format!(
            "the KubeVirt resource, of every guest (spec.configuration.{field}), which HyperConverged writes: its annotation \
             kubevirt.kubevirt.io/jsonpatch can change it"
        ),
        Author::Configuration(field) => format!("the cluster's default (spec.configuration.{field} of KubeVirt)"),
        Author::HyperConverged(field) => match hyperconverged_field(field) {
            Some(own) => format!("the cluster's default ({own} of HyperConverged)"),
            None => format!(
                "the cluster's default (spec.configuration.{field} of KubeVirt, which HyperConverged writes: its annotation \
                 kubevirt.kubevirt.io/jsonpatch can set it)"
            ),
        },
        Author::BuiltIn(Some(field)) => format!("KubeVirt's own default (no spec.configuration.{field} is known)"),
        Author::BuiltIn(None) => "KubeVirt's own default".to_owned(),
        Author::Status { field, by_hyperconverged: true } => format!(
            "the cluster's default (status.{field} of KubeVirt; the annotation kubevirt.kubevirt.io/jsonpatch of HyperConverged can \
             set architectureConfiguration.{field})"
        ),
        Author::Status { field, by_hyperconverged: false } => format!(
            "the cluster's default (status.{field} of KubeVirt, which spec.configuration.architectureConfiguration.{field} sets)"
        ),
        Author::HyperV { setting: "evmcs", author } => {
            format!("the Hyper-V setting evmcs, which takes vmx and an Intel CPU ({})", who(author))
        }
        Author::HyperV { setting, author } => format!("the Hyper-V setting {setting} ({})", who(author)),
        Author::Forbid(author) => format!("the policy forbid of a CPU feature ({})", who(author)),
        Author::HostModel(author) => format!("KubeVirt of every host-model guest, which it is by {}", who(author)),
        Author::Receiver => "KubeVirt, of the target of a migration from elsewhere: not the node it leaves".to_owned(),
        Author::Policy(name) => format!("the common model of CPUPolicy {name}"),
        Author::AddedNodeSelector => "spec.addedNodeSelector of the migration".to_owned(),
        Author::SourceNode(node) if node.is_empty() => "the node it comes from".to_owned(),
        Author::SourceNode(node) => format!("its migration, after the labels of {node}, where it runs"),
        Author::Inherited => "the launcher it runs in, which an earlier migration made".to_owned(),
        Author::LauncherPod => {
            "the launcher pod alone, which was created before: KubeVirt would not ask for it now".to_owned()
        }
        Author::KubeVirt => "KubeVirt, of every launcher".to_owned(),
    }
}

/// Returns the field of HyperConverged (v1beta1) that sets one of KubeVirt's configuration (`getKVConfig` of its
/// operator), by its path below `spec.configuration`; `None` without one.
fn hyperconverged_field(field: &str) -> Option<&'static str> {
    Some(match field {
        "cpuModel" => "spec.defaultCPUModel",
        "evictionStrategy" => "spec.evictionStrategy",
        _ => return None,
    })
}

fn holder(of: Holder) -> &'static str {
    match of {
        Holder::VirtualMachine => "VM",
        Holder::VirtualMachineInstance => "VMI",
        Holder::ReplicaSet => "replica set",
        Holder::Pool => "pool",
    }
}

/// Returns the entries that an author requires, with the author: `cpumanager=true is asked for by …`.
pub(crate) fn asked_by(asked: &AskedBy) -> String {
    let entries = fold(asked.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())), MAX_NAMES);
    if !asked.alternatives.is_empty() {
        return one_of(asked);
    }
    let rules = conditions(&asked.rules);
    let what = match (entries.is_empty(), rules.is_empty()) {
        (false, true) => entries,
        (true, _) => rules,
        (false, false) => format!("{entries}; {rules}"),
    };
    let are = number(asked.entries.len() + asked.rules.len(), "is", "are");
    let mut out = format!("{what} {are} asked for by {}", who(&asked.author));
    if matches!(asked.author, Author::Preference(_)) && asked.entries.iter().any(|(key, _)| key == label::ARCH) {
        out.push_str(": use the preference for the architecture that you want");
    }
    if asked.author.is_default() && asked.entries.iter().any(|(key, _)| key == label::ARCH) {
        out.push_str("; an architecture in the guest's own specification takes precedence over it");
    }
    if asked.is_gone {
        let it = number(asked.entries.len(), "it", "them");
        out = format!("{out}; its VM does not ask for {it}: a restart takes {it} away");
    }
    if !asked.lacking.is_empty() {
        let (lack, it) =
            (number(asked.lacking.len(), "lacks", "lack"), number(asked.entries.len(), "it", "one of them"));
        out = format!("{out}; {} {lack} {it}", and_names(&asked.lacking, 3));
    }
    out
}

fn conditions(rules: &[AffinityRule]) -> String {
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    label::fold_names(&rules, MAX_NAMES)
}

/// Returns the terms one of which suffices: `one of 2 terms is asked for by …: rack < 3, disk exists; or special
/// exists`.
fn one_of(asked: &AskedBy) -> String {
    let terms: Vec<String> = asked.alternatives.iter().take(MAX_NAMES).map(|rules| conditions(rules)).collect();
    let more = match asked.alternatives.len().saturating_sub(MAX_NAMES) {
        0 => "",
        _ => "; or another",
    };
    let entries = match asked.entries.as_slice() {
        [] => String::new(),
        entries => {
            format!("{}, and ", fold(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())), MAX_NAMES))
        }
    };
    let (count, are) = (asked.alternatives.len(), number(asked.entries.len() + 1, "is", "are"));
    format!("{entries}one of {count} terms {are} asked for by {}: {}{more}", who(&asked.author), terms.join("; or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::author::TypeReference;
    use crate::fit::placement::Expression;

    fn asked(author: Author, entries: &[(&str, &str)], rules: &[AffinityRule]) -> AskedBy {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AskedBy {
            author,
            entries,
            rules: rules.to_vec(),
            alternatives: Vec::new(),
            in_sight: false,
            lacking: Vec::new(),
            is_gone: false,
        }
    }

    #[test]
    fn each_author_is_named() {
        let field = |path: &str| Author::Field { of: Holder::VirtualMachine, path: path.to_owned() };
        let named = TypeReference {
            kind: "VirtualMachineClusterPreference".to_owned(),
            name: "rhel.10".to_owned(),
            field: "preferredArchitecture",
            ..TypeReference::default()
        };
        let evmcs = Author::HyperV {
            setting: "evmcs",
            author: Box::new(field("spec.template.spec.domain.features.hyperv.evmcs")),
        };
        let forbidden = AffinityRule::Label(Expression::DoesNotExist(format!("{}rtm", label::CPU_FEATURE)));
        let said = [
            asked(field("spec.template.spec.domain.cpu.dedicatedCpuPlacement"), &[("cpumanager", "true")], &[]),
            asked(Author::Preference(named), &[(label::ARCH, "amd64")], &[]),
            asked(
                evmcs,
                &[("cpu-feature.node.kubevirt.io/vmx", "true"), ("cpu-vendor.node.kubevirt.io/Intel", "true")],
                &[],
            ),
            asked(Author::Configuration("cpuModel"), &[("cpu-model.node.kubevirt.io/Haswell", "true")], &[]),
            asked(
                Author::Forbid(Box::new(field("spec.template.spec.domain.cpu.features[0].name"))),
                &[],
                std::slice::from_ref(&forbidden),
            ),
            asked(field("spec.template.spec.affinity"), &[], &[forbidden]),
            asked(Author::Configuration("developerConfiguration.nodeSelectors"), &[("zone", "a")], &[]),
            asked(Author::HyperConverged("developerConfiguration.nodeSelectors"), &[("zone", "a")], &[]),
        ]
        .map(|asked| asked_by(&asked));
        insta::assert_snapshot!(said.join("\n"), @r"
        cpumanager=true is asked for by spec.template.spec.domain.cpu.dedicatedCpuPlacement of the VM
        kubernetes.io/arch=amd64 is asked for by VirtualMachineClusterPreference rhel.10 (spec.preferredArchitecture): use the preference for the architecture that you want
        cpu-feature vmx; cpu-vendor Intel are asked for by the Hyper-V setting evmcs, which takes vmx and an Intel CPU (spec.template.spec.domain.features.hyperv.evmcs of the VM)
        cpu-model Haswell is asked for by the cluster's default (spec.configuration.cpuModel of KubeVirt)
        cpu-feature.node.kubevirt.io/rtm does not exist is asked for by the policy forbid of a CPU feature (spec.template.spec.domain.cpu.features[0].name of the VM)
        cpu-feature.node.kubevirt.io/rtm does not exist is asked for by spec.template.spec.affinity of the VM
        zone=a is asked for by the KubeVirt resource, of every guest (spec.configuration.developerConfiguration.nodeSelectors)
        zone=a is asked for by the KubeVirt resource, of every guest (spec.configuration.developerConfiguration.nodeSelectors), which HyperConverged writes: its annotation kubevirt.kubevirt.io/jsonpatch can change it
        ");
    }
}
