//! Queues of reviews for a bounded number of judges, so that judging never blocks a connection, a timer or a probe.
//!
//! Reviews of one small object, which take a millisecond, have their own judges. Hence large objects and reviews about
//! all guests delay them only by a share of the processor. Waiting reviews are served round-robin by address, and
//! within an address by connection.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};

use super::Peer;

/// Maximum time of the judgement of one object. Real ones take a millisecond.
const MAX_JUDGEMENT: Duration = Duration::from_secs(1);

/// Numbers of reviews that are judged at once, and that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judges {
    /// Number of reviews of small objects judged at once: the number of processors, at least two.
    pub quick: usize,
    /// Number of reviews of large objects, and of changes that affect all guests, judged at once: half the number of
    /// processors.
    pub slow: usize,
    /// Number of waiting reviews of each sort. Beyond it, the client with most of them gets a 429.
    pub waiting: usize,
}

impl Default for Judges {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { quick: processors.max(2), slow: (processors / 2).max(1), waiting: 1024 }
    }
}

/// The scope of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One object.
    One,
    /// All guests.
    All,
}

/// A reason why a review is not judged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoTurn {
    /// The review's time was used up before its turn came.
    #[error("the time of the review was used up before its turn came")]
    Late,
    /// Too many reviews wait, most of them of the client that sent this one.
    #[error("too many reviews wait to be judged")]
    Crowded,
}

/// The judges of the webhook.
#[derive(Debug)]
pub struct Turns {
    quick: Arc<Lane>,
    slow: Arc<Lane>,
}

impl Turns {
    /// Creates the queues for this number of judges.
    #[must_use]
    pub fn new(judges: Judges) -> Self {
        let lane = |free: usize| Arc::new(Lane { most: judges.waiting, state: Mutex::new(State::new(free.max(1))) });
        Self { quick: lane(judges.quick), slow: lane(judges.slow) }
    }

    /// Returns the turn of a review that this client sent, with its deadline.
    #[must_use]
    pub fn turn(&self, peer: Option<&Peer>, is_large: bool, end: Instant) -> Turn<'_> {
        let client = peer.map_or(Client::default(), |peer| (Some(peer.address()), peer.connection()));
        Turn { turns: self, client, is_large, end, held: None }
    }
}

/// A review's turn: work waits for it, and it is held until it is dropped or [given back](Self::rest).
pub struct Turn<'t> {
    turns: &'t Turns,
    client: Client,
    is_large: bool,
    end: Instant,
    held: Option<HeldJudge>,
}

