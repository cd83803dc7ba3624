//! Every action with texts of objects, and the words that its commands must have.

use serde_json::json;

use super::{is_key, is_label, is_name, is_part, words};
use crate::fit::author::TypeReference;
use crate::fit::command::HYPERCONVERGED;
use crate::fit::label::SKIP_NODE;
use crate::fit::node::Effect;
use crate::fit::placement::Toleration;
use crate::fit::remedy::{
    Action, AddLabels, AddNode, Backing, ChangeAffinity, ChangeMachineType, ChangeSelector, ChangeTogether,
    ChangeTolerations, DisableFeature, DropAddedSelector, DropSetting, DropStale, EditObsoleteModels, EnableCpuManager,
    FixVirtHandler, MigrateAgain, RefreshRevision, RemoveLabels, RemoveSkipNode, RemoveTscLabel, RemoveVendorLabel,
    Restart, Uncordon, UpgradeKubeVirt, UseModel,
};
use crate::fit::subject::{ListOwner, ListedFeature, ObsoleteModels, Pinned, PinnedTo, Setting, Template};

/// An action.
pub(super) struct Row {
    pub(super) action: Action,
    /// Whether all texts are valid that its commands contain.
    pub(super) is_valid: bool,
    /// The words of its commands, for valid texts; remarks are not run.
    pub(super) runs: Vec<Vec<String>>,
}

fn row(action: impl Into<Action>, is_valid: bool, runs: Vec<Vec<String>>) -> Row {
    Row { action: action.into(), is_valid, runs }
}

/// The texts of objects, each of which may have any content.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) guest: &'a str,
    pub(super) namespace: &'a str,
    pub(super) node: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    /// The stored object that holds the guest's template.
    pub(super) template: Option<Template>,
    /// Whether KubeVirt applies a change of selector and tolerations to a running guest.
    pub(super) live: bool,
}

