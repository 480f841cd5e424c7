//! Regions: where endpoints are, how far, and where requests go.

use super::Shared;
use crate::answer::Refusal;
use crate::plane::{EndpointState, Plane};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One region over all upstreams.
#[derive(Default)]
struct Region {
    endpoints: u64,
    healthy: u64,
    in_flight: u64,
    requests: u64,
    distance_ms: Option<f64>,
    /// Whether that is not measured.
    is_assumed: bool,
    home_of: BTreeSet<String>,
    primary_of: BTreeSet<String>,
}

pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    shared.ask(|shared| Json(of(&*shared.plane))).await
}

fn of(plane: &dyn Plane) -> Value {
    let mut regions: BTreeMap<String, Region> = BTreeMap::new();
    for upstream in plane.upstreams() {
        for endpoint in &upstream.endpoints {
            let Some(name) = &endpoint.learned.region else { continue };
            let region = regions.entry(name.clone()).or_default();
            region.endpoints += 1;
            region.healthy += u64::from(endpoint.state == EndpointState::Healthy);
            region.in_flight += endpoint.in_flight;
            region.requests += endpoint.successes + endpoint.failures;
            let known_ms = region.distance_ms.unwrap_or(f64::INFINITY);
            if endpoint.learned.distance_ms < known_ms {
                region.distance_ms = Some(endpoint.learned.distance_ms);
                region.is_assumed = endpoint.learned.distance_is_assumed;
            }
        }
        if let Some(home) = upstream.learned.home {
            regions.entry(home).or_default().home_of.insert(upstream.name.clone());
        }
        if let Some(primary) = upstream.rules.primary {
            regions.entry(primary).or_default().primary_of.insert(upstream.name);
        }
    }
    let all: u64 = regions.values().map(|region| region.requests).sum();
    let own = plane.own_region();
    let list = regions.iter().map(|(name, region)| {
        json!({
            "name": name,
            "own": own.as_ref() == Some(name),
            "endpoints": region.endpoints,
            "healthy": region.healthy,
            "in_flight": region.in_flight,
            "requests": region.requests,
            "share": if all > 0 { region.requests as f64 / all as f64 } else { 0.0 },
            "distance_ms": region.distance_ms,
            "distance_is_assumed": region.is_assumed,
            "home_of": region.home_of,
            "primary_of": region.primary_of,
        })
    });
    json!({ "regions": list.collect::<Vec<_>>() })
}
