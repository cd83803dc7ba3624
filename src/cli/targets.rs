//! The objects of the cluster that arguments name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;

use super::gate;
use super::resource::{self, Argument, ObjectKind, ResourceError};
use super::rights::AskedAbout;
use crate::answers::missing_guests::MissingGuests;
use crate::console;
use crate::domain::Domain;
use crate::kubevirt::cluster::Cluster;
use crate::policy::LabelSelector;
use crate::world::World;

/// The scope in which objects without a name are searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetScope<'a> {
    /// The namespace; `None` is all.
    pub namespace: Option<&'a str>,
    /// The required labels; `None` for any.
    pub selector: Option<&'a LabelSelector>,
}

impl TargetScope<'_> {
    /// Whether a guest is in the scope.
    pub(crate) fn holds(&self, world: &World, namespace: &str, name: &str) -> bool {
        let matches = |selector: &LabelSelector| {
            labels_of_guest(world, namespace, name).is_some_and(|labels| selector.matches(labels))
        };
        self.namespace.is_none_or(|only| only == namespace) && self.selector.is_none_or(matches)
    }
}

/// Returns the labels of a guest: those of its VMI, or of its VM if it is stopped.
fn labels_of_guest<'w>(world: &'w World, namespace: &str, name: &str) -> Option<&'w BTreeMap<String, String>> {
    let cluster = &world.cluster;
    let vmi = cluster.vmi(namespace, name).map(|vmi| &vmi.metadata);
    let metadata = vmi.or_else(|| cluster.vm(namespace, name).map(|vm| &vm.metadata));
    metadata.map(|metadata| &metadata.labels)
}

/// A requested object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundTarget {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Returns the requested objects of these kinds, in the order of the arguments, or a line for each that does not exist.
/// Named objects are looked up in `home`.
///
/// # Errors
///
/// Returns an error if the arguments name no objects, or combine names with `-A` or `-l`.
pub(crate) fn find(
    world: &World,
    arguments: &[String],
    kinds: &[ObjectKind],
    scope: &TargetScope<'_>,
    home: &str,
) -> anyhow::Result<Vec<Result<FoundTarget, String>>> {
    let cluster = &world.cluster;
    let targets = resource::parse(arguments, kinds)?;
    let is_named = name_any(arguments, kinds)?;
    if is_named && scope.namespace.is_none() {
        bail!("an object cannot be read by name across all namespaces: leave out -A, or give TYPE without a name");
    }
    // An empty selector selects everything, as with kubectl.
    if is_named && scope.selector.is_some_and(|selector| selector.keys().next().is_some()) {
        bail!("names and -l do not go together: leave out one of them");
    }
    let named = |kind: ObjectKind, name: String| FoundTarget { kind, namespace: home.to_owned(), name };
    let mut out = Vec::new();
    for target in targets {
        match target {
            Argument::All(kind) => out.extend(all(cluster, kind, scope).into_iter().map(Ok)),
            Argument::Named(kind, name) => out.push(Ok(named(kind, name))),
            Argument::Bare(name) if cluster.vm(home, &name).is_some() => {
                out.push(Ok(named(ObjectKind::VirtualMachine, name)));
            }
            Argument::Bare(name) if cluster.vmi(home, &name).is_some() => out.push(Ok(named(ObjectKind::Vmi, name))),
            Argument::Bare(name) => {
                let is_file = name.contains('.') && Path::new(&name).exists();
                let cure = if is_file {
                    format!("; the file of that name: -f {name}")
                } else {
                    format!("; nor is it a type, which are {}", resource::types(kinds))
                };
                let missing = format!("vm/{name} and vmi/{name} not found");
                out.push(Err(match gate::nowhere(world, home) {
                    Some(why) => format!("{missing}: {why}"),
                    None => format!("{missing} in namespace {home}{cure}"),
                }));
            }
        }
    }
    if arguments.is_empty() {
        let vms = all(cluster, ObjectKind::VirtualMachine, scope);
        let instances = all(cluster, ObjectKind::Vmi, scope);
        let alone = instances.into_iter().filter(|vmi| cluster.vm(&vmi.namespace, &vmi.name).is_none());
        out.extend(vms.into_iter().chain(alone).map(Ok));
    }
    Ok(out)
}

/// Whether arguments name objects, not only types: these are looked up in one namespace.
///
/// # Errors
///
/// Returns an error if the arguments are not of a form that names objects.
pub(crate) fn name_any(arguments: &[String], kinds: &[ObjectKind]) -> Result<bool, ResourceError> {
    Ok(resource::parse(arguments, kinds)?.iter().any(|target| !matches!(target, Argument::All(_))))
}

