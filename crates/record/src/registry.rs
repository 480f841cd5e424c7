//! The one place where the records of all cores come together: it hands out names and recorders, bounds what they
//! may use, and answers those who read.

use crate::log::AccessLog;
use crate::names::Names;
use crate::recent::{Order, Recent, RecentQuery};
use crate::shard::Core;
use crate::{EndpointId, HistogramSnapshot, Outcome, Phase, Recorder, RequestId, RouteId, Technique};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much may be kept. What is past a bound is counted under `other`, never lost and never grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Histograms with a label set of their own, besides those of `other`. Default 2,000, the limit that
    /// OpenTelemetry advises.
    pub series: usize,
    /// Memory of one core for histograms and slow requests, besides the ring and `other`. Default 16 MiB: all the
    /// default series fit.
    pub bytes_per_core: usize,
    /// Route names, over all configurations that were ever loaded. Default 1,000.
    pub routes: usize,
    /// Endpoints with histograms of their own, over all addresses that were ever seen. Default 1,000.
    pub endpoints: usize,
    /// Last requests kept by each core; of a second with more, one in sixteen of the rest, and what failed. Default 512.
    pub recent: usize,
    /// Slow requests kept by each core for each route. Default 8.
    pub slow_per_route: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            series: 2_000,
            bytes_per_core: 16 << 20,
            routes: 1_000,
            endpoints: 1_000,
            recent: 512,
            slow_per_route: 8,
        }
    }
}

/// A histogram with its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Series {
    Request(RouteId, Outcome),
    Phase(RouteId, Phase),
    Endpoint(EndpointId, Outcome),
    /// And whether the requests were held out.
    Trial(RouteId, Technique, bool),
}

impl Series {
    /// Whether it is one that everything past the bounds goes to, and that is granted always.
    pub(crate) fn is_other(self) -> bool {
        match self {
            Series::Request(route, _) | Series::Phase(route, _) | Series::Trial(route, ..) => {
                route == RouteId::OTHER
            }
            Series::Endpoint(endpoint, _) => endpoint == EndpointId::OTHER,
        }
    }
}

/// Shared by all who write and read records.
pub struct Registry {
    bounds: Bounds,
    pub(crate) names: Arc<Names>,
    granted: Mutex<HashSet<Series>>,
    cores: Mutex<Vec<Arc<Core>>>,
    pub(crate) log: Option<AccessLog>,
}

/// Requests of one route with one outcome.
#[derive(Clone, Debug)]
pub struct RequestSeries {
    /// The route's name.
    pub route: Arc<str>,
    /// How these requests ended.
    pub outcome: Outcome,
    /// Their total durations.
    pub histogram: HistogramSnapshot,
}

/// One phase of one route.
#[derive(Clone, Debug)]
pub struct PhaseSeries {
    /// The route's name.
    pub route: Arc<str>,
    /// The phase.
    pub phase: Phase,
    /// What requests that entered the phase spent in it. Those that did not are not counted.
    pub histogram: HistogramSnapshot,
}

/// Requests that one endpoint answered with one outcome.
#[derive(Clone, Debug)]
pub struct EndpointSeries {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The endpoint's address.
    pub endpoint: Arc<str>,
    /// How these requests ended.
    pub outcome: Outcome,
    /// From the first byte of the request written to the last byte of the answer passed on.
    pub histogram: HistogramSnapshot,
}

/// Requests of one route that a technique acted on, or would have.
#[derive(Clone, Debug)]
pub struct TrialSeries {
    /// The route's name.
    pub route: Arc<str>,
    /// The technique.
    pub technique: Technique,
    /// Whether these requests passed it by.
    pub held_out: bool,
    /// Their total durations, those of callers who left not included.
    pub histogram: HistogramSnapshot,
}

/// Everything counted so far, merged over all cores. Series that counted nothing are left out.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The family {route, outcome}.
    pub requests: Vec<RequestSeries>,
    /// The family {route, phase}.
    pub phases: Vec<PhaseSeries>,
    /// The family {upstream, endpoint, outcome}.
    pub endpoints: Vec<EndpointSeries>,
    /// The family {route, technique, held out}, of routes that hold requests out.
    pub trials: Vec<TrialSeries>,
}

impl Registry {
    /// An empty registry; finished requests also go to `log`, if there is one.
    pub fn new(bounds: Bounds, log: Option<AccessLog>) -> Arc<Registry> {
        let names = Arc::new(Names::new(bounds.routes));
        if let Some(log) = &log {
            log.attach(names.clone());
        }
        let (granted, cores) = (Mutex::default(), Mutex::default());
        Arc::new(Registry { bounds, names, granted, cores, log })
    }

    /// The number of a route's name, the same for the same name for ever; `other` past the bound.
    pub fn route(&self, name: &str) -> RouteId {
        self.names.route(name)
    }

    /// The number of an endpoint, the same for the same names for ever; `other` past the bound.
    pub fn endpoint(&self, upstream: &str, address: &str) -> EndpointId {
        self.names.endpoint(upstream, address)
    }

    /// The number of a region's name, the same for the same name for ever.
    pub fn region(&self, name: &str) -> u16 {
        self.names.region(name)
    }

    /// The name of a region.
    pub fn region_name(&self, number: u16) -> Option<String> {
        self.names.region_name(number)
    }

