//! The memory that the bodies of reviews share.
//!
//! A body is charged for what arrived of it, not for what its head declares. Where that is more than is free, the slowest body
//! still arriving ends, not the one that asks.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The largest body that is read, in bytes. API servers accept objects of 3 MiB, and an update carries two.
pub const BODY_BYTES: usize = 8 << 20;

/// The longest translation of a body, in bytes. That of what an API server sends is shorter, whatever names stand in it: objects of
/// 3 MiB beside stored ones of half of that, each text no more than six times as long.
pub(super) const TRANSLATED_BYTES: usize = 28 << 20;

/// What is charged by the piece, in bytes.
const UNIT: usize = 1 << 10;

/// What a request is charged besides its body: its task, its stream and its buffers. A request over HTTP/2 with one byte of its
/// body was measured to hold 7 to 10 KiB, its part of its connection included.
const REQUEST: usize = 8 << 10;

/// The most bytes of a body that is small: the reviews of pods and nodes take 10 to 60 KiB, those of guests less. Small bodies
/// have memory of their own, so that no number of large ones keeps them out.
pub(super) const SMALL: usize = 256 << 10;

/// Eighths of the memory that are for small bodies.
const FOR_SMALL: usize = 3;

/// The memory of all bodies.
#[derive(Debug)]
pub(super) struct Memory {
    small: MemoryPool,
    large: MemoryPool,
    /// How often each body is held.
    copies: usize,
    next: AtomicU64,
}

/// The memory of the small ones, or of the large ones.
#[derive(Debug)]
struct MemoryPool {
    free: Semaphore,
    /// How long a request waits for what others give back.
    wait: Duration,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    /// Those still arriving, oldest first, by who sends them.
    arriving: HashMap<Option<IpAddr>, BTreeMap<u64, ArrivingBody>>,
    /// Units that requests wait for.
    wanted: usize,
    /// Units of bodies that were cancelled and are about to be given back.
    ending: HashMap<u64, usize>,
}

#[derive(Debug)]
struct ArrivingBody {
    units: usize,
    end: Arc<Notify>,
}

impl Memory {
    /// `bytes` in all; a request waits at most `wait` for its part of them, and holds its body `copies` times.
    pub(super) fn new(bytes: usize, wait: Duration, copies: usize) -> Self {
        let small = bytes / 8 * FOR_SMALL;
        Self {
            small: MemoryPool::new(small, wait),
            large: MemoryPool::new(bytes - small, wait),
            copies,
            next: AtomicU64::new(0),
        }
    }

    /// The share of a new request of this client, which holds nothing of its body yet; `None` where none became free in time.
    pub(super) async fn share(&self, peer: Option<IpAddr>) -> Option<Share<'_>> {
        let owner = self.owner(peer);
        let permits = self.small.acquire(&owner, units(0)).await?;
        self.small.bodies().note(&owner, permits.num_permits());
        Some(Share { memory: self, pool: &self.small, is_small: true, owner, permits })
    }

    /// The share of this many bytes that a whole body of this client needs besides its own; `None` where they did not become free
    /// in time.
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

/// The units of a request that holds this many bytes of its body.
fn units(bytes: usize) -> usize {
    (REQUEST + bytes).div_ceil(UNIT)
}

impl MemoryPool {
    fn new(bytes: usize, wait: Duration) -> Self {
        let free = Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS));
        Self { free, wait, bodies: Mutex::default() }
    }

    /// More units for a body; `None` where they did not become free in time, though slower bodies were cancelled.
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

/// Units that a request waits for, until it is dropped.
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
    /// Records how many units a body that is still arriving holds.
    fn note(&mut self, owner: &BodyOwner, units: usize) {
        let arriving = ArrivingBody { units, end: Arc::clone(&owner.end) };
        self.arriving.entry(owner.peer).or_default().insert(owner.id, arriving);
    }

    /// Forgets a body: it is whole, holds its memory elsewhere, or gives it back.
    fn forget(&mut self, owner: &BodyOwner) {
        self.ending.remove(&owner.id);
        if let Some(bodies) = self.arriving.get_mut(&owner.peer) {
            bodies.remove(&owner.id);
            if bodies.is_empty() {
                self.arriving.remove(&owner.peer);
            }
        }
    }

    /// Tells the body that has been arriving for longest to end, of the client whose bodies hold most; whether there was one
    /// besides that of `asking`.
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

/// Whose body it is.
#[derive(Debug)]
struct BodyOwner {
    /// The later it came, the larger.
    id: u64,
    peer: Option<IpAddr>,
    end: Arc<Notify>,
}

/// What one request holds of the memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<'m> {
    memory: &'m Memory,
    pool: &'m MemoryPool,
    is_small: bool,
    owner: BodyOwner,
    permits: SemaphorePermit<'m>,
}

impl Share<'_> {
    /// Fires when the memory is needed for another body and this one has been arriving for longest.
    pub(super) fn needed(&self) -> Arc<Notify> {
        Arc::clone(&self.owner.end)
    }

    /// Holds this many bytes of a body in all; false where they did not become free in time.
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

    /// The body is whole: from now on it is not the client that is waited for, and nothing ends it.
    pub(super) fn whole(&self) {
        self.pool.bodies().forget(&self.owner);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.pool.bodies().forget(&self.owner);
    }
}
