//! What decisions are made of, for the console: what routes and upstreams are set to, what was learned, where a URL would go.

use http::Method;
use unlag_config::{Balance, Criticality, Limit};
use unlag_console::{
    EndpointLearned, Match, QueueRules, RetryRules, RouteRules, UpstreamLearned, UpstreamRegions,
    UpstreamRules,
};
use unlag_engine::Engine;
use unlag_engine::fleet::{EndpointStatus, RegionId, Went};
use unlag_engine::http::Fields;
use unlag_engine::plan::{Route, Upstream};
use unlag_engine::router::Found;

/// What a route that forwards is set to.
pub(super) fn route_rules(route: &Route) -> RouteRules {
    let config = &route.config;
    let attempts = &config.attempts;
    RouteRules {
        head_timeout_ms: route.head_timeout_ns / 1_000_000,
        hedge: attempts.hedge.map(|hedge| hedge.budget),
        retry: attempts.retry.map(|retry| RetryRules { attempts: retry.attempts, budget: retry.budget }),
        idempotent: attempts.idempotent,
        idempotency_key_s: attempts.idempotency_key.map(|window| window.as_secs_f64()),
        rate: config.rate.as_ref().map(|rate| {
            let per_s = rate.per.as_secs();
            format!("{} in {per_s} s, {} at once, by {}", rate.requests, rate.burst, rate.by)
        }),
        criticality: match config.criticality {
            Criticality::Sheddable => "sheddable",
            Criticality::Default => "default",
            Criticality::Critical => "critical",
            Criticality::CriticalPlus => "critical-plus",
        },
        primary: config.primary,
        holdout: config.holdout,
        cache: config.cache.is_some(),
    }
}

/// What an upstream is set to.
pub(super) fn upstream_rules(upstream: &Upstream, engine: &Engine) -> UpstreamRules {
    UpstreamRules {
        balance: match &upstream.balance {
            Balance::Adaptive => "adaptive".to_owned(),
            Balance::LeastRequest => "least-request".to_owned(),
            Balance::RoundRobin => "round-robin".to_owned(),
            Balance::Hash(key) => format!("hash by {key}"),
        },
        limit: match upstream.limit {
            Limit::Off => "off".to_owned(),
            Limit::Observe => "observe".to_owned(),
            Limit::Adaptive => "adaptive".to_owned(),
            Limit::Fixed(count) => count.to_string(),
        },
        queue: upstream.queue.as_ref().filter(|_| upstream.limit.is_enforced()).map(|queue| QueueRules {
            wait_max_ms: queue.wait_max.as_millis() as u64,
            length_max: queue.length_max,
        }),
        primary: upstream.primary.and_then(|region| name(engine, region)),
        read_your_writes_s: upstream.read_your_writes.map(|window| window.as_secs_f64()),
        spill_max: f64::from(upstream.spill_max),
    }
}

/// What was learned of an upstream's endpoints together.
pub(super) fn upstream_learned(upstream: &Upstream, engine: &Engine) -> UpstreamLearned {
    let figures = upstream.service.figures();
    UpstreamLearned {
        answers: upstream.service.answers().into(),
        unit_ms: figures.unit_ms.into(),
        knee: figures.knee.into(),
        silence_usual_ms: figures.gap_ms.into(),
        home: figures.home.and_then(|region| name(engine, region)),
        leaving: upstream.service.leaving().into(),
    }
}

/// Requests that went to a region against the cost of its endpoints.
pub(super) fn upstream_regions(upstream: &Upstream) -> UpstreamRegions {
    let went = upstream.service.went();
    UpstreamRegions {
        spilled: went.of(Went::Spilled),
        kept_at_home: went.of(Went::KeptAtHome),
        writes: went.of(Went::Write),
        reads_after_write: went.of(Went::ReadAfterWrite),
        replayed: went.of(Went::Replayed),
    }
}

/// What is known of an endpoint where it is compared with others.
pub(super) fn endpoint_learned(status: &EndpointStatus, engine: &Engine) -> EndpointLearned {
    EndpointLearned {
        region: status.region.and_then(|region| name(engine, region)),
        weight: status.weight,
        distance_ms: status.distance_ms.into(),
        distance_is_assumed: status.distance_is_assumed,
        toll_ms: status.toll_ms.into(),
        slower: status.slower.into(),
        failing: status.failing.into(),
        suspect: status.suspect,
        joining: status.joining,
        left_out: status.left_out,
        reported: status.reported.map(u64::from),
        ejected_ms: status.ejected_ns.map(|ns| ns / 1_000_000),
    }
}

fn name(engine: &Engine, region: RegionId) -> Option<String> {
    engine.shared().endpoints.region_name(region)
}

/// Which route takes a request. Only the method, the host and the path count: conditions on other fields are not met.
pub(super) fn matched(engine: &Engine, method: &str, url: &str) -> Result<Match, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method"))?;
    let url: http::Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let authority = url.authority().map(|authority| authority.as_str().to_lowercase()).unwrap_or_default();
    let plan = engine.shared().current();
    Ok(match plan.router.find(authority.as_bytes(), url.path().as_bytes(), &method, &Fields::default()) {
        Found::Route(index) => match plan.routes.get(index) {
            Some(route) => Match::Route(route.config.name.clone()),
            None => Match::Nothing,
        },
        Found::OtherMethods(methods) => {
            Match::OtherMethods(methods.iter().map(ToString::to_string).collect())
        }
        Found::Nothing => Match::Nothing,
    })
}
