//! The labels and annotations that have a meaning, and how the value of each is read.
//!
//! A label or annotation has the meaning that the program acting on it gives it. For some only the presence
//! counts (`skip-node: "false"` still stops the labeller), some count only with one exact value
//! (`create-migration-target: "True"` makes nothing a target), some contain a name. [`ALL`] lists each one
//! with its reading; nothing else in this crate interprets the labels and annotations of an object.
//!
//! Not in the list: node labels that a launcher pod selects. The scheduler compares those by key and value, as
//! [`fit`] does.
//!
//! [`fit`]: crate::fit

use std::collections::BTreeMap;

use crate::fit::label;

/// A label or annotation with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WellKnown {
    /// The key.
    pub key: &'static str,
    /// The field that contains the key.
    pub place: KeyPlace,
    /// The kinds of object that it is read on.
    pub on: &'static str,
    /// The interpretation of its value.
    pub reading: ValueReading,
    /// Whether the key is also read in a domain renamed by a distribution (`kubevirt.internal.example.io/…`).
    pub in_any_domain: bool,
    /// The program that reads it this way: the file and the identifier in KubeVirt, or this crate for keys of
    /// its own.
    pub mirrors: &'static str,
}

/// The field that contains a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    /// `metadata.labels`.
    Label,
    /// `metadata.annotations`.
    Annotation,
}

/// The interpretation of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueReading {
    /// Any value counts if the key exists.
    Presence,
    /// Only this value counts; case matters.
    Exactly(&'static str),
    /// A name, a UID or a word. The empty value does not count.
    Text,
    /// A whole number above 0: [`label::frequency`].
    Frequency,
}

const fn label(key: &'static str, on: &'static str, reading: ValueReading, mirrors: &'static str) -> WellKnown {
    WellKnown { key, place: KeyPlace::Label, on, reading, in_any_domain: false, mirrors }
}

const fn annotation(key: &'static str, on: &'static str, reading: ValueReading, mirrors: &'static str) -> WellKnown {
    WellKnown { place: KeyPlace::Annotation, ..label(key, on, reading, mirrors) }
}

