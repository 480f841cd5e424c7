//! Why this endpoint, why (not) twice, why this region, why refused: sentences for whoever has to act on them, each with the
//! figures that decided. Pure: a request and what its route and upstream are set to in, text out.

use super::duration;
use crate::plane::{RouteRules, RouteStatus, UpstreamStatus};
use std::collections::BTreeMap;
use std::fmt::Write;
use unlag_record::{
    Against, Bound, Candidate, Choice, Fate, Hedge, How, Late, Placed, Recent, Refusal, Trigger,
};

/// More than this is what is known not to move, and not a time.
const SILENT_MS: f32 = 50_000.0;
/// A part of a cost below this explains nothing.
const PART_MIN_MS: f32 = 0.05;

/// What a request's route and upstream are set to now, as far as they are still there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// Its route.
    pub route: Option<&'a RouteStatus>,
    /// The upstream that its route forwards to.
    pub upstream: Option<&'a UpstreamStatus>,
}

/// One decision and why it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What was decided: `endpoint`, `region`, `hedge` or `refusal`.
    pub about: &'static str,
    /// Why.
    pub text: String,
}

/// Every decision about a request that is known, in the order in which they were made.
pub fn reasons(recent: &Recent, setting: &Setting<'_>) -> Vec<Reason> {
    let choice = recent.why.choice.as_ref();
    let all = [
        ("refusal", refusal(recent, setting)),
        ("region", choice.and_then(|choice| region(choice, recent.why.placed, &recent.method))),
        ("endpoint", choice.map(|choice| endpoint(choice, recent))),
        ("hedge", hedge(recent, setting)),
    ];
    let known = all.into_iter().filter_map(|(about, text)| Some(Reason { about, text: text? }));
    known.collect()
}

fn ms(ms: f32) -> String {
    duration((f64::from(ms.max(0.0)) * 1e6) as u64)
}

pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        share if share >= 1.0 => format!("{share:.0} %"),
        share => format!("{share:.1} %"),
    }
}

pub(super) fn plural(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Why this one of its endpoints.
fn endpoint(choice: &Choice<String, String>, recent: &Recent) -> String {
    let asked = &choice.chosen.endpoint;
    let of = choice.endpoints;
    let mut out = match choice.how {
        How::OnlyOne => format!("{asked} was asked, the only endpoint"),
        How::Look => format!("{asked} was asked to see whether any endpoint can be reached again"),
        How::RoundRobin => format!("{asked} was asked: it was its turn among {of} endpoints"),
        How::HeldOut => format!(
            "{asked} was asked: it was its turn among {of} endpoints, as the request was held out of the adaptive choice (`holdout`)"
        ),
        How::Hash => format!("{asked} was asked: of {of} endpoints it is where the request's like goes"),
        How::LeastRequest => {
            let count = plural(choice.chosen.in_flight.into(), "request", "requests");
            format!("{asked} was asked: of {of} endpoints it had the fewest in flight, {count}")
        }
        How::Adaptive | How::Spilled | How::KeptAtHome => {
            let drawn = usize::from(choice.compared) < usize::from(of);
            let drawn = if drawn { format!(", {} of them compared", choice.compared) } else { String::new() };
            format!("{asked} was asked of {of} endpoints{drawn}: it cost {}", cost(&choice.chosen))
        }
    };
    if let (How::Adaptive, Some(other)) = (choice.how, &choice.other) {
        let more_ms = other.cost.total_ms() - choice.chosen.cost.total_ms();
        let _ = match more_ms.abs() < PART_MIN_MS {
            true => {
                write!(out, "; {} would have cost the same, and of equals each has its turn", other.endpoint)
            }
            false => write!(out, "; next best was {} at {}", other.endpoint, cost(other)),
        };
    }
    out.push('.');
    out.push_str(&left_out(choice));
    if let Some(before) = &recent.why.before {
        let _ = write!(out, " The attempt before went to {} and failed: {}.", before.endpoint, before.cause);
    }
    out
}

/// What an endpoint would have cost and what that was made of: `212 ms (work 8.10 ms, failures 204 ms: 5 % of its last answers)`.
fn cost(candidate: &Candidate<String>) -> String {
    let Candidate { cost, in_flight, failing, slower, .. } = candidate;
    if cost.silence_ms > SILENT_MS {
        return format!("a price that nobody pays: it gives no sign of life, with {in_flight} in flight");
    }
    let mut parts = Vec::new();
    for (term, part_ms) in cost.terms() {
        if part_ms < PART_MIN_MS {
            continue;
        }
        let more = match term {
            "work" if *slower > 1.0 => format!(", {slower:.1} times slower than its peers"),
            "work" if *slower < 1.0 => format!(", {:.1} times faster than its peers", 1.0 / slower),
            "failures" => format!(": {} of its answers failed lately", percent(f64::from(*failing))),
            _ => String::new(),
        };
        parts.push(format!("{term} {}{more}", ms(part_ms)));
    }
    parts.push(format!("{in_flight} in flight"));
    format!("{} ({})", ms(cost.total_ms()), parts.join("; "))
}

/// Who had something against it, and whether the chosen one had.
fn left_out(choice: &Choice<String, String>) -> String {
    let mut out = String::new();
    if let Some(against) = choice.despite {
        let _ = write!(out, " It {}, and nobody better was left.", had(against, 1));
    }
    let others = choice.left_out.each().filter_map(|(against, count)| {
        let own = u8::from(choice.despite == Some(against));
        (count > own).then(|| format!("{} {}", count - own, had(against, count - own)))
    });
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        let _ = write!(out, " Of the others, {}.", others.join(", "));
    }
    out
}