impl Turn<'_> {
    /// Runs a piece of work when its turn comes. The deadline of the work is half of the remaining time, and for one
    /// object at most a second.
    ///
    /// # Errors
    /// The turn does not come in time, or too many reviews wait.
    pub async fn run<T>(
        &mut self,
        pace: Pace,
        work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> T,
    ) -> Result<T, NoTurn> {
        if self.held.is_none() {
            let lane = if self.is_large || pace == Pace::All { &self.turns.slow } else { &self.turns.quick };
            self.held = Some(lane.take(self.client, self.end).await?);
        }
        let now = Instant::now();
        if now >= self.end {
            return Err(NoTurn::Late);
        }
        let half = (self.end - now) / 2;
        let until = now + if pace == Pace::One { half.min(MAX_JUDGEMENT) } else { half };
        Ok(aside(|| work(&|| Instant::now() >= until)))
    }

    /// Whether this is the turn of a large review.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// Returns the address that the review came from.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.client.0
    }

    /// Gives the turn back while the review waits for something else. Returns the deadline of that wait.
    pub fn rest(&mut self) -> Instant {
        self.held = None;
        let now = Instant::now();
        now + self.end.saturating_duration_since(now) / 2
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("is_large", &self.is_large).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Runs work that would block the runtime's thread.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}

/// An address and the number of a connection.
type Client = (Option<IpAddr>, u64);

/// Judges, and the reviews that wait for one.
#[derive(Debug)]
struct Lane {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    waiting: BTreeMap<Option<IpAddr>, OfAddress>,
    /// The address that was served last.
    last: Option<IpAddr>,
}

/// The waiting reviews of an address, by connection, in the order of arrival.
#[derive(Debug, Default)]
struct OfAddress {
    waiting: BTreeMap<u64, VecDeque<QueuedReview>>,
    /// The connection that was served last.
    last: u64,
}

#[derive(Debug)]
struct QueuedReview {
    id: u64,
    begin: oneshot::Sender<HeldJudge>,
}

impl Lane {
    async fn take(self: &Arc<Self>, client: Client, end: Instant) -> Result<HeldJudge, NoTurn> {
        let (id, given) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(HeldJudge(Some(Arc::clone(self))));
            }
            if state.waiting.values().map(OfAddress::count).sum::<usize>() >= self.most && !state.make_room(client) {
                return Err(NoTurn::Crowded);
            }
            let (begin, given) = oneshot::channel();
            let id = state.next;
            state.next += 1;
            let of_address = state.waiting.entry(client.0).or_default();
            of_address.waiting.entry(client.1).or_default().push_back(QueuedReview { id, begin });
            (id, given)
        };
        let _left = Left { lane: self, client, id };
        match timeout_at(end, given).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(_)) => Err(NoTurn::Crowded),
            Err(_) => Err(NoTurn::Late),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OfAddress {
    fn count(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

impl State {
    fn new(free: usize) -> Self {
        Self { free, next: 0, waiting: BTreeMap::new(), last: None }
    }

    /// Removes the newest waiting review of the connection with most of them, of the address with most of them. Returns
    /// `false` if that is the connection of `asking`.
    fn make_room(&mut self, asking: Client) -> bool {
        let most = self.waiting.iter().max_by_key(|(address, of)| (of.count(), **address == asking.0));
        let Some((&address, of)) = most else { return false };
        let most = of.waiting.iter().max_by_key(|(connection, queue)| (queue.len(), **connection == asking.1));
        let Some(client) = most.map(|(&connection, _)| (address, connection)).filter(|client| *client != asking) else {
            return false;
        };
        self.take_out(client, VecDeque::pop_back).is_some()
    }

    /// Returns the next review: the first of the connection after the last one served, of the address after the last
    /// one served.
    fn next(&mut self) -> Option<QueuedReview> {
        let address = after(&self.waiting, &self.last)?;
        let of = self.waiting.get_mut(&address)?;
        let connection = after(&of.waiting, &of.last)?;
        of.last = connection;
        self.last = address;
        self.take_out((address, connection), VecDeque::pop_front)
    }

    /// Takes an item out of a queue, and removes empty queues.
    fn take_out<T>(
        &mut self,
        client: Client,
        take: impl FnOnce(&mut VecDeque<QueuedReview>) -> Option<T>,
    ) -> Option<T> {
        let of = self.waiting.get_mut(&client.0)?;
        let queue = of.waiting.get_mut(&client.1)?;
        let taken = take(queue);
        if queue.is_empty() {
            of.waiting.remove(&client.1);
            if of.waiting.is_empty() {
                self.waiting.remove(&client.0);
            }
        }
        taken
    }
}

/// Returns the first key after another one, or else the first key.
fn after<K: Ord + Copy, V>(map: &BTreeMap<K, V>, last: &K) -> Option<K> {
    let later = map.range((Bound::Excluded(last), Bound::Unbounded)).next();
    later.or_else(|| map.iter().next()).map(|(key, _)| *key)
}

/// A guard that removes a review from the queue when its future is dropped.
struct Left<'l> {
    lane: &'l Lane,
    client: Client,
    id: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.lane.lock().take_out(self.client, |queue| {
            queue.retain(|waiting| waiting.id != self.id);
            None::<()>
        });
    }
}

/// A held judge; dropping it passes the judge on to the next review.
#[derive(Debug)]
struct HeldJudge(Option<Arc<Lane>>);

