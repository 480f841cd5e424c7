//! Routes: which requests, and what is done with them.

use std::time::Duration;

use super::admission::{Criticality, Rate};
use super::attempts::Attempts;
use super::cache::RouteCache;
use super::files::{Encoding, Files};
use crate::pattern::Pattern;
pub use crate::template::{Part, Template};

/// What is done with the requests that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique; used in the API, metrics and logs. Default: the match as written.
    pub name: String,
    /// Method, host and path.
    pub pattern: Pattern,
    /// Conditions: all must be present with exactly this value. Names are in lower case, none twice.
    pub headers: Vec<(String, String)>,
    /// Forward, answer or serve files.
    pub action: Action,
    /// How long a request may take, and how often it is sent.
    pub attempts: Attempts,
    /// How often its requests are taken; more are refused with 429. Default none: how much is too much, only the service knows.
    pub rate: Option<Rate>,
    /// How much is lost when a request is refused that says nothing of it itself. Default [`Criticality::Default`].
    pub criticality: Criticality,
    /// Whether requests go to the [`crate::Upstream::primary`]. Default none: those do that change something, by their method.
    pub primary: Option<bool>,
    /// Share of the requests that pass one technique by, for each technique another, to measure what it gains: 0 to 0.2.
    /// Default 0: who is held out waits longer.
    pub holdout: f64,
    /// Bound on silence within the body of a response. Default 60 s: longer than any sane pause of a stream.
    pub idle_timeout: Duration,
    /// Taken off the front of the path, at a segment border, before it is forwarded. Default none.
    pub strip_prefix: Option<String>,
    /// Put in front of the path after stripping. Default none.
    pub add_prefix: Option<String>,
    /// Edits of the request on its way to the upstream.
    pub request_headers: HeaderEdits,
    /// Edits of the response on its way to the caller.
    pub response_headers: HeaderEdits,
    /// Whether responses carry `Server-Timing`. Default false: it tells callers about the inside.
    pub server_timing: bool,
    /// How answers are cached; none switches it off. Default: what the origin declares cacheable, for as long as it declares.
    pub cache: Option<RouteCache>,
    /// Whether identical requests that come at the same time share one fetch, those with credentials included. Default none:
    /// those without credentials do.
    pub coalesce: Option<bool>,
    /// In which encodings answers may leave, the preferred first. Default none: they leave as they came.
    pub compress: Vec<Encoding>,
    /// Bound on the request body, bytes. Default none: unlimited, because bodies are streamed and never held
    /// whole.
    pub body_max: Option<u64>,
}

impl Route {
    /// Default of [`Route::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

    /// A route with every default, named after its pattern.
    #[must_use]
    pub fn new(pattern: Pattern, action: Action) -> Self {
        Self {
            name: pattern.to_string(),
            pattern,
            headers: Vec::new(),
            action,
            attempts: Attempts::default(),
            rate: None,
            criticality: Criticality::default(),
            primary: None,
            holdout: 0.0,
            idle_timeout: Self::IDLE_TIMEOUT,
            strip_prefix: None,
            add_prefix: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            server_timing: false,
            cache: Some(RouteCache::default()),
            coalesce: None,
            compress: Vec::new(),
            body_max: None,
        }
    }
}

/// Forward, answer or serve files.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Forward to the upstream at this index of [`crate::Config::upstreams`].
    Proxy(usize),
    /// Answer without asking anyone.
    Respond(Respond),
    /// Serve files.
    Static(Files),
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// A final status, 200 to 599.
    pub status: u16,
    /// The `Location` of a redirect or of a 201.
    pub location: Option<Template>,
    /// Default empty.
    pub body: String,
    /// Default `text/plain; charset=utf-8`.
    pub content_type: String,
}

impl Respond {
    /// Default of [`Respond::content_type`].
    pub const CONTENT_TYPE: &'static str = "text/plain; charset=utf-8";
}

/// Changes to a set of headers: first `remove`, then `set`. Names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Put in place of whatever is there.
    pub set: Vec<(String, String)>,
    /// Taken out.
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}
