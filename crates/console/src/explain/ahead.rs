//! What would be done with a request: sentences made of what its route and upstream are set to, and of what they have learned.
//! Pure: the route that was found and its figures in, text out.

use super::why::{Reason, Setting, may_be_copied, percent, reads};
use super::{duration, paragraph};
use crate::plane::{EndpointState, EndpointStatus, Match, RouteRules, RouteStatus, UpstreamStatus};
use std::fmt::Write;

/// Endpoints that are named one by one; of more only those that differ.
const NAMED_MAX: usize = 8;
/// Below this many answers, what is said of an upstream is where every one of them begins.
const ANSWERS_ENOUGH: u64 = 50;

/// What would become of a request, one sentence or a few about each decision.
pub fn ahead(method: &str, url: &str, found: &Match, setting: &Setting<'_>) -> Vec<Reason> {
    let (method, url) = (super::printable(method), super::printable(url));
    let mut reasons = Vec::new();
    let mut add = |about, text| reasons.push(Reason { about, text });
    let route = match (found, setting.route) {
        (Match::Nothing, _) => {
            add("route", format!("No route matches {url}: it is answered 404."));
            return reasons;
        }
        (Match::OtherMethods(allowed), _) => {
            let allowed = allowed.join(", ");
            add("route", format!("{url} is answered 405 to {method}: its routes take {allowed}."));
            return reasons;
        }
        (Match::Route(name), None) => {
            add("route", format!("{method} {url} takes route {name}, which has just been removed."));
            return reasons;
        }
        (Match::Route(_), Some(route)) => route,
    };
    add("route", format!("{method} {url} takes route {}{}.", route.name, answered(route)));
    let Some(rules) = &route.rules else { return reasons };
    if let Some(rate) = &rules.rate {
        add("rate", format!("rate: {rate}; more are answered 429."));
    }
    if let Some(text) = idempotency_key(&method, rules) {
        add("idempotency_key", text);
    }
    if let Some(text) = criticality(rules) {
        add("criticality", text);
    }
    if let Some(upstream) = setting.upstream {
        add("endpoint", endpoint(upstream));
        reasons.extend(region(&method, rules, upstream).map(|text| Reason { about: "region", text }));
        reasons.push(Reason { about: "limit", text: limit(upstream) });
    }
    let rest = [
        ("hedge", hedge(&method, route, rules, setting.upstream)),
        ("retry", retry(rules)),
        ("timeout", timeout(route, rules)),
        ("holdout", holdout(rules)),
    ];
    reasons.extend(rest.into_iter().map(|(about, text)| Reason { about, text }));
    reasons
}

/// The sentences as text.
pub fn text(reasons: &[Reason]) -> String {
    let mut out = String::new();
    for (nth, reason) in reasons.iter().enumerate() {
        if nth > 0 {
            out.push('\n');
        }
        paragraph(&mut out, &reason.text);
    }
    out
}

fn answered(route: &RouteStatus) -> String {
    match (&route.upstream, route.respond, &route.files) {
        (Some(upstream), ..) => format!(" to upstream {upstream}"),
        (_, Some(status), _) => format!(", which always answers {status}"),
        (.., Some(files)) => format!(", which serves the files of {files}"),
        _ => String::new(),
    }
}

fn ms(ms: f64) -> String {
    duration((ms.max(0.0) * 1e6) as u64)
}

/// What becomes of a key, where the route looks at them and this method may change something.
fn idempotency_key(method: &str, rules: &RouteRules) -> Option<String> {
    let kept = super::kept(rules.idempotency_key_s?);
    (!reads(method)).then(|| {
        format!(
            "With an `Idempotency-Key` it is executed once: its answer is kept for {kept} and replayed; while it is under way the \
             same is answered 409, and other content with its key 422."
        )
    })
}

/// What its route is worth under overload, where that is said.
fn criticality(rules: &RouteRules) -> Option<String> {
    let what = match rules.criticality {
        "sheddable" => "under overload its requests are refused first",
        "critical" => "under overload others are refused before its requests",
        "critical-plus" => "under overload its requests are refused last",
        _ => return None,
    };
    Some(format!("criticality = \"{}\": {what}.", rules.criticality))
}

