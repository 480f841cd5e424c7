//! How endpoints are chosen and how much each is given.

use super::line;
use crate::model::{Balance, Config, Limit, Upstream};
use crate::value::duration_text;

/// What `balance`, `limit` and `slow_start` come to.
pub(super) fn balance(config: &Config, out: &mut String) {
    let any = |of: fn(&Upstream) -> bool| config.upstreams.iter().any(of);
    if any(|upstream| upstream.balance == Balance::Adaptive) {
        let text = "balance = \"adaptive\": the endpoint that will probably answer first: by its requests in flight, counted over all \
                    cores, by how fast it is, as far as that is certain, and by the distance to it; errors count as load, and one \
                    that gives no sign of life is left alone at once";
        line(out, text);
    }
    if !config.upstreams.is_empty() {
        let text = "endpoints: one that fails several times in a row is ejected for a while, never more than half of them and \
                    never the last";
        line(out, text);
    }
    if any(|upstream| upstream.limit == Limit::Observe) {
        let text = "limit = \"observe\": how many requests in flight an endpoint can take is learned and shown; nothing is refused";
        line(out, text);
    }
    if any(|upstream| upstream.limit == Limit::Adaptive) {
        let text = "limit = \"adaptive\": how many requests in flight an endpoint can take is learned from its latency; what is above \
                    waits, and is refused when that takes too long";
        line(out, text);
    }
    for upstream in &config.upstreams {
        for text in own(upstream) {
            line(out, &text);
        }
    }
}

/// What one upstream says of itself.
fn own(upstream: &Upstream) -> Vec<String> {
    let name = &upstream.name;
    let balance = match &upstream.balance {
        Balance::Hash(key) => Some(format!(
            "balance of {name}: by {key}, the same endpoint on every node and after every start; when one cannot be \
             reached, only its requests move, and no answer of its own moves them; what is above 1.25 times its share of those in \
             flight passes to the next"
        )),
        Balance::LeastRequest => Some(format!(
            "balance of {name}: the fewest requests in flight for the weight, counted over all cores"
        )),
        Balance::RoundRobin => Some(format!("balance of {name}: one after the other, by weight")),
        Balance::Adaptive => None,
    };
    let limit = match upstream.limit {
        Limit::Fixed(most) => Some(format!("limit of {name}: {most} requests in flight to one endpoint")),
        Limit::Off => Some(format!("limit of {name}: off")),
        Limit::Observe | Limit::Adaptive => None,
    };
    let slow_start = match upstream.slow_start {
        Some(Upstream::SLOW_START) => None,
        Some(ramp) => Some(format!("slow_start of {name}: {}", duration_text(ramp))),
        None => Some(format!("slow_start of {name}: off")),
    };
    [balance, limit, slow_start].into_iter().flatten().collect()
}
