//! Places of connections: a total number, and a share for each address. If a new connection finds no place, the least
//! used idle connection of the address with the most connections is closed; if none is idle, the new one waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::woken::Woken;

/// Minimum time that an answered connection has, to send its next request or to end, before a new connection may take
/// its place. The answer has been sent by then.
const GRACE: Duration = Duration::from_millis(25);

/// Maximum factor of the grace: a connection gets its grace once for each successful answer, up to this number, so that
/// connections in use stay.
const MAX_GRACES: u32 = 10;

/// Time for which places count as short after a connection was closed for a new one, or a new one waited.
const SHORTAGE: Duration = Duration::from_secs(10);

/// The bounds of the places of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Total number of places.
    pub(super) total: usize,
    /// Number of places that one address may have.
    pub(super) per_peer: usize,
    /// Number of connections that may wait for a place.
    pub(super) waiting: usize,
    /// Minimum time for each step of a connection's handshake and for its request, before a new connection may take its
    /// place.
    pub(super) patience: Duration,
}

/// The places of one port.
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: HashMap<u64, HeldPlace>,
    /// Number of connections of each address that were not asked to end.
    staying: HashMap<IpAddr, usize>,
    /// Connections that wait for a place, by address, in the order of arrival.
    waiting: BTreeMap<IpAddr, VecDeque<QueuedConnection>>,
    /// The last time that the places of an address, or of all (`None`), were short.
    short: HashMap<Option<IpAddr>, Instant>,
}

#[derive(Debug)]
struct HeldPlace {
    peer: Peer,
    end: Arc<Notify>,
    stays: bool,
}