/// Returns the VMs and VMIs that the arguments name, without names if they name all; `None` if they name none.
///
/// # Errors
///
/// Returns an error if the arguments are not of a form that names objects.
pub(crate) fn guests(arguments: &[String]) -> Result<Option<Vec<String>>, ResourceError> {
    let (mut names, mut are_all) = (Vec::new(), arguments.is_empty());
    for target in resource::parse(arguments, &ObjectKind::EXPLAINED)? {
        match target {
            Argument::Named(ObjectKind::VirtualMachine | ObjectKind::Vmi, name) | Argument::Bare(name) => {
                names.push(name);
            }
            Argument::All(ObjectKind::VirtualMachine | ObjectKind::Vmi) => are_all = true,
            Argument::Named(..) | Argument::All(_) => {}
        }
    }
    Ok(if are_all { Some(Vec::new()) } else { Some(names).filter(|names| !names.is_empty()) })
}

/// Returns the guests to ask the webhook about: those named, or if none is, all that run, as far as that is known.
pub(crate) fn asked_about(named: &[String], running: Option<Vec<String>>) -> AskedAbout {
    let mut guests = running.unwrap_or_else(|| named.to_vec());
    guests.retain(|guest| named.is_empty() || named.contains(guest));
    AskedAbout::Guests { names: guests }
}

/// Returns the names of the nodes that the arguments name: `NAME`, `node NAME` or `node/NAME`.
///
/// # Errors
///
/// Returns an error if the arguments are not of a form that names objects, or name no node.
pub(crate) fn nodes(arguments: &[String]) -> Result<Vec<String>, ResourceError> {
    let targets = resource::parse(arguments, &[ObjectKind::Node])?;
    let name = |target| match target {
        Argument::Named(_, name) | Argument::Bare(name) => Ok(name),
        Argument::All(_) => Err(ResourceError::form(&arguments.join(" "), &[ObjectKind::Node])),
    };
    targets.into_iter().map(name).collect()
}

/// Returns the message about a named object that does not exist.
pub(crate) fn absent(world: &World, kind: ObjectKind, namespace: &str, name: &str) -> String {
    if let Some(why) = (kind == ObjectKind::Pod).then(|| not_explained(world, namespace, name)).flatten() {
        return why;
    }
    let missing = format!("{}/{name} not found", kind.short_name());
    if let Some(why) = gate::nowhere(world, namespace) {
        return format!("{missing}: {why}");
    }
    let absent = format!("{missing} in namespace {namespace}; is it the right namespace (-n)?");
    if world.cluster.is_live {
        return absent;
    }
    let needed = match kind {
        ObjectKind::Replicas(kind) => format!(", and {} beside them", kind.short_name()),
        _ => String::new(),
    };
    format!("{absent} A snapshot must hold what `{}` prints{needed}", crate::dump_command!())
}

/// Prints a note about VMs that run, or may run, and whose VMI the dump does not hold: only their start is judged.
pub(crate) fn note_unseen(world: &World, wanted: &[Result<FoundTarget, String>]) {
    let vms = wanted.iter().flatten().filter(|found| found.kind == ObjectKind::VirtualMachine);
    let named: BTreeSet<(String, String)> = vms.map(|found| (found.namespace.clone(), found.name.clone())).collect();
    let is_named = |namespace: &str, name: &str| named.contains(&(namespace.to_owned(), name.to_owned()));
    let unseen = MissingGuests::of(&world.cluster, &is_named);
    if let Some(line) = unseen.without_vmi().filter(|_| unseen.are_any()) {
        console::note(&world.cluster.domain, format_args!("explained is the next start: {line}"));
    }
}

/// Returns why a pod that exists is not explained; `None` if it is not known.
fn not_explained(world: &World, namespace: &str, name: &str) -> Option<String> {
    let cluster = &world.cluster;
    let title = format!("{}/{name} in namespace {namespace}", ObjectKind::Pod.short_name());
    if let Some(pod) = cluster.launcher(namespace, name) {
        let absent = if cluster.is_live { "does not exist" } else { "is not in the dump" };
        let guest = &pod.guest;
        return Some(format!(
            "{title} is a launcher of VirtualMachineInstance {guest}, which {absent}: explain -f FILE explains a pod alone"
        ));
    }
    let has_ended = cluster.room.has_ended(namespace, name)?;
    let why = if has_ended { "has ended" } else { "is no launcher of a guest" };
    Some(format!("{title} {why}: explain is for launchers that wait or run"))
}

/// Returns why there is no guest in a scope without any.
pub(crate) fn no_guest(world: &World, scope: &TargetScope<'_>) -> String {
    let nowhere = || scope.namespace.and_then(|name| gate::no_namespace(world, name));
    let none = || {
        let place = scope.namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
        format!("there is no guest{place}{}", if scope.selector.is_some() { " with such labels" } else { "" })
    };
    gate::without_kubevirt(world).map(str::to_owned).or_else(nowhere).unwrap_or_else(none)
}

