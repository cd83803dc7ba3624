//! Who has a connection: as many as there are places, and for one address no more than its share. Where a new connection finds
//! no place, the least used idle connection of the address with the most connections is closed; where none is idle, the new one waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::woken::Woken;

/// How long a connection that was answered has at least, to send its next request or to end, before a new connection can take
/// its place. The answer has been sent by then.
const GRACE: Duration = Duration::from_millis(25);

/// A connection that was answered more often has its grace as many times, up to this number: one that is in use is not the one to end.
const OFTEN: u32 = 10;

/// How long places count as short after a connection was closed for a new one, or a new one waited.
const SHORTAGE: Duration = Duration::from_secs(10);

/// The bounds of the places of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many places there are.
    pub(super) total: usize,
    /// How many of them one address may have.
    pub(super) per_peer: usize,
    /// How many connections wait for a place.
    pub(super) waiting: usize,
    /// How long a connection has at least for each step of its handshake and for its request, before a new one can take its place.
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
    /// How many connections of each address were not asked to end.
    staying: HashMap<IpAddr, usize>,
    /// Those who wait for a place, by address, the first of each first.
    waiting: BTreeMap<IpAddr, VecDeque<QueuedConnection>>,
    /// When places were last short: those of an address, or all of them.
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

    /// Begins to wait for a place for a new connection of this address. Where more wait than may, the newest of the
    /// address that has most waiting is turned away.
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

    /// Gives places to those who wait, as far as there are some or connections are idle for long enough. To be called from time to
    /// time while a connection [waits](Self::are_waited_for).
    pub(super) fn settle(self: &Arc<Self>) {
        loop {
            let given = {
                let mut state = self.lock();
                let Some(address) = self.next_address(&mut state) else { return };
                let Some(next) = state.take_waiting(address, VecDeque::pop_front) else { return };
                (next.given, state.hold(address, Arc::clone(self)))
            };
            // One that waits no more gives its place back here.
            drop(given.0.send(given.1));
        }
    }

    /// Whether a connection waits for a place.
    pub(super) fn are_waited_for(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Whether an address has its share, or all places are taken.
    pub(super) fn are_taken(&self, address: IpAddr) -> bool {
        let state = self.lock();
        state.held.len() >= self.bounds.total || state.staying(address.to_canonical()) >= self.bounds.per_peer
    }

    /// Whether places are short, for this address or for all, and more than half of them are taken.
    ///
    /// An HTTP/1.1 connection then closes with its answer, which says so: to end it later would be no message to its client, as GOAWAY
    /// is over HTTP/2, and Go's clients do not send a review again that they sent into a connection that closed.
    pub(super) fn are_short(&self, address: IpAddr) -> bool {
        let state = self.lock();
        let is_short = |of| state.short.get(&of).is_some_and(|since| since.elapsed() < SHORTAGE);
        let (address, all) = (address.to_canonical(), state.staying.values().sum::<usize>());
        // The other half may idle: a connection that its client keeps costs less than the handshake of the next one.
        is_short(None) && all * 2 > self.bounds.total
            || is_short(Some(address)) && state.staying(address) * 2 > self.bounds.per_peer
    }

    /// Something else than places is short: one who waits is turned away, or else an idle connection ends.
    pub(super) fn give_back(&self) {
        let mut state = self.lock();
        if !state.turn_away() {
            state.end_one(None, Duration::ZERO, Duration::ZERO);
        }
    }

    /// The address whose new connection gets a place now: of those that may have one more, the one with fewest. If no place is free, idle
    /// connections are asked to end, of an address that has its share those of its own.
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
            // Else those that were asked to end are waited for.
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

    /// Closes the newest waiting connection of the address with most of them; `false` if none waits.
    fn turn_away(&mut self) -> bool {
        let most = self.waiting.iter().max_by_key(|(_, of)| of.len());
        let Some(address) = most.map(|(address, _)| *address) else { return false };
        self.take_waiting(address, VecDeque::pop_back).is_some()
    }

    /// Takes one out of those of an address that wait.
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

    /// Tells a connection to end: of this address or of all; whether one was idle for long enough, `grace` where it was answered, and
    /// `patience` where it never was or a request is still being sent.
    ///
    /// The address with most connections loses one: of its connections, one of those that were of use,
    /// or those that were not, whichever are more; of these the one that was of use least often, and of such the one on which nothing
    /// happened for longest. So neither those who are silent nor those who send a request first can take more than half of what others
    /// need.
    ///
    /// A connection whose request is whole and waits for its answer is not idle, nor is one that sent something that was not looked
    /// at yet; one whose request is still being sent is.
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
                let least = if is_sent { patience } else { grace * doing.used.min(OFTEN) };
                let is_idle = !held.peer.woken.is_set() && now.saturating_duration_since(doing.since) >= least;
                of_address.sorts[usize::from(doing.used > 0)].add((doing.used, doing.since, *id), is_idle);
            }
        }
        // Where those of the address that has most are not idle for long enough yet, no other address pays for that.
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
    /// Since when the longest idle one is, and its number.
    first: Option<(Instant, u64)>,
    /// Those that were never of use, and those that were.
    sorts: [Sort; 2],
}

#[derive(Debug, Default)]
struct Sort {
    count: usize,
    /// The one to end: how often it was of use, since when it is idle, and its number; whether that is for long enough.
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
    /// The place; `None` where it does not become free in time, or others are let in.
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
    /// Who has it.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits until the place is needed for another connection.
    pub(super) async fn needed(&self) {
        self.end.notified().await;
    }

    /// Waits until no request was under way for so long.
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

/// What happens on a connection.
#[derive(Clone, Copy, Debug)]
struct Doing {
    /// Requests whose heads arrived and that are not answered.
    requests: usize,
    /// Those of them that arrived whole.
    answering: usize,
    /// How many requests were answered with success.
    used: u32,
    /// When the connection was accepted, a step of its handshake was done, the last head arrived or the last answer was ready,
    /// whichever was last.
    since: Instant,
}

impl Peer {
    pub(super) fn new(address: IpAddr, connection: u64) -> Self {
        let doing = Doing { requests: 0, answering: 0, used: 0, since: Instant::now() };
        Self { address, connection, doing: Arc::new(Mutex::new(doing)), woken: Woken::new() }
    }

    /// The address of the peer, an IPv4 address as such.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of its connection.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// Whether it was answered with success.
    pub(super) fn was_of_use(&self) -> bool {
        self.doing().used > 0
    }

    /// Whether something arrived that was not looked at yet; to be kept by what serves the connection.
    pub(super) fn woken(&self) -> Woken {
        self.woken.clone()
    }

    /// A step of the handshake is done: it is not the client that was waited for until now.
    pub(super) fn step(&self) {
        self.change(|doing| doing.since = Instant::now());
    }

    /// A request's head arrived.
    pub(super) fn request(&self) -> InRequest {
        self.change(|doing| {
            doing.requests += 1;
            doing.since = Instant::now();
        });
        InRequest { peer: self.clone(), succeeded: false }
    }

    /// A request arrived whole: until this is dropped, the connection is not idle.
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
    /// It was answered with success.
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

/// A request that arrived whole and waits for its answer.
pub(super) struct Answering(Peer);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.change(|doing| doing.answering -= 1);
    }
}
