//! The world that the benchmarks use for judgements.

use cpufit::kubevirt::cluster::{Cluster, ClusterObject};
use cpufit::world::World;

use crate::nodes::nodes;

/// Returns a world of this many nodes with these guests, without policies.
///
/// The world is built in a separate thread, because the server builds it in another thread than it judges in. Memory
/// freed while building stays in that thread's part of the heap, and does not slow down later allocations.
pub fn world<const GUESTS: usize>(count: usize, guests: [ClusterObject; GUESTS]) -> World {
    let build = move || World {
        cluster: Cluster::new(nodes(count).map(ClusterObject::Node).chain(guests), None),
        policies: Vec::new(),
    };
    std::thread::spawn(build).join().expect("the world is built")
}
