//! What is counted of the cache. A route has series once anything was counted for it, and reasons that never came about have none.

use super::{Page, seconds};
use crate::plane::{CacheRoute, CacheStatus};
use std::collections::BTreeMap;
use unlag_record::{OTHER, Registry, RouteId};

pub(super) fn render(page: &mut Page, cache: &CacheStatus, registry: &Registry) {
    let gauges: [(&str, &str, u64); 3] = [
        ("unlag_cache_bytes", "What stored answers take in memory.", cache.bytes),
        ("unlag_cache_capacity_bytes", "The bound on it.", cache.capacity_bytes),
        ("unlag_cache_urls", "URLs for which something is stored.", cache.urls),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
    if let Some(shared) = &cache.shared {
        page.family("unlag_cache_shared_listening", "gauge", "Whether purges of other nodes are heard.");
        page.sample("unlag_cache_shared_listening", &[], u64::from(shared.listening));
        page.family("unlag_cache_shared_events", "counter", "What has happened with the shared tier.");
        for (event, count) in &shared.events {
            page.sample("unlag_cache_shared_events_total", &[("event", event)], count);
        }
    }
    let routes = labelled(&cache.routes, registry);
    counts(page, &routes);
    let name = "unlag_cache_saved_seconds";
    page.family(name, "counter", "What the fetches of what was hit had taken.");
    for (route, sums) in &routes {
        page.sample("unlag_cache_saved_seconds_total", &[("route", route)], seconds(sums.saved_ns));
    }
    type Reasons = fn(&CacheRoute) -> &[(&'static str, u64)];
    let families: [(&str, &str, Reasons); 2] = [
        ("unlag_cache_misses", "Fetches, by why nothing stored was served.", |sums| &sums.misses),
        ("unlag_cache_not_stored", "Answers that were not stored, by why.", |sums| &sums.not_stored),
    ];
    for (name, help, read) in families {
        page.family(name, "counter", help);
        let sample = format!("{name}_total");
        for (route, sums) in &routes {
            for (reason, count) in read(sums).iter().filter(|(_, count)| *count > 0) {
                page.sample(&sample, &[("route", route), ("reason", reason)], count);
            }
        }
    }
}

fn counts(page: &mut Page, routes: &BTreeMap<&str, CacheRoute>) {
    type Read = fn(&CacheRoute) -> u64;
    let families: [(&str, &str, Read); 6] = [
        ("unlag_cache_hits", "Requests answered from what is stored.", |sums| sums.hits),
        ("unlag_cache_stale_hits", "Those of them that got something stale.", |sums| sums.stale_hits),
        ("unlag_cache_collapsed", "Requests answered by the fetch of another.", |sums| sums.collapsed),
        ("unlag_cache_revalidated", "Fetches that found nothing changed.", |sums| sums.revalidated),
        ("unlag_cache_stored", "Answers that were stored.", |sums| sums.stored),
        ("unlag_cache_hit_bytes", "Content of hits.", |sums| sums.hit_bytes),
    ];
    for (name, help, read) in families {
        page.family(name, "counter", help);
        let sample = format!("{name}_total");
        for (route, sums) in routes {
            page.sample(&sample, &[("route", route)], read(sums));
        }
    }
}

/// The counts by the label that the other families of metrics have for a route: `other` beyond their bound.
fn labelled<'a>(routes: &'a [CacheRoute], registry: &Registry) -> BTreeMap<&'a str, CacheRoute> {
    let mut labelled: BTreeMap<&str, CacheRoute> = BTreeMap::new();
    for route in routes {
        let is_known = registry.route(&route.route) != RouteId::OTHER;
        let label = if is_known { route.route.as_str() } else { OTHER };
        labelled.entry(label).or_default().merge(route);
    }
    labelled
}
