//! Shared memory of the bodies of reviews.
//!
//! A body is charged for the bytes that arrived, not for its declared length. If more is needed than is free, the
//! slowest body still arriving is ended, not the one that needs memory.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Maximum size of a body, in bytes. API servers accept objects of 3 MiB, and an update carries two.
pub const BODY_BYTES: usize = 8 << 20;

/// Maximum size of a translated body, in bytes. Translations of bodies from an API server are smaller, regardless of
/// the names in them: objects of 3 MiB with stored ones of half that size, each text at most six times as long.
pub(super) const TRANSLATED_BYTES: usize = 28 << 20;

/// Granularity of charges, in bytes.
const UNIT: usize = 1 << 10;

/// Charge for a request in addition to its body, in bytes: its task, its stream and its buffers. A request over HTTP/2
/// with one byte of its body was measured to hold 7 to 10 KiB, including its part of the connection.
const REQUEST: usize = 8 << 10;

/// Maximum size of a small body, in bytes: the reviews of pods and nodes take 10 to 60 KiB, those of guests less. Small
/// bodies have their own memory, so that large ones cannot exhaust it.
pub(super) const SMALL: usize = 256 << 10;

/// Eighths of the memory reserved for small bodies.
const FOR_SMALL: usize = 3;

/// The memory of all bodies.
#[derive(Debug)]
pub(super) struct Memory {
    small: MemoryPool,
    large: MemoryPool,
    /// Number of copies held of each body.
    copies: usize,
    next: AtomicU64,
}

/// The memory of the small bodies, or of the large ones.
#[derive(Debug)]
struct MemoryPool {
    free: Semaphore,
    /// Maximum time a request waits for memory.
    wait: Duration,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    /// The bodies still arriving, by sender, oldest first.
    arriving: HashMap<Option<IpAddr>, BTreeMap<u64, ArrivingBody>>,
    /// Units that requests are waiting for.
    wanted: usize,
    /// Units of cancelled bodies that will be freed soon.
    ending: HashMap<u64, usize>,
}

#[derive(Debug)]
struct ArrivingBody {
    units: usize,
    end: Arc<Notify>,
}

impl Memory {
    /// Creates a memory of `bytes`. A request waits at most `wait` for its share, and holds its body `copies` times.
    pub(super) fn new(bytes: usize, wait: Duration, copies: usize) -> Self {
        let small = bytes / 8 * FOR_SMALL;
        Self {
            small: MemoryPool::new(small, wait),
            large: MemoryPool::new(bytes - small, wait),
            copies,
            next: AtomicU64::new(0),
        }
    }

    /// Returns the share of a new request of this client, still without body; `None` if no memory became free in time.
    pub(super) async fn share(&self, peer: Option<IpAddr>) -> Option<Share<'_>> {
        let owner = self.owner(peer);
        let permits = self.small.acquire(&owner, units(0)).await?;
        self.small.bodies().note(&owner, permits.num_permits());
        Some(Share { memory: self, pool: &self.small, is_small: true, owner, permits })
    }

    /// Returns an additional share of this many bytes for a complete body of this client; `None` if they did not become
    /// free in time.
    pub(super) async fn besides(&self, peer: Option<IpAddr>, bytes: usize) -> Option<Share<'_>> {
        let is_small = bytes <= SMALL;
        let pool = if is_small { &self.small } else { &self.large };
        let owner = self.owner(peer);
        let permits = pool.acquire(&owner, bytes.div_ceil(UNIT)).await?;
        Some(Share { memory: self, pool, is_small, owner, permits })
    }

    fn owner(&self, peer: Option<IpAddr>) -> BodyOwner {
        BodyOwner { id: self.next.fetch_add(1, Ordering::Relaxed), peer, end: Arc::new(Notify::new()) }
    }
}

/// Returns the units of a request that holds this many bytes of its body.
fn units(bytes: usize) -> usize {
    (REQUEST + bytes).div_ceil(UNIT)
}

