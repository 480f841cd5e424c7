//! One fetch for everybody who wants the same at one time, over all cores. The first leads, the others wait for the head of its
//! answer; the content they then read as it arrives ([`super::arrival`]).
//!
//! What goes wrong elsewhere: waiting for an answer that turns out to be about one caller alone (then nobody waits again for the
//! same, see [`super::learned`]), waiting for ever (a cap), and a leader whose caller hangs up (its fetch goes on, see
//! [`Surviving`]).

use super::object::Stored;
use crate::error::Error;
use crate::exchange::Outcome;
use crate::panics;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
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

type Sender = watch::Sender<Option<Landing>>;

#[derive(Clone)]
struct Flight {
    began_ns: u64,
    landing: Arc<Sender>,
}

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
    landing: Arc<Sender>,
}

/// A place among those who wait.
pub struct Waiting(watch::Receiver<Option<Landing>>);

impl Default for Flights {
    fn default() -> Flights {
        Flights { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Flights {
    /// Joins the fetch of `key`, or leads one. One that began at `changed_ns` or before may bring an answer of before that
    /// change: it is left to those who joined it then.
    pub fn board(self: &Arc<Flights>, key: &[u8], now: u64, changed_ns: u64, leads: bool) -> Turn {
        let Some(mut flights) = self.shard(key) else { return Turn::Alone };
        if let Some(flight) = flights.get(key)
            && (changed_ns == 0 || flight.began_ns > changed_ns)
        {
            return match flight.landing.receiver_count() < WAITERS_MAX {
                true => Turn::Wait(Waiting(flight.landing.subscribe())),
                false => Turn::Alone,
            };
        }
        if !leads {
            return Turn::Alone;
        }
        let landing = Arc::new(watch::Sender::new(None));
        flights.insert(key.into(), Flight { began_ns: now, landing: Arc::clone(&landing) });
        Turn::Lead(Leading { flights: Arc::clone(self), key: key.into(), landing })
    }

    fn shard(&self, key: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards.get(at).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Leading {
    /// Tells everybody who waits what the fetch came to.
    pub fn land(self, landing: Landing) {
        self.end(landing);
    }

    /// What is fetched.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether anybody waits.
    pub fn is_awaited(&self) -> bool {
        self.landing.receiver_count() > 0
    }

    /// Sees from elsewhere whether anybody waits.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.landing))
    }

    fn end(&self, landing: Landing) {
        // First off the board, then told: whoever comes in between finds the store filled.
        if let Some(mut flights) = self.flights.shard(&self.key)
            && flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(&flight.landing, &self.landing))
        {
            flights.remove(&self.key);
        }
        self.landing.send_if_modified(|told| {
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
    /// What the fetch comes to, within `cap`.
    pub async fn landed(mut self, cap: Duration) -> Option<Landing> {
        let told = tokio::time::timeout(cap, self.0.wait_for(Option::is_some)).await.ok()?.ok()?;
        told.clone()
    }
}

/// Sees whether anybody waits for a fetch that somebody else leads.
pub struct Watch(Arc<Sender>);

impl Watch {
    fn is_awaited(&self) -> bool {
        self.0.borrow().is_none() && self.0.receiver_count() > 0
    }
}

/// A fetch that goes on without its caller as long as others wait for it, within a grace.
pub struct Surviving {
    fetch: Option<Pin<Box<dyn Future<Output = Outcome>>>>,
    watch: Watch,
}

impl Surviving {
    /// Of a fetch.
    pub fn new(fetch: impl Future<Output = Outcome> + 'static, watch: Watch) -> Surviving {
        Surviving { fetch: Some(Box::pin(fetch)), watch }
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
        if self.watch.is_awaited() && tokio::runtime::Handle::try_current().is_ok() {
            panics::spawn("fetch", async move { drop(tokio::time::timeout(GRACE, fetch).await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Arc<Flights>, now: u64, changed_ns: u64) -> Leading {
        match flights.board(b"k", now, changed_ns, true) {
            Turn::Lead(leading) => leading,
            _ => panic!("somebody leads already"),
        }
    }

    fn wait(flights: &Arc<Flights>, changed_ns: u64) -> Waiting {
        match flights.board(b"k", 9, changed_ns, false) {
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
        for waiting in waiting {
            assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Refused)));
        }
        let leading = lead(&flights, 2, 0);
        let waiting = wait(&flights, 0);
        assert!(waiting.landed(GRACE).await.is_none(), "it takes too long");
        let waiting = wait(&flights, 0);
        drop(leading);
        assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Abandoned)));
    }

    #[tokio::test]
    async fn what_began_before_a_change_is_not_joined_after_it_and_does_not_end_what_took_its_place() {
        let flights = Arc::new(Flights::default());
        let before = lead(&flights, 5, 0);
        let of_before = wait(&flights, 4);
        let after = lead(&flights, 8, 5);
        before.land(Landing::Refused);
        assert!(matches!(of_before.landed(GRACE).await, Some(Landing::Refused)));
        let waiting = wait(&flights, 5);
        after.land(Landing::Failed(Error::ConnectRefused));
        assert!(matches!(waiting.landed(GRACE).await, Some(Landing::Failed(_))));
    }

    #[test]
    fn whoever_would_be_one_too_many_goes_on_its_own() {
        let flights = Arc::new(Flights::default());
        let _leading = lead(&flights, 1, 0);
        let waiting: Vec<Waiting> = (0..WAITERS_MAX).map(|_| wait(&flights, 0)).collect();
        assert!(matches!(flights.board(b"k", 2, 0, true), Turn::Alone));
        drop(waiting);
        assert!(matches!(flights.board(b"k", 2, 0, true), Turn::Wait(_)));
    }
}
