//! All that the console knows of the data plane: what it may ask, and the answers.

mod admission;
mod cache;
mod rules;
mod switch;

pub use admission::{EndpointAdmission, UpstreamAdmission};
pub use cache::{CacheRoute, CacheServer, CacheShared, CacheStatus, PurgeCount, PurgeOrder, PurgeWhat};
pub use rules::{
    EndpointLearned, Match, QueueRules, RetryRules, RouteRules, UpstreamLearned, UpstreamRegions,
    UpstreamRules,
};
pub use switch::{Switch, SwitchError, UpstreamDrained};

use serde::Serialize;
use std::sync::Arc;
use unlag_record::Registry;

/// The data plane as the console sees it. Calls may block for as long as it takes to ask the workers; the
/// console makes them off its own thread.
pub trait Plane: Send + Sync + 'static {
    /// Where requests are recorded.
    fn registry(&self) -> &Arc<Registry>;
    /// Every upstream with its endpoints.
    fn upstreams(&self) -> Vec<UpstreamStatus>;
    /// Every route, in the order of the configuration.
    fn routes(&self) -> Vec<RouteStatus>;
    /// Which route takes a request of this method for this URL, without regard to conditions on other fields. Fails with what is
    /// wrong with them.
    fn matched(&self, method: &str, url: &str) -> Result<Match, String>;
    /// The region of this node, if that is said.
    fn own_region(&self) -> Option<String>;
    /// Every worker.
    fn workers(&self) -> Vec<WorkerStatus>;
    /// Whether new requests are welcome.
    fn readiness(&self) -> Readiness;
    /// Counters that are no histograms: refused heads, reloads, dropped log lines, shed connections.
    fn counters(&self) -> Vec<Counter>;
    /// What is known of requests with an `Idempotency-Key`.
    fn keys(&self) -> KeysStatus;
    /// What the cache holds and has done.
    fn cache(&self) -> CacheStatus;
    /// Takes something out of the cache, or counts what that would mean. Fails with what is wrong with the order.
    fn purge(&self, order: &PurgeOrder) -> Result<Option<PurgeCount>, String>;
    /// Turns a switch of an upstream.
    fn switch(&self, upstream: &str, switch: &Switch) -> Result<(), SwitchError>;
    /// The configuration in use.
    fn config(&self) -> ConfigView;
    /// Validates `text`, writes it, applies it; only if the configuration in use has the hash `if_match`.
    fn put_config(&self, text: &str, if_match: &str) -> Result<Applied, PutError>;
    /// Reads the configuration from its source again and applies it, as SIGHUP does.
    fn reload(&self) -> Result<Applied, PutError>;
}

/// An upstream and how it does.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What is spoken with it: `http1`, `http2`.
    pub protocol: String,
    /// The addresses or the region that an operator has pinned it to; `None` while all are asked.
    pub pinned: Option<Vec<String>>,
    /// What an operator has drained beside its endpoints, each of which says that of itself.
    pub drained: UpstreamDrained,
    /// What it is spared.
    pub admission: UpstreamAdmission,
    /// What it is set to.
    pub rules: UpstreamRules,
    /// What was learned of its endpoints together.
    pub learned: UpstreamLearned,
    /// Requests that went to a region against the cost of its endpoints.
    pub regions: UpstreamRegions,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint of an upstream.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its address, as in the metrics.
    pub address: String,
    /// Whether it is given requests.
    pub state: EndpointState,
    /// Requests under way.
    pub in_flight: u64,
    /// Open connections.
    pub connections_open: u64,
    /// Those of them that wait for a request.
    pub connections_idle: u64,
    /// Requests that it answered.
    pub successes: u64,
    /// Requests that failed because of it.
    pub failures: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// Microseconds from the last byte of a request to the head of its answer: a moving average over about sixteen.
    pub wait_us: Option<u64>,
    /// After how many milliseconds it closes an idle connection, once learned.
    pub learned_idle_ms: Option<u64>,
    /// What it takes.
    pub admission: EndpointAdmission,
    /// What is known of it where endpoints are compared.
    #[serde(flatten)]
    pub learned: EndpointLearned,
}

impl UpstreamStatus {
    /// How many of its endpoints an operator has left in.
    pub fn asked(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.state != EndpointState::Drained).count()
    }
}