impl Texts<'_> {
    /// Returns a row for every remedy, several for those whose commands depend on more than these texts.
    pub(super) fn actions(self) -> Vec<Row> {
        [self.of_nodes(), self.of_labels(), self.of_guests(), self.of_settings(), self.of_sets(), self.of_cluster()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether the name and the namespace of the guest are valid.
    fn is_guest(self) -> bool {
        is_name(self.guest) && self.is_namespace()
    }

    fn is_namespace(self) -> bool {
        self.namespace.is_empty() || is_label(self.namespace)
    }

    fn has_vm(self) -> bool {
        self.template == Some(Template::VirtualMachine)
    }

    /// Returns a command whose last words are a name and the guest's namespace.
    fn named(self, head: &[&str]) -> Vec<String> {
        let mut all = words(head);
        all.push(self.guest.to_owned());
        if !self.namespace.is_empty() {
            all.extend(words(&["-n", self.namespace]));
        }
        all
    }

    fn restart(self) -> Vec<String> {
        self.named(&["virtctl", "restart"])
    }

    /// Returns the restart, of a guest of a VM only.
    fn restart_of_vm(self) -> Vec<Vec<String>> {
        self.has_vm().then(|| self.restart()).into_iter().collect()
    }

    /// Whether the texts of a restart are valid: replica sets and pools get a remark without a name.
    fn is_restart(self) -> bool {
        self.is_guest() || !(self.has_vm() || self.template.is_none())
    }

    fn skip(self) -> Vec<String> {
        words(&["kubectl", "annotate", "node", self.node, &format!("{SKIP_NODE}=true")])
    }

    fn label(self, argument: &str) -> Vec<String> {
        words(&["kubectl", "label", "node", self.node, argument])
    }

    /// Returns a patch of the template, and a restart if it needs one; a remark without a template.
    fn patch(
        self,
        action: impl Into<Action>,
        is_valid: bool,
        (kind, patch): (&str, impl FnOnce(Template) -> String),
        restarts: bool,
    ) -> Row {
        let Some(template) = self.template else { return row(action, is_valid, Vec::new()) };
        let resource = match template {
            Template::VirtualMachine => "vm",
            Template::ReplicaSet => "vmirs",
            Template::Pool => "vmpool",
        };
        let head = self.named(&["kubectl", "patch", resource]);
        let patch = [head, words(&["--type", kind, "-p", &patch(template)])].concat();
        let restart = if restarts { self.restart_of_vm() } else { Vec::new() };
        row(action, is_valid && self.is_guest(), [vec![patch], restart].concat())
    }

    /// Returns a merge of this value into the guest's spec.
    fn merge(self, action: impl Into<Action>, is_valid: bool, spec: &serde_json::Value, restarts: bool) -> Row {
        let patch = |template| {
            let vm = json!({"spec": {"template": {"spec": spec}}});
            match template {
                Template::VirtualMachine | Template::ReplicaSet => vm,
                Template::Pool => json!({"spec": {"virtualMachineTemplate": vm}}),
            }
            .to_string()
        };
        self.patch(action, is_valid, ("merge", patch), restarts)
    }

    /// Returns a JSON patch, in which `AT` is the path of the guest's spec and `VALUE` the value.
    fn json(self, action: impl Into<Action>, is_valid: bool, operations: &str, restarts: bool) -> Row {
        let value = json!(self.value).to_string();
        let patch = |template: Template| {
            let operations = operations.replace("AT", &format!("/{}", template.path().join("/")));
            operations.replace("VALUE", &value)
        };
        self.patch(action, is_valid, ("json", patch), restarts)
    }

    fn of_nodes(self) -> Vec<Row> {
        let Self { node, key, value, .. } = self;
        let text = str::to_owned;
        let tsc = self.label("cpu-timer.node.kubevirt.io/tsc-frequency-");
        vec![
            row(
                Uncordon { nodes: vec![text(node), text(key)] },
                is_name(node),
                vec![words(&["kubectl", "uncordon", node])],
            ),
            row(
                RemoveSkipNode { node: text(node), value: text(value), like: text(key) },
                is_name(node),
                vec![words(&["kubectl", "annotate", "node", node, &format!("{SKIP_NODE}-")])],
            ),
            row(
                RemoveTscLabel { node: text(node), frequency: 2, is_frozen: false },
                is_name(node) && self.is_restart(),
                [vec![self.skip(), tsc], self.restart_of_vm()].concat(),
            ),
            row(
                EnableCpuManager { key: text(key), nodes: vec![text(node)], gate_is_off: true },
                is_name(node),
                Vec::new(),
            ),
            row(FixVirtHandler { nodes: vec![text(node)] }, is_name(node), vec![virt_handler(node)]),
            row(AddNode { like: text(node) }, true, Vec::new()),
        ]
    }

    fn of_labels(self) -> Vec<Row> {
        let Self { node, key, value, .. } = self;
        let text = str::to_owned;
        let is_removal = is_name(node) && is_key(key);
        let is_addition = is_removal && (value.is_empty() || is_part(value));
        let (add, remove) = (self.label(&format!("{key}={value}")), self.label(&format!("{key}-")));
        let backing = Backing::Labels;
        let added = |is_frozen| {
            let labels = vec![(text(key), text(value))];
            AddLabels { node: text(node), labels, replaces: false, is_frozen, backing }
        };
        let removed = |is_frozen| RemoveLabels { node: text(node), keys: vec![text(key)], is_frozen, backing };
        vec![
            row(added(false), is_addition, vec![self.skip(), add.clone()]),
            row(removed(false), is_removal, vec![self.skip(), remove.clone()]),
            // An existing annotation is not set again: kubectl would refuse another value.
            row(added(true), is_addition, vec![add]),
            row(removed(true), is_removal, vec![remove.clone()]),
            row(
                RemoveVendorLabel { node: text(node), keys: vec![text(key)], vendor: text(value) },
                is_removal,
                vec![remove],
            ),
        ]
    }

    fn of_guests(self) -> Vec<Row> {
        let Self { node, key, value, live, .. } = self;
        let text = str::to_owned;
        let model = UseModel {
            model: text(value),
            nodes: vec![text(node)],
            elsewhere: vec![text(node)],
            of_another_vendor: Vec::new(),
            also: vec![text(key)],
            of_others: Vec::new(),
            vendor_is_asked: true,
            without_bit: None,
            listed: Vec::new(),
            instead_of: None,
            set_by: None,
        };
        let toleration = Toleration {
            key: text(key),
            value: text(value),
            effect: Some(Effect::NoSchedule),
            ..Toleration::default()
        };
        let tolerate = format!(
            r#"[{{"op":"add","path":"AT/tolerations/-","value":{{"key":{},"value":VALUE,"effect":"NoSchedule"}}}}]"#,
            json!(key)
        );
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": null});
        vec![
            row(DropStale { keys: vec![text(key)] }, true, Vec::new()),
            row(
                DropAddedSelector { keys: vec![text(key)] },
                self.is_guest(),
                vec![self.named(&["virtctl", "migrate"])],
            ),
            row(MigrateAgain, self.is_guest(), vec![self.named(&["virtctl", "migrate"])]),
            row(Restart, self.is_restart(), self.restart_of_vm()),
            self.refresh(),
            self.merge(model, is_part(value), &json!({"domain": {"cpu": {"model": value}}}), true),
            self.merge(
                ChangeSelector { keys: vec![text(key)] },
                is_key(key),
                &json!({"nodeSelector": {key: null}}),
                !live,
            ),
            self.merge(ChangeAffinity, true, &json!({"affinity": {"nodeAffinity": required}}), !live),
            self.json(
                ChangeTolerations { add: vec![toleration], near: Vec::new() },
                is_key(key) && (value.is_empty() || is_part(value)),
                &tolerate,
                !live,
            ),
            self.merge(
                ChangeMachineType { from: text(key), to: text(value) },
                is_part(value),
                &json!({"domain": {"machine": {"type": value}}}),
                true,
            ),
        ]
    }

    /// Returns the removal of a VM's revision, from its specification and its status.
    fn refresh(self) -> Row {
        let pinned = Pinned { of: PinnedTo::Preference, name: self.value.to_owned(), in_spec: true, in_status: true };
        let action = RefreshRevision { pinned: vec![pinned] };
        if !self.has_vm() {
            return row(action, true, Vec::new());
        }
        let tail = |options: &[&str], patch: serde_json::Value| {
            [
                self.named(&["kubectl", "patch", "vm"]),
                words(options),
                words(&["--type", "merge", "-p", &patch.to_string()]),
            ]
            .concat()
        };
        let runs = vec![
            tail(&[], json!({"spec": {"preference": {"revisionName": null}}})),
            tail(&["--subresource=status"], json!({"status": {"preferenceRef": {"controllerRevisionRef": null}}})),
        ];
        row(action, self.is_guest(), [runs, self.restart_of_vm()].concat())
    }

    /// Returns the feature that has the value as its name, at an index of the guest's list.
    fn features(self) -> Vec<ListedFeature> {
        vec![ListedFeature { at: 2, name: self.value.to_owned() }]
    }

    fn of_settings(self) -> Vec<Row> {
        let drop = |setting| DropSetting { setting, set_by: None };
        let preference = || {
            let (kind, name) = ("VirtualMachinePreference".to_owned(), self.value.to_owned());
            Some(TypeReference { kind, name, field: "cpu.preferredCPUFeatures", ..TypeReference::default() })
        };
        // Its name is in a remark; a restart follows.
        let names_another = is_name(self.value) && self.is_restart();
        let at = "AT/domain/cpu/features/2";
        let test = format!(r#"{{"op":"test","path":"{at}/name","value":VALUE}}"#);
        let nulls = json!({
            "dedicatedCpuPlacement": null, "isolateEmulatorThread": null, "numa": null, "realtime": null,
        });
        vec![
            self.json(
                DisableFeature { features: self.features(), set_by: None },
                is_part(self.value),
                &format!(r#"[{test},{{"op":"replace","path":"{at}/policy","value":"disable"}}]"#),
                true,
            ),
            row(
                DisableFeature { features: self.features(), set_by: preference() },
                names_another,
                self.restart_of_vm(),
            ),
            self.json(
                drop(Setting::Features(self.features())),
                is_part(self.value),
                &format!(r#"[{test},{{"op":"remove","path":"{at}"}}]"#),
                true,
            ),
            self.merge(
                drop(Setting::HyperV("evmcs")),
                true,
                &json!({"domain": {"features": {"hyperv": {"evmcs": null}}}}),
                true,
            ),
            self.merge(drop(Setting::DedicatedCpus), true, &json!({"domain": {"cpu": nulls}}), true),
            row(
                DropSetting { setting: Setting::DedicatedCpus, set_by: preference() },
                names_another,
                self.restart_of_vm(),
            ),
        ]
    }

    /// Returns two changes of the guest, and a change of the guest and of a node. One restart is enough.
    fn of_sets(self) -> Vec<Row> {
        let text = str::to_owned;
        let nodes = vec![text(self.node), text(self.key)];
        let selector = || {
            self.merge(
                ChangeSelector { keys: vec![text(self.key)] },
                is_key(self.key),
                &json!({"nodeSelector": {self.key: null}}),
                !self.live,
            )
        };
        let machine = self.merge(
            ChangeMachineType { from: text(self.key), to: text(self.value) },
            is_part(self.value),
            &json!({"domain": {"machine": {"type": self.value}}}),
            true,
        );
        let uncordon = row(Uncordon { nodes }, is_name(self.node), vec![words(&["kubectl", "uncordon", self.node])]);
        let together = |parts: [Row; 2]| {
            // Each of them may end with a restart.
            let is_valid = parts.iter().all(|part| part.is_valid) && self.is_restart();
            let restart = self.restart();
            let (restarts, changes): (Vec<_>, Vec<_>) =
                parts.iter().flat_map(|part| part.runs.clone()).partition(|command| *command == restart);
            let parts = parts.into_iter().map(|part| part.action).collect();
            row(ChangeTogether { parts }, is_valid, [changes, restarts.into_iter().take(1).collect()].concat())
        };
        vec![together([selector(), machine]), together([selector(), uncordon])]
    }

    fn of_cluster(self) -> Vec<Row> {
        let text = str::to_owned;
        let value = self.value;
        let edit = |owner, is_valid, runs| {
            let (models, edits, rest) = (vec![text(value)], vec![(text(value), false)], vec![text(value)]);
            row(EditObsoleteModels { list: ObsoleteModels { models, edits, rest, owner } }, is_valid, runs)
        };
        let patch = |resource: &str, spec: serde_json::Value| {
            let patch = json!({ "spec": spec }).to_string();
            vec![[self.named(&["kubectl", "patch", resource]), words(&["--type", "merge", "-p", &patch])].concat()]
        };
        let (namespace, name) = (text(self.namespace), text(self.guest));
        let is_valid = self.is_guest() && is_part(value);
        vec![
            edit(
                ListOwner::KubeVirt { namespace: namespace.clone(), name: name.clone() },
                is_valid,
                patch("kubevirt", json!({"configuration": {"obsoleteCPUModels": {value: null}}})),
            ),
            edit(
                ListOwner::HyperConverged { namespace, name },
                is_valid,
                patch(HYPERCONVERGED, json!({"obsoleteCPUs": {"cpuModels": [value]}})),
            ),
            edit(ListOwner::Unknown, is_part(value), Vec::new()),
            row(UpgradeKubeVirt { to: "1.8.4", keys: vec![text(self.key)] }, true, Vec::new()),
        ]
    }
}

/// Returns the words of the command that shows the virt-handler of a node.
fn virt_handler(node: &str) -> Vec<String> {
    let field = format!("spec.nodeName={node}");
    let head = ["kubectl", "get", "pods", "-A", "-l", "kubevirt.io=virt-handler", "-o", "wide", "--field-selector"];
    words(&[&head[..], &[&field]].concat())
}
