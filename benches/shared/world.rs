//! The world that the benchmarks judge by.

use cpufit::kubevirt::cluster::{Cluster, ClusterObject};
use cpufit::world::World;

use crate::nodes::nodes;

/// A world of this many nodes with these guests, without policies.
///
/// Built on a thread of its own, as in the server it is built on another one than judges by it: what is freed on the way
/// stays in that thread's part of the heap, and does not slow down what is allocated later.
pub fn world<const GUESTS: usize>(count: usize, guests: [ClusterObject; GUESTS]) -> World {
    let build = move || World {
        cluster: Cluster::new(nodes(count).map(ClusterObject::Node).chain(guests), None),
        policies: Vec::new(),
    };
    std::thread::spawn(build).join().expect("the world is built")
}
