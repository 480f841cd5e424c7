//! What is let in: `rate` and `criticality` of a route, `queue` of an upstream.

use std::time::Duration;

use crate::keys;
use crate::model::{Criticality, Limit, Queue, Rate, RateBy};
use crate::pattern::is_token;
use crate::problem::{Invalid, quoted};
use crate::reader::{Cursor, Value};

/// Most requests of a rate: more than one node can answer in a second.
const REQUESTS_MAX: u32 = 1_000_000;
const PERIODS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3_600))];

/// `None` within for `"off"`.
pub(super) fn rate(value: &Value<'_>) -> Option<Option<Rate>> {
    value.unless_word(|value| {
        if !value.is_table() {
            let (requests, per) = requests(value)?;
            return Some(Rate { requests, per, burst: Rate::burst_of(requests, per), by: RateBy::default() });
        }
        let mut table = value.table(&keys::RATE)?;
        let limit = table.need("limit").and_then(|value| requests(&value));
        let burst =
            table.take("burst").and_then(|value| value.number()).and_then(|burst| burst.try_into().ok());
        let by = table.take("by").and_then(|value| by(&value));
        table.finish();
        let (requests, per) = limit?;
        let burst = burst.unwrap_or_else(|| Rate::burst_of(requests, per));
        Some(Rate { requests, per, burst, by: by.unwrap_or_default() })
    })
}

/// `"100/s"`
fn requests(value: &Value<'_>) -> Option<(u32, Duration)> {
    if let Some(number) = value.as_integer() {
        let help = format!("write \"{number}/s\", \"{number}/m\" or \"{number}/h\"");
        value.error(format!("`{}` does not say in what time", value.shown()), help);
        return None;
    }
    value.parse(|text| {
        let refuse = |help: String| Invalid::new(format!("{} is not a rate", quoted(text)), help);
        let (digits, unit) = text.split_once('/').ok_or_else(|| refuse(value.help()))?;
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let (_, per) = PERIODS
            .into_iter()
            .find(|(name, _)| is_number && *name == unit)
            .ok_or_else(|| refuse(value.help()))?;
        match digits.parse() {
            Ok(requests @ 1..=REQUESTS_MAX) => Ok((requests, per)),
            Ok(0) => Err(refuse(
                "it refuses every request: take the route out, or answer with `respond`".to_owned(),
            )),
            _ => Err(refuse(format!("from 1 to {REQUESTS_MAX} in a second, a minute or an hour"))),
        }
    })
}

fn by(value: &Value<'_>) -> Option<RateBy> {
    match value.word() {
        Some("client") => Some(RateBy::Client),
        Some(_) => Some(RateBy::Route),
        None => value.parse(|text| match text.split_once(':') {
            Some(("header", name)) if is_token(name) && name.len() <= 256 => {
                Ok(RateBy::Header(name.to_ascii_lowercase()))
            }
            _ => Err(Invalid::new(
                format!("{} does not say what is counted by itself", quoted(text)),
                value.help(),
            )),
        }),
    }
}

pub(super) fn criticality(value: &Value<'_>) -> Option<Criticality> {
    Some(match value.choice()? {
        "critical-plus" => Criticality::CriticalPlus,
        "critical" => Criticality::Critical,
        "sheddable" => Criticality::Sheddable,
        _ => Criticality::Default,
    })
}

/// Where requests wait for an endpoint below its limit, `None` without a limit that makes them wait. One that was refused is not
/// held against `queue`.
pub(super) fn queue(table: &mut Cursor<'_>, limit: Option<Limit>) -> Option<Queue> {
    let is_enforced = limit.is_none_or(Limit::is_enforced);
    let default = Queue::default();
    let Some(value) = table.take("queue") else { return is_enforced.then_some(default) };
    if value.word().is_some() {
        return None;
    }
    let mut inner = value.table(&keys::QUEUE)?;
    let wait_max = inner.take("wait_max").and_then(|value| value.duration());
    let length_max = inner.take("length_max").and_then(|value| value.number());
    inner.finish();
    if !is_enforced {
        let help = "add `limit = \"adaptive\"` or a number, or take `queue` out";
        let message = "`queue` has no effect: no `limit` makes requests wait";
        table.reader.error(&table.key_span("queue"), message, help);
        return None;
    }
    Some(Queue {
        wait_max: wait_max.unwrap_or(default.wait_max),
        length_max: length_max.and_then(|length| length.try_into().ok()).unwrap_or(default.length_max),
    })
}
