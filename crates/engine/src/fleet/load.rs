//! How much an endpoint has to do, as a choice reads it: our own requests in flight, those of others where it says so, and how
//! much it may have at all while it is new.

use super::{Endpoint, Figures, cell::flags};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How long cores take to connect to an endpoint that joins: they look twice a second.
const COLD_NS: u64 = 1_000_000_000;
/// The part of its share that an endpoint gets which has just joined, where its peers have more than they can do: a tenth, as Envoy's
/// slow start has it.
const RAMP_MIN: f32 = 0.1;
/// Who says that it has too much to do counts as having so much more: its peers are filled to about this before it is asked all the
/// same, and to no more, for what it said may be about one caller.
const BUSY_KNEES: f32 = 2.0;
/// An endpoint that answered so many requests well is warm, whatever the time.
const WARM_ANSWERS: u64 = 100;

/// What an endpoint said is part of what is usual for so long: who says nothing any more is spoken to by somebody else.
const REPORT_MS: u32 = 10_000;
/// So many reports are enough to say what is usual.
const REPORTS_MAX: usize = 64;
/// What is usual where there is no report.
pub(super) const NOBODY_SAYS: f32 = -1.0;

/// What others have in flight to a usual endpoint by what endpoints say. It is the middle report, of two
/// the lower: what one says of itself is no reason to think otherwise of all.
pub(super) fn usual_report(fleet: &[Arc<Endpoint>], now: u64) -> f32 {
    let said = fleet.iter().filter(|endpoint| {
        let at_ms = endpoint.cell.reported_ms.load(Relaxed);
        at_ms != 0 && ((now / 1_000_000) as u32).wrapping_sub(at_ms) < REPORT_MS
    });
    let (mut reports, mut count) = ([0u32; REPORTS_MAX], 0);
    for (report, endpoint) in reports.iter_mut().zip(said) {
        *report = endpoint.cell.reported.load(Relaxed);
        count += 1;
    }
    let reports = reports.get_mut(..count).unwrap_or_default();
    reports.sort_unstable();
    reports.get(count.saturating_sub(1) / 2).map_or(NOBODY_SAYS, |&middle| middle as f32)
}

/// Whether more than half of those that are meant to serve do not, or have only just come back.
pub(super) fn are_most_away(fleet: &[Arc<Endpoint>], now: u64) -> bool {
    let meant = fleet.iter().filter(|endpoint| !endpoint.is_drained());
    let (away, all) = meant.fold((0, 0), |(away, all), endpoint| {
        let is_away = endpoint.returns() || !endpoint.is_in_service(now);
        (away + usize::from(is_away), all + 1)
    });
    away * 2 > all
}

impl Endpoint {
    /// How many times slower than its peers it is, where that is certain; else 1.
    #[inline]
    pub fn slower(&self) -> f32 {
        self.cell.factor.get()
    }

    /// How much farther away than the nearest it is, with what the operator adds.
    #[inline]
    pub fn distance_ms(&self) -> f32 {
        self.cell.distance_ms.get() + self.cell.toll_ms.get()
    }

    /// The same without what the operator adds: how much later its answers come for the way.
    #[inline]
    pub fn way_ms(&self) -> f32 {
        self.cell.distance_ms.get()
    }

    /// Adds to its distance when endpoints are compared.
    pub fn set_toll_ms(&self, toll_ms: f32) {
        self.cell.toll_ms.set(toll_ms);
    }

    /// Whether nothing speaks against it: no check, no ejection, no operator, it is not at its limit and not new.
    #[inline]
    pub fn is_as_ever(&self) -> bool {
        let said = self.cell.flags.load(Relaxed) & !flags::BUSY;
        (said == 0 || said == flags::LIMITED && !self.gauge.is_full(self.in_flight()))
            && self.cell.warm_from_ns.load(Relaxed) == 0
    }

    /// The share of the requests in flight to it that are there, and not on the way.
    pub(super) fn present(&self) -> f32 {
        self.cell.present.get()
    }

    /// Requests in flight to it: ours, and those of others as it reported them, the less the older that is; where it is old,
    /// as many as its peers have.
    #[inline]
    pub fn load(&self, figures: &Figures, now: u64) -> f32 {
        let own = self.cell.in_flight.load(Relaxed) as f32 * self.cell.present.get();
        let own = match self.cell.is(flags::BUSY) {
            true => own + BUSY_KNEES * figures.knee,
            false => own * self.crowded(),
        };
        if figures.others < 0.0 {
            return own;
        }
        let age_ms = ((now / 1_000_000) as u32).wrapping_sub(self.cell.reported_ms.load(Relaxed)) as f32;
        let fresh = (-age_ms / figures.unit_ms.max(1.0)).exp();
        own + self.cell.reported.load(Relaxed) as f32 * fresh + figures.others * (1.0 - fresh)
    }

