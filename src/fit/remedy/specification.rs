//! Commands that change a guest's specification: in the stored object that holds it, else in words, in its manifest.

use super::{Commands, Outage, Stage};
use crate::fit::author::TypeReference;
use crate::fit::command::{Command, CommandWord, CpuFeature, Invalid, Json, LabelKey, LabelValue, Name, Namespace};
use crate::fit::placement::{Toleration, TolerationOperator};
use crate::fit::subject::{ListedFeature, Origin, RestartRequest, Subject, Template};

/// Adds the guest's name and namespace to a command.
fn of_guest(command: Command, subject: &Subject<'_>) -> Result<Command, Invalid> {
    Ok(command.arg(Name::new(&subject.name)?).namespace(Namespace::new(&subject.namespace)?))
}

/// Starts a patch of the object that holds the guest's template.
pub(super) fn patch(template: Template, subject: &Subject<'_>) -> Result<Command, Invalid> {
    let name = Name::new(subject.definition.template_name.as_deref().unwrap_or(&subject.name))?;
    let patch = Command::kubectl(["patch"]).arg(template.resource()).arg(name);
    Ok(patch.namespace(Namespace::new(&subject.namespace)?))
}

/// Returns the template if the object that holds it is stored, so that a command can change it.
pub(super) fn stored_template(subject: &Subject<'_>) -> Option<Template> {
    subject.definition.template.filter(|_| subject.definition.origin == Origin::Stored)
}

