//! One fetch for everybody who wants the same at one time, over all cores. The first leads, the others wait for the head of its
//! answer; the content they then read as it arrives ([`super::arrival`]).
//!
//! What goes wrong elsewhere: waiting for an answer that turns out to be about one caller alone (then nobody waits again for the
//! same, see [`super::learned`]), waiting for ever, a fetch that takes long and has everybody who waited go at once (one of them
//! goes, beside it, and later another, each after twice the time of the one before), and a leader whose caller hangs up (its
//! fetch goes on, see [`Surviving`]).

use super::object::Stored;
use super::refresh::read_to_its_end;
use super::store::Refresh;
use crate::clock::ns;
use crate::error::Error;
use crate::exchange::Outcome;
use crate::panics;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// Who waits for one fetch at most: whoever comes then goes on its own.
const WAITERS_MAX: usize = 4_096;
/// Locks among which the keys are divided.
const SHARDS: usize = 64;
/// How long a fetch goes on whose caller is gone: who waits for it has gone on its own by then.
const GRACE: Duration = Duration::from_secs(3);

/// For whom an answer is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Whoever selects it.
    Everybody,
    /// Requests that are the same in every field that counts, by its hash: the origin has said nothing about others.
    TheSame(u64),
}

/// What a fetch came to.
#[derive(Clone, Debug)]
pub enum Landing {
    /// An answer that may be shared.
    Shared(Arc<Stored>, For),
    /// One that is about its caller alone.
    Refused,
    /// None.
    Failed(Error),
    /// Whoever fetched has given up.
    Abandoned,
}

/// What all have in common who lead or wait.
struct Aboard {
    landing: watch::Sender<Option<Landing>>,
    /// Who fetches. One of them that comes to nothing leaves it to the others.
    leaders: AtomicUsize,
}

struct Flight {
    began_ns: u64,
    /// When the last leader set out, and how many had before.
    led_ns: u64,
    overtaken: u32,
    aboard: Arc<Aboard>,
}

impl Flight {
    /// From when on somebody else may set out beside it.
    fn overdue_ns(&self, cap: Duration) -> u64 {
        self.led_ns.saturating_add(ns(cap).saturating_mul(1 << self.overtaken.min(OVERTAKEN_MAX)))
    }

    fn waiting(&self, key: &[u8], cap: Duration) -> Waiting {
        let told = self.aboard.landing.subscribe();
        let aboard = Arc::clone(&self.aboard);
        Waiting { key: key.into(), overdue_ns: self.overdue_ns(cap), aboard, told }
    }

    fn leading(&self, flights: &Arc<Flights>, key: &[u8]) -> Leading {
        self.aboard.leaders.fetch_add(1, Relaxed);
        Leading {
            flights: Arc::clone(flights),
            key: key.into(),
            aboard: Arc::clone(&self.aboard),
            is_over: false,
        }
    }
}

/// How often the time doubles after which another one sets out.
const OVERTAKEN_MAX: u32 = 16;

type Shard = HashMap<Box<[u8]>, Flight>;

