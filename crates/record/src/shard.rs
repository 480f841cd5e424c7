//! What one core writes: its histograms, its last requests, its slowest ones. Everything is allocated at first
//! use and then only written; readers see it through relaxed atomics.

use crate::entry::Entry;
use crate::histogram::SingleWriter;
use crate::recent::{Ring, Slowest};
use crate::registry::Series;
use crate::{Bounds, EndpointId, Outcome, Phase, Record, Registry, RouteId, Technique};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, OnceLock};

/// A histogram once it was asked for; `None` if the bounds refused it, and its values go to `other`.
type Slot = OnceLock<Option<Box<SingleWriter>>>;

/// Causes that are counted apart: there are some fifty in the engine's table of errors, and nobody else can name one.
const CAUSES_MAX: usize = 64;

/// The state of one core, written by one [`Recorder`].
pub(crate) struct Core {
    taken: AtomicBool,
    routes: Box<[OnceLock<Box<RouteCell>>]>,
    endpoints: Box<[OnceLock<Box<EndpointCell>>]>,
    causes: Box<[OnceLock<(&'static str, AtomicU64)>]>,
    ring: Ring,
    serial: AtomicU64,
    pub(crate) bytes: AtomicUsize,
    pub(crate) missed: AtomicU64,
}

#[derive(Default)]
struct RouteCell {
    outcomes: [Slot; Outcome::COUNT],
    phases: [Slot; Phase::COUNT],
    /// Of each technique those that it acted on, and those that were held out; made for routes that hold any out.
    trials: OnceLock<Box<[[Slot; 2]; Technique::COUNT]>>,
    slowest: Option<Slowest>,
}

#[derive(Default)]
struct EndpointCell {
    outcomes: [Slot; Outcome::COUNT],
}

impl Core {
    pub(crate) fn new(bounds: &Bounds) -> Core {
        Core {
            taken: AtomicBool::new(true),
            routes: (0..=bounds.routes).map(|_| OnceLock::new()).collect(),
            endpoints: (0..=bounds.endpoints).map(|_| OnceLock::new()).collect(),
            causes: (0..CAUSES_MAX).map(|_| OnceLock::new()).collect(),
            ring: Ring::new(bounds.recent),
            serial: AtomicU64::new(0),
            bytes: AtomicUsize::new(Ring::bytes(bounds.recent)),
            missed: AtomicU64::new(0),
        }
    }

    /// Takes the place of a recorder that was dropped.
    pub(crate) fn take(&self) -> bool {
        self.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    fn slot(&self, series: Series) -> Option<&Slot> {
        match series {
            Series::Request(route, outcome) => self.route(route)?.outcomes.get(outcome.index()),
            Series::Phase(route, phase) => self.route(route)?.phases.get(phase.index()),
            Series::Trial(route, technique, held_out) => {
                self.route(route)?.trials.get()?.get(technique.index())?.get(usize::from(held_out))
            }
            Series::Endpoint(endpoint, outcome) => {
                self.endpoints.get(endpoint.0 as usize)?.get()?.outcomes.get(outcome.index())
            }
        }
    }

    fn route(&self, route: RouteId) -> Option<&RouteCell> {
        self.routes.get(route.0 as usize)?.get().map(|cell| &**cell)
    }

    /// The histogram of a series, if this core has one.
    pub(crate) fn existing(&self, series: Series) -> Option<&SingleWriter> {
        self.slot(series)?.get()?.as_deref()
    }

    /// How many requests ended by each cause.
    pub(crate) fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.causes.iter().filter_map(OnceLock::get).map(|(cause, count)| (*cause, count.load(Relaxed)))
    }

    fn count_cause(&self, cause: &'static str) {
        for (number, place) in self.causes.iter().enumerate() {
            let name = if number + 1 == CAUSES_MAX { "other" } else { cause };
            let (known, count) = place.get_or_init(|| (name, AtomicU64::new(0)));
            if *known == name {
                return count.store(count.load(Relaxed) + 1, Relaxed);
            }
        }
    }

    pub(crate) fn each_recent(&self, mut visit: impl FnMut(&Entry)) {
        self.ring.each(&mut visit);
        for cell in self.routes.iter().filter_map(OnceLock::get) {
            if let Some(slowest) = &cell.slowest {
                slowest.each(&mut visit);
            }
        }
    }

    /// Sets `bytes` aside, unless that would pass the bound.
    fn reserve(&self, bytes: usize, bounds: &Bounds) -> bool {
        let used = self.bytes.load(Relaxed);
        let fits = used + bytes <= bounds.bytes_per_core + Ring::bytes(bounds.recent);
        if fits {
            self.bytes.store(used + bytes, Relaxed);
        }
        fits
    }
}

/// Records finished requests of one core: the single writer of that core's state.
///
/// It may move to another thread, but not be shared, which is what lets it write without locked instructions.
pub struct Recorder {
    registry: Arc<Registry>,
    core: Arc<Core>,
    not_sync: PhantomData<Cell<()>>,
}

impl Recorder {
    pub(crate) fn new(registry: Arc<Registry>, core: Arc<Core>) -> Recorder {
        Recorder { registry, core, not_sync: PhantomData }
    }

    /// The registry that it belongs to.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Records a finished request into the histograms, the recent requests and the access log. Allocates only
    /// when a route, endpoint, outcome or phase is seen for the first time; never waits.
    pub fn record(&self, record: &Record<'_>) {
        let timeline = record.timeline;
        let cell = self.route_cell(record.route);
        if let Some(slot) = cell.outcomes.get(record.outcome.index()) {
            self.count(slot, Series::Request(record.route, record.outcome), timeline.total_ns());
        }
        for (phase, slot) in Phase::ALL.into_iter().zip(&cell.phases) {
            if timeline.first_ns(phase).is_some() {
                self.count(slot, Series::Phase(record.route, phase), timeline.spent_ns(phase));
            }
        }
        if !record.trials.is_empty() && record.outcome != Outcome::Cancelled {
            for (technique, held_out) in record.trials.each() {
                let slots = cell.trials.get_or_init(Box::default);
                let slot = slots.get(technique.index()).and_then(|slots| slots.get(usize::from(held_out)));
                if let Some(slot) = slot {
                    self.count(slot, Series::Trial(record.route, technique, held_out), timeline.total_ns());
                }
            }
        }
        if let Some(endpoint) = record.endpoint {
            let has_place = (endpoint.0 as usize) < self.core.endpoints.len();
            let endpoint = if has_place { endpoint } else { EndpointId::OTHER };
            let cell = self.endpoint_cell(endpoint);
            if let Some(slot) = cell.outcomes.get(record.outcome.index()) {
                let spent = timeline.spent_ns(Phase::Send) + timeline.spent_ns(Phase::Wait);
                let spent = spent + timeline.spent_ns(Phase::Transfer);
                self.count(slot, Series::Endpoint(endpoint, record.outcome), spent);
            }
        }
        if let Some(cause) = record.cause {
            self.core.count_cause(cause);
        }
        self.keep(record, cell);
    }

    #[inline]
    fn keep(&self, record: &Record<'_>, cell: &RouteCell) {
        let core = &*self.core;
        let serial = core.serial.load(Relaxed);
        core.serial.store(serial + 1, Relaxed);
        let ended_unix_ms = record.started_unix_ms + record.timeline.total_ns() / 1_000_000;
        let failed = matches!(record.outcome, Outcome::ServerError);
        let for_ring = core.ring.wants(record.started_unix_ms) || failed;
        let slowest = cell.slowest.as_ref().filter(|s| s.wants(record.timeline.total_ns(), ended_unix_ms));
        let log = self.registry.log.as_ref().filter(|log| log.wants(record));
        if !for_ring && slowest.is_none() && log.is_none() {
            return;
        }
        let entry = Entry::of(record, serial);
        let in_ring = !for_ring || core.ring.push(&entry);
        let in_slowest = slowest.is_none_or(|slowest| slowest.offer(&entry));
        if !(in_ring && in_slowest) {
            core.missed.store(core.missed.load(Relaxed) + 1, Relaxed);
        }
        if let Some(log) = log {
            log.offer(entry);
        }
    }

    #[inline]
    fn count(&self, slot: &Slot, series: Series, ns: u64) {
        match slot.get() {
            Some(Some(histogram)) => histogram.record(ns),
            _ => self.count_elsewhere(slot, series, ns),
        }
    }

    /// The first value of a series, or one that the bounds refused a histogram of its own.
    #[cold]
    fn count_elsewhere(&self, slot: &Slot, series: Series, ns: u64) {
        if let Some(histogram) = slot.get_or_init(|| self.open(series)) {
            return histogram.record(ns);
        }
        let (series, slot) = match series {
            Series::Request(_, outcome) => (
                Series::Request(RouteId::OTHER, outcome),
                self.route_cell(RouteId::OTHER).outcomes.get(outcome.index()),
            ),
            Series::Phase(_, phase) => (
                Series::Phase(RouteId::OTHER, phase),
                self.route_cell(RouteId::OTHER).phases.get(phase.index()),
            ),
            // Trials of several routes under one name would say nothing of any.
            Series::Trial(..) => return,
            Series::Endpoint(_, outcome) => (
                Series::Endpoint(EndpointId::OTHER, outcome),
                self.endpoint_cell(EndpointId::OTHER).outcomes.get(outcome.index()),
            ),
        };
        if let Some(Some(histogram)) = slot.map(|slot| slot.get_or_init(|| self.open(series))) {
            histogram.record(ns);
        }
    }

    fn open(&self, series: Series) -> Option<Box<SingleWriter>> {
        let registry = &*self.registry;
        let granted = series.is_other()
            || (registry.grant(series) && self.core.reserve(SingleWriter::BYTES, registry.bounds()));
        granted.then(|| Box::new(SingleWriter::new()))
    }

    #[expect(clippy::expect_used, reason = "the table has a place for every number the registry gives out")]
    fn route_cell(&self, route: RouteId) -> &RouteCell {
        let places = &self.core.routes;
        let place = places.get(route.0 as usize).or_else(|| places.first()).expect("place 0 is `other`");
        place.get_or_init(|| {
            let bounds = self.registry.bounds();
            let fits = self.core.reserve(Slowest::bytes(bounds.slow_per_route), bounds);
            let slowest = fits.then(|| Slowest::new(bounds.slow_per_route));
            Box::new(RouteCell { slowest, ..RouteCell::default() })
        })
    }

    #[expect(clippy::expect_used, reason = "the table has a place for every number the registry gives out")]
    fn endpoint_cell(&self, endpoint: EndpointId) -> &EndpointCell {
        let places = &self.core.endpoints;
        let place = places.get(endpoint.0 as usize).or_else(|| places.first()).expect("place 0 is `other`");
        place.get_or_init(Box::default)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.core.taken.store(false, Release);
    }
}
