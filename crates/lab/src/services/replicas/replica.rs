//! One replica: a fixed number of workers, a queue in front of them, and what is wrong with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, watch};

use super::asked::Asked;
use super::counts::Counts;
use super::draw::{CopyOf, lot, service_time};
use super::schedule::{Fate, Schedule};
use super::spec::{ReplicasSpec, Role};
use super::store::Store;
use crate::timer::Timers;

/// Requests that wait for a worker of one replica at most; one more is answered 503.
const QUEUE_MAX: usize = 10_000;
/// Requests whose copies are counted: so many later nobody sends another copy of one.
const COUNTED_MAX: usize = 200_000;
/// Whoever waits longer than this for a replica that says nothing is cut off: that ends what a run leaves behind.
const SILENCE: Duration = Duration::from_secs(120);
/// A deadline may be this much late before it is called so: clocks are read on both sides of a wire.
const DEADLINE_SLACK: Duration = Duration::from_millis(5);

/// What all replicas share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) spec: ReplicasSpec,
    /// When the clock was started.
    pub(super) clock: watch::Sender<Option<Instant>>,
    pub(super) counts: RefCell<Counts>,
    pub(super) timers: Timers,
    pub(super) store: Store,
}

impl Service {
    pub(super) fn new(spec: ReplicasSpec) -> Self {
        let counts = RefCell::new(Counts::new(spec.replicas.len()));
        Self {
            spec,
            clock: watch::Sender::new(None),
            counts,
            timers: Timers::default(),
            store: Store::default(),
        }
    }

    pub(super) fn now(&self) -> Option<Duration> {
        self.clock.borrow().map(|start| start.elapsed())
    }

    /// Starts the clock, and the counts, from nothing.
    pub(super) fn start(&self) {
        *self.counts.borrow_mut() = Counts::new(self.spec.replicas.len());
        self.clock.send_replace(Some(Instant::now()));
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) number: usize,
    pub(super) service: Rc<Service>,
    schedule: Schedule,
    workers: Semaphore,
    waiting: Cell<usize>,
    held: Cell<usize>,
    /// Copies seen of each of the last requests.
    copies: RefCell<HashMap<u64, u32>>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<u32>,
    pub(super) version: Option<u64>,
    pub(super) to_primary: bool,
}

impl Answer {
    fn plain(status: u16) -> Self {
        Self { status, retry_after: None, version: None, to_primary: false }
    }
}

/// One request among those that the replica holds.
struct Held<'a>(&'a Cell<usize>);

impl<'a> Held<'a> {
    fn one_more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Where a request stands when it ends, whichever way.
struct Course<'a> {
    replica: &'a Replica,
    begun: Option<Instant>,
    /// When its caller does not wait any longer, by its own word.
    deadline: Option<Instant>,
    finished: bool,
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        let mut counts = self.replica.service.counts.borrow_mut();
        let worked = self.begun.map(|begun| begun.elapsed());
        if let (Some(worked), Some(deadline)) = (worked, self.deadline) {
            counts.worked_after_deadline(deadline.elapsed().min(worked));
        }
        counts.of(self.replica.number, |counts| {
            counts.work_ms += worked.map_or(0.0, |worked| worked.as_secs_f64() * 1e3);
            match (self.begun, self.finished) {
                (Some(_), true) => counts.finished += 1,
                (Some(_), false) => counts.cancelled_begun += 1,
                (None, _) => counts.cancelled_queued += 1,
            }
        });
    }
}