/// Declares each label and annotation with a meaning, and the list of all.
macro_rules! well_known {
    ($($(#[$doc:meta])* $name:ident = $known:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) const $name: WellKnown = $known;
        )*

        /// All labels and annotations with a meaning.
        pub(crate) const ALL: &[WellKnown] = &[$($name),*];
    };
}

well_known! {
    /// A node whose labels the node-labeller leaves unchanged.
    SKIP_NODE = annotation(
        label::SKIP_NODE,
        "Node",
        ValueReading::Presence,
        "pkg/virt-handler/node-labeller/node_labeller.go: skipNodeLabelling (`_, exists :=`)",
    );

    /// A node whose virt-handler is ready, so that launcher pods may be scheduled there.
    SCHEDULABLE = label(
        label::SCHEDULABLE,
        "Node",
        ValueReading::Exactly("true"),
        "pkg/virt-controller/watch/topology/filter.go: IsSchedulable (`== \"true\"`)",
    );

    /// A node on which a virt-handler runs or ran: the key of [`SCHEDULABLE`], read for its presence.
    HAS_VIRT_HANDLER = label(
        label::SCHEDULABLE,
        "Node",
        ValueReading::Presence,
        "pkg/virt-operator/resource/apply/delete.go: deleteKubeVirtLabelsFromNodes (a selector without a value)",
    );

    /// A node whose host model is obsolete: host-model guests are kept off it.
    OBSOLETE_HOST_MODEL = label(
        label::OBSOLETE_HOST_MODEL,
        "Node",
        ValueReading::Presence,
        "pkg/virt-controller/services/template.go: RenderLaunchManifest (required node affinity `DoesNotExist`)",
    );

    /// A node that can scale its TSC to a lower frequency.
    TSC_SCALABLE = label(
        label::TSC_SCALABLE,
        "Node",
        ValueReading::Exactly("true"),
        "pkg/virt-controller/watch/topology/tsc.go: TSCScalable (`== \"true\"`)",
    );

    /// A node's TSC frequency in Hz.
    TSC_FREQUENCY = label(
        label::TSC_FREQUENCY,
        "Node",
        ValueReading::Frequency,
        "pkg/virt-controller/watch/topology/tsc.go: TSCFrequencyFromNode (`strconv.ParseInt`, above 0)",
    );

    /// A virt-launcher pod.
    LAUNCHER = label(
        "kubevirt.io",
        "Pod",
        ValueReading::Exactly("virt-launcher"),
        "pkg/virt-api/webhooks/mutating-webhook/mutators/virt-launcher-pod-mutator.go: isVirtLauncherPod",
    )
    .in_any_domain();

    /// The UID of the migration whose target a launcher is, or was. No migration has an empty one.
    MIGRATION_UID = label(
        "kubevirt.io/migrationJobUID",
        "Pod",
        ValueReading::Text,
        "pkg/virt-controller/watch/migration/migration.go: listMatchingTargetPods (`value == string(migration.UID)`)",
    )
    .in_any_domain();

    /// The name of the migration whose target a launcher is, or was.
    MIGRATION_NAME = annotation(
        "kubevirt.io/migrationJobName",
        "Pod",
        ValueReading::Text,
        "pkg/virt-controller/watch/migration/migration.go: getControllerOf",
    )
    .in_any_domain();

    /// The node that a guest runs on; a launcher has the labels of its guest.
    NODE_NAME = label(
        "kubevirt.io/nodeName",
        "Pod",
        ValueReading::Text,
        "pkg/virt-handler/vm.go: isVMIOwnedByNode (`nodeName != \"\"`)",
    )
    .in_any_domain();

    /// The UID of the guest for which a pod was created.
    CREATED_BY = label("kubevirt.io/created-by", "Pod", ValueReading::Text, "pkg/virt-controller/services/template.go: podLabels");

    /// The host name of the guest for which a pod was created.
    LAUNCHER_HOSTNAME = label("vm.kubevirt.io/name", "Pod", ValueReading::Text, "pkg/virt-controller/services/template.go: podLabels");

    /// The name of the guest for which a pod was created, shortened to 63 characters.
    LAUNCHER_ID = label("vmi.kubevirt.io/id", "Pod", ValueReading::Text, "pkg/virt-controller/services/template.go: podLabels");

    /// Whether Istio injects its sidecar into a guest's launcher: the launcher gets a label with this key and value.
    INJECT_SIDECAR = annotation(
        "sidecar.istio.io/inject",
        "VirtualMachineInstance",
        ValueReading::Presence,
        "pkg/virt-controller/services/template.go: podLabels (`val, exists :=`)",
    );

    /// A guest whose launcher is of a release other than virt-controller's.
    OUTDATED_LAUNCHER = label(
        "kubevirt.io/outdatedLauncherImage",
        "VirtualMachineInstance",
        ValueReading::Presence,
        "pkg/virt-controller/watch/vmi/lifecycle.go: setLauncherContainerInfo (written empty); \
         pkg/monitoring/metrics/virt-controller/vmistats_collector.go: isVMIOutdated",
    )
    .in_any_domain();

    /// A guest that is created as the target of a decentralized migration, and keeps the CPU that it has.
    MIGRATION_TARGET = annotation(
        "kubevirt.io/create-migration-target",
        "VirtualMachineInstance",
        ValueReading::Exactly("true"),
        "staging/src/kubevirt.io/api/core/v1/types.go: IsMigrationTarget",
    );

    /// The node to which such a target goes: from then on it is synchronized with its source. A label.
    MIGRATION_TARGET_NODE = label(
        "kubevirt.io/migrationTargetNodeName",
        "VirtualMachineInstance",
        ValueReading::Presence,
        "staging/src/kubevirt.io/api/core/v1/types.go: IsMigrationTargetNodeLabelSet",
    );

    /// A pod that was read from its description, which leaves out what it cannot show: its affinity.
    DESCRIBED = annotation("cpufit.io/described", "Pod", ValueReading::Exactly("true"), "cpufit: snapshot::describe");

    /// The name of the instancetype or preference that a `ControllerRevision` is a copy of.
    REVISION_OF = label(
        "instancetype.kubevirt.io/object-name",
        "ControllerRevision",
        ValueReading::Text,
        "pkg/instancetype/find/revision.go: Find (`label == vm.Spec.Instancetype.Name`)",
    );

    /// The architecture of the image that boots from a `DataSource`.
    BOOTS_ARCHITECTURE = label(
        "template.kubevirt.io/architecture",
        "DataSource",
        ValueReading::Text,
        "pkg/defaults/defaults.go: setDefaultArchitectureFromDataSource",
    );

    /// The instancetype of a VirtualMachine that infers it from a volume.
    DEFAULT_INSTANCETYPE = label(
        "instancetype.kubevirt.io/default-instancetype",
        "PersistentVolumeClaim, DataVolume, DataSource, VolumeSnapshot",
        ValueReading::Presence,
        "pkg/instancetype/infer/volume.go: fromLabels",
    );

    /// The kind of the inferred instancetype; the cluster-wide one if absent.
    DEFAULT_INSTANCETYPE_KIND = label(
        "instancetype.kubevirt.io/default-instancetype-kind",
        "PersistentVolumeClaim, DataVolume, DataSource, VolumeSnapshot",
        ValueReading::Text,
        "pkg/instancetype/infer/volume.go: fromLabels",
    );

    /// The preference of a VirtualMachine that infers it from a volume.
    DEFAULT_PREFERENCE = label(
        "instancetype.kubevirt.io/default-preference",
        "PersistentVolumeClaim, DataVolume, DataSource, VolumeSnapshot",
        ValueReading::Presence,
        "pkg/instancetype/infer/volume.go: fromLabels",
    );

    /// The kind of the inferred preference; the cluster-wide one if absent.
    DEFAULT_PREFERENCE_KIND = label(
        "instancetype.kubevirt.io/default-preference-kind",
        "PersistentVolumeClaim, DataVolume, DataSource, VolumeSnapshot",
        ValueReading::Text,
        "pkg/instancetype/infer/volume.go: fromLabels",
    );

    /// A KubeVirt resource that an operator manages by its `HyperConverged` resource.
    MANAGED_BY_HCO = label(
        "app.kubernetes.io/managed-by",
        "KubeVirt",
        ValueReading::Exactly("hco-operator"),
        "hyperconverged-cluster-operator: getObsoleteCPUConfig, which writes obsoleteCPUModels",
    );

    /// A namespace that is exempt from everything. The webhook configurations' `namespaceSelector` excludes it too.
    EXEMPT = label("cpufit.io/exempt", "Namespace", ValueReading::Exactly("true"), "cpufit: policy::is_exempt");

    /// A migration whose target may drop the inherited entries that exclude every node.
    RELAX = annotation(
        "cpufit.io/relax",
        "VirtualMachineInstanceMigration",
        ValueReading::Exactly("true"),
        "cpufit: enforce::trim, asks_relax",
    );

    /// The policy whose common model was written into a guest.
    POLICY = annotation("cpufit.io/policy", "VirtualMachineInstance", ValueReading::Text, "cpufit: enforce::forecast");

    /// The CPU mode that the common model replaced, as a word of `commonModel.replaces`.
    REPLACED_MODEL = annotation("cpufit.io/replaced-model", "VirtualMachineInstance", ValueReading::Text, "cpufit: enforce::forecast");

    /// A guest that was sent without a model and left unchanged. KubeVirt's own webhook adds a model afterwards,
    /// and later calls could not recognize it as a default.
    SENT_MODEL = annotation(
        "cpufit.io/sent-model",
        "VirtualMachineInstance",
        ValueReading::Exactly("Unset"),
        "cpufit: enforce::model",
    );

    /// The selector keys that were dropped from a pod, separated by commas.
    DROPPED_SELECTORS = annotation("cpufit.io/dropped-selectors", "Pod", ValueReading::Text, "cpufit: enforce::trim");

    /// A guest with a bridge on the pod network that is migrated nevertheless.
    MIGRATES_BRIDGE = annotation(
        "kubevirt.io/allow-pod-bridge-network-live-migration",
        "VirtualMachine, VirtualMachineInstance",
        ValueReading::Presence,
        "pkg/network/vmispec/interface.go: VerifyVMIMigratable (`_, isLiveMigrationAllowed :=`)",
    );

    /// The node selector that pods of a namespace get where the admission plugin `PodNodeSelector` is on.
    POD_NODE_SELECTOR = annotation(
        "scheduler.alpha.kubernetes.io/node-selector",
        "Namespace",
        ValueReading::Text,
        "Kubernetes plugin/pkg/admission/podnodeselector/admission.go: getNamespaceNodeSelectorMap",
    );

    /// The node selector that pods of a project get on OpenShift.
    PROJECT_NODE_SELECTOR = annotation(
        "openshift.io/node-selector",
        "Namespace",
        ValueReading::Text,
        "OpenShift openshift-kube-apiserver/admission/scheduler/nodeenv/admission.go: getNodeSelectorMap",
    );
}

/// Whether an annotation with this key is ever read. The others of an object are not kept.
pub(crate) fn is_read_annotation(key: &str) -> bool {
    ALL.iter().any(|known| known.place == KeyPlace::Annotation && known.is_key(key))
}

/// Whether [`ALL`] has an annotation with exactly this key.
pub(crate) fn is_annotation_in_own_domain(key: &str) -> bool {
    ALL.iter().any(|known| known.place == KeyPlace::Annotation && known.key == key)
}

/// The labels or annotations of an object.
pub(crate) trait Pairs {
    /// Iterates over all pairs.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)>;

    /// Returns the value of a key; `None` if it is absent.
    fn value(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

impl<P: Pairs> Pairs for Option<P> {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().flat_map(Pairs::pairs)
    }
}

impl Pairs for BTreeMap<String, String> {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl WellKnown {
    /// Returns a copy that is also read in any domain that begins with `kubevirt.`.
    const fn in_any_domain(self) -> Self {
        Self { in_any_domain: true, ..self }
    }

    /// Whether the key exists with a value that counts.
    pub(crate) fn is_set(&self, pairs: &impl Pairs) -> bool {
        self.value(pairs).is_some()
    }

    /// Returns the value; `None` if the key is absent or its value does not count.
    pub(crate) fn value<'p>(&self, pairs: &'p impl Pairs) -> Option<&'p str> {
        let renamed = || pairs.pairs().find(|(key, _)| self.is_key(key)).map(|(_, value)| value);
        let value = pairs.value(self.key).or_else(|| self.in_any_domain.then(renamed)?)?;
        self.counts(value).then_some(value)
    }

    /// Whether a value counts.
    pub(crate) fn counts(&self, value: &str) -> bool {
        match self.reading {
            ValueReading::Presence => true,
            ValueReading::Exactly(wanted) => value == wanted,
            ValueReading::Text => !value.is_empty(),
            ValueReading::Frequency => label::frequency(value).is_some(),
        }
    }

    /// Whether the key is this one, in KubeVirt's domain or in a renamed one.
    fn is_key(&self, key: &str) -> bool {
        let is_renamed = || {
            let name = self.key.strip_prefix("kubevirt.io")?;
            let domain = key.strip_suffix(name)?;
            Some(domain.starts_with("kubevirt.") && !domain.contains('/'))
        };
        key == self.key || (self.in_any_domain && is_renamed() == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    const PRESENCE: [bool; 6] = [false, true, true, true, true, true];
    const TRUE_ALONE: [bool; 6] = [false, false, true, false, false, false];
    const ANY_TEXT: [bool; 6] = [false, false, true, true, true, true];
    const NONE: [bool; 6] = [false; 6];

    /// Whether each counts: without the key, and with an empty value, `true`, `false`, `True`, another word;
    /// and a value that counts if none of these does.
    const TABLE: [(WellKnown, [bool; 6], Option<&str>); ALL.len()] = [
        (SKIP_NODE, PRESENCE, None),
        (SCHEDULABLE, TRUE_ALONE, None),
        (HAS_VIRT_HANDLER, PRESENCE, None),
        (OBSOLETE_HOST_MODEL, PRESENCE, None),
        (TSC_SCALABLE, TRUE_ALONE, None),
        (TSC_FREQUENCY, NONE, Some("2100000000")),
        (LAUNCHER, NONE, Some("virt-launcher")),
        (MIGRATION_UID, ANY_TEXT, None),
        (MIGRATION_NAME, ANY_TEXT, None),
        (NODE_NAME, ANY_TEXT, None),
        (CREATED_BY, ANY_TEXT, None),
        (LAUNCHER_HOSTNAME, ANY_TEXT, None),
        (LAUNCHER_ID, ANY_TEXT, None),
        (INJECT_SIDECAR, PRESENCE, None),
        (OUTDATED_LAUNCHER, PRESENCE, None),
        (MIGRATION_TARGET, TRUE_ALONE, None),
        (MIGRATION_TARGET_NODE, PRESENCE, None),
        (DESCRIBED, TRUE_ALONE, None),
        (REVISION_OF, ANY_TEXT, None),
        (BOOTS_ARCHITECTURE, ANY_TEXT, None),
        (DEFAULT_INSTANCETYPE, PRESENCE, None),
        (DEFAULT_INSTANCETYPE_KIND, ANY_TEXT, None),
        (DEFAULT_PREFERENCE, PRESENCE, None),
        (DEFAULT_PREFERENCE_KIND, ANY_TEXT, None),
        (MANAGED_BY_HCO, NONE, Some("hco-operator")),
        (EXEMPT, TRUE_ALONE, None),
        (RELAX, TRUE_ALONE, None),
        (POLICY, ANY_TEXT, None),
        (REPLACED_MODEL, ANY_TEXT, None),
        (SENT_MODEL, NONE, Some("Unset")),
        (DROPPED_SELECTORS, ANY_TEXT, None),
        (MIGRATES_BRIDGE, PRESENCE, None),
        (POD_NODE_SELECTOR, ANY_TEXT, None),
        (PROJECT_NODE_SELECTOR, ANY_TEXT, None),
    ];

    #[test]
    fn each_label_counts_with_the_values_that_its_reader_accepts() {
        let values = [None, Some(""), Some("true"), Some("false"), Some("True"), Some("another")];
        for (known, expected, also) in TABLE {
            let with = |value: Option<&str>| -> BTreeMap<String, String> {
                let other = ("example.org/other".to_owned(), "true".to_owned());
                value.map(|value| (known.key.to_owned(), value.to_owned())).into_iter().chain([other]).collect()
            };
            for (value, counts) in values.into_iter().zip(expected) {
                let pairs = with(value);
                assert_eq!(known.is_set(&pairs), counts, "{}: {value:?}", known.key);
                assert_eq!(known.value(&pairs), value.filter(|_| counts), "{}: {value:?}", known.key);
            }
            assert_eq!(also.is_some(), expected == NONE, "{}: no value is shown to count", known.key);
            assert!(also.is_none_or(|also| known.is_set(&with(Some(also)))), "{} counts with no value", known.key);
        }
    }

    #[test]
    fn every_entry_has_its_row_and_cites_its_reader() {
        assert_eq!(TABLE.map(|(known, ..)| known).as_slice(), ALL);
        for known in ALL {
            assert!(!known.mirrors.is_empty() && !known.on.is_empty(), "{}", known.key);
            let same = ALL.iter().filter(|other| other.key == known.key && other.reading == known.reading);
            assert_eq!(same.count(), 1, "{} twice", known.key);
        }
    }

    /// Other modules must not interpret keys, because their readings would diverge.
    #[test]
    fn annotations_are_read_and_keys_spelled_in_this_table_alone() {
        let spelled = |line: &str| {
            ALL.iter().filter(|known| known.key.contains('/')).any(|known| line.contains(&format!("\"{}\"", known.key)))
        };
        let read = |line: &str| {
            let calls = ["annotations.get(", "annotations.contains_key(", "annotations.keys("];
            calls.iter().any(|call| line.contains(call))
        };
        let mut seen = 0;
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if entry.is_dir() && !matches!(name, "tests" | "testing" | "proofs") {
                    folders.push(entry);
                } else if entry.extension().is_some_and(|kind| kind == "rs")
                    && !matches!(name, "well_known.rs" | "label.rs" | "tests.rs")
                {
                    let text = std::fs::read_to_string(&entry).expect("a source file");
                    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                    let bad: Vec<&str> = code.lines().filter(|line| spelled(line) || read(line)).collect();
                    assert!(bad.is_empty(), "{}: {bad:#?}", entry.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "the sources were not found");
    }

    #[rstest]
    #[case::own_domain("kubevirt.io/migrationJobUID", true)]
    #[case::renamed("kubevirt.internal.virtualization.example.io/migrationJobUID", true)]
    #[case::another_domain("example.io/migrationJobUID", false)]
    #[case::another_name("kubevirt.io/oldmigrationJobUID", false)]
    #[case::no_domain("migrationJobUID", false)]
    fn keys_of_a_renamed_domain_are_read_as_kubevirts(#[case] key: &str, #[case] expected: bool) {
        let pairs = BTreeMap::from([(key.to_owned(), "uid".to_owned())]);
        assert_eq!(MIGRATION_UID.is_set(&pairs), expected);
    }

    #[rstest]
    #[case::own_domain("kubevirt.io", true)]
    #[case::renamed("kubevirt.internal.virtualization.example.io", true)]
    #[case::with_a_name("kubevirt.io/component", false)]
    #[case::another("app.kubernetes.io", false)]
    fn the_launchers_key_is_the_bare_domain(#[case] key: &str, #[case] expected: bool) {
        let pairs = BTreeMap::from([(key.to_owned(), "virt-launcher".to_owned())]);
        assert_eq!(LAUNCHER.is_set(&pairs), expected);
    }

    /// A user who may set annotations of a VM must not escape a policy with a domain of their own.
    #[test]
    fn exemption_labels_are_read_in_one_domain_only() {
        let target = |key: &str| MIGRATION_TARGET.is_set(&BTreeMap::from([(key.to_owned(), "true".to_owned())]));
        assert!(target("kubevirt.io/create-migration-target"));
        assert!(!target("kubevirt.example.io/create-migration-target"));
    }

    #[test]
    fn keys_of_kubevirts_own_domain_take_precedence_over_renamed_ones() {
        let pairs = BTreeMap::from([
            ("kubevirt.a.io/nodeName".to_owned(), "other".to_owned()),
            ("kubevirt.io/nodeName".to_owned(), "node-a".to_owned()),
        ]);
        assert_eq!(NODE_NAME.value(&pairs), Some("node-a"));
    }
}
