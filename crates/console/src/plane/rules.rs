//! What routes and upstreams are set to, and what was learned of them: what decisions are made of.

use serde::Serialize;

/// What a route that forwards is set to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteRules {
    /// Milliseconds to the head of an answer, until less is learned or where it is set.
    pub head_timeout_ms: u64,
    /// The share of the upstream's work that second copies may cost; `None` if there are none.
    pub hedge: Option<f64>,
    /// Further attempts; `None` if there are none.
    pub retry: Option<RetryRules>,
    /// Whether its requests may be sent twice, whatever their method.
    pub idempotent: bool,
    /// How long answers to an `Idempotency-Key` are kept, in seconds.
    pub idempotency_key_s: Option<f64>,
    /// How often it may be asked, in words.
    pub rate: Option<String>,
    /// How much is lost when one of its requests is refused, as in the configuration.
    pub criticality: &'static str,
    /// Whether its requests go to the primary region, whatever their method.
    pub primary: Option<bool>,
    /// The share of its requests that pass each technique by.
    pub holdout: f64,
    /// Whether its answers are stored where they may be.
    pub cache: bool,
}

/// Further attempts of a request that failed and did no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RetryRules {
    /// How many at most.
    pub attempts: u32,
    /// For which share of the requests that succeed.
    pub budget: f64,
}

/// What an upstream is set to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpstreamRules {
    /// How an endpoint is chosen, as in the configuration.
    pub balance: String,
    /// How many requests an endpoint takes at a time, as in the configuration.
    pub limit: String,
    /// The line in front of a limit that holds; `None` if there is none.
    pub queue: Option<QueueRules>,
    /// The region that takes what changes something.
    pub primary: Option<String>,
    /// How long the reads of a caller who wrote go there as well, in seconds.
    pub read_your_writes_s: Option<f64>,
    /// The share of requests that may leave the nearest region because it is busy.
    pub spill_max: f64,
}

/// The line in front of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct QueueRules {
    /// The longest wait.
    pub wait_max_ms: u64,
    /// The longest line.
    pub length_max: u32,
}

/// What was learned of an upstream's endpoints together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpstreamLearned {
    /// Answers that were learned from.
    pub answers: u64,
    /// Milliseconds that an answer takes where nobody is in the way, distance left out.
    pub unit_ms: f64,
    /// Requests at once beyond which each takes longer.
    pub knee: f64,
    /// Milliseconds: the longest usual silence of an endpoint that works.
    pub silence_usual_ms: f64,
    /// The nearest region that is well, where there are several.
    pub home: Option<String>,
    /// The share of the last requests that left it because it was busy.
    pub leaving: f64,
}

/// Requests that went to a region against the cost of its endpoints, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamRegions {
    /// Left the nearest region because it was busy.
    pub spilled: u64,
    /// Did not leave it, although it was busy: too many had.
    pub kept_at_home: u64,
    /// Went to the primary, as they change something.
    pub writes: u64,
    /// Went to the primary, as their callers had just written.
    pub reads_after_write: u64,
    /// Went to the primary, once a replica had said that only that can answer.
    pub replayed: u64,
}

/// What is known of one endpoint, and counts where endpoints are compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EndpointLearned {
    /// Where it runs, if that is said.
    pub region: Option<String>,
    /// Its share of the load among its peers.
    pub weight: u32,
    /// Milliseconds that it is farther away than the nearest.
    pub distance_ms: f64,
    /// Whether that is assumed of another region, and not measured yet.
    pub distance_is_assumed: bool,
    /// What the operator, or another zone, adds to that.
    pub toll_ms: f64,
    /// How many times slower it is than its peers, where that is certain; else 1.
    pub slower: f64,
    /// The share of its last answers that were failures, 0 to 1.
    pub failing: f64,
    /// Whether it gives no sign of life.
    pub suspect: bool,
    /// Whether it is new and gets its share slowly.
    pub joining: bool,
    /// Whether its upstream is pinned to others.
    pub left_out: bool,
    /// Requests of others that it last said are in flight to it.
    pub reported: Option<u64>,
    /// Milliseconds until its ejection has run out.
    pub ejected_ms: Option<u64>,
}

/// Where a request would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// To the route of this name.
    Route(String),
    /// Nowhere: the path is known, and only these methods are allowed.
    OtherMethods(Vec<String>),
    /// Nowhere.
    Nothing,
}