impl Replica {
    pub(super) fn new(number: usize, service: &Rc<Service>) -> Self {
        let spec = &service.spec;
        let faults = spec.replicas.get(number).map(|replica| replica.faults.as_slice()).unwrap_or_default();
        let seed = spec.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            number,
            service: Rc::clone(service),
            schedule: Schedule::new(faults, seed),
            workers: Semaphore::new(spec.workers),
            waiting: Cell::new(0),
            held: Cell::new(0),
            copies: RefCell::default(),
        }
    }

    /// Returns once the replica is not frozen.
    pub(super) async fn thaw(&self) -> io::Result<()> {
        while let Some(until) = self.schedule.frozen_until(self.service.now()) {
            let left = until.saturating_sub(self.service.now().unwrap_or_default());
            self.service.timers.sleep(left.min(Duration::from_secs(3_600))).await?;
        }
        Ok(())
    }

    /// How many requests it holds now.
    pub(super) fn load(&self) -> usize {
        self.held.get()
    }

    /// Takes a request through its queue and its workers; `None` when the connection is to be reset. Dropping the
    /// future takes the request out of wherever it is.
    pub(super) async fn answer(&self, asked: &Asked) -> io::Result<Option<Answer>> {
        let Some(id) = asked.id else { return Ok(Some(Answer::plain(200))) };
        let _held = Held::one_more(&self.held);
        let service = &self.service;
        let deadline = self.arrived(id, asked);
        let copy = CopyOf { id, replica: self.number, attempt: self.count_copy(id) };
        match self.schedule.fate(service.now(), lot(service.spec.seed, copy)) {
            Fate::Work if self.waiting.get() < QUEUE_MAX => {}
            Fate::Work => return Ok(Some(self.turn_away(Answer::plain(503)))),
            Fate::Answer { status, retry_after } => {
                return Ok(Some(self.turn_away(Answer { retry_after, ..Answer::plain(status) })));
            }
            Fate::Reset => {
                self.turn_away(Answer::plain(0));
                return Ok(None);
            }
            Fate::Silence => {
                self.turn_away(Answer::plain(0));
                service.timers.sleep(SILENCE).await?;
                return Ok(None);
            }
        }
        let mut course = Course { replica: self, begun: None, deadline, finished: false };
        let waiting = Held::one_more(&self.waiting);
        let Ok(_worker) = self.workers.acquire().await else { return Ok(None) };
        drop(waiting);
        self.thaw().await?;
        course.begun = Some(Instant::now());
        service.counts.borrow_mut().begun(self.number, id);
        let slow = self.schedule.slowness(service.now());
        let work = service_time(service.spec.seed, service.spec.work, copy).mul_f64(slow);
        service.timers.sleep(self.schedule.wall_time(service.now(), work)).await?;
        course.finished = true;
        Ok(Some(self.kept(asked)))
    }

    fn arrived(&self, id: u64, asked: &Asked) -> Option<Instant> {
        let mut counts = self.service.counts.borrow_mut();
        counts.arrived(self.number, self.service.now(), id, asked.is_unsafe);
        let left = asked.left?;
        if let Some((sent_us, budget)) = asked.sent {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let spent = since.saturating_sub(Duration::from_micros(sent_us));
            counts.said_deadline(left > budget.saturating_sub(spent) + DEADLINE_SLACK);
        }
        Some(Instant::now() + left)
    }

    fn count_copy(&self, id: u64) -> u32 {
        let mut copies = self.copies.borrow_mut();
        if copies.len() > COUNTED_MAX {
            copies.clear();
        }
        let seen = copies.entry(id).or_default();
        *seen += 1;
        *seen - 1
    }

    fn turn_away(&self, answer: Answer) -> Answer {
        self.service.counts.borrow_mut().of(self.number, |counts| counts.turned_away += 1);
        answer
    }

    /// What it says of data that is kept, where the request is about some.
    fn kept(&self, asked: &Asked) -> Answer {
        let Some(key) = asked.key else { return Answer::plain(200) };
        let spec = self.service.spec.replicas.get(self.number);
        let (role, lag_ms) = spec.map_or((Role::Equal, 0), |spec| (spec.role, spec.lag_ms));
        let (now, store) = (Instant::now(), &self.service.store);
        let version = match (asked.is_unsafe, role) {
            (true, Role::Follower) => return Answer { to_primary: true, ..Answer::plain(409) },
            (true, _) => store.write(key, now),
            (false, Role::Follower) => {
                store.read(key, now.checked_sub(Duration::from_millis(lag_ms)).unwrap_or(now))
            }
            (false, _) => store.read(key, now),
        };
        Answer { version: Some(version), ..Answer::plain(200) }
    }
}