/// What was against so many of them.
fn had(against: Against, count: u8) -> String {
    let (was, is) = if count == 1 { ("was", "is") } else { ("were", "are") };
    match against {
        Against::Elsewhere => format!("{is} in another region"),
        Against::Drained => format!("{was} taken out by an operator"),
        Against::NotPinned => format!("{was} left out, as an operator pinned the upstream"),
        Against::FailedIt => "had failed this request before".to_owned(),
        Against::RegionFailed => format!("{is} in a region of which others had failed this request"),
        Against::Unhealthy => "did not pass the health check".to_owned(),
        Against::Ejected => format!("{was} ejected after failures in a row"),
        Against::Full => format!("{was} at the limit"),
        Against::Joining => format!("{was} new or just back, with as much as is given so soon"),
        Against::Suspect => "gave no sign of life".to_owned(),
    }
}

/// Whether a request may be sent to two at once.
pub(super) fn may_be_copied(method: &str, rules: &RouteRules) -> bool {
    rules.idempotent || matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Whether its method says that it changes nothing.
pub(super) fn reads(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY")
}

/// Why this region, where there is more than one or the request was not free to choose.
fn region(choice: &Choice<String, String>, placed: Option<Placed>, method: &str) -> Option<String> {
    let region = choice.region.as_deref()?;
    if let Some(placed) = placed {
        let why = match placed {
            Placed::Primary if reads(method) => "its route says so".to_owned(),
            Placed::Primary => format!("a {} may change something", super::printable(method)),
            Placed::Writer => "its caller had just written, and reads what it wrote".to_owned(),
            Placed::Replica => "a replica asked for it".to_owned(),
        };
        return Some(format!("It had to go to {region}, the primary region: {why}."));
    }
    let home = choice.home.as_deref()?;
    Some(match (choice.how, &choice.other) {
        (How::Spilled, Some(best)) => format!(
            "It left {home}, the nearest region, for {region}, because {home} was busy: the best there, {}, would have \
             cost {}.",
            best.endpoint,
            cost(best)
        ),
        (How::KeptAtHome, Some(best)) => format!(
            "It stayed in {home}, the nearest region, although {} would have cost {}: as many had left it as may \
             (`spill.max`).",
            best.endpoint,
            cost(best)
        ),
        (How::Adaptive, _) if region == home => format!("{region} was the nearest region that was well."),
        (How::Adaptive, _) => {
            format!("It went to {region}: of {home}, the nearest region, nobody could as well be asked.")
        }
        // Other rules know no regions.
        _ => return None,
    })
}

/// Why a second copy was sent or not, and what it brought.
fn hedge(recent: &Recent, setting: &Setting<'_>) -> Option<String> {
    if let Some(hedge) = recent.hedge {
        return Some(considered(hedge, recent.why.late.as_ref()));
    }
    // Nobody was asked, or only for what the cache had: nothing to send twice.
    recent.why.choice.as_ref()?;
    let (rules, attempts) = setting.route.map(|route| (route.rules.as_ref(), route.attempts.as_ref()))?;
    let rules = rules?;
    let after_ns = attempts.and_then(|attempts| attempts.hedge_after_us).map(|us| (us * 1_000.0) as u64);
    let after = after_ns.map(duration);
    let no = |why: String| Some(format!("No second copy was sent: {why}."));
    let endpoints = setting.upstream.map_or(2, |upstream| upstream.endpoints.len());
    if rules.hedge.is_none() {
        return no(match after {
            Some(after) if endpoints > 1 => format!(
                "the route has no `hedge`; with `hedge = {{}}`, one would be due after {after}, or when the endpoint gives no \
                 sign of life"
            ),
            _ => "the route has no `hedge`".to_owned(),
        });
    }
    if recent.held_out.contains(&"hedge") {
        return no("the request was held out of it, to measure what it saves (`holdout`)".to_owned());
    }
    if !may_be_copied(&recent.method, rules) {
        let method = super::printable(&recent.method);
        return no(format!(
            "a {method} is not sent twice at once, unless its route says `idempotent = true`"
        ));
    }
    if endpoints < 2 {
        return no("there is no other endpoint".to_owned());
    }
    let has_changed = after_ns.is_some_and(|after_ns| recent.timeline.total_ns() > after_ns);
    no(match after {
        Some(after) if has_changed => {
            format!("none was due by what was known then; now one is after {after} without an answer")
        }
        Some(after) => {
            format!("none was due; one is after {after}, or when the endpoint gives no sign of life")
        }
        None => "it is not known yet how long this route takes, or copies for that did not pay".to_owned(),
    })
}

fn considered(hedge: Hedge, late: Option<&Late<String>>) -> String {
    let why = match (hedge.trigger, late) {
        (Trigger::Stall, Some(late)) => format!(
            "{} had given no sign of life for {}, where {} is the longest usual",
            late.first.as_deref().unwrap_or("the endpoint"),
            ms(late.after_ms),
            ms(late.usual_ms)
        ),
        (Trigger::Quantile, Some(late)) => format!(
            "it had been on its way for {}, and nearly all requests of this route are answered within {}",
            ms(late.after_ms),
            ms(late.usual_ms)
        ),
        (Trigger::Stall, None) => "the endpoint was silent for longer than it ever is".to_owned(),
        (Trigger::Quantile, None) => "it took longer than nearly all requests of this route".to_owned(),
    };
    let copy = late.and_then(|late| late.copy.as_deref()).unwrap_or("another endpoint");
    let first = late.and_then(|late| late.first.as_deref()).unwrap_or("the first");
    match hedge.fate {
        Fate::Won => format!("A second copy went to {copy}, because {why}; its answer came first."),
        Fate::Lost => {
            format!("A second copy went to {copy}, because {why}; {first} answered sooner, or better.")
        }
        Fate::NoBudget => format!(
            "No second copy was sent, although {why}: the work that copies may cost (`hedge.budget`) was used up."
        ),
        Fate::NoAlternative => {
            format!(
                "No second copy was sent, although {why}: no other endpoint had room for it and answered well."
            )
        }
        Fate::Overload => {
            let busy = match late.is_none_or(|late| late.first.is_none()) {
                true => "it waited for admission itself",
                false => "others waited for the upstream already, or it could not be reached",
            };
            format!("No second copy was sent, although {why}: {busy}.")
        }
    }
}

/// What most endpoints failed with last, as it is now.
fn last_failures(upstream: &UpstreamStatus) -> Option<String> {
    let mut counts = BTreeMap::new();
    let failures = upstream.endpoints.iter().filter_map(|endpoint| endpoint.last_error.as_deref());
    failures.for_each(|failure| *counts.entry(failure).or_insert(0) += 1);
    let (failure, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some(format!(" (the last failure of {count} of {}: `{failure}`)", upstream.endpoints.len()))
}

/// What stood against its waiting.
fn stood_against(bound: Bound, recent: &Recent, waiting: u32, waiting_max: u32, wait_max_ms: u32) -> String {
    if waiting_max == 0 {
        return "and nothing waits (`queue = \"off\"`)".to_owned();
    }
    let others = format!("{waiting} waited (at most {waiting_max})");
    match bound {
        Bound::Class => format!(
            "{others}, and as more came than was served, callers as critical as its own were refused before they waited"
        ),
        Bound::Length => format!("and the line was full: {others}, none of them less critical"),
        Bound::Wait => format!(
            "{others}, and it had waited {} (at most {})",
            duration(recent.timeline.spent_ns(unlag_record::Phase::Queue)),
            ms(wait_max_ms as f32)
        ),
    }
}

/// Why it was refused before it was sent.
fn refusal(recent: &Recent, setting: &Setting<'_>) -> Option<String> {
    let mut out = match (recent.cause?, recent.why.refusal) {
        (_, Some(Refusal::Overloaded { bound, limit, in_flight, waiting, waiting_max, wait_max_ms })) => {
            let line = stood_against(bound, recent, waiting, waiting_max, wait_max_ms);
            let limit = plural(limit.into(), "request", "requests");
            let were = if in_flight == 1 { "was" } else { "were" };
            format!("Refused: the upstream takes {limit} at a time, {in_flight} {were} in flight, {line}.")
        }
        (_, Some(Refusal::Doomed { left_ms, takes_ms })) => format!(
            "Refused: its caller waits for {} more, and nine of ten answers of this route take {} at least.",
            ms(left_ms),
            ms(takes_ms)
        ),
        ("rate", _) => {
            let rate = setting.route.and_then(|route| route.rules.as_ref()?.rate.as_deref());
            let rate = rate.map(|rate| format!(" ({rate})")).unwrap_or_default();
            format!("Refused: there were more requests than the `rate` of its route allows{rate}.")
        }
        ("upstream_lost", _) => {
            let failures = setting.upstream.and_then(last_failures).unwrap_or_default();
            format!(
                "Refused: none of the endpoints could be reached lately{failures}; one request at a time looks whether that has \
                 changed, and this was not the one."
            )
        }
        ("drained", _) => {
            "Refused: all endpoints are taken out by an operator, or left out by a pin; `undrain` and `unpin` put them back."
                .to_owned()
        }
        ("bad_idempotency_key", _) => {
            "Refused: its `Idempotency-Key` is not one value of 1 to 255 characters.".to_owned()
        }
        ("idempotency_key_reused", _) => {
            "Refused: its `Idempotency-Key` was used before with other content; another request needs another key.".to_owned()
        }
        ("idempotency_key_under_way", _) => {
            "Refused: a request with the same `Idempotency-Key` is under way; once that is answered, so is this.".to_owned()
        }
        ("idempotency_answer_not_kept", _) => {
            "Refused: a request with the same `Idempotency-Key` was executed, and its answer was larger than is kept, had trailers or came as a stream.".to_owned()
        }
        ("idempotent_request_failed", _) => {
            "Answered as the first request with the same `Idempotency-Key` was: that failed after it was sent and may have been executed, so it is not sent again, and nobody was asked.".to_owned()
        }
        ("idempotency_keys_full", _) => {
            "Refused: as many requests with an `Idempotency-Key` as may be are under way, or what is under way takes all memory for keys.".to_owned()
        }
        ("no_endpoint", _) => "Refused: the upstream has no endpoint.".to_owned(),
        ("undiscovered", _) => {
            "Refused: the name that its endpoints are looked up by has not resolved yet.".to_owned()
        }
        _ => return None,
    };
    if let Some(seconds) = recent.why.retry_after_s {
        let _ = write!(out, " Its caller was told to come again in {seconds} s.");
    }
    Some(out)
}

#[cfg(test)]
mod tests;