    /// Has it go by the limit of a plan that is put in force.
    pub fn set_limit(&self, limit: unlag_config::Limit) {
        self.gauge.set_limit(limit);
        self.cell.set(flags::LIMITED, limit.is_enforced());
    }

    /// It says how many requests it has in flight in all; `own` of them are ours, the answered one included.
    pub fn reported(&self, in_flight: u32, own: u32, now: u64) {
        self.cell.reported.store(in_flight.saturating_sub(own), Relaxed);
        self.cell.reported_ms.store((now / 1_000_000) as u32, Relaxed);
    }

    /// It has too much to do until then.
    pub fn busy(&self, until: u64) {
        self.cell.busy_until_ns.store(until, Relaxed);
        self.cell.set(flags::BUSY, true);
    }

    /// It joins a fleet at work: until all cores have had the time to connect, its peers are asked.
    pub fn joins(&self, now: u64) {
        self.warms_from(now + COLD_NS);
        self.cell.set(flags::RETURNS, false);
    }

    /// It comes back after it was left out: its connections are there, and it gets its share slowly.
    pub(super) fn comes_back(&self, now: u64) {
        self.warms_from(now.max(1));
        self.cell.set(flags::RETURNS, true);
    }

    fn warms_from(&self, moment_ns: u64) {
        let cell = &self.cell;
        cell.answers_at_join.store(cell.successes.load(Relaxed), Relaxed);
        cell.fill.store(1, Relaxed);
        cell.ramp.set(RAMP_MIN);
        cell.warm_from_ns.store(moment_ns, Relaxed);
    }

    /// Whether cores are still connecting to it.
    pub fn is_cold(&self, now: u64) -> bool {
        self.cell.warm_from_ns.load(Relaxed) > now
    }

    /// Whether it is new, or was left out, and gets less than its share for a while.
    pub fn is_joining(&self) -> bool {
        self.cell.warm_from_ns.load(Relaxed) != 0
    }

    /// Whether it was left out, and does not have its share again.
    pub(super) fn returns(&self) -> bool {
        self.cell.is(flags::RETURNS)
    }

    /// Whether it is new and has as many requests in flight as it may have so soon.
    pub fn has_its_fill(&self) -> bool {
        let cell = &self.cell;
        self.is_joining() && cell.in_flight.load(Relaxed) >= cell.fill.load(Relaxed)
    }

    /// How many times as much each of its requests counts because it is new: what it has beyond its fill counts as much more as its
    /// share is smaller. So it gets less than its peers, and none of those has to do the work of all.
    pub fn crowded(&self) -> f32 {
        if self.has_its_fill() { 1.0 / self.cell.ramp.get() } else { 1.0 }
    }

    /// Lets a new one have more as time passes, up to `knee`; what has passed is over. So is the return of one of whose peers most
    /// are away as well: there is nobody who could have the rest.
    pub(super) fn warm_up(&self, knee: f32, slow_start_ns: u64, are_most_away: bool, now: u64) {
        let cell = &self.cell;
        if cell.is(flags::BUSY) && cell.busy_until_ns.load(Relaxed) <= now {
            cell.set(flags::BUSY, false);
            // It may still have: whoever waited for its pause to end does not come all at once.
            self.comes_back(now);
        }
        let warm_from_ns = cell.warm_from_ns.load(Relaxed);
        if warm_from_ns == 0 || self.is_cold(now) {
            return;
        }
        let age_ns = now.saturating_sub(warm_from_ns);
        let answers = cell.successes.load(Relaxed).saturating_sub(cell.answers_at_join.load(Relaxed));
        if age_ns >= slow_start_ns || answers >= WARM_ANSWERS || are_most_away && self.returns() {
            cell.warm_from_ns.store(0, Relaxed);
            cell.set(flags::RETURNS, false);
            return;
        }
        let by_age = age_ns as f32 / slow_start_ns as f32;
        let ramp = by_age.max(answers as f32 / WARM_ANSWERS as f32).max(RAMP_MIN);
        cell.ramp.set(ramp);
        cell.fill.store((knee * ramp).ceil().max(1.0) as u32, Relaxed);
    }
}