impl Drop for HeldJudge {
    fn drop(&mut self) {
        let Some(lane) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = lane.lock();
                let Some(next) = state.next() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.begin.send(Self(Some(Arc::clone(&lane)))) {
                Ok(()) => return,
                // The waiter was dropped meanwhile; keep the judge and try the next one.
                Err(mut refused) => refused.0 = None,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::task::yield_now;

    use super::*;

    fn peer(host: u8, connection: u64) -> Peer {
        Peer::new(Ipv4Addr::new(10, 0, 0, host).into(), connection)
    }

    fn attacker() -> Peer {
        peer(66, 1)
    }

    fn server() -> Peer {
        peer(1, 2)
    }

    fn turns(quick: usize, slow: usize, waiting: usize) -> Arc<Turns> {
        Arc::new(Turns::new(Judges { quick, slow, waiting }))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// Waits for a turn, notes it, and gives it back.
    fn noting(turns: &Arc<Turns>, peer: Peer, notes: &Arc<Mutex<Vec<&'static str>>>, note: &'static str) {
        let (turns, notes) = (Arc::clone(turns), Arc::clone(notes));
        tokio::spawn(async move {
            let ran =
                turns.turn(Some(&peer), false, soon()).run(Pace::One, |_| notes.lock().map(|mut n| n.push(note))).await;
            if let Err(why) = ran {
                let note = if why == NoTurn::Crowded { "crowded" } else { "late" };
                let _ = notes.lock().map(|mut notes| notes.push(note));
            }
        });
    }

    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_take_turns() {
        let (turns, notes) = (turns(1, 1, 100), Arc::default());
        let mut first = turns.turn(Some(&attacker()), false, soon());
        first.run(Pace::One, |_| ()).await.expect("the queue is empty");
        for _ in 0..3 {
            noting(&turns, attacker(), &notes, "attacker");
        }
        noting(&turns, server(), &notes, "server");
        noting(&turns, server(), &notes, "server");
        settle().await;
        assert!(notes.lock().is_ok_and(|notes| notes.is_empty()), "there is one judge");
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["server", "attacker", "server", "attacker", "attacker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_an_address_take_turns() {
        let (turns, notes) = (turns(1, 1, 100), Arc::default());
        let mut first = turns.turn(Some(&peer(1, 1)), false, soon());
        first.run(Pace::One, |_| ()).await.expect("the queue is empty");
        for _ in 0..3 {
            noting(&turns, peer(1, 1), &notes, "many");
        }
        noting(&turns, peer(1, 2), &notes, "few");
        noting(&turns, peer(2, 3), &notes, "elsewhere");
        settle().await;
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["many", "elsewhere", "few", "many", "many"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_most_waiting_requests_makes_room() {
        let (turns, notes) = (turns(1, 1, 3), Arc::default());
        let mut first = turns.turn(Some(&attacker()), false, soon());
        first.run(Pace::One, |_| ()).await.expect("the queue is empty");
        for _ in 0..5 {
            noting(&turns, attacker(), &notes, "attacker");
        }
        settle().await;
        assert_eq!(notes.lock().map(|notes| notes.clone()).unwrap_or_default(), ["crowded", "crowded"]);
        noting(&turns, server(), &notes, "server");
        settle().await;
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["crowded", "crowded", "crowded", "server", "attacker", "attacker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn large_objects_and_counts_keep_no_small_one_waiting() {
        let turns = turns(1, 1, 10);
        let mut large = turns.turn(Some(&attacker()), true, soon());
        large.run(Pace::One, |_| ()).await.expect("the first");
        let mut count = turns.turn(Some(&attacker()), false, Instant::now() + Duration::from_secs(1));
        assert_eq!(count.run(Pace::All, |_| ()).await, Err(NoTurn::Late), "it needs the same judge");
        let mut small = turns.turn(Some(&attacker()), false, soon());
        assert_eq!(small.run(Pace::One, |_| ()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_leaves_the_queue_and_uses_no_worker() {
        let turns = turns(1, 1, 1);
        let mut first = turns.turn(Some(&server()), false, soon());
        first.run(Pace::One, |_| ()).await.expect("the first");
        for _ in 0..3 {
            let mut hasty = turns.turn(Some(&server()), false, Instant::now() + Duration::from_millis(5));
            assert_eq!(hasty.run(Pace::One, |_| ()).await, Err(NoTurn::Late), "the queue is never full of the gone");
        }
        // A waiter that gets the judge and is dropped before it begins.
        let mut gone = turns.turn(Some(&server()), false, soon());
        let mut waiting = Box::pin(gone.run(Pace::One, |_| ()));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        drop(waiting);
        let mut next = turns.turn(Some(&server()), false, soon());
        assert_eq!(next.run(Pace::One, |_| ()).await, Ok(()));
        next.rest();
        assert_eq!(
            turns.turn(Some(&server()), false, soon()).run(Pace::One, |_| ()).await,
            Ok(()),
            "given back, it is another's"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_long_judgement_delays_no_other_review() {
        let (turns, (send, receive)) = (turns(1, 1, 1), std::sync::mpsc::channel());
        let judging = tokio::spawn(async move {
            tokio::spawn(async move { send.send(()) });
            let work = move |_: &(dyn Fn() -> bool + Sync)| receive.recv_timeout(Duration::from_secs(10)).is_ok();
            turns.turn(None, false, soon()).run(Pace::One, work).await
        });
        assert_eq!(judging.await.expect("no panic"), Ok(true), "one review would stop all connections");
    }

    #[tokio::test]
    async fn work_is_stopped_at_its_deadline() {
        let turns = turns(1, 1, 1);
        let took = async |pace, left| {
            let mut turn = turns.turn(None, false, Instant::now() + Duration::from_millis(left));
            let work = |is_over: &(dyn Fn() -> bool + Sync)| {
                let begun = Instant::now();
                while !is_over() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                begun.elapsed().as_millis()
            };
            turn.run(pace, work).await
        };
        assert!(took(Pace::One, 200).await.is_ok_and(|took| (90..900).contains(&took)), "half of what is left");
        assert!(
            took(Pace::One, 60_000).await.is_ok_and(|took| (900..20_000).contains(&took)),
            "for one object a second"
        );
        assert!(took(Pace::All, 4_000).await.is_ok_and(|took| (1_500..20_000).contains(&took)));
        assert_eq!(took(Pace::One, 0).await, Err(NoTurn::Late), "its client is gone");
    }
}
