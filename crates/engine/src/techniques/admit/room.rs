//! Where requests of all cores wait for one upstream, and how one core wakes what waits on another.
//!
//! ```text
//!   arrives ──► in line ──► promised a place ──► sent (counted in flight)
//!                  │                └── its caller leaves: the place goes to the next
//!                  └── leaves: refused, too late, or its caller is gone
//! ```
//!
//! There is no lock where nobody waits: a request that finds room and nobody in line goes on. It may do so on two cores at the
//! same moment, so a limit is exceeded by one per core at most. Who begins to wait says so first and then looks for room once
//! more; who frees a place counts it free first and then looks whether anybody waits: one of them sees the other.

use super::lines::{Lines, Whither};
use super::pin::{Drained, Pin};
use super::queue::{Patience, Standing};
use super::shed::Rank;
use crate::error::Error;
use crate::fleet::RegionId;
use slab::Slab;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use unlag_config::Queue;
use unlag_record::Bound;

/// One upstream's. It outlives reloads.
#[derive(Debug, Default)]
pub struct Room {
    /// How many are in line, and how many have been promised a place and not yet taken it.
    waiting: AtomicU32,
    promised: AtomicU32,
    inner: Mutex<Inner>,
    base_ns: AtomicU64,
    p10_ns: AtomicU64,
    /// Nobody of the upstream can be reached; see `breaker.rs`.
    is_lost: AtomicBool,
    refused: AtomicU64,
    refused_lost: AtomicU64,
    waited: AtomicU64,
    /// What an operator says; seldom.
    pin: Mutex<Option<Pin>>,
    drained: Mutex<Drained>,
}

#[derive(Debug, Default)]
struct Inner {
    places: Option<Weak<dyn Places>>,
    lines: Lines,
    seats: Slab<Seat>,
}

/// What is waited for.
pub trait Places: std::fmt::Debug + Send + Sync {
    /// Whether there is room for one more than so many that were promised a place and are not counted in flight yet; in the only
    /// region, if it has to be one, and not at the endpoints that have `failed` it.
    fn has_room(&self, only: Option<RegionId>, failed: &[(u32, Error)], promised: u32, now: u64) -> bool;
}

/// One request that waits.
#[derive(Debug)]
struct Seat {
    standing: Option<Standing>,
    whither: Whither,
    /// Who has failed it already; of most, nobody.
    failed: Vec<(u32, Error)>,
    waker: Waker,
    verdict: Option<Verdict>,
}

/// How the waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is a place: take it, now.
    Go,
    /// There will be none in time, or there is no place in line.
    Refused(Bound),
}

/// What has happened in it, for the console.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomStatus {
    /// How many wait.
    pub waiting: u32,
    /// How many ever waited.
    pub waited: u64,
    /// How many were refused.
    pub refused: u64,
    /// Of those, how many because nobody can be reached.
    pub refused_lost: u64,
    /// Whether nobody of the upstream can be reached.
    pub is_lost: bool,
}

impl Room {
    /// Whether anybody waits.
    pub fn is_waited_in(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Whether anybody waits who goes there.
    pub fn is_waited_in_for(&self, whither: Whither) -> bool {
        self.is_waited_in() && self.inner().lines.is_waited_in(whither)
    }

    /// How many were promised a place that they have not taken yet.
    pub fn promised(&self) -> u32 {
        self.promised.load(SeqCst)
    }

    /// Begins to wait, until `due_ns` at the longest.
    pub fn enter(
        &self,
        rank: Rank,
        (only, failed): (Option<RegionId>, &[(u32, Error)]),
        due_ns: u64,
        waker: &Waker,
        now: u64,
    ) -> Result<Waiting<'_>, Verdict> {
        let mut inner = self.inner();
        let whither = Whither::of(only, failed);
        let failed = failed.to_vec();
        let seat = Seat { standing: None, whither, failed, waker: waker.clone(), verdict: None };
        let seat = inner.seats.insert(seat);
        let mut refused = Vec::new();
        let standing = inner.lines.arrive((rank, whither), due_ns, seat, now, &mut refused);
        let wakers = inner.refuse(&refused, Bound::Length);
        let turned_away = match standing {
            Ok(standing) => {
                inner.seat(seat, |seat| seat.standing = Some(standing));
                None
            }
            Err((seat, bound)) => {
                inner.seats.try_remove(seat);
                Some(bound)
            }
        };
        self.count(inner);
        wakers.into_iter().for_each(Waker::wake);
        self.note_refused(refused.len());
        if let Some(bound) = turned_away {
            self.note_refused(1);
            return Err(Verdict::Refused(bound));
        }
        self.waited.fetch_add(1, Relaxed);
        fence(SeqCst);
        Ok(Waiting { room: self, seat, is_over: false })
    }