#[derive(Debug)]
struct QueuedConnection {
    id: u64,
    given: oneshot::Sender<Place>,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        let bounds = Bounds { total: bounds.total.max(1), per_peer: bounds.per_peer.max(1), ..bounds };
        Arc::new(Self { bounds, state: Mutex::default() })
    }

    /// Queues a new connection of this address for a place. If too many wait, the newest of the address with most
    /// waiting connections is closed.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> WaitingConnection {
        let address = address.to_canonical();
        let (given, place) = oneshot::channel();
        let id = {
            let mut state = self.lock();
            let id = state.next;
            state.next += 1;
            state.waiting.entry(address).or_default().push_back(QueuedConnection { id, given });
            id
        };
        self.settle();
        let mut state = self.lock();
        if state.waiting.values().map(VecDeque::len).sum::<usize>() > self.bounds.waiting {
            state.turn_away();
        }
        drop(state);
        WaitingConnection { id, address, place, places: Arc::clone(self) }
    }

    /// Gives free places, and those of sufficiently idle connections, to waiting ones. Must be called regularly while a
    /// connection [waits](Self::are_waited_for).
    pub(super) fn settle(self: &Arc<Self>) {
        loop {
            let given = {
                let mut state = self.lock();
                let Some(address) = self.next_address(&mut state) else { return };
                let Some(next) = state.take_waiting(address, VecDeque::pop_front) else { return };
                (next.given, state.hold(address, Arc::clone(self)))
            };
            // If the connection stopped waiting, its place is freed here.
            drop(given.0.send(given.1));
        }
    }

    /// Whether a connection waits for a place.
    pub(super) fn are_waited_for(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Whether an address has used its share, or all places are taken.
    pub(super) fn are_taken(&self, address: IpAddr) -> bool {
        let state = self.lock();
        state.held.len() >= self.bounds.total || state.staying(address.to_canonical()) >= self.bounds.per_peer
    }

    /// Whether places are short, for this address or in total, and more than half of them are taken.
    ///
    /// An HTTP/1.1 connection then closes with its answer, which announces it. Closing it later would not notify its
    /// client, as GOAWAY does over HTTP/2, and Go's clients do not repeat a review that they sent into a closed
    /// connection.
    pub(super) fn are_short(&self, address: IpAddr) -> bool {
        let state = self.lock();
        let is_short = |of| state.short.get(&of).is_some_and(|since| since.elapsed() < SHORTAGE);
        let (address, all) = (address.to_canonical(), state.staying.values().sum::<usize>());
        // The other half may idle: an open connection costs less than the next handshake.
        is_short(None) && all * 2 > self.bounds.total
            || is_short(Some(address)) && state.staying(address) * 2 > self.bounds.per_peer
    }

    /// Frees resources other than places: closes a waiting connection, or else an idle one.
    pub(super) fn give_back(&self) {
        let mut state = self.lock();
        if !state.turn_away() {
            state.end_one(None, Duration::ZERO, Duration::ZERO);
        }
    }

    /// Returns the address whose waiting connection gets a place now: of those below their share, the one with the
    /// fewest connections. If no place is free, idle connections are asked to end; for an address at its share, only
    /// its own.
    fn next_address(&self, state: &mut State) -> Option<IpAddr> {
        let Bounds { total, per_peer, patience, .. } = self.bounds;
        let mut addresses: Vec<(usize, IpAddr)> =
            state.waiting.keys().map(|address| (state.staying(*address), *address)).collect();
        addresses.sort_unstable();
        for (staying, address) in addresses {
            if staying >= per_peer {
                state.note_shortage(Some(address));
                if !state.end_one(Some(address), GRACE, patience) {
                    continue;
                }
            }
            let all: usize = state.staying.values().sum();
            if all >= total {
                state.note_shortage(None);
                if !state.end_one(None, GRACE, patience) {
                    return None;
                }
            }
            // Otherwise the connections that were asked to end must end first.
            return (state.held.len() < total).then_some(address);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, address: IpAddr, places: Arc<Places>) -> Place {
        let id = self.next;
        self.next += 1;
        let (peer, end) = (Peer::new(address, id), Arc::new(Notify::new()));
        self.held.insert(id, HeldPlace { peer: peer.clone(), end: Arc::clone(&end), stays: true });
        *self.staying.entry(address).or_default() += 1;
        Place { id, peer, end, places }
    }

    fn note_shortage(&mut self, of: Option<IpAddr>) {
        let now = Instant::now();
        if self.short.insert(of, now).is_none() {
            self.short.retain(|_, since| now.saturating_duration_since(*since) < SHORTAGE);
        }
    }

    fn staying(&self, address: IpAddr) -> usize {
        self.staying.get(&address).copied().unwrap_or_default()
    }

    /// Closes the newest waiting connection of the address with most of them. Returns `false` if none waits.
    fn turn_away(&mut self) -> bool {
        let most = self.waiting.iter().max_by_key(|(_, of)| of.len());
        let Some(address) = most.map(|(address, _)| *address) else { return false };
        self.take_waiting(address, VecDeque::pop_back).is_some()
    }

    /// Takes a waiting connection of an address out of the queue.
    fn take_waiting(
        &mut self,
        address: IpAddr,
        take: impl FnOnce(&mut VecDeque<QueuedConnection>) -> Option<QueuedConnection>,
    ) -> Option<QueuedConnection> {
        let of = self.waiting.get_mut(&address)?;
        let taken = take(of);
        if of.is_empty() {
            self.waiting.remove(&address);
        }
        taken
    }

    /// Asks a connection of this address, or of all, to end. Returns whether one was idle for long enough: `grace` if
    /// it was answered, `patience` if it never was or a request is still arriving.
    ///
    /// The address with most connections loses one. Its connections are divided into those that were answered with
    /// success and the others; the larger group loses the one with the fewest successes, and of equals the one idle for
    /// longest. Hence neither silent clients nor clients that send one request first can take more than half of the
    /// places that others need.
    ///
    /// A connection with a complete request that waits for its answer is not idle, nor is one with received bytes that
    /// were not processed yet; one whose request is still arriving is idle.
    fn end_one(&mut self, address: Option<IpAddr>, grace: Duration, patience: Duration) -> bool {
        let now = Instant::now();
        let mut idle: HashMap<IpAddr, Idle> = HashMap::new();
        for (id, held) in &self.held {
            let (of, doing) = (held.peer.address, held.peer.doing());
            if held.stays && doing.answering == 0 && address.is_none_or(|address| address == of) {
                let of_address = idle.entry(of).or_default();
                let first = (doing.since, *id);
                of_address.first = Some(of_address.first.map_or(first, |known| known.min(first)));
                let is_sent = doing.used == 0 || doing.requests > 0;
                let least = if is_sent { patience } else { grace * doing.used.min(MAX_GRACES) };
                let is_idle = !held.peer.woken.is_set() && now.saturating_duration_since(doing.since) >= least;
                of_address.sorts[usize::from(doing.used > 0)].add((doing.used, doing.since, *id), is_idle);
            }
        }
        // If that address's connections are not idle for long enough yet, no other address loses one instead.
        let most = idle.iter().max_by_key(|(address, idle)| (self.staying(**address), Reverse(idle.first)));
        let Some((address, Idle { sorts: [useless, useful], .. })) = most else { return false };
        let more = if useful.count > useless.count { useful } else { useless };
        let Some(((.., id), true)) = more.longest else { return false };
        if let Some(held) = self.held.get_mut(&id) {
            held.stays = false;
            held.end.notify_one();
        }
        self.leave(*address);
        true
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(staying) = self.staying.get_mut(&address) {
            *staying -= 1;
            if *staying == 0 {
                self.staying.remove(&address);
            }
        }
    }
}

/// The connections of an address that do not wait for an answer.
#[derive(Debug, Default)]
struct Idle {
    /// Start of the longest idle time, and the connection's number.
    first: Option<(Instant, u64)>,
    /// The connections without a successful answer, and those with one.
    sorts: [Sort; 2],
}

#[derive(Debug, Default)]
struct Sort {
    count: usize,
    /// The connection to end (successes, start of its idle time, number), and whether it was idle for long enough.
    longest: Option<((u32, Instant, u64), bool)>,
}

impl Sort {
    fn add(&mut self, one: (u32, Instant, u64), is_idle: bool) {
        self.count += 1;
        self.longest = Some(self.longest.map_or((one, is_idle), |longest| longest.min((one, is_idle))));
    }
}

/// A new connection that waits for its place.
#[derive(Debug)]
pub(super) struct WaitingConnection {
    id: u64,
    address: IpAddr,
    place: oneshot::Receiver<Place>,
    places: Arc<Places>,
}

impl WaitingConnection {
    /// Waits for the place; `None` if it does not become free in time, or the connection is turned away.
    pub(super) async fn place(mut self, limit: Duration) -> Option<Place> {
        timeout(limit, &mut self.place).await.ok()?.ok()
    }
}

impl Drop for WaitingConnection {
    fn drop(&mut self) {
        self.places.lock().take_waiting(self.address, |of| {
            of.retain(|waiting| waiting.id != self.id);
            None
        });
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    peer: Peer,
    end: Arc<Notify>,
    places: Arc<Places>,
}

impl Place {
    /// Returns the client that holds the place.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits until the place is needed for another connection.
    pub(super) async fn needed(&self) {
        self.end.notified().await;
    }

    /// Waits until no request was under way for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let doing = self.peer.doing();
            let (now, idle) = (Instant::now(), doing.since + limit);
            match doing.requests {
                0 if idle <= now => return,
                0 => sleep_until(idle).await,
                _ => sleep_until(now + limit / 8).await,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        if state.held.remove(&self.id).is_some_and(|held| held.stays) {
            state.leave(self.peer.address);
        }
        drop(state);
        self.places.settle();
    }
}

/// The client of a connection; the server puts it into the extensions of each of its requests.
#[derive(Clone)]
pub struct Peer {
    address: IpAddr,
    connection: u64,
    doing: Arc<Mutex<Doing>>,
    woken: Woken,
}

/// The activity on a connection.
#[derive(Clone, Copy, Debug)]
struct Doing {
    /// Number of requests whose heads arrived and that are not answered.
    requests: usize,
    /// Number of those requests that arrived completely.
    answering: usize,
    /// Number of requests that were answered with success.
    used: u32,
    /// Time of the last event: the connection was accepted, a handshake step completed, a head arrived, or an answer
    /// became ready.
    since: Instant,
}

impl Peer {
    pub(super) fn new(address: IpAddr, connection: u64) -> Self {
        let doing = Doing { requests: 0, answering: 0, used: 0, since: Instant::now() };
        Self { address, connection, doing: Arc::new(Mutex::new(doing)), woken: Woken::new() }
    }

    /// Returns the address of the client; an IPv4-mapped address as IPv4.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the number of the connection.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// Whether a request was answered with success.
    pub(super) fn was_of_use(&self) -> bool {
        self.doing().used > 0
    }

    /// Returns the flag for received bytes that were not processed yet; the task of the connection must keep it.
    pub(super) fn woken(&self) -> Woken {
        self.woken.clone()
    }

    /// Records that a handshake step was completed, so that the time until now is not the client's delay.
    pub(super) fn step(&self) {
        self.change(|doing| doing.since = Instant::now());
    }

    /// Records that a request's head arrived.
    pub(super) fn request(&self) -> InRequest {
        self.change(|doing| {
            doing.requests += 1;
            doing.since = Instant::now();
        });
        InRequest { peer: self.clone(), succeeded: false }
    }

    /// Records that a request arrived completely: until the result is dropped, the connection is not idle.
    pub(super) fn answering(&self) -> Answering {
        self.change(|doing| doing.answering += 1);
        Answering(self.clone())
    }

    fn doing(&self) -> Doing {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Doing)) {
        change(&mut self.doing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.address).finish()
    }
}

/// A request under way, until it is dropped.
pub(super) struct InRequest {
    peer: Peer,
    succeeded: bool,
}

impl InRequest {
    /// Records that the request was answered with success.
    pub(super) fn succeeded(&mut self) {
        self.succeeded = true;
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        self.peer.change(|doing| {
            doing.requests -= 1;
            doing.used = doing.used.saturating_add(u32::from(self.succeeded));
            doing.since = Instant::now();
        });
    }
}

/// A complete request that waits for its answer.
pub(super) struct Answering(Peer);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.change(|doing| doing.answering -= 1);
    }
}