    /// A recorder for one core. The place of a dropped one is used again, with all that it counted.
    pub fn recorder(self: &Arc<Self>) -> Recorder {
        let mut cores = lock(&self.cores);
        let free = cores.iter().find(|core| core.take()).cloned();
        let core = free.unwrap_or_else(|| {
            let core = Arc::new(Core::new(&self.bounds));
            cores.push(core.clone());
            core
        });
        drop(cores);
        Recorder::new(self.clone(), core)
    }

    /// The bounds it was made with.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The access log, to reopen it and to read its counters.
    pub fn log(&self) -> Option<&AccessLog> {
        self.log.as_ref()
    }

    /// How often a request was not kept among the recent ones because a reader was in the way.
    pub fn recent_missed(&self) -> u64 {
        self.cores().iter().map(|core| core.missed.load(Relaxed)).sum()
    }

    /// How many requests ended by each cause, over all cores.
    pub fn causes(&self) -> BTreeMap<&'static str, u64> {
        let mut causes = BTreeMap::new();
        for core in self.cores() {
            core.causes().for_each(|(cause, count)| *causes.entry(cause).or_default() += count);
        }
        causes
    }

    /// Bytes of histograms and slow requests, over all cores.
    pub fn allocated_bytes(&self) -> usize {
        self.cores().iter().map(|core| core.bytes.load(Relaxed)).sum()
    }

    /// Whether a series may exist. The same answer on every core.
    pub(crate) fn grant(&self, series: Series) -> bool {
        let mut granted = lock(&self.granted);
        granted.contains(&series) || (granted.len() < self.bounds.series && granted.insert(series))
    }

    fn cores(&self) -> Vec<Arc<Core>> {
        lock(&self.cores).clone()
    }

    /// Everything counted so far, merged over all cores.
    pub fn snapshot(&self) -> Snapshot {
        let cores = self.cores();
        let mut snapshot = Snapshot::default();
        for (id, route) in self.names.routes() {
            snapshot.add_route(&cores, id, &route);
        }
        for (id, name) in self.names.endpoints(self.bounds.endpoints) {
            snapshot.endpoints.extend(Outcome::ALL.into_iter().filter_map(|outcome| {
                let histogram = merged(&cores, Series::Endpoint(id, outcome))?;
                let (upstream, endpoint) = (name.upstream.clone(), name.address.clone());
                Some(EndpointSeries { upstream, endpoint, outcome, histogram })
            }));
        }
        snapshot
    }

    /// What was counted for one route, without endpoints; empty if there is no such route.
    pub fn snapshot_of_route(&self, name: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        if let Some((id, route)) = self.names.routes().into_iter().find(|(_, route)| **route == *name) {
            snapshot.add_route(&self.cores(), id, &route);
        }
        snapshot
    }

    /// Recent requests that match, each once.
    pub fn recent(&self, query: &RecentQuery) -> Vec<Recent> {
        let mut found = self.collect(|entry| {
            entry.timeline.total_ns() >= query.slow_ns
                && query.route.as_ref().is_none_or(|route| **route == *self.names.route_name(entry.route))
        });
        match query.order {
            Order::Newest => found.sort_by_key(|entry| std::cmp::Reverse(entry.ended_unix_ms())),
            Order::Slowest => found.sort_by_key(|entry| std::cmp::Reverse(entry.timeline.total_ns())),
        }
        found.iter().take(query.limit).map(|entry| entry.to_recent(&self.names)).collect()
    }

    /// The request with this trace id or `x-request-id`; the newest if there are several.
    pub fn find(&self, id: &str) -> Option<Recent> {
        let trace = RequestId::parse(id);
        let found =
            self.collect(|entry| Some(entry.id) == trace || entry.request_id.as_bytes() == id.as_bytes());
        let newest = found.iter().max_by_key(|entry| entry.ended_unix_ms())?;
        Some(newest.to_recent(&self.names))
    }

    fn collect(&self, wanted: impl Fn(&crate::entry::Entry) -> bool) -> Vec<crate::entry::Entry> {
        let mut found = Vec::new();
        for core in self.cores() {
            let mut seen = HashSet::new();
            core.each_recent(|entry| {
                if wanted(entry) && seen.insert(entry.serial) {
                    found.push(entry.clone());
                }
            });
        }
        found
    }
}

impl Snapshot {
    fn add_route(&mut self, cores: &[Arc<Core>], id: RouteId, route: &Arc<str>) {
        self.requests.extend(Outcome::ALL.into_iter().filter_map(|outcome| {
            let histogram = merged(cores, Series::Request(id, outcome))?;
            Some(RequestSeries { route: route.clone(), outcome, histogram })
        }));
        self.phases.extend(Phase::ALL.into_iter().filter_map(|phase| {
            let histogram = merged(cores, Series::Phase(id, phase))?;
            Some(PhaseSeries { route: route.clone(), phase, histogram })
        }));
        let trials = Technique::ALL.into_iter().flat_map(|technique| [(technique, false), (technique, true)]);
        self.trials.extend(trials.filter_map(|(technique, held_out)| {
            let histogram = merged(cores, Series::Trial(id, technique, held_out))?;
            Some(TrialSeries { route: route.clone(), technique, held_out, histogram })
        }));
    }
}

fn merged(cores: &[Arc<Core>], series: Series) -> Option<HistogramSnapshot> {
    let mut total: Option<HistogramSnapshot> = None;
    for histogram in cores.iter().filter_map(|core| core.existing(series)) {
        histogram.add_to(total.get_or_insert_default());
    }
    total.filter(|histogram| !histogram.is_empty())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
