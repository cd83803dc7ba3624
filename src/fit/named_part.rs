//! The features that a host-model guest has by the name of its host model.
//!
//! A target's selector holds the model's name and the features that the host model requires in addition. Up to KubeVirt
//! 1.8.3 it holds none of the model's own features, and since 1.6.4 a `cpu-model-migration` label says that libvirt
//! knows the model, usable or not: mirrors `getKnownCpuModels` of `pkg/virt-handler/node-labeller/cpu_plugin.go`.
//! Before, the label was given to usable models and to the node's own host model, which may lack some of its own name.

use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex};
use super::label;
use super::models;
use super::subject::Subject;

/// The features of a model's own definition that its guest has, as node labels show them.
pub(crate) struct NamedPart<'f> {
    fleet: &'f Fleet,
    usable: String,
    features: Vec<String>,
    /// Whether the node that the guest leaves can run the whole model.
    is_whole: bool,
}

impl<'f> NamedPart<'f> {
    /// Returns the features of `model` that the guest has: those that are `true` by the labels of its node, without
    /// those that it runs without. Nodes on which the model is usable by name are not looked at any further.
    pub(crate) fn of(fleet: &'f Fleet, is_true: impl Fn(&str) -> bool, model: &str, subject: &Subject<'_>) -> Self {
        let usable = format!("{}{model}", label::CPU_MODEL);
        let (off, on): (Vec<&str>, Vec<&str>) =
            models::features(model).unwrap_or_default().into_iter().partition(|name| subject.is_without(name));
        let keys = on.into_iter().map(|name| format!("{}{name}", label::CPU_FEATURE));
        let features = keys.filter(|key| is_true(key)).collect();
        let is_whole = off.is_empty() && is_true(&usable);
        Self { fleet, usable, features, is_whole }
    }

    /// Returns those of the nodes on which the model is not usable by name.
    pub(crate) fn not_usable(fleet: &Fleet, model: &str, nodes: &Bits) -> Bits {
        let mut out = nodes.clone();
        out.subtract(&fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true"));
        out
    }

    /// Returns the entries that a node lacks on which the model is not usable: features, or else the model itself if
    /// the guest's own node can run it.
    pub(crate) fn lacked_by(&self, node: NodeIndex) -> Vec<(String, String)> {
        let lacks = |key: &&String| self.fleet.label(node, key) != Some("true");
        let entry = |key: &String| (key.clone(), "true".to_owned());
        let features: Vec<_> = self.features.iter().filter(lacks).map(entry).collect();
        if features.is_empty() && self.is_whole { vec![entry(&self.usable)] } else { features }
    }
}
