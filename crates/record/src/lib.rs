//! The data of observing, shared by those who write it (the engine), read it (the console) and compare it
//! (the lab): timelines, histograms, recent requests, the access log. Knows neither sockets nor clocks: time is
//! passed in as nanoseconds of one monotonic clock.

mod entry;
mod exchange;
mod glance;
mod histogram;
mod ids;
mod line;
mod log;
mod names;
mod recent;
mod registry;
mod shard;
mod timeline;
mod trials;
mod why;

pub use exchange::{CacheUse, Fate, Hedge, Outcome, Protocol, Record, Trigger};
pub use histogram::{Histogram, HistogramSnapshot};
pub use ids::{EndpointId, InvalidRequestId, OTHER, RequestId, RouteId};
pub use log::{AccessLog, DEFAULT_WAITING_LINES, Sample, Sink};
pub use recent::{Order, Recent, RecentQuery};
pub use registry::{Bounds, EndpointSeries, PhaseSeries, Registry, RequestSeries, Snapshot, TrialSeries};
pub use shard::Recorder;
pub use timeline::{Phase, Timeline};
pub use trials::{Technique, Trials};
pub use why::{Against, Before, Bound, Candidate, Choice, Cost, How, Late, LeftOut, Placed, Refusal, Why};