fn endpoint(upstream: &UpstreamStatus) -> String {
    let count = upstream.endpoints.len();
    let endpoints = if count == 1 { "1 endpoint".to_owned() } else { format!("{count} endpoints") };
    let learned = &upstream.learned;
    let mut out = format!("balance = \"{}\", over {endpoints}.", upstream.rules.balance);
    if count > 0 && upstream.asked() == 0 {
        out.push_str(
            " None of them is asked, as an operator took all out or pinned it to others: unless the cache has an answer, it is 503. `undrain` or \
             `unpin` puts them back.",
        );
    }
    if upstream.rules.balance == "adaptive" {
        let whence = match learned.answers {
            enough @ ANSWERS_ENOUGH.. => format!("Of {enough} answers it was learned"),
            few => format!("Not learned yet, of {few} answers; the default is"),
        };
        let _ = write!(
            out,
            " {whence} that one takes {} while no more than {:.0} are in flight to its endpoint, and that one that works is \
             silent for {} at most.",
            ms(learned.unit_ms),
            learned.knee,
            ms(learned.silence_usual_ms)
        );
    }
    if let Some(pinned) = &upstream.pinned {
        let _ = write!(out, " An operator has pinned it to {}.", pinned.join(", "));
    }
    for endpoint in upstream.endpoints.iter().filter(|one| count <= NAMED_MAX || !state(one).is_empty()) {
        let state = state(endpoint);
        let state = if state.is_empty() { "nothing against it".to_owned() } else { state.join(", ") };
        let _ = write!(out, " {}: {} in flight, {state}.", endpoint.address, endpoint.in_flight);
    }
    out
}

/// What speaks against an endpoint, or for it.
fn state(endpoint: &EndpointStatus) -> Vec<String> {
    let learned = &endpoint.learned;
    let ejected = || match learned.ejected_ms {
        Some(left_ms) => format!("ejected for {} more", ms(left_ms as f64)),
        None => "ejected until a request finds it well".to_owned(),
    };
    let state = match endpoint.state {
        EndpointState::Healthy => None,
        EndpointState::Ejected => Some(ejected()),
        EndpointState::Unhealthy => Some("its health check fails".to_owned()),
        EndpointState::Resolving => Some("its name is not resolved yet".to_owned()),
        EndpointState::Drained if learned.left_out => Some("left out by the pin".to_owned()),
        EndpointState::Drained => Some("taken out by an operator".to_owned()),
    };
    let parts = [
        state,
        learned.suspect.then(|| "gives no sign of life".to_owned()),
        learned.joining.then(|| "new or just back, and given more slowly".to_owned()),
        (learned.failing > 0.0).then(|| format!("{} of its answers failed lately", percent(learned.failing))),
        (learned.slower > 1.0).then(|| format!("{:.1} times slower than its peers", learned.slower)),
        learned.distance_is_assumed.then(|| {
            format!("in another region, assumed to be {} away until it has answered", ms(learned.distance_ms))
        }),
        (learned.distance_ms > 0.0 && !learned.distance_is_assumed)
            .then(|| format!("{} farther than the nearest", ms(learned.distance_ms))),
        (learned.toll_ms > 0.0).then(|| format!("{} added for its region or zone", ms(learned.toll_ms))),
    ];
    parts.into_iter().flatten().collect()
}

fn region(method: &str, rules: &RouteRules, upstream: &UpstreamStatus) -> Option<String> {
    let to_primary = rules.primary.unwrap_or(!reads(method));
    if let (Some(primary), true) = (&upstream.rules.primary, to_primary) {
        let why =
            if rules.primary.is_some() { "its route says so" } else { "its method may change something" };
        return Some(format!("It goes to {primary}, the primary region: {why}."));
    }
    let home = upstream.learned.home.as_ref()?;
    let mut out = format!(
        "The nearest region that is well is {home}; up to {} of the requests may leave it while it is busy, and {} do.",
        percent(upstream.rules.spill_max),
        percent(upstream.learned.leaving)
    );
    if let (Some(primary), Some(window_s)) = (&upstream.rules.primary, upstream.rules.read_your_writes_s) {
        let _ = write!(out, " Who wrote reads from {primary} for {} after.", ms(window_s * 1e3));
    }
    Some(out)
}

