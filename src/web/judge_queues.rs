//! Queues of reviews for a bounded number of judges, so that judging delays no connection, timer or probe for long.
//!
//! Reviews of one small object, which take a millisecond, have their own judges. Hence large objects and reviews about
//! all guests delay them only by a share of the processor. Waiting reviews are served round-robin by address, and
//! within an address by connection.
//!
//! A launcher pod with few requirements is judged on the thread that read it: to hand the thread's other tasks over
//! costs as much as judging. Everything else hands them over first, because the size of an object does not bound its
//! cost.

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
pub struct JudgeLimits {
    /// Number of reviews of small objects judged at once: the number of processors, at least two.
    pub quick: usize,
    /// Number of reviews of large objects, and of changes that affect all guests, judged at once: half the number of
    /// processors.
    pub slow: usize,
    /// Number of waiting reviews of each sort. Beyond it, the client with most of them gets a 429.
    pub waiting: usize,
}

impl Default for JudgeLimits {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { quick: processors.max(2), slow: (processors / 2).max(1), waiting: 1024 }
    }
}

/// The scope of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgeScope {
    /// One object that is surely judged within a millisecond.
    CheapObject,
    /// One object.
    Object,
    /// All guests.
    AllGuests,
}

/// A reason why a review is not judged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QueueError {
    /// The review's time was used up before its turn came.
    #[error("the time of the review was used up before its turn came")]
    Late,
    /// Too many reviews wait, most of them of the client that sent this one.
    #[error("too many reviews wait to be judged")]
    Full,
}

/// The judges of the webhook.
#[derive(Debug)]
pub struct JudgeQueues {
    quick: Arc<Queue>,
    slow: Arc<Queue>,
}

impl JudgeQueues {
    /// Creates the queues for this number of judges.
    #[must_use]
    pub fn new(judges: JudgeLimits) -> Self {
        let queue = |free: usize| Arc::new(Queue { most: judges.waiting, state: Mutex::new(State::new(free.max(1))) });
        Self { quick: queue(judges.quick), slow: queue(judges.slow) }
    }

    /// Returns the slot of a review that this client sent, with its deadline.
    #[must_use]
    pub fn slot(&self, peer: Option<&Peer>, is_large: bool, end: Instant) -> JudgeSlot<'_> {
        let client = peer.map_or(Client::default(), |peer| (Some(peer.address()), peer.connection()));
        JudgeSlot { queues: self, client, is_large, end, held: None }
    }
}

/// A review's place in the queues: its work waits for a judge, which is held until the slot is dropped or
/// [released](Self::release).
pub struct JudgeSlot<'t> {
    queues: &'t JudgeQueues,
    client: Client,
    is_large: bool,
    end: Instant,
    held: Option<Permit>,
}

impl JudgeSlot<'_> {
    /// Runs a piece of work when its turn comes, with its deadline.
    ///
    /// # Errors
    /// The turn does not come in time, or too many reviews wait.
    pub async fn run<T>(
        &mut self,
        scope: JudgeScope,
        work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> T,
    ) -> Result<T, QueueError> {
        let is_slow = self.is_large || scope == JudgeScope::AllGuests;
        if self.held.is_none() {
            let queue = if is_slow { &self.queues.slow } else { &self.queues.quick };
            self.held = Some(queue.take(self.client, self.end).await?);
        }
        let now = Instant::now();
        if now >= self.end {
            return Err(QueueError::Late);
        }
        let until = work_deadline(now, self.end, scope);
        let work = || work(&|| Instant::now() >= until);
        let is_cheap = scope == JudgeScope::CheapObject && !self.is_large;
        Ok(if is_cheap { work() } else { run_blocking(work) })
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

    /// Gives the judge back while the review waits for something else. Returns the deadline of that wait.
    pub fn release(&mut self) -> Instant {
        self.held = None;
        let now = Instant::now();
        now + self.end.saturating_duration_since(now) / 2
    }
}

impl fmt::Debug for JudgeSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JudgeSlot").field("is_large", &self.is_large).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Returns the deadline of work that begins now: half of the time until `end`, for one object at most a second.
fn work_deadline(now: Instant, end: Instant, scope: JudgeScope) -> Instant {
    let half = end.saturating_duration_since(now) / 2;
    now + match scope {
        JudgeScope::CheapObject | JudgeScope::Object => half.min(MAX_JUDGEMENT),
        JudgeScope::AllGuests => half,
    }
}

/// Runs work that would block the runtime's thread.
pub(super) fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}

/// An address and the number of a connection.
type Client = (Option<IpAddr>, u64);

