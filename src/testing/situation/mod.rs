//! Random situations: nodes, guests and policies as in a dump, and requests to the webhook.
//!
//! They contain many edge cases: drifted and empty labels, cordons with and without their taint, similar names, guests
//! at each point of their life. A seed gives the same situation on every machine.

mod acts;
mod further;
mod guests;
mod libvirt;
mod nodes;
mod policies;

use serde_json::{Value, json};

use super::random::Random;
use crate::domain::Domain;
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::obsolete;
use crate::kubevirt::release::Release;
use crate::snapshot::{self, DumpSource};
use crate::world::{self, LoadInput, World};

/// The namespace of all guests.
pub(crate) const NAMESPACE: &str = "bank";
/// Names of nodes: some are prefixes of others.
pub(crate) const NAMES: [&str; 8] =
    ["rack7-a", "rack7-ab", "rack7-a.example.net", "rack7-b", "rack17-a", "quux", "rack7-c", "rack7-d"];
const GUESTS: [&str; 4] = ["ledger", "ledger-2", "vault", "teller.eu"];

/// A cluster and the requests about it.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    /// The nodes.
    pub nodes: Vec<Value>,
    /// The other objects of a dump.
    pub objects: Vec<Value>,
    /// The `AdmissionReview`s.
    pub reviews: Vec<Value>,
    /// The seed of libvirt's answers; `None` if libvirt was not asked.
    pub libvirt: Option<u64>,
}

impl Situation {
    /// Creates the situation of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let (then, now) = nodes::nodes(random);
        let mut objects = policies::surroundings(random);
        let guests = 1 + random.below(2);
        let first = random.below(GUESTS.len() - 1);
        for name in &GUESTS[first..first + guests] {
            let more = guests::guest(random, name, &then, &objects);
            objects.extend(more);
        }
        if random.percent(10) {
            objects.push(acts::replicas(random));
        }
        for at in 0..random.below(3) {
            let policy = policies::policy(random, &format!("rules-{at}"));
            objects.push(policy);
        }
        let now = now.into_iter().map(|node| labelled(node, &objects));
        let mut situation =
            Self { nodes: now.map(|node| nodes::json(&node)).collect(), objects, reviews: Vec::new(), libvirt: None };
        situation.reviews = acts::reviews(random, &situation);
        situation
    }

    /// Creates the situation of this seed, with libvirt's answers about its guests and nodes.
    pub(crate) fn asked(seed: u64) -> Self {
        Self { libvirt: Some(seed), ..Self::new(seed) }
    }

    /// Loads nodes, guests and policies as from a dump.
    pub(crate) fn world(&self) -> World {
        let items = [self.nodes.clone(), self.objects.clone()].concat();
        let dump = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let domain = Domain::default();
        let input = LoadInput { namespace: NAMESPACE, ..LoadInput::new(&[DumpSource::Stdin], &domain) };
        let read = world::load(input, dump.to_string().as_bytes());
        let mut world = read.unwrap_or_else(|error| panic!("{error:?}: the situation cannot be read: {dump:#}")).0;
        if let Some(seed) = self.libvirt {
            world.cluster.libvirt = libvirt::answers(seed, &world.cluster).into();
        }
        world
    }

    /// Formats the situation in a few lines, for the report of a fault.
    pub(crate) fn brief(&self) -> String {
        let all = self.nodes.iter().chain(&self.objects).chain(&self.reviews);
        let short = |object: &Value| {
            let text = object.to_string().replace(".node.kubevirt.io/", "~").replace(":\"true\"", "");
            format!("    {}\n", text.chars().take(1_800).collect::<String>())
        };
        let asked = self.libvirt.map(|_| format!("    {:?}\n", self.world().cluster.libvirt));
        all.map(short).chain(asked).collect()
    }

    /// Returns an object by kind and name.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.nodes
            .iter()
            .chain(&self.objects)
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// Returns the situations with one object less, which are used to minimize a situation that shows a fault.
    pub(crate) fn smaller(&self) -> impl Iterator<Item = Self> {
        let without = |list: &Vec<Value>, at: usize| -> Vec<Value> {
            list.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, object)| object.clone()).collect()
        };
        let reviews =
            (0..self.reviews.len()).map(move |at| Self { reviews: without(&self.reviews, at), ..self.clone() });
        let objects =
            (0..self.objects.len()).map(move |at| Self { objects: without(&self.objects, at), ..self.clone() });
        let nodes = (0..self.nodes.len()).map(move |at| Self { nodes: without(&self.nodes, at), ..self.clone() });
        reviews.chain(objects).chain(nodes)
    }
}

/// Returns a node as the labeller of the KubeVirt among these objects leaves it: without labels of obsolete models and,
/// for releases that write capability labels without a value, with empty ones.
fn labelled(node: Node, objects: &[Value]) -> Node {
    let kubevirt = objects.iter().find(|known| known["kind"] == "KubeVirt").and_then(object);
    let Some(ClusterObject::KubeVirt(kubevirt)) = kubevirt else { return node };
    let Some(release) = Release::parse(&kubevirt.status.observed_kubevirt_version) else { return node };
    let mut node = obsolete::relabelled(&node, &kubevirt.spec.configuration, release).unwrap_or(node);
    if release.fixes_capability_values_in().is_some() {
        for key in [label::SEV, label::SEV_ES] {
            node.labels.insert(key.to_owned(), String::new());
        }
    }
    node
}

/// Parses an object of a dump; `None` if it is not read for judgements.
pub(crate) fn object(json: &Value) -> Option<ClusterObject> {
    let mut out = None;
    let text = json.to_string();
    let read = snapshot::read("situation.json", text.as_bytes(), |item| {
        let group = item.api_version.split_once('/').map_or("", |(group, _)| group);
        out = ClusterObject::read(group, &item.kind, &&item)?;
        Ok::<_, snapshot::Error>(())
    });
    read.unwrap_or_else(|error| panic!("{error:?}: {json:#}"));
    out
}
