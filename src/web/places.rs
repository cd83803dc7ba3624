//! Who has a connection: as many as there are places, and for one address no more than its share. Where a new connection finds
//! no place, the longest idle one ends.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The places of one port.
#[derive(Debug)]
pub(super) struct Places {
    total: usize,
    per_peer: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: HashMap<u64, Held>,
    /// How many connections of each address were not asked to end.
    staying: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Held {
    peer: Peer,
    end: Arc<Notify>,
    stays: bool,
}

impl Places {
    /// `total` places, of which one address may have `per_peer`.
    pub(super) fn new(total: usize, per_peer: usize) -> Arc<Self> {
        let (state, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { total: total.max(1), per_peer: per_peer.max(1), state, freed })
    }

    /// A place for a new connection of this address. Where none is free, the idlest connection is asked to end, of this address
    /// if it has its share already, and its end is waited for.
    ///
    /// `None` where the address has its share and each of its connections waits for an answer.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        loop {
            // In this order: what is freed from here on is not missed.
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                if state.staying.get(&address).is_some_and(|staying| *staying >= self.per_peer)
                    && !state.end_idlest(Some(address))
                {
                    return None;
                }
                if state.staying.values().sum::<usize>() >= self.total {
                    state.end_idlest(None);
                }
                if state.held.len() < self.total {
                    return Some(state.hold(address, Arc::clone(self)));
                }
            }
            freed.await;
        }
    }

    /// Tells the idlest connection to end, where one is idle: something else than places is short.
    pub(super) fn end_idlest(&self) {
        self.lock().end_idlest(None);
    }

    /// Whether no place is left for this address without another connection's end.
    pub(super) fn are_taken(&self, address: IpAddr) -> bool {
        let state = self.lock();
        state.held.len() >= self.total
            || state.staying.get(&address.to_canonical()).is_some_and(|staying| *staying >= self.per_peer)
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
        self.held.insert(id, Held { peer: peer.clone(), end: Arc::clone(&end), stays: true });
        *self.staying.entry(address).or_default() += 1;
        Place { id, peer, end, places }
    }

    /// Tells a connection to end: of this address or of all; whether one was idle.
    ///
    /// Whoever has most gives way: of all addresses the one with most connections; of its connections those that were of use,
    /// or those that were not, whichever are more; of these the one on which nothing happened for longest. So neither those who
    /// are silent nor those who send a request first can take more than half of what others need.
    ///
    /// A connection whose request is whole and waits for its answer is not idle; one whose request is still being sent is.
    fn end_idlest(&mut self, address: Option<IpAddr>) -> bool {
        let mut idle: HashMap<IpAddr, [Idle; 2]> = HashMap::new();
        for (id, held) in &self.held {
            let (of, doing) = (held.peer.address, held.peer.doing());
            if held.stays && doing.answering == 0 && address.is_none_or(|address| address == of) {
                idle.entry(of).or_default()[usize::from(doing.of_use)].add(doing.since, *id);
            }
        }
        let most = idle.iter().max_by_key(|(address, [useless, useful])| {
            let longest = [useless, useful].into_iter().filter_map(|idle| idle.longest).min();
            (self.staying.get(address).copied(), Reverse(longest))
        });
        let Some((address, [useless, useful])) = most else { return false };
        let more = if useful.count > useless.count { useful } else { useless };
        let Some((_, id)) = more.longest else { return false };
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

/// Idle connections of one sort.
#[derive(Debug, Default)]
struct Idle {
    count: usize,
    /// Since when it is idle, and its number.
    longest: Option<(Instant, u64)>,
}

impl Idle {
    fn add(&mut self, since: Instant, id: u64) {
        self.count += 1;
        self.longest = Some(self.longest.map_or((since, id), |longest| longest.min((since, id))));
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
        self.places.freed.notify_one();
    }
}

/// The client of a connection; the server puts it into the extensions of each of its requests.
#[derive(Clone)]
pub struct Peer {
    address: IpAddr,
    connection: u64,
    doing: Arc<Mutex<Doing>>,
}

/// What happens on a connection.
#[derive(Clone, Copy, Debug)]
struct Doing {
    /// Requests whose heads arrived and that are not answered.
    requests: usize,
    /// Those of them that arrived whole.
    answering: usize,
    /// A request was answered with success.
    of_use: bool,
    /// When the connection was accepted, a step of its handshake was done, the last head arrived or the last answer was ready,
    /// whichever was last.
    since: Instant,
}

impl Peer {
    pub(super) fn new(address: IpAddr, connection: u64) -> Self {
        let doing = Doing { requests: 0, answering: 0, of_use: false, since: Instant::now() };
        Self { address, connection, doing: Arc::new(Mutex::new(doing)) }
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
            doing.of_use |= self.succeeded;
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