fn limit(upstream: &UpstreamStatus) -> String {
    let rules = &upstream.rules;
    let limits = || upstream.endpoints.iter().filter_map(|endpoint| endpoint.admission.limit);
    let (least, most) = (limits().min(), limits().max());
    let known = match (least, most) {
        (Some(least), Some(most)) if least == most => {
            format!("{} at a time", super::why::plural(least, "request", "requests"))
        }
        (Some(least), Some(most)) => format!("{least} to {most} requests at a time"),
        _ => "nothing learned yet".to_owned(),
    };
    let mut out = format!("limit = \"{}\"", rules.limit);
    match (rules.limit.as_str(), &rules.queue) {
        ("off", _) => out.push_str(": nothing is refused."),
        ("observe", _) => {
            let refused: u64 = upstream.endpoints.iter().map(|one| one.admission.would_refuse).sum();
            let _ = write!(
                out,
                ": {known} for an endpoint; nothing is refused, {refused} would have been so far."
            );
        }
        (_, Some(queue)) => {
            let _ = write!(
                out,
                ": {known} for an endpoint; {} wait now, at most {} for {} at most; {} were refused so far.",
                upstream.admission.waiting,
                queue.length_max,
                ms(queue.wait_max_ms as f64),
                upstream.admission.refused
            );
        }
        (_, None) => {
            let _ = write!(out, ": {known} for an endpoint; what is above is refused at once.");
        }
    }
    if upstream.admission.lost {
        out.push_str(
            " No endpoint can be reached: one request at a time is sent to look, the others are refused.",
        );
    }
    out
}

fn hedge(method: &str, route: &RouteStatus, rules: &RouteRules, upstream: Option<&UpstreamStatus>) -> String {
    let Some(budget) = rules.hedge else {
        return "No second copy is sent: the route has no `hedge`.".to_owned();
    };
    if !may_be_copied(method, rules) {
        return format!(
            "No second copy of a {method} is sent, as its route does not say `idempotent = true`."
        );
    }
    if upstream.is_some_and(|upstream| upstream.endpoints.len() < 2) {
        return "No second copy is sent: there is no other endpoint.".to_owned();
    }
    let after = route.attempts.as_ref().and_then(|attempts| attempts.hedge_after_us);
    let after = match after {
        Some(us) => format!("after {} without an answer, or ", duration((us * 1e3) as u64)),
        None => String::new(),
    };
    let budget = percent(budget);
    format!(
        "A second copy is due {after}when the endpoint gives no sign of life, for at most {budget} of the work."
    )
}

fn retry(rules: &RouteRules) -> String {
    match rules.retry {
        None => "What fails is not tried again (`retry = \"off\"`).".to_owned(),
        Some(retry) => format!(
            "What failed and did no harm is tried up to {} times more, elsewhere, for at most {} of the requests that succeed, and a few a second{}.",
            retry.attempts,
            percent(retry.budget),
            if rules.idempotent { "; its route says that it may be sent twice" } else { "" }
        ),
    }
}

fn timeout(route: &RouteStatus, rules: &RouteRules) -> String {
    if let Some(fixed_ms) = route.timeout_ms {
        return format!("timeout: {}, head and content, as configured.", ms(fixed_ms as f64));
    }
    let until = ms(rules.head_timeout_ms as f64);
    let learned = route.attempts.as_ref().and_then(|attempts| attempts.learned_timeout.as_ref());
    match learned {
        Some(limit) if limit.in_force => {
            format!("timeout: {} to the head of an answer, as learned.", ms(limit.timeout_ms as f64))
        }
        Some(limit) => format!(
            "timeout: {until} to the head of an answer; {} was learned and is only watched: it would have broken {} of {} answers.",
            ms(limit.timeout_ms as f64),
            limit.broken,
            limit.watched
        ),
        None => format!("timeout: {until} to the head of an answer, until less is learned."),
    }
}

fn holdout(rules: &RouteRules) -> String {
    match rules.holdout {
        share if share > 0.0 => {
            format!("{} of its requests pass each technique by (`holdout`).", percent(share))
        }
        _ => "No request passes a technique by (`holdout` is 0).".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
