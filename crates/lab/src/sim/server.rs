//! A simulated server: workers with a queue, or all requests at once; it can freeze and change its speed.
//!
//! A request that runs cannot be called back; one that waits is dropped when its caller gives up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::agenda::{Agenda, Event};
use super::scenario::{Discipline, Replica};

/// One attempt of a request, from dispatch to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) request: u32,
    pub(crate) proxy: u32,
    pub(crate) replica: u32,
    pub(crate) sent_at: u64,
    /// Time of a worker it needs at nominal speed, ns.
    pub(crate) work: u64,
    /// While it runs at a server in order: when it will be done.
    finish_at: u64,
    /// The caller no longer waits.
    pub(crate) abandoned: bool,
    waiting: bool,
    pub(crate) failed: bool,
    /// The proxy was told how it ended.
    pub(crate) ended: bool,
    /// In flight at the server when it answered, itself included.
    pub(crate) in_flight_there: u32,
    pub(crate) ticket: super::balancer::Ticket,
}

impl Attempt {
    pub(crate) fn new(request: u32, proxy: u32, replica: u32, sent_at: u64, work: u64) -> Self {
        Self {
            request,
            proxy,
            replica,
            sent_at,
            work,
            finish_at: 0,
            abandoned: false,
            waiting: false,
            failed: false,
            ended: false,
            in_flight_there: 0,
            ticket: super::balancer::Ticket::default(),
        }
    }
}

/// One server's state.
#[derive(Debug)]
pub(crate) struct Server {
    index: u32,
    workers: usize,
    discipline: Discipline,
    /// How many times slower than nominal.
    slowness: f64,
    frozen_until: Option<u64>,
    /// Waiting and running.
    in_flight: u32,
    queue: VecDeque<u32>,
    running: Vec<u32>,
    /// Sharing: requests by the service at which each is done; service is what one request got since the start.
    sharing: BinaryHeap<Reverse<(u64, u32)>>,
    service: f64,
    service_at: u64,
    generation: u32,
}

impl Server {
    pub(crate) fn new(index: u32, replica: &Replica) -> Self {
        Self {
            index,
            workers: replica.workers as usize,
            discipline: replica.discipline,
            slowness: 1.0,
            frozen_until: None,
            in_flight: 0,
            queue: VecDeque::new(),
            running: Vec::new(),
            sharing: BinaryHeap::new(),
            service: 0.0,
            service_at: 0,
            generation: 0,
        }
    }

    /// An attempt reaches the server.
    pub(crate) fn arrive(&mut self, id: u32, now: u64, attempts: &mut [Attempt], agenda: &mut Agenda) {
        self.in_flight += 1;
        match self.discipline {
            Discipline::Fifo => {
                attempts[id as usize].waiting = true;
                self.queue.push_back(id);
                self.start(now, attempts, agenda);
            }
            Discipline::Sharing => {
                self.share(now);
                let done = self.service + attempts[id as usize].work as f64;
                self.sharing.push(Reverse((done as u64, id)));
                self.plan_sharing(now, agenda);
            }
        }
    }

    /// Its caller gives up on an attempt that was sent here.
    pub(crate) fn abandon(&mut self, id: u32, attempts: &mut [Attempt]) {
        let attempt = &mut attempts[id as usize];
        attempt.abandoned = true;
        if std::mem::take(&mut attempt.waiting) {
            self.in_flight -= 1;
        }
    }

    /// An attempt may be done: whether it is.
    pub(crate) fn finish(
        &mut self,
        id: u32,
        now: u64,
        attempts: &mut [Attempt],
        agenda: &mut Agenda,
    ) -> bool {
        let finish_at = attempts[id as usize].finish_at;
        if finish_at > now {
            agenda.at(finish_at, Event::Finish { attempt: id });
            return false;
        }
        self.running.retain(|running| *running != id);
        self.leave(id, attempts);
        self.start(now, attempts, agenda);
        true
    }

    /// Sharing: the attempt that is done now, unless the plan changed since.
    pub(crate) fn finish_sharing(
        &mut self,
        generation: u32,
        now: u64,
        attempts: &mut [Attempt],
        agenda: &mut Agenda,
    ) -> Option<u32> {
        if generation != self.generation {
            return None;
        }
        self.share(now);
        let Reverse((_, id)) = self.sharing.pop()?;
        self.leave(id, attempts);
        self.plan_sharing(now, agenda);
        Some(id)
    }

    /// Nothing moves for `lasting` from now on.
    pub(crate) fn freeze(&mut self, now: u64, lasting: u64, attempts: &mut [Attempt], agenda: &mut Agenda) {
        self.share(now);
        self.frozen_until = Some(now + lasting);
        for id in &self.running {
            attempts[*id as usize].finish_at += lasting;
        }
        self.plan_sharing(now, agenda);
        agenda.at(now + lasting, Event::Thaw { replica: self.index });
    }

    /// The freeze is over.
    pub(crate) fn thaw(&mut self, now: u64, attempts: &mut [Attempt], agenda: &mut Agenda) {
        self.share(now);
        self.frozen_until = None;
        self.start(now, attempts, agenda);
        self.plan_sharing(now, agenda);
    }

    /// Work that starts from now on takes `slowness` times its nominal time; shared work slows down at once.
    pub(crate) fn change_speed(&mut self, now: u64, slowness: f64, agenda: &mut Agenda) {
        self.share(now);
        self.slowness = slowness;
        self.plan_sharing(now, agenda);
    }

    fn start(&mut self, now: u64, attempts: &mut [Attempt], agenda: &mut Agenda) {
        while self.frozen_until.is_none() && self.running.len() < self.workers {
            let Some(id) = self.queue.pop_front() else { return };
            let attempt = &mut attempts[id as usize];
            if attempt.abandoned {
                continue;
            }
            attempt.waiting = false;
            attempt.finish_at = now + (attempt.work as f64 * self.slowness) as u64;
            self.running.push(id);
            agenda.at(attempt.finish_at, Event::Finish { attempt: id });
        }
    }

    fn leave(&mut self, id: u32, attempts: &mut [Attempt]) {
        let attempt = &mut attempts[id as usize];
        attempt.in_flight_there = self.in_flight;
        self.in_flight -= 1;
    }

    /// Service that each shared request gets in a nanosecond.
    fn pace(&self) -> f64 {
        if self.frozen_until.is_some() || self.sharing.is_empty() {
            return 0.0;
        }
        (self.workers as f64 / self.sharing.len() as f64).min(1.0) / self.slowness
    }

    fn share(&mut self, now: u64) {
        self.service += (now - self.service_at) as f64 * self.pace();
        self.service_at = now;
    }

    fn plan_sharing(&mut self, now: u64, agenda: &mut Agenda) {
        self.generation = self.generation.wrapping_add(1);
        let (pace, next) = (self.pace(), self.sharing.peek());
        if let (true, Some(Reverse((done, _)))) = (pace > 0.0, next) {
            let wait = ((*done as f64 - self.service).max(0.0) / pace).ceil() as u64;
            let event = Event::FinishSharing { replica: self.index, generation: self.generation };
            agenda.at(now + wait, event);
        }
    }
}