/// Free judges, and the reviews that wait for one.
#[derive(Debug)]
struct Queue {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    waiting: BTreeMap<Option<IpAddr>, AddressQueue>,
    /// The address that was served last.
    last: Option<IpAddr>,
}

/// The waiting reviews of an address, by connection, in the order of arrival.
#[derive(Debug, Default)]
struct AddressQueue {
    waiting: BTreeMap<u64, VecDeque<QueuedReview>>,
    /// The connection that was served last.
    last: u64,
}

#[derive(Debug)]
struct QueuedReview {
    id: u64,
    begin: oneshot::Sender<Permit>,
}

impl Queue {
    async fn take(self: &Arc<Self>, client: Client, end: Instant) -> Result<Permit, QueueError> {
        let (id, given) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Some(Arc::clone(self))));
            }
            if state.waiting.values().map(AddressQueue::count).sum::<usize>() >= self.most && !state.make_room(client) {
                return Err(QueueError::Full);
            }
            let (begin, given) = oneshot::channel();
            let id = state.next;
            state.next += 1;
            let of_address = state.waiting.entry(client.0).or_default();
            of_address.waiting.entry(client.1).or_default().push_back(QueuedReview { id, begin });
            (id, given)
        };
        let _left = DequeueOnDrop { queue: self, client, id };
        match timeout_at(end, given).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(_)) => Err(QueueError::Full),
            Err(_) => Err(QueueError::Late),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressQueue {
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
struct DequeueOnDrop<'l> {
    queue: &'l Queue,
    client: Client,
    id: u64,
}

impl Drop for DequeueOnDrop<'_> {
    fn drop(&mut self) {
        self.queue.lock().take_out(self.client, |queue| {
            queue.retain(|waiting| waiting.id != self.id);
            None::<()>
        });
    }
}