/// The fetches under way.
pub struct Flights {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// Whose turn it is.
pub enum Turn {
    /// This one fetches.
    Lead(Leading),
    /// Somebody does already.
    Wait(Waiting),
    /// Neither: too many wait, or nobody is to be led.
    Alone,
}

/// The right, and the duty, to fetch. Dropped without a landing it sets the others free to try anew.
pub struct Leading {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    aboard: Arc<Aboard>,
    is_over: bool,
}

/// A place among those who wait.
pub struct Waiting {
    key: Box<[u8]>,
    /// From when on it may go itself, beside the one that it waits for.
    pub overdue_ns: u64,
    aboard: Arc<Aboard>,
    told: watch::Receiver<Option<Landing>>,
}

impl Default for Flights {
    fn default() -> Flights {
        Flights { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Flights {
    /// Joins the fetch of `key`, or leads one. One that began at `changed_ns` or before may bring an answer of before that
    /// change: it is left to those who joined it then. One that takes longer than `cap` may be overtaken.
    pub fn board(
        self: &Arc<Flights>,
        key: &[u8],
        now: u64,
        changed_ns: u64,
        leads: bool,
        cap: Duration,
    ) -> Turn {
        let Some(mut flights) = self.shard(key) else { return Turn::Alone };
        if let Some(flight) = flights.get(key)
            && (changed_ns == 0 || flight.began_ns > changed_ns)
        {
            return match flight.aboard.landing.receiver_count() < WAITERS_MAX {
                true => Turn::Wait(flight.waiting(key, cap)),
                false => Turn::Alone,
            };
        }
        if !leads {
            return Turn::Alone;
        }
        let aboard = Arc::new(Aboard { landing: watch::Sender::new(None), leaders: AtomicUsize::new(0) });
        let flight = Flight { began_ns: now, led_ns: now, overtaken: 0, aboard };
        let leading = flight.leading(self, key);
        flights.insert(key.into(), flight);
        Turn::Lead(leading)
    }

    /// Sets out beside a fetch that takes too long, unless somebody has just done so.
    pub fn overtake(self: &Arc<Flights>, waiting: Waiting, now: u64, cap: Duration) -> Turn {
        let key = &*waiting.key;
        let Some(mut flights) = self.shard(key) else { return Turn::Alone };
        match flights.get_mut(key) {
            Some(flight) if Arc::ptr_eq(&flight.aboard, &waiting.aboard) && now >= flight.overdue_ns(cap) => {
                (flight.led_ns, flight.overtaken) = (now, flight.overtaken + 1);
                Turn::Lead(flight.leading(self, key))
            }
            // It is another one since a change, or has another leader.
            Some(flight) => Turn::Wait(flight.waiting(key, cap)),
            None => Turn::Wait(Waiting { overdue_ns: u64::MAX, ..waiting }),
        }
    }

    fn shard(&self, key: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards.get(at).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Leading {
    /// Tells everybody who waits what the fetch came to.
    pub fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    /// Whether anybody waits.
    pub fn is_awaited(&self) -> bool {
        self.aboard.landing.receiver_count() > 0
    }

    /// Sees from elsewhere whether anybody waits.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.aboard))
    }

    fn end(&mut self, landing: Landing) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let is_nothing = matches!(landing, Landing::Failed(_) | Landing::Abandoned);
        // First off the board, then told: whoever comes in between finds the store filled.
        if let Some(mut flights) = self.flights.shard(&self.key) {
            let others = self.aboard.leaders.fetch_sub(1, Relaxed) > 1;
            if is_nothing && others {
                return;
            }
            if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(&flight.aboard, &self.aboard)) {
                flights.remove(&self.key);
            }
        }
        self.aboard.landing.send_if_modified(|told| {
            let is_first = told.is_none();
            if is_first {
                *told = Some(landing);
            }
            is_first
        });
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.end(Landing::Abandoned);
    }
}

impl Waiting {
    /// What the fetch comes to, within so long.
    pub async fn landed(&mut self, within: Duration) -> Option<Landing> {
        let told = tokio::time::timeout(within, self.told.wait_for(Option::is_some)).await.ok()?.ok()?;
        told.clone()
    }
}

/// Sees whether anybody waits for a fetch that somebody else leads.
pub struct Watch(Arc<Aboard>);

impl Watch {
    fn is_awaited(&self) -> bool {
        self.0.landing.borrow().is_none() && self.0.landing.receiver_count() > 0
    }
}

/// A fetch that goes on without its caller as long as others wait for it, within a grace.
pub struct Surviving {
    fetch: Option<Pin<Box<dyn Future<Output = Outcome>>>>,
    watch: Option<Watch>,
}

impl Surviving {
    /// Of a fetch; `watch` sees whether others wait for it.
    pub fn new(fetch: impl Future<Output = Outcome> + 'static, watch: Option<Watch>) -> Surviving {
        Surviving { fetch: Some(Box::pin(fetch)), watch }
    }

    /// Goes on whoever waits: its caller has left with something else.
    pub fn goes_on(mut self, turn: Refresh) {
        if let Some(fetch) = self.fetch.take() {
            panics::spawn("fetch", async move {
                let _turn = turn;
                read_to_its_end(fetch.await).await;
            });
        }
    }
}

impl Future for Surviving {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(fetch) = self.fetch.as_mut() else { return Poll::Pending };
        let outcome = std::task::ready!(fetch.as_mut().poll(cx));
        self.fetch = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Surviving {
    fn drop(&mut self) {
        let Some(fetch) = self.fetch.take() else { return };
        // At the end of a core's life there is nobody to go on with it.
        let is_awaited = self.watch.as_ref().is_some_and(Watch::is_awaited);
        if is_awaited && tokio::runtime::Handle::try_current().is_ok() {
            panics::spawn("fetch", async move { drop(tokio::time::timeout(GRACE, fetch).await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_nanos(100);

    fn lead(flights: &Arc<Flights>, now: u64, changed_ns: u64) -> Leading {
        match flights.board(b"k", now, changed_ns, true, CAP) {
            Turn::Lead(leading) => leading,
            _ => panic!("somebody leads already"),
        }
    }

    fn wait(flights: &Arc<Flights>, changed_ns: u64) -> Waiting {
        match flights.board(b"k", 9, changed_ns, false, CAP) {
            Turn::Wait(waiting) => waiting,
            _ => panic!("nobody to wait for"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_are_told_and_the_next_leads_anew() {
        let flights = Arc::new(Flights::default());
        let leading = lead(&flights, 1, 0);
        assert!(!leading.is_awaited());
        let waiting = [wait(&flights, 0), wait(&flights, 0)];
        assert!(leading.is_awaited());
        leading.land(Landing::Refused);
        for mut waiting in waiting {
            assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Refused)));
        }
        let leading = lead(&flights, 2, 0);
        let mut waiting = wait(&flights, 0);
        assert!(waiting.landed(GRACE).await.is_none(), "it takes too long");
        let mut waiting = wait(&flights, 0);
        drop(leading);
        assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Abandoned)));
    }

    #[tokio::test]
    async fn what_began_before_a_change_is_not_joined_after_it_and_does_not_end_what_took_its_place() {
        let flights = Arc::new(Flights::default());
        let before = lead(&flights, 5, 0);
        let mut of_before = wait(&flights, 4);
        let after = lead(&flights, 8, 5);
        before.land(Landing::Refused);
        assert!(matches!(of_before.landed(GRACE).await, Some(Landing::Refused)));
        let mut waiting = wait(&flights, 5);
        after.land(Landing::Failed(Error::ConnectRefused));
        assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Failed(_))));
    }

    #[test]
    fn whoever_would_be_one_too_many_goes_on_its_own() {
        let flights = Arc::new(Flights::default());
        let _leading = lead(&flights, 1, 0);
        let waiting: Vec<Waiting> = (0..WAITERS_MAX).map(|_| wait(&flights, 0)).collect();
        assert!(matches!(flights.board(b"k", 2, 0, true, CAP), Turn::Alone));
        drop(waiting);
        assert!(matches!(flights.board(b"k", 2, 0, true, CAP), Turn::Wait(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_who_wait_too_long_one_goes_and_the_next_after_twice_the_time() {
        let flights = Arc::new(Flights::default());
        let first = lead(&flights, 1_000, 0);
        let wait = || wait(&flights, 0);
        let (mut one, other) = (wait(), wait());
        assert_eq!(one.overdue_ns, 1_100);
        let overtake = |waiting, now| flights.overtake(waiting, now, CAP);
        assert!(matches!(overtake(wait(), 1_099), Turn::Wait(_)), "not yet");
        let Turn::Lead(second) = overtake(other, 1_100) else { panic!("it is time") };
        assert!(matches!(overtake(wait(), 1_101), Turn::Wait(next) if next.overdue_ns == 1_300));
        let Turn::Lead(third) = overtake(wait(), 1_300) else { panic!("it is time again") };
        assert_eq!(wait().overdue_ns, 1_700);
        drop(third);
        first.land(Landing::Failed(Error::ConnectRefused));
        assert!(one.landed(Duration::ZERO).await.is_none(), "one is still under way");
        second.land(Landing::Refused);
        assert!(matches!(one.landed(Duration::ZERO).await, Some(Landing::Refused)));
        assert!(matches!(flights.board(b"k", 2_000, 0, true, CAP), Turn::Lead(_)), "it is over");
    }
}
