//! Limits of reads that reviews cause: objects created a moment ago are looked up, and a storm of reviews, forged or
//! not, must not become a storm of reads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::rate::{Bucket, Rate, take_all};
use crate::world::World;

/// Look-ups for one namespace; each reads at most two objects.
const OF_NAMESPACE: Rate = Rate { burst: 20.0, per_second: 2.0 };
/// Look-ups for reviews from one address: three quarters of all. API servers may share an address; then only an
/// attacker would use the rest.
const OF_PEER: Rate = Rate { burst: 75.0, per_second: 15.0 };
/// All look-ups.
const OF_ALL: Rate = Rate { burst: 100.0, per_second: 20.0 };

/// The remaining look-ups.
#[derive(Debug)]
pub(super) struct Lookups(Mutex<Left>);

#[derive(Debug)]
struct Left {
    all: Bucket,
    /// Buckets by namespace; namespaces that the watch does not know share one under the empty name.
    of_namespaces: HashMap<String, Bucket>,
    of_peers: HashMap<Option<IpAddr>, Bucket>,
}

impl Lookups {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Left {
            all: Bucket::full(OF_ALL, now),
            of_namespaces: HashMap::new(),
            of_peers: HashMap::new(),
        }))
    }

    /// Whether a look-up for a namespace may be made for a review from this address; if so, it is counted. Without a
    /// look-up, the review is judged by the known objects.
    pub(super) fn may(&self, world: &World, namespace: &str, peer: Option<IpAddr>, now: Instant) -> bool {
        let is_known = world.cluster.namespace(namespace).is_some();
        let name = if is_known { namespace } else { "" };
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Left { all, of_namespaces, of_peers } = &mut *left;
        if !of_namespaces.contains_key(name) {
            // Full buckets need not be remembered, so their number stays bounded by the requests of the last seconds.
            of_namespaces.retain(|_, bucket| !bucket.is_full(OF_NAMESPACE, now));
            of_namespaces.insert(name.to_owned(), Bucket::full(OF_NAMESPACE, now));
        }
        if !of_peers.contains_key(&peer) {
            of_peers.retain(|_, bucket| !bucket.is_full(OF_PEER, now));
        }
        let of_peer = of_peers.entry(peer).or_insert_with(|| Bucket::full(OF_PEER, now));
        let Some(of_namespace) = of_namespaces.get_mut(name) else { return false };
        take_all([(of_namespace, OF_NAMESPACE), (of_peer, OF_PEER), (all, OF_ALL)], now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use std::net::Ipv4Addr;

    use super::*;
    use crate::kubevirt::cluster::{Cluster, ClusterObject};
    use crate::testing::cluster::read;

    const SERVER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    const ATTACKER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66)));

    #[test]
    fn one_address_cannot_use_all_lookups() {
        let names: Vec<String> = (0..100).map(|number| format!("space-{number}")).collect();
        let spaces = names.iter().map(|name| ClusterObject::Namespace(read(json!({"metadata": {"name": name}}))));
        let world = World { cluster: Cluster::new(spaces, None), ..World::default() };
        let now = Instant::now();
        let lookups = Lookups::new(now);
        let made = |peer| names.iter().filter(|name| lookups.may(&world, name, peer, now)).count();
        assert_eq!(made(ATTACKER), 75);
        assert_eq!(made(SERVER), 25, "what one address leaves is another's");
    }

    #[test]
    fn many_lookups_stay_within_their_limit() {
        let namespaces =
            ["shop", "lab"].map(|name| ClusterObject::Namespace(read(json!({"metadata": {"name": name}}))));
        let world = World { cluster: Cluster::new(namespaces, None), ..World::default() };
        let start = Instant::now();
        let lookups = Lookups::new(start);
        let made = |namespace: &str, second: u64| {
            let now = start + Duration::from_secs(second);
            (0..1000).filter(|_| lookups.may(&world, namespace, SERVER, now)).count()
        };
        assert_eq!(made("shop", 0), 20);
        let forged: usize = (0..100)
            .map(|number| {
                let now = start;
                (0..10).filter(|_| lookups.may(&world, &format!("no-such-{number}"), None, now)).count()
            })
            .sum();
        assert_eq!(forged, 20, "namespaces that are not known count as one");
        assert_eq!(made("lab", 0), 20, "another namespace's storm keeps it from nothing");
        assert_eq!(made("shop", 10), 20, "forgiven");
        assert!(lookups.0.lock().is_ok_and(|left| left.of_namespaces.len() <= 3));
    }
}
