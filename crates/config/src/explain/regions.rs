//! Which region requests go to.

use super::line;
use crate::model::{Action, Balance, Config, Endpoint, Source, Spill, Upstream};
use crate::value::{duration_text, share_text};

/// What regions come to, where there are any.
pub(super) fn regions(config: &Config, out: &mut String) {
    if config.upstreams.iter().any(|upstream| !names(upstream).is_empty()) {
        let text = "regions: requests go to the nearest healthy region, by distances that are measured; those that would wait longer \
                    there than the way to the next takes go there, one by one; a region that is lost is left at once and taken up \
                    again slowly";
        line(out, text);
    }
    for upstream in &config.upstreams {
        for text in own(upstream) {
            line(out, &text);
        }
    }
    for route in &config.routes {
        let Action::Proxy(index) = route.action else { continue };
        let primary = config.upstreams.get(index).and_then(|upstream| upstream.primary.as_ref());
        if let (Some(primary), Some(to_primary)) = (primary, route.primary) {
            let where_to = if to_primary { primary.as_str() } else { "the nearest region" };
            line(
                out,
                &format!("primary of {}: its requests go to {where_to}, whatever their method", route.name),
            );
        }
    }
}

/// The regions of the endpoints that are listed, in the order of the file.
pub(super) fn names(upstream: &Upstream) -> Vec<&str> {
    let endpoints: &[Endpoint] = match &upstream.source {
        Source::Endpoints(list) => list,
        Source::File(_) | Source::Dns { .. } | Source::Srv { .. } => &[],
    };
    let mut names: Vec<&str> = Vec::new();
    for region in endpoints.iter().filter_map(|endpoint| endpoint.region.as_deref()) {
        if !names.contains(&region) {
            names.push(region);
        }
    }
    names
}

/// What one upstream says of itself.
fn own(upstream: &Upstream) -> Vec<String> {
    let name = &upstream.name;
    let keeps = (upstream.balance != Balance::Adaptive && !names(upstream).is_empty()).then(|| {
        format!(
            "balance of {name}: it compares no distances; all stay in the nearest region while somebody there is well and below \
             its limit, whatever spill says"
        )
    });
    let Spill { max, cost } = &upstream.spill;
    let spill = (*max != Spill::default().max).then(|| {
        format!("spill of {name}: at most {} leave the nearest region while it is busy", share_text(*max))
    });
    let cost = cost.iter().filter(|(_, cost)| !cost.is_zero()).map(|(region, cost)| {
        format!("spill of {name}: {region} counts as {} farther than it is", duration_text(*cost))
    });
    let primary = upstream.primary.iter().map(|primary| {
        format!("primary of {name}: {primary}, for requests that change something, by their method")
    });
    let reads = upstream.read_your_writes.map(|window| {
        format!("read_your_writes of {name}: who wrote reads from the primary for {}", duration_text(window))
    });
    keeps.into_iter().chain(spill).chain(cost).chain(primary).chain(reads).collect()
}
