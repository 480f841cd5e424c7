//! What a route may spend on second copies and on retries, over all cores. Copies are paid in the time that they cost the upstream,
//! not by number: the slowest requests are the largest, and a copy in twenty of those is a tenth of all work. Retries are paid by
//! number, when they are scheduled, out of what succeeds: an outage earns nothing, so it is not multiplied.

use unlag_record::Trigger;

/// How far back the rate of what comes in is looked at.
const RATE_S: f64 = 10.0;
/// What copies may have saved up: the share of one second's work ...
const SAVED_S: f64 = 1.0;
/// ... and never less than so many copies, so that a quiet route can send one.
const COPIES_MIN: f64 = 4.0;
/// Copies a second for stalls that are always there, whatever is owed: where everybody waits inside one frozen endpoint, nothing
/// is earned until one is sent. As many may come together as a quiet route may send.
const STALLS_PER_S: f64 = 4.0;
/// Retries a second that are always there, so that a quiet service can mend a single failure.
const RETRIES_PER_S: f64 = 3.0;
/// Retries saved up at most: the floor of ten seconds, or the share of ten seconds' successes.
const RETRIES_S: f64 = 10.0;

/// Something that is counted elsewhere, and how fast it grows.
#[derive(Clone, Copy, Debug)]
struct Inflow {
    seen: u64,
    at_ns: u64,
    /// The moving average, which begins at 0, and how much of it is made of what came.
    average: f64,
    known: f64,
}

impl Inflow {
    fn new(now: u64) -> Inflow {
        Inflow { seen: 0, at_ns: now, average: 0.0, known: 0.0 }
    }

    /// What came since it was last looked at, and the seconds since.
    fn take(&mut self, total: u64, now: u64) -> (f64, f64) {
        let came = total.saturating_sub(self.seen) as f64;
        let passed_s = now.saturating_sub(self.at_ns) as f64 / 1e9;
        (self.seen, self.at_ns) = (total.max(self.seen), now.max(self.at_ns));
        if passed_s > 0.0 {
            let weight = 1.0 - (-passed_s / RATE_S).exp();
            self.average += weight * (came / passed_s - self.average);
            self.known += weight * (1.0 - self.known);
        }
        (came, passed_s)
    }

    /// What comes in a second: as much from the first second on as later.
    fn per_s(&self) -> f64 {
        if self.known > 0.0 { self.average / self.known } else { 0.0 }
    }
}

/// What copies may cost, nanoseconds of the upstream's work.
#[derive(Clone, Copy, Debug)]
pub struct Copies {
    inflow: Inflow,
    saved_ns: f64,
    saved_max_ns: f64,
    /// Copies for stalls that need not be paid.
    stalls: f64,
}

impl Copies {
    /// Begins with what a quiet route may save.
    pub fn new(now: u64) -> Copies {
        Copies { inflow: Inflow::new(now), saved_ns: f64::INFINITY, saved_max_ns: 0.0, stalls: 0.0 }
    }

    /// Pays for a copy, if there is enough: `share` of the route's work `work_ns` so far is earned. `unit_ns` is what a usual answer
    /// costs, `age_ns` the age of the request. Half of what is saved is kept for stalls, which come all at once.
    pub fn pay(
        &mut self,
        trigger: Trigger,
        share: f64,
        work_ns: u64,
        unit_ns: u64,
        age_ns: u64,
        now: u64,
    ) -> Option<Paid> {
        let (came, passed_s) = self.inflow.take(work_ns, now);
        let unit = unit_ns as f64;
        self.saved_max_ns = (share * self.inflow.per_s() * SAVED_S).max(COPIES_MIN * unit);
        self.saved_ns = (self.saved_ns + share * came).min(self.saved_max_ns);
        self.stalls = (self.stalls + STALLS_PER_S * passed_s).min(COPIES_MIN);
        let (cost, kept) = match trigger {
            Trigger::Stall => (unit, 0.0),
            Trigger::Quantile => (unit.max(age_ns as f64), self.saved_max_ns / 2.0),
        };
        let is_given = trigger == Trigger::Stall && self.saved_ns < cost && self.stalls >= 1.0;
        if is_given {
            self.stalls -= 1.0;
        }
        let enough = is_given || self.saved_ns - cost >= kept;
        enough.then(|| {
            self.saved_ns = (self.saved_ns - cost).max(-self.saved_max_ns);
            Paid { trigger, cost_ns: cost as u64 }
        })
    }

    /// It is known now what the one that lost has cost. A frozen endpoint does not work: a request that it had costs nothing more.
    pub fn settle(&mut self, paid: Paid, lost: Lost) {
        let really = match (paid.trigger, lost) {
            (Trigger::Stall, Lost::First(_)) => return,
            (_, Lost::First(age_ns) | Lost::Copy(age_ns)) => age_ns as f64,
        };
        self.saved_ns =
            (self.saved_ns + paid.cost_ns as f64 - really).clamp(-self.saved_max_ns, self.saved_max_ns);
    }
}

/// What was paid for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Why it was sent.
    pub trigger: Trigger,
    cost_ns: u64,
}

/// Which of two lost, and how old it was then, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// The one that was sent first.
    First(u64),
    /// The copy.
    Copy(u64),
}

/// Retries that a route has earned.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    inflow: Inflow,
    tokens: f64,
}

impl Retries {
    /// Nothing is earned yet.
    pub fn new(now: u64) -> Retries {
        Retries { inflow: Inflow::new(now), tokens: 0.0 }
    }

    /// Takes one if there is one: `share` of the `successes` so far is earned.
    pub fn take(&mut self, share: f64, successes: u64, now: u64) -> bool {
        let (came, _) = self.inflow.take(successes, now);
        let most = RETRIES_S * share * self.inflow.per_s();
        self.tokens = (self.tokens + share * came).min(most);
        take_one(&mut self.tokens)
    }
}

/// Retries that an upstream grants unearned, to all its routes together: an outage of a service with forty routes is not multiplied
/// forty times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    tokens: f64,
    /// When it was last looked at; 0 before the first time.
    at_ns: u64,
}

impl Floor {
    /// Takes one if there is one. It begins with those of a second.
    pub fn take(&mut self, now: u64) -> bool {
        let passed_s = if self.at_ns == 0 { 1.0 } else { now.saturating_sub(self.at_ns) as f64 / 1e9 };
        self.at_ns = now.max(self.at_ns).max(1);
        self.tokens = (self.tokens + RETRIES_PER_S * passed_s).min(RETRIES_PER_S * RETRIES_S);
        take_one(&mut self.tokens)
    }
}

fn take_one(tokens: &mut f64) -> bool {
    let enough = *tokens >= 1.0;
    if enough {
        *tokens -= 1.0;
    }
    enough
}