/// Returns the note that no requested object exists in the namespace, or in any.
pub(crate) fn nothing(world: &World, namespace: Option<&str>) -> String {
    let none = |place: &str| format!("nothing that is asked for is in {place}");
    match namespace {
        None => gate::nowhere(world, "").unwrap_or_else(|| none("any namespace")),
        Some(name) => gate::nowhere(world, name).unwrap_or_else(|| none(&format!("namespace {name}"))),
    }
}

/// Returns all objects of a kind, by namespace and name.
pub(crate) fn all(cluster: &Cluster, kind: ObjectKind, scope: &TargetScope<'_>) -> Vec<FoundTarget> {
    let mut names = cluster.names(kind.resource());
    names.sort();
    let is_asked_for = |(namespace, name): &(String, String)| {
        scope.namespace.is_none_or(|asked| asked == namespace)
            && scope.selector.is_none_or(|selector| {
                labels(cluster, kind, namespace, name).is_some_and(|labels| selector.matches(labels))
            })
    };
    let found = names.into_iter().filter(is_asked_for);
    found.map(|(namespace, name)| FoundTarget { kind, namespace, name }).collect()
}

/// Prints a note if names with `-o name` are of several namespaces: like kubectl, that format has no namespace.
pub(crate) fn note_namespaces<'a>(namespaces: impl IntoIterator<Item = &'a str>, domain: &Domain) {
    // Cluster-scoped objects have none.
    let many = namespaces.into_iter().filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().len();
    if many > 1 {
        console::note(
            domain,
            format_args!(
                "the names are of {many} namespaces, which -o name leaves out, as kubectl does: -o json has both"
            ),
        );
    }
}

/// Returns the labels of an object.
fn labels<'c>(
    cluster: &'c Cluster,
    kind: ObjectKind,
    namespace: &str,
    name: &str,
) -> Option<&'c BTreeMap<String, String>> {
    let metadata = match kind {
        ObjectKind::VirtualMachine => &cluster.vm(namespace, name)?.metadata,
        ObjectKind::Replicas(kind) => &cluster.replicas(kind, namespace, name)?.vm.metadata,
        ObjectKind::Vmi => &cluster.vmi(namespace, name)?.metadata,
        ObjectKind::Migration => &cluster.migration(namespace, name)?.metadata,
        ObjectKind::Pod => return Some(&cluster.launcher(namespace, name)?.labels),
        ObjectKind::Node => return None,
    };
    Some(&metadata.labels)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::wire::JsonText;
    use crate::testing::cluster::{cluster, launcher, running, vmi};

    #[rstest]
    #[case::launcher_without_a_guest(
        "virt-launcher-db-x7k2p",
        false,
        "pod/virt-launcher-db-x7k2p in namespace shop is a launcher of VirtualMachineInstance db, which is not in the dump: \
         explain -f FILE explains a pod alone"
    )]
    #[case::launcher_whose_guest_is_gone(
        "virt-launcher-db-x7k2p",
        true,
        "pod/virt-launcher-db-x7k2p in namespace shop is a launcher of VirtualMachineInstance db, which does not exist: explain \
         -f FILE explains a pod alone"
    )]
    #[case::no_launcher(
        "hp-volume",
        false,
        "pod/hp-volume in namespace shop is no launcher of a guest: explain is for launchers that wait or run"
    )]
    #[case::ended("import", false, "pod/import in namespace shop has ended: explain is for launchers that wait or run")]
    #[case::absent("gone", true, "pod/gone not found in namespace shop; is it the right namespace (-n)?")]
    fn a_pod_that_is_not_explained_is_called_what_it_is(
        #[case] name: &str,
        #[case] is_live: bool,
        #[case] expected: &str,
    ) {
        let pod = |name: &str, phase: &str| -> Value {
            json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": "node-a"}, "status": {"phase": phase}})
        };
        let other = vmi(running("other", "node-a", "host-model"));
        let mut known = cluster("1.9.0", Vec::new(), [launcher(&running("db", "node-a", "host-model"), []), other]);
        known.is_live = is_live;
        for pod in [pod("hp-volume", "Running"), pod("import", "Succeeded")] {
            Arc::make_mut(&mut known.room).read("", "Pod", &JsonText(&pod.to_string())).expect("well-formed");
        }
        let world = World { cluster: known, policies: Vec::new() };
        assert_eq!(absent(&world, ObjectKind::Pod, "shop", name), expected, "a pod that exists is said to be missing");
    }
}
