//! Arguments that name objects, in kubectl's syntax: `TYPE NAME …`, `TYPE/NAME …`, with groups, and a bare NAME.
//!
//! Mirrors cli-runtime's `pkg/resource` (`Builder.ResourceTypeOrNameArgs`). A bare name, which kubectl does not accept,
//! is that of a VM, or else of a VMI.

use crate::fit::syntax;
use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::resource::Resource;

/// A kind that arguments may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// `VirtualMachine`.
    VirtualMachine,
    /// `VirtualMachineInstanceReplicaSet` or `VirtualMachinePool`.
    Replicas(ReplicasKind),
    /// `VirtualMachineInstance`.
    Vmi,
    /// `VirtualMachineInstanceMigration`.
    Migration,
    /// A launcher pod.
    Pod,
    /// A node.
    Node,
}

impl ObjectKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 7] = [
        Self::VirtualMachine,
        Self::Vmi,
        Self::Replicas(ReplicasKind::ReplicaSet),
        Self::Replicas(ReplicasKind::Pool),
        Self::Migration,
        Self::Pod,
        Self::Node,
    ];

    /// The kinds that `audit` takes: guests, running or not.
    pub(crate) const GUESTS: [Self; 2] = [Self::VirtualMachine, Self::Vmi];

    /// The kinds that `explain` takes.
    pub(crate) const EXPLAINED: [Self; 6] = [
        Self::VirtualMachine,
        Self::Vmi,
        Self::Replicas(ReplicasKind::ReplicaSet),
        Self::Replicas(ReplicasKind::Pool),
        Self::Migration,
        Self::Pod,
    ];

    /// Returns its row in the table of resources.
    pub(crate) const fn resource(self) -> Resource {
        match self {
            Self::VirtualMachine => Resource::VirtualMachines,
            Self::Replicas(kind) => kind.resource(),
            Self::Vmi => Resource::Vmis,
            Self::Migration => Resource::Migrations,
            Self::Pod => Resource::Pods,
            Self::Node => Resource::Nodes,
        }
    }

    /// Returns its kind.
    pub(crate) const fn kind(self) -> &'static str {
        self.resource().kind()
    }

    /// Returns its API group.
    pub(crate) const fn group(self) -> &'static str {
        self.resource().group()
    }

    /// Returns its short names, the one used in messages first.
    pub(crate) const fn short_names(self) -> &'static [&'static str] {
        self.resource().names().short
    }

    /// Returns the short name used in messages: `vm`.
    pub(crate) fn short_name(self) -> &'static str {
        self.short_names().first().copied().unwrap_or_default()
    }

    /// Returns its name as `-o name` prints it: `virtualmachine.kubevirt.io/db`.
    pub(crate) fn title(self, name: &str) -> String {
        self.resource().title(name)
    }

    /// Returns the kind that a word names: singular, plural, short name or kind, alone or with `.GROUP` or
    /// `.VERSION.GROUP`.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let (name, rest) = word.split_once('.').unwrap_or((&word, ""));
        Self::ALL.into_iter().find(|kind| {
            let singular = kind.kind().to_ascii_lowercase();
            let is_named = name == singular
                || name.strip_suffix('s') == Some(singular.as_str())
                || kind.short_names().contains(&name);
            let is_served = |version| kind.resource().is_served_in(version);
            let is_of_version =
                || rest.split_once('.').is_some_and(|(version, group)| group == kind.group() && is_served(version));
            is_named && (rest.is_empty() || rest == kind.group() || is_of_version())
        })
    }
}

/// The objects that one argument, or an argument after its type, names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// All objects of a kind.
    All(ObjectKind),
    /// One object.
    Named(ObjectKind, String),
    /// An object without its kind.
    Bare(String),
}