/// Whether an endpoint is given requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It is.
    Healthy,
    /// Not for a while, because requests to it failed.
    Ejected,
    /// Not until a health check passes.
    Unhealthy,
    /// Not yet, its name is being resolved.
    Resolving,
    /// No more, an operator took it out.
    Drained,
}

impl EndpointState {
    /// Every state.
    pub const ALL: [EndpointState; 5] = [
        EndpointState::Healthy,
        EndpointState::Ejected,
        EndpointState::Unhealthy,
        EndpointState::Resolving,
        EndpointState::Drained,
    ];

    /// The name used in metrics labels and the API.
    pub const fn name(self) -> &'static str {
        match self {
            EndpointState::Healthy => "healthy",
            EndpointState::Ejected => "ejected",
            EndpointState::Unhealthy => "unhealthy",
            EndpointState::Resolving => "resolving",
            EndpointState::Drained => "drained",
        }
    }
}

/// A route as configured.
#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    /// Its name, as in the metrics.
    pub name: String,
    /// What it matches.
    #[serde(rename = "match")]
    pub matches: String,
    /// The upstream that it goes to, unless it answers itself.
    pub upstream: Option<String>,
    /// The status that it answers with, if it always answers the same.
    pub respond: Option<u16>,
    /// The directory whose files it serves, if it does.
    #[serde(rename = "static")]
    pub files: Option<String>,
    /// How long a request may take, in milliseconds; `None` for as long as it likes.
    pub timeout_ms: Option<u64>,
    /// What it is set to, if it forwards.
    pub rules: Option<RouteRules>,
    /// What it has learned of its attempts, if it forwards.
    pub attempts: Option<AttemptsStatus>,
}

/// What a route has learned of its attempts.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptsStatus {
    /// Answers to first attempts.
    pub answers: u64,
    /// Microseconds to the head of an answer, as if nothing had been sent twice, of late: the median.
    pub p50_us: f64,
    /// What 99 of 100 take.
    pub p99_us: f64,
    /// What 999 of 1,000 take.
    pub p999_us: f64,
    /// The share of attempts that fail, of late.
    pub failing: f64,
    /// After how many microseconds a second copy is due although the endpoint works; none while that is not known, or not worth it.
    pub hedge_after_us: Option<f64>,
    /// The time-out that its own tail suggests, once enough is known.
    pub learned_timeout: Option<LearnedTimeout>,
}

/// A learned time-out.
#[derive(Clone, Debug, Serialize)]
pub struct LearnedTimeout {
    /// Milliseconds to the head of an answer.
    pub timeout_ms: u64,
    /// Whether it ends requests, or is only watched.
    pub in_force: bool,
    /// Answers that it was compared with, of late.
    pub watched: u64,
    /// Of these, how many it broke or would have broken.
    pub broken: u64,
}

/// A worker: one core with its share of the connections.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStatus {
    /// Open connections of callers.
    pub connections: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Requests under way.
    pub streams: u64,
}

/// What is known of requests with an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeysStatus {
    /// Keys that are known.
    pub keys: u64,
    /// Memory for them and their answers.
    pub bytes: u64,
    /// Requests with a key that are under way.
    pub under_way: u64,
}

/// Whether new requests are welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Ready,
    /// No more: what is under way is being finished.
    Draining,
    /// Not yet, or not now, for this reason.
    NotReady(String),
}

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter {
    /// Its name without `_total`, such as `unlag_reloads`.
    pub name: &'static str,
    /// One sentence on what it counts.
    pub help: &'static str,
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: u64,
}

/// The configuration in use.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigView {
    /// The file's text, with secrets masked.
    pub text: String,
    /// Identifies this text.
    pub hash: String,
    /// Where it came from: a path, or the command line.
    pub source: String,
    /// Why the last reload failed, if it did.
    pub last_error: Option<String>,
    /// Whether it can be replaced over the API.
    pub writable: bool,
}

/// A configuration that took effect.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// The hash of the configuration now in use.
    pub hash: String,
    /// What is worth knowing about it, such as settings that need a restart.
    pub warnings: Vec<String>,
}

/// Why a configuration did not take effect. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutError {
    /// Another configuration is in use, with this hash.
    Conflict(String),
    /// The file says something else than what is in use.
    Edited,
    /// It has these problems, rendered for people.
    Invalid(String),
    /// It cannot be replaced over the API.
    ReadOnly,
    /// Reading or writing it failed.
    Io(String),
}