/// Returns the path of a field below the guest's spec, in the object that a person edits.
fn field(subject: &Subject<'_>, below: &[&'static str]) -> CommandWord {
    let template = subject.definition.template.filter(|_| subject.definition.origin == Origin::Submitted);
    let root: &[&'static str] = template.map_or(&["spec"], Template::path);
    CommandWord::field(&[root, below])
}

/// Returns the remark for an edit that no command makes: of the manifest, or of a guest that nothing makes again.
fn by_hand(subject: &Subject<'_>, edit: Vec<CommandWord>) -> Vec<Command> {
    let words: Vec<CommandWord> = match subject.definition.origin {
        Origin::Submitted => ["in the manifest".into()].into_iter().chain(edit).collect(),
        Origin::Stored => edit.into_iter().chain(["and create the guest again".into()]).collect(),
    };
    vec![Command::remark(words)]
}

/// Returns `a`, `a and b`, `a and b and c`.
pub(super) fn listed(words: impl IntoIterator<Item = CommandWord>) -> Vec<CommandWord> {
    let each = words.into_iter().enumerate();
    each.flat_map(|(at, word)| (at > 0).then(|| "and".into()).into_iter().chain([word])).collect()
}

/// Returns the commands that restart a guest; none for a guest whose manifest is not stored. A restart requires that
/// the VMI exists, whether it has started or not: `RestartVMRequestHandler` of `pkg/virt-api/rest/lifecycle.go`.
pub(super) fn restart_commands(subject: &Subject<'_>) -> Commands {
    if subject.definition.origin == Origin::Submitted {
        return Ok(Vec::new());
    }
    let has_vmi = subject.has_vmi();
    Ok(vec![match subject.definition.template {
        Some(Template::VirtualMachine) if has_vmi && subject.definition.restart_request == RestartRequest::Restart => {
            let restart = of_guest(Command::virtctl(["restart"]), subject)?;
            restart.comment(if subject.is_running() {
                "a reboot inside the guest is not enough"
            } else {
                "its VMI exists already: nothing changes it"
            })
        }
        Some(Template::VirtualMachine) if has_vmi && subject.definition.restart_request == RestartRequest::Once => {
            let stop = of_guest(Command::virtctl(["stop"]), subject)?;
            let stop = stop.comment("its runStrategy is Once: KubeVirt refuses a restart");
            let gone = Command::kubectl(["wait", "--for=delete"]).arg(Name::new(&subject.name)?.of("vmi"));
            let gone = gone.namespace(Namespace::new(&subject.namespace)?).args(["--timeout=10m"]);
            let once = Json::Text("Once".into()).below(&["spec", "runStrategy"]);
            let start = of_guest(Command::kubectl(["patch", "vm"]), subject)?;
            return Ok(vec![stop, gone, start.args(["--type", "merge", "-p"]).arg(once)]);
        }
        Some(Template::VirtualMachine) => Command::remark(["it counts from its next start on".into()]),
        Some(Template::ReplicaSet) if subject.definition.template_name.is_some() && has_vmi => {
            let delete = of_guest(Command::kubectl(["delete", "vmi"]), subject)?;
            delete.comment("its replica set makes another guest")
        }
        Some(Template::ReplicaSet | Template::Pool) => {
            Command::remark(["create its guests again: a reboot inside is not enough".into()])
        }
        // A dump may have been stripped of owners, and contain no VM.
        None => {
            let (name, namespace) = (Name::new(&subject.name)?, Namespace::new(&subject.namespace)?);
            let of = [name.into(), "-n".into(), namespace.into()].into_iter();
            let of = of.take(if subject.namespace.is_empty() { 1 } else { 3 });
            let otherwise = "if a VM makes it, else delete its VMI and create it again; a reboot inside is not enough";
            Command::remark(["virtctl restart".into()].into_iter().chain(of).chain([otherwise.into()]))
        }
    }])
}

/// Returns the commands that set a field of a guest's template, below its spec, and restart a guest if the change
/// requires it. Without a stored template: the edit in words, which `edit` writes for the path of the field.
pub(super) fn change_template(
    subject: &Subject<'_>,
    below: &[&'static str],
    value: Json,
    outage: Outage,
    edit: impl FnOnce(CommandWord) -> Vec<CommandWord>,
) -> Commands {
    let Some(template) = stored_template(subject) else { return Ok(by_hand(subject, edit(field(subject, below)))) };
    let patch = patch(template, subject)?.args(["--type", "merge", "-p"]);
    and_restart(patch.arg(value.below(below).below(template.path())), template, outage, subject)
}

/// Returns the commands of a migration that is requested again, after a change. One that is under way is cancelled
/// first: KubeVirt accepts no second one (`ensureNoMigrationConflict` of
/// `pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`), and changes the node selector of
/// no guest that migrates (`handleAffinityChangeRequest` of `pkg/virt-controller/watch/vm/vm.go`).
pub(super) fn again(subject: &Subject<'_>, change: Vec<Command>) -> Commands {
    let mut out = Vec::new();
    if is_under_way(subject) {
        let cancel = of_guest(Command::virtctl(["migrate-cancel"]), subject)?;
        out.push(cancel.comment("KubeVirt accepts no second migration"));
    }
    out.extend(change);
    out.push(of_guest(Command::virtctl(["migrate"]), subject)?);
    Ok(out)
}

/// Returns the commands of a change of what migrations ask for. The target pod of a migration that is under way stays
/// as it was created.
pub(super) fn before_migration(subject: &Subject<'_>, change: Vec<Command>) -> Commands {
    if is_under_way(subject) { again(subject, change) } else { Ok(change) }
}

/// Whether a migration of the guest has not ended.
pub(super) fn is_under_way(subject: &Subject<'_>) -> bool {
    matches!(&subject.stage, Stage::Migration(migration) if migration.is_under_way)
}

/// Adds to a change of a template the commands that apply it to the existing guests.
fn and_restart(patch: Command, template: Template, outage: Outage, subject: &Subject<'_>) -> Commands {
    let restarts = subject.definition.waits || outage == Outage::Restart && subject.is_running();
    Ok(match template {
        Template::VirtualMachine if restarts => [vec![patch], restart_commands(subject)?].concat(),
        Template::ReplicaSet if restarts && subject.definition.template_name.is_some() => {
            [vec![patch], restart_commands(subject)?].concat()
        }
        Template::VirtualMachine if is_under_way(subject) => again(subject, vec![patch])?,
        Template::VirtualMachine | Template::Pool => vec![patch],
        Template::ReplicaSet => vec![patch.comment("VMIs that it has already stay as they are until they are deleted")],
    })
}

/// Returns the commands that remove CPU features from the template of a guest, or disable them. They fail without
/// effect if the list was changed meanwhile.
pub(super) fn change_features(
    subject: &Subject<'_>,
    features: &[ListedFeature],
    policy: Option<&'static str>,
) -> Commands {
    const LIST: [&str; 3] = ["domain", "cpu", "features"];
    let names = features
        .iter()
        .map(|feature| CpuFeature::new(&feature.name).map(CommandWord::from))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(template) = stored_template(subject) else {
        let (names, field) = (listed(names), field(subject, &LIST));
        let words = match policy {
            Some(policy) => [vec!["set policy".into(), policy.into(), "for".into()], names, vec!["in".into(), field]],
            None => [vec!["take".into()], names, vec!["out of".into(), field]],
        };
        return Ok(by_hand(subject, words.concat()));
    };
    let list = [template.path(), &LIST].concat();
    let operation = |op: &'static str, at: usize, below: &[&'static str], value: Option<CommandWord>| {
        let place = Json::Text(CommandWord::pointer(&list, at, below));
        let mut fields = vec![("op".into(), Json::Text(op.into())), ("path".into(), place)];
        fields.extend(value.map(|value| ("value".into(), Json::Text(value))));
        Json::Object(fields)
    };
    let mut operations: Vec<Json> = Vec::new();
    // Last first, so that each feature is still at its index.
    for (feature, name) in features.iter().zip(names).rev() {
        operations.push(operation("test", feature.at, &["name"], Some(name)));
        operations.push(match policy {
            Some(policy) => operation("replace", feature.at, &["policy"], Some(policy.into())),
            None => operation("remove", feature.at, &[], None),
        });
    }
    let patch = patch(template, subject)?.args(["--type", "json", "-p"]).arg(Json::Array(operations));
    and_restart(patch, template, Outage::Restart, subject)
}

/// Returns a toleration as JSON.
pub(crate) fn toleration(toleration: &Toleration) -> Result<Json, Invalid> {
    let Toleration { key, operator, value, effect } = toleration;
    let text = |key: &'static str, value: CommandWord| (key.into(), Json::Text(value));
    let mut fields = Vec::new();
    // Without a key it tolerates all taints, or all of one effect.
    if !key.is_empty() || *operator != TolerationOperator::Exists {
        fields.push(text("key", LabelKey::new(key)?.into()));
    }
    match operator {
        TolerationOperator::Exists => fields.push(text("operator", "Exists".into())),
        _ => fields.push(text("value", LabelValue::new(value)?.into())),
    }
    fields.extend(effect.map(|effect| text("effect", effect.as_str().into())));
    Ok(Json::Object(fields))
}

/// Returns the commands that add tolerations to those of a guest's template.
pub(super) fn add_tolerations(subject: &Subject<'_>, add: &[Toleration], outage: Outage) -> Commands {
    const LIST: [&str; 1] = ["tolerations"];
    let add = add.iter().map(toleration).collect::<Result<Vec<_>, Invalid>>()?;
    let Some(template) = stored_template(subject) else {
        let add = listed(add.into_iter().map(CommandWord::from));
        return Ok(by_hand(subject, [vec!["add".into()], add, vec!["to".into(), field(subject, &LIST)]].concat()));
    };
    let end = CommandWord::end_of(&[template.path(), &LIST]);
    let operation = |value: Json| {
        let text = |key: &'static str, value: CommandWord| (key.into(), Json::Text(value));
        Json::Object(vec![text("op", "add".into()), text("path", end.clone()), ("value".into(), value)])
    };
    let operations = add.into_iter().map(operation).collect();
    let patch = patch(template, subject)?.args(["--type", "json", "-p"]).arg(Json::Array(operations));
    and_restart(patch, template, outage, subject)
}

/// Returns the remark for settings of one instancetype or preference, and the restart of a running guest.
///
/// Every release reads the ControllerRevision that `revisionName` names, whatever the name beside it. Since 0.59.1
/// virt-api refuses another name beside the same `revisionName`: `validateMatcherUpdate` of
/// `pkg/instancetype/webhooks/vm/mutator.go` (of `vm-mutator.go` of virt-api until 1.5).
pub(super) fn name_another(subject: &Subject<'_>, named: &[&TypeReference]) -> Commands {
    let Some(first) = named.first() else { return Ok(Vec::new()) };
    let of_pool = subject.definition.template == Some(Template::Pool);
    let (kind, field) = match (first.what(), of_pool) {
        ("preference", false) => ("name another preference in", "spec.preference"),
        ("preference", true) => ("name another preference in", "spec.virtualMachineTemplate.spec.preference"),
        (_, false) => ("name another instancetype in", "spec.instancetype"),
        (_, true) => ("name another instancetype in", "spec.virtualMachineTemplate.spec.instancetype"),
    };
    let place = match (subject.definition.origin, of_pool) {
        (Origin::Submitted, _) => "in the manifest",
        (Origin::Stored, true) => "of the pool",
        (Origin::Stored, false) => "of the VM",
    };
    let end = if first.is_pinned { " and set its revisionName to null in the same edit:" } else { ":" };
    let edit: [CommandWord; 3] = [kind.into(), field.into(), CommandWord::joined(place, end)];
    let mut fields: Vec<&'static str> = Vec::new();
    for named in named {
        if !fields.contains(&named.field) {
            fields.push(named.field);
        }
    }
    let sets = fields
        .into_iter()
        .enumerate()
        .map(|(at, field)| CommandWord::joined(if at == 0 { "sets spec." } else { "and spec." }, field));
    let copy = (!first.revision.is_empty()).then(|| "in the older copy that the VM uses".into());
    let words = edit.into_iter().chain([Name::new(&first.name)?.into()]).chain(copy).chain(sets);
    let mut out = vec![Command::remark(words)];
    if subject.has_vmi() {
        out.extend(restart_commands(subject)?);
    }
    Ok(out)
}