    /// Nobody waits while there is room: as many as there are places for are promised one. Promises are made under the lock, so
    /// that no place is promised twice.
    pub fn settle(&self, now: u64) {
        if !self.is_waited_in() {
            return;
        }
        let mut inner = self.inner();
        let Some(places) = inner.places.as_ref().and_then(Weak::upgrade) else { return };
        let (mut refused, mut wakers) = (Vec::new(), Vec::new());
        loop {
            let Inner { lines, seats, .. } = &mut *inner;
            let has_room = |only, failed: &[_]| places.has_room(only, failed, self.promised(), now);
            let may_have_room = |whither: Whither| whither.has_failed || has_room(whither.only, &[]);
            // Most have failed at the same endpoint.
            let mut last: Option<(&Seat, bool)> = None;
            let fits = |seat: &usize| match seats.get(*seat) {
                Some(seat) if !seat.failed.is_empty() => {
                    let is_same =
                        |known: &Seat| (known.whither, &known.failed) == (seat.whither, &seat.failed);
                    let (_, fits) = match last {
                        Some((known, fits)) if is_same(known) => (known, fits),
                        _ => *last.insert((seat, has_room(seat.whither.only, &seat.failed))),
                    };
                    fits
                }
                _ => true,
            };
            let next = lines.next(now, &mut refused, may_have_room, fits);
            let Some(seat) = next else { break };
            self.promised.fetch_add(1, SeqCst);
            inner.seat(seat, |seat| {
                seat.verdict = Some(Verdict::Go);
                wakers.push(seat.waker.clone());
            });
        }
        wakers.extend(inner.refuse(&refused, Bound::Wait));
        self.count(inner);
        self.note_refused(refused.len());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Where there may be room, from now on.
    pub fn set_places(&self, places: Weak<dyn Places>) {
        self.inner().places = Some(places);
    }

    /// Whether it is there that there may be room.
    pub fn is_of(&self, places: &Weak<impl Places>) -> bool {
        self.inner().places.as_ref().is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), places.as_ptr()))
    }

    /// The only endpoints that are asked, if not all are.
    pub fn pin(&self) -> Option<Pin> {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The endpoints that are out of service.
    pub fn drained(&self) -> Drained {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`Upstream::drain`](crate::plan::Upstream::drain).
    pub(super) fn drain(&self, address: Option<&str>, is_out: bool) {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner).set(address, is_out);
    }

    /// See [`Upstream::pin`](crate::plan::Upstream::pin).
    pub(super) fn set_pin(&self, pin: Option<Pin>) {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner) = pin;
    }

    /// What the upstream was learned to take.
    pub fn learned(&self, base_ns: u64, p10_ns: u64) {
        self.p10_ns.store(p10_ns, Relaxed);
        if self.base_ns.swap(base_ns, Relaxed) != base_ns {
            let lines = &mut self.inner().lines;
            lines.set_patience(lines.patience().in_front_of(base_ns));
        }
    }

    /// Who waits from now on, and for how long; without a queue, nobody.
    pub fn set_queue(&self, queue: Option<&Queue>) {
        let none = Queue { length_max: 0, ..Queue::default() };
        self.inner().lines.set_patience(Patience::of(self.base_ns(), queue.unwrap_or(&none)));
    }

    /// What an answer takes without load; 0 while nothing is known.
    pub fn base_ns(&self) -> u64 {
        self.base_ns.load(Relaxed)
    }

    /// What the fastest tenth of answers take: with less time left, a request is lost already.
    pub fn p10_ns(&self) -> u64 {
        self.p10_ns.load(Relaxed)
    }

    /// Whether nobody of the upstream can be reached.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }

    /// Says whether anybody can; whether that is news.
    pub fn set_lost(&self, is_lost: bool) -> bool {
        self.is_lost.load(Relaxed) != is_lost && self.is_lost.swap(is_lost, Relaxed) != is_lost
    }

    /// So many were refused.
    pub fn note_refused(&self, count: usize) {
        if count > 0 {
            self.refused.fetch_add(count as u64, Relaxed);
        }
    }

    /// One was refused because nobody can be reached.
    pub fn note_refused_lost(&self) {
        self.note_refused(1);
        self.refused_lost.fetch_add(1, Relaxed);
    }

    /// A copy of the counters.
    pub fn status(&self) -> RoomStatus {
        RoomStatus {
            waiting: self.waiting.load(Relaxed),
            waited: self.waited.load(Relaxed),
            refused: self.refused.load(Relaxed),
            refused_lost: self.refused_lost.load(Relaxed),
            is_lost: self.is_lost(),
        }
    }

    /// Somebody does not take the place that was promised.
    fn give_back(&self, now: u64) {
        self.promised.fetch_sub(1, SeqCst);
        self.settle(now);
    }

    /// Critical sections are short and end where a count is taken: what a panic left behind is whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, inner: MutexGuard<'_, Inner>) {
        self.waiting.store(u32::try_from(inner.lines.waiting()).unwrap_or(u32::MAX), SeqCst);
    }
}