/// The error of arguments that name no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResourceError {
    /// An unknown type.
    #[error("{word:?} is not a type that this verb takes; it takes {takes}")]
    Type {
        /// The word.
        word: String,
        /// The types.
        takes: String,
    },
    /// A wrong form: `vm/`, `/db` or `vm/a/b`.
    #[error("{argument:?}: use {form}")]
    Form {
        /// The argument.
        argument: String,
        /// The form that the verb takes.
        form: &'static str,
    },
    /// Mixed forms: `vm vm/db` or `vm/db web`.
    #[error("{0:?} stands beside arguments of the form TYPE/NAME: use TYPE/NAME for each, or TYPE NAME NAME …")]
    Mixed(String),
    /// An invalid name.
    #[error("{name:?} is not a valid name: {rule}")]
    Name {
        /// The name.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },
}

impl ResourceError {
    /// Returns the error of a wrong form in a verb that takes these kinds.
    pub(crate) fn form(argument: &str, takes: &[ObjectKind]) -> Self {
        let form = match takes {
            [ObjectKind::Node] => "NAME, node NAME or node/NAME",
            _ => "TYPE/NAME with one type and one name, for example vm/db",
        };
        Self::Form { argument: argument.to_owned(), form }
    }
}

/// Parses the arguments that name objects of these kinds.
///
/// # Errors
///
/// Returns an error if kubectl would not accept the form, or if they name another kind.
pub(crate) fn parse(arguments: &[String], takes: &[ObjectKind]) -> Result<Vec<Argument>, ResourceError> {
    let Some(first) = arguments.first() else { return Ok(Vec::new()) };
    if arguments.iter().any(|argument| argument.contains('/')) {
        return arguments.iter().map(|argument| slashed(argument, takes)).collect();
    }
    let words: Vec<&str> = first.split(',').collect();
    // A known type, or a word in a list, is read as a type.
    let is_type = words.len() > 1 || ObjectKind::of_word(first).is_some();
    if !is_type {
        return arguments.iter().map(|name| Ok(Argument::Bare(named(name)?))).collect();
    }
    // As for kubectl, a type counts once: cli-runtime's `SplitResourceArgument`.
    let mut kinds = Vec::new();
    for word in words {
        let kind = typed(word, takes)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let names = &arguments[1..];
    if names.is_empty() {
        return Ok(kinds.into_iter().map(Argument::All).collect());
    }
    let mut out = Vec::new();
    for kind in kinds {
        for name in names {
            out.push(Argument::Named(kind, named(name)?));
        }
    }
    Ok(out)
}

fn slashed(argument: &str, takes: &[ObjectKind]) -> Result<Argument, ResourceError> {
    let Some((word, name)) = argument.split_once('/') else { return Err(ResourceError::Mixed(argument.to_owned())) };
    if word.is_empty() || name.is_empty() || name.contains('/') || word.contains(',') {
        return Err(ResourceError::form(argument, takes));
    }
    Ok(Argument::Named(typed(word, takes)?, named(name)?))
}

fn typed(word: &str, takes: &[ObjectKind]) -> Result<ObjectKind, ResourceError> {
    let tip = if word.contains(',') { "; separate names by blanks" } else { "" };
    let wrong = || ResourceError::Type { word: word.to_owned(), takes: format!("{}{tip}", types(takes)) };
    ObjectKind::of_word(word).filter(|kind| takes.contains(kind)).ok_or_else(wrong)
}

/// Returns the words of kinds, as messages list them: `vm, vmi`.
pub(crate) fn types(kinds: &[ObjectKind]) -> String {
    kinds.iter().map(|kind| kind.short_name()).collect::<Vec<_>>().join(", ")
}

fn named(name: &str) -> Result<String, ResourceError> {
    syntax::subdomain(name).map_err(|rule| ResourceError::Name { name: name.to_owned(), rule })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::ObjectKind::{Migration, Node, Pod, Replicas, VirtualMachine, Vmi};
    use super::*;

    fn read(line: &str, takes: &[ObjectKind]) -> Result<Vec<Argument>, ResourceError> {
        let arguments: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        parse(&arguments, takes)
    }

    fn named(kind: ObjectKind, name: &str) -> Argument {
        Argument::Named(kind, name.to_owned())
    }

    /// Comments name what kubectl 1.34 does with the same arguments after `get`.
    #[test]
    fn object_arguments_are_parsed_as_by_kubectl() {
        let pool = Replicas(ReplicasKind::Pool);
        for (line, expected) in [
            // kubectl: the same.
            ("vm/db", vec![named(VirtualMachine, "db")]),
            ("vm db", vec![named(VirtualMachine, "db")]),
            ("vm db web", vec![named(VirtualMachine, "db"), named(VirtualMachine, "web")]),
            ("vm/db vmi/web pod/x", vec![named(VirtualMachine, "db"), named(Vmi, "web"), named(Pod, "x")]),
            ("virtualmachine.kubevirt.io/db", vec![named(VirtualMachine, "db")]),
            ("virtualmachines.v1.kubevirt.io/db", vec![named(VirtualMachine, "db")]),
            ("virtualmachineinstances.kubevirt.io db", vec![named(Vmi, "db")]),
            ("VirtualMachine/db", vec![named(VirtualMachine, "db")]),
            ("vmis/db", vec![named(Vmi, "db")]),
            ("vmim m1", vec![named(Migration, "m1")]),
            ("virtualmachinepool.pool.kubevirt.io/p", vec![named(pool, "p")]),
            ("vmpool p", vec![named(pool, "p")]),
            ("po/x", vec![named(Pod, "x")]),
            ("pods/x", vec![named(Pod, "x")]),
            ("vm", vec![Argument::All(VirtualMachine)]),
            ("vm,vmi", vec![Argument::All(VirtualMachine), Argument::All(Vmi)]),
            ("vm,vm", vec![Argument::All(VirtualMachine)]),
            ("vm,vmi,vm db", vec![named(VirtualMachine, "db"), named(Vmi, "db")]),
            ("virtualmachines.v1alpha3.kubevirt.io/db", vec![named(VirtualMachine, "db")]),
            ("virtualmachinepools.v1beta1.pool.kubevirt.io/p", vec![named(pool, "p")]),
            ("vm,vmi db", vec![named(VirtualMachine, "db"), named(Vmi, "db")]),
            ("vm vm", vec![named(VirtualMachine, "vm")]),
            // kubectl: the server doesn't have a resource type "db".
            ("db", vec![Argument::Bare("db".into())]),
            ("db web", vec![Argument::Bare("db".into()), Argument::Bare("web".into())]),
            ("web.shop", vec![Argument::Bare("web.shop".into())]),
            // kubectl: You must specify the type of resource to get.
            ("", vec![]),
        ] {
            assert_eq!(read(line, &ObjectKind::EXPLAINED), Ok(expected), "{line}");
        }
        assert_eq!(read("no/a node/b nodes/c", &[Node]).map(|targets| targets.len()), Ok(3));
    }

    /// kubectl refuses all of these too.
    #[test]
    fn invalid_object_arguments_are_named_in_the_error() {
        for (line, word) in [
            ("vm/", "vm/"),
            ("/db", "/db"),
            ("vm/a/b", "vm/a/b"),
            ("vm vm/db", "\"vm\""),
            ("vm/db web", "\"web\""),
            ("vm,vmi/db", "vm,vmi/db"),
            ("deploy/db", "deploy"),
            ("node/a", "node"),
            ("vm.apps/db", "vm.apps"),
            ("virtualmachines.v9.kubevirt.io/db", "virtualmachines.v9.kubevirt.io"),
            ("virtualmachinepools.v1alpha3.pool.kubevirt.io/p", "virtualmachinepools.v1alpha3.pool.kubevirt.io"),
            ("vm,deploy db", "deploy"),
            ("vm/DB", "DB"),
            ("db_1", "db_1"),
            ("vm/../x", "vm/../x"),
            ("vm ..", ".."),
        ] {
            let error = read(line, &ObjectKind::EXPLAINED).expect_err(line).to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn printed_object_names_are_valid_arguments() {
        for kind in ObjectKind::ALL {
            assert_eq!(read(&kind.title("a-1"), &[kind]), Ok(vec![named(kind, "a-1")]));
            for word in kind.short_names() {
                assert_eq!(ObjectKind::of_word(word), Some(kind));
            }
        }
    }
}