/// A held judge; dropping it passes the judge on to the next review.
#[derive(Debug)]
struct Permit(Option<Arc<Queue>>);

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = queue.lock();
                let Some(next) = state.next() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.begin.send(Self(Some(Arc::clone(&queue)))) {
                Ok(()) => return,
                // The waiter was dropped meanwhile; keep the judge and try the next one.
                Err(mut refused) => refused.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rstest::rstest;
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

    fn queues(quick: usize, slow: usize, waiting: usize) -> Arc<JudgeQueues> {
        Arc::new(JudgeQueues::new(JudgeLimits { quick, slow, waiting }))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// Waits for a turn, notes it, and gives it back.
    fn noting(queues: &Arc<JudgeQueues>, peer: Peer, notes: &Arc<Mutex<Vec<&'static str>>>, note: &'static str) {
        let (queues, notes) = (Arc::clone(queues), Arc::clone(notes));
        tokio::spawn(async move {
            let ran = queues
                .slot(Some(&peer), false, soon())
                .run(JudgeScope::Object, |_| notes.lock().map(|mut n| n.push(note)))
                .await;
            if let Err(why) = ran {
                let note = if why == QueueError::Full { "crowded" } else { "late" };
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
        let (queues, notes) = (queues(1, 1, 100), Arc::default());
        let mut first = queues.slot(Some(&attacker()), false, soon());
        first.run(JudgeScope::Object, |_| ()).await.expect("the queue is empty");
        for _ in 0..3 {
            noting(&queues, attacker(), &notes, "attacker");
        }
        noting(&queues, server(), &notes, "server");
        noting(&queues, server(), &notes, "server");
        settle().await;
        assert!(notes.lock().is_ok_and(|notes| notes.is_empty()), "there is one judge");
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["server", "attacker", "server", "attacker", "attacker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_an_address_take_turns() {
        let (queues, notes) = (queues(1, 1, 100), Arc::default());
        let mut first = queues.slot(Some(&peer(1, 1)), false, soon());
        first.run(JudgeScope::Object, |_| ()).await.expect("the queue is empty");
        for _ in 0..3 {
            noting(&queues, peer(1, 1), &notes, "many");
        }
        noting(&queues, peer(1, 2), &notes, "few");
        noting(&queues, peer(2, 3), &notes, "elsewhere");
        settle().await;
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["many", "elsewhere", "few", "many", "many"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_most_waiting_requests_makes_room() {
        let (queues, notes) = (queues(1, 1, 3), Arc::default());
        let mut first = queues.slot(Some(&attacker()), false, soon());
        first.run(JudgeScope::Object, |_| ()).await.expect("the queue is empty");
        for _ in 0..5 {
            noting(&queues, attacker(), &notes, "attacker");
        }
        settle().await;
        assert_eq!(notes.lock().map(|notes| notes.clone()).unwrap_or_default(), ["crowded", "crowded"]);
        noting(&queues, server(), &notes, "server");
        settle().await;
        drop(first);
        settle().await;
        let notes = notes.lock().map(|notes| notes.clone()).unwrap_or_default();
        assert_eq!(notes, ["crowded", "crowded", "crowded", "server", "attacker", "attacker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn large_objects_and_counts_keep_no_small_one_waiting() {
        let queues = queues(1, 1, 10);
        let mut large = queues.slot(Some(&attacker()), true, soon());
        large.run(JudgeScope::Object, |_| ()).await.expect("the first");
        let mut count = queues.slot(Some(&attacker()), false, Instant::now() + Duration::from_secs(1));
        assert_eq!(count.run(JudgeScope::AllGuests, |_| ()).await, Err(QueueError::Late), "it needs the same judge");
        let mut small = queues.slot(Some(&attacker()), false, soon());
        assert_eq!(small.run(JudgeScope::Object, |_| ()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_leaves_the_queue_and_uses_no_worker() {
        let queues = queues(1, 1, 1);
        let mut first = queues.slot(Some(&server()), false, soon());
        first.run(JudgeScope::Object, |_| ()).await.expect("the first");
        for _ in 0..3 {
            let mut hasty = queues.slot(Some(&server()), false, Instant::now() + Duration::from_millis(5));
            assert_eq!(
                hasty.run(JudgeScope::Object, |_| ()).await,
                Err(QueueError::Late),
                "the queue is never full of the gone"
            );
        }
        // A waiter that gets the judge and is dropped before it begins.
        let mut gone = queues.slot(Some(&server()), false, soon());
        let mut waiting = Box::pin(gone.run(JudgeScope::Object, |_| ()));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        drop(waiting);
        let mut next = queues.slot(Some(&server()), false, soon());
        assert_eq!(next.run(JudgeScope::Object, |_| ()).await, Ok(()));
        next.release();
        assert_eq!(
            queues.slot(Some(&server()), false, soon()).run(JudgeScope::Object, |_| ()).await,
            Ok(()),
            "given back, it is another's"
        );
    }

    #[rstest]
    #[case::a_small_object(false, JudgeScope::Object)]
    #[case::a_large_object(true, JudgeScope::Object)]
    #[case::a_large_object_said_to_be_cheap(true, JudgeScope::CheapObject)]
    #[case::a_count(false, JudgeScope::AllGuests)]
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_long_judgement_delays_no_other_review(#[case] is_large: bool, #[case] scope: JudgeScope) {
        let (queues, (send, receive)) = (queues(1, 1, 1), std::sync::mpsc::channel());
        let judging = tokio::spawn(async move {
            tokio::spawn(async move { send.send(()) });
            let work = move |_: &(dyn Fn() -> bool + Sync)| receive.recv_timeout(Duration::from_secs(10)).is_ok();
            queues.slot(None, is_large, soon()).run(scope, work).await
        });
        assert_eq!(judging.await.expect("no panic"), Ok(true), "one review would stop all connections");
    }

    #[rstest]
    #[case::half_of_what_is_left(JudgeScope::Object, 200, 100)]
    #[case::one_object(JudgeScope::Object, 60_000, 1_000)]
    #[case::all_guests(JudgeScope::AllGuests, 4_000, 2_000)]
    #[case::all_guests_and_much_time(JudgeScope::AllGuests, 60_000, 30_000)]
    #[case::no_time(JudgeScope::Object, 0, 0)]
    fn the_deadline_of_work_leaves_time_to_answer(#[case] scope: JudgeScope, #[case] left: u64, #[case] expected: u64) {
        let now = Instant::now();
        let took = work_deadline(now, now + Duration::from_millis(left), scope) - now;
        assert_eq!(took, Duration::from_millis(expected), "the client is gone, or the work ends too early");
    }

    #[tokio::test]
    async fn work_is_stopped_at_its_deadline() {
        let queues = queues(1, 1, 1);
        let took = async |left| {
            let mut slot = queues.slot(None, false, Instant::now() + Duration::from_millis(left));
            let work = |is_over: &(dyn Fn() -> bool + Sync)| {
                let begun = Instant::now();
                while !is_over() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                begun.elapsed().as_millis()
            };
            slot.run(JudgeScope::Object, work).await
        };
        assert!(took(200).await.is_ok_and(|took| (90..900).contains(&took)), "half of what is left");
        assert_eq!(took(0).await, Err(QueueError::Late), "its client is gone");
    }
}