impl MemoryPool {
    fn new(bytes: usize, wait: Duration) -> Self {
        let free = Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS));
        Self { free, wait, bodies: Mutex::default() }
    }

    /// Acquires more units for a body, cancelling slower bodies if needed; `None` if they did not become free in time.
    async fn acquire(&self, owner: &BodyOwner, units: usize) -> Option<SemaphorePermit<'_>> {
        let count = u32::try_from(units).ok()?;
        if let Ok(permits) = self.free.try_acquire_many(count) {
            return Some(permits);
        }
        let _wanted = WantedMemory::new(self, owner, units);
        timeout(self.wait, self.free.acquire_many(count)).await.ok()?.ok()
    }

    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Units that a request is waiting for, until it is dropped.
struct WantedMemory<'m> {
    pool: &'m MemoryPool,
    units: usize,
}

impl<'m> WantedMemory<'m> {
    fn new(pool: &'m MemoryPool, owner: &BodyOwner, units: usize) -> Self {
        let mut bodies = pool.bodies();
        bodies.wanted += units;
        while bodies.ending.values().sum::<usize>() < bodies.wanted && bodies.end_slowest(owner) {}
        Self { pool, units }
    }
}

impl Drop for WantedMemory<'_> {
    fn drop(&mut self) {
        self.pool.bodies().wanted -= self.units;
    }
}

impl Bodies {
    /// Records the units of a body that is still arriving.
    fn note(&mut self, owner: &BodyOwner, units: usize) {
        let arriving = ArrivingBody { units, end: Arc::clone(&owner.end) };
        self.arriving.entry(owner.peer).or_default().insert(owner.id, arriving);
    }

    /// Removes a body from the record: it is complete, moved to the other pool, or is dropped.
    fn forget(&mut self, owner: &BodyOwner) {
        self.ending.remove(&owner.id);
        if let Some(bodies) = self.arriving.get_mut(&owner.peer) {
            bodies.remove(&owner.id);
            if bodies.is_empty() {
                self.arriving.remove(&owner.peer);
            }
        }
    }

    /// Ends the oldest arriving body of the client whose bodies hold most. Returns whether there was one other than the
    /// body of `asking`.
    fn end_slowest(&mut self, asking: &BodyOwner) -> bool {
        let others = |bodies: &BTreeMap<u64, ArrivingBody>| bodies.keys().copied().find(|id| *id != asking.id);
        let of_peers = self.arriving.values_mut().filter_map(|bodies| others(bodies).map(|id| (id, bodies)));
        let most = of_peers
            .max_by_key(|(id, bodies)| (bodies.values().map(|body| body.units).sum::<usize>(), std::cmp::Reverse(*id)));
        let Some((id, bodies)) = most else { return false };
        if let Some(slowest) = bodies.remove(&id) {
            slowest.end.notify_one();
            self.ending.insert(id, slowest.units);
        }
        true
    }
}

/// The identity of a body.
#[derive(Debug)]
struct BodyOwner {
    /// Sequence number; later bodies have larger ones.
    id: u64,
    peer: Option<IpAddr>,
    end: Arc<Notify>,
}

/// A request's share of the memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<'m> {
    memory: &'m Memory,
    pool: &'m MemoryPool,
    is_small: bool,
    owner: BodyOwner,
    permits: SemaphorePermit<'m>,
}

impl Share<'_> {
    /// Returns the notification that the memory is needed and this body is the slowest.
    pub(super) fn needed(&self) -> Arc<Notify> {
        Arc::clone(&self.owner.end)
    }

    /// Extends the share to this many bytes of the body in total. Returns false if they did not become free in time.
    pub(super) async fn hold(&mut self, bytes: usize) -> bool {
        let (held, wanted) = (self.permits.num_permits(), units(bytes * self.memory.copies));
        if wanted <= held {
            return true;
        }
        let memory = self.memory;
        if bytes > SMALL && self.is_small {
            let Some(permits) = memory.large.acquire(&self.owner, wanted).await else { return false };
            self.pool.bodies().forget(&self.owner);
            self.pool = &memory.large;
            self.is_small = false;
            self.permits = permits;
        } else {
            let Some(more) = self.pool.acquire(&self.owner, wanted - held).await else { return false };
            self.permits.merge(more);
        }
        self.pool.bodies().note(&self.owner, wanted);
        true
    }

    /// Marks the body as complete: from now on it is never ended.
    pub(super) fn whole(&self) {
        self.pool.bodies().forget(&self.owner);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.pool.bodies().forget(&self.owner);
    }
}
