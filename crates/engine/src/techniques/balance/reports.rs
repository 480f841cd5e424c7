//! What an endpoint says of its own load beside its answers: how many requests it has in flight in all, from everybody.
//!
//! `x-lb-rif: 7` is what this proxy says in front of a service (`report_load`); `endpoint-load-metrics: TEXT named_metrics.rif=7`
//! is how others say it (ORCA). It is meant for who balances, so it is taken out of the answer.
//!
//! It is the endpoint's word about itself, and only that: one that says too much is asked less, one that says too little is
//! asked more until its own requests in flight, its slowness and its failures, which are counted here, say otherwise. Idea: the
//! feedback of C3 (NSDI 2015). When not to: one balancer in front of all endpoints, which knows it already.

use crate::http::{Fields, Name, NameSet};

/// More than any endpoint has in flight; who says more is taken to have this many.
const REPORTED_MAX: u32 = 10_000;

/// Takes what an endpoint says out of its answer: by the first field that can be read.
pub fn take(fields: &mut Fields) -> Option<u32> {
    if !fields.has_any(SAYS) {
        return None;
    }
    let own = fields.all(Name::XLbRif).find_map(number);
    let said = own.or_else(|| fields.all(Name::EndpointLoadMetrics).find_map(orca));
    fields.remove_known(Name::XLbRif);
    fields.remove_known(Name::EndpointLoadMetrics);
    said
}

/// The fields that say it.
const SAYS: NameSet = Name::XLbRif.bit() | Name::EndpointLoadMetrics.bit();

/// A whole number; anything else says nothing.
fn number(value: &[u8]) -> Option<u32> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    Some(number.parse().unwrap_or(u32::MAX).min(REPORTED_MAX))
}

/// The metric `rif` in the text form of ORCA: `TEXT cpu_utilization=0.3, named_metrics.rif=7`.
fn orca(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?.strip_prefix("TEXT ")?;
    let metrics = text.split(',').filter_map(|metric| metric.trim().split_once('='));
    let (_, rif) = metrics.into_iter().find(|(name, _)| *name == "named_metrics.rif")?;
    let rif: f64 = rif.parse().ok()?;
    (rif.is_finite() && rif >= 0.0).then(|| rif.min(f64::from(REPORTED_MAX)).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_FLIGHT: &str = Name::XLbRif.text();
    const ORCA: &str = Name::EndpointLoadMetrics.text();

    fn taken(lines: &[(&str, &str)]) -> (Option<u32>, usize) {
        let mut fields = Fields::default();
        fields.push(b"content-type", b"text/plain");
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        (take(&mut fields), fields.len())
    }

    #[test]
    fn what_an_endpoint_says_is_taken_and_not_passed_on() {
        assert_eq!(taken(&[]), (None, 1));
        assert_eq!(taken(&[("X-LB-RIF", "7")]), (Some(7), 1));
        assert_eq!(taken(&[(ORCA, "TEXT cpu_utilization=0.3, named_metrics.rif=7.0")]), (Some(7), 1));
        assert_eq!(taken(&[(ORCA, "TEXT cpu_utilization=0.3"), (IN_FLIGHT, "4")]), (Some(4), 1));
    }

    #[test]
    fn nonsense_says_nothing_and_what_cannot_be_is_bounded() {
        for nonsense in ["", "-1", "+1", "0x7", "7.5", "many", "7 8", "\u{665}"] {
            assert_eq!(taken(&[(IN_FLIGHT, nonsense)]), (None, 1), "{nonsense}");
        }
        for nonsense in
            ["named_metrics.rif=1", "TEXT named_metrics.rif=-1", "TEXT named_metrics.rif=NaN", "JSON {}"]
        {
            assert_eq!(taken(&[(ORCA, nonsense)]), (None, 1), "{nonsense}");
        }
        assert_eq!(taken(&[(IN_FLIGHT, "99999999999999999999")]), (Some(REPORTED_MAX), 1));
        assert_eq!(taken(&[(ORCA, "TEXT named_metrics.rif=1e300")]), (Some(REPORTED_MAX), 1));
    }
}