impl Inner {
    fn seat(&mut self, seat: usize, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.get_mut(seat) {
            change(seat);
        }
    }

    fn refuse(&mut self, seats: &[usize], bound: Bound) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for &seat in seats {
            self.seat(seat, |seat| {
                seat.verdict = Some(Verdict::Refused(bound));
                wakers.push(seat.waker.clone());
            });
        }
        wakers
    }
}

/// A place in line, for as long as its request wants it.
#[derive(Debug)]
pub struct Waiting<'a> {
    room: &'a Room,
    seat: usize,
    is_over: bool,
}

impl Waiting<'_> {
    /// The verdict, if there is one. Who is told to go holds a [`Promise`] from then on.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Verdict> {
        let mut inner = self.room.inner();
        let Some(seat) = inner.seats.get_mut(self.seat) else {
            return Poll::Ready(Verdict::Refused(Bound::Wait));
        };
        let Some(verdict) = seat.verdict else {
            seat.waker.clone_from(cx.waker());
            return Poll::Pending;
        };
        inner.seats.try_remove(self.seat);
        drop(inner);
        self.is_over = true;
        Poll::Ready(verdict)
    }
}

impl Drop for Waiting<'_> {
    /// Whoever it was has gone away: nobody waits behind a place that is empty.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = crate::clock::now();
        let mut inner = self.room.inner();
        let seat = inner.seats.try_remove(self.seat);
        let Some(seat) = seat else { return };
        if let (None, Some(standing)) = (seat.verdict, seat.standing) {
            inner.lines.leave(seat.whither, standing, now);
        }
        self.room.count(inner);
        if seat.verdict == Some(Verdict::Go) {
            self.room.give_back(now);
        }
    }
}

/// A place that was promised to a request that is on its way to take it.
#[derive(Debug)]
pub struct Promise(Option<Arc<Room>>);

impl Promise {
    /// Of a place in `room`, to somebody who was told to go.
    pub fn of(room: &Arc<Room>) -> Promise {
        Promise(Some(Arc::clone(room)))
    }

    /// The request is counted in flight.
    pub fn keep(mut self, now: u64) {
        if let Some(room) = self.0.take() {
            room.promised.fetch_sub(1, SeqCst);
            // Who goes elsewhere may have been kept waiting by it.
            room.settle(now);
        }
    }
}

impl Drop for Promise {
    /// Nobody came to take the place.
    fn drop(&mut self) {
        if let Some(room) = self.0.take() {
            room.give_back(crate::clock::now());
        }
    }
}
