//! What was gained where there was trouble, in words: the plain way beside unlag. Every number is from the run, and so is
//! every verdict: where nothing was gained, it says so.

use super::{Act, ActReport, TrialReport};
use crate::bench::duration;

/// Times this near to each other are the same: two runs of one thing differ as much.
const SAME_WITHIN: f64 = 1.2;

/// The same load twice.
struct Pair<'a> {
    plain: &'a ActReport,
    unlag: &'a ActReport,
    plain_trial: &'a TrialReport,
    unlag_trial: &'a TrialReport,
}

/// One sentence for each trouble of which both acts were measured.
pub(super) fn gains(acts: &[ActReport]) -> Vec<String> {
    let pair = |plain, unlag| {
        let find =
            |act| acts.iter().find(|report| report.act == act).filter(|report| report.latency_us.p50 > 0.0);
        let (plain, unlag) = (find(plain)?, find(unlag)?);
        Some(Pair { plain, unlag, plain_trial: plain.trial.as_ref()?, unlag_trial: unlag.trial.as_ref()? })
    };
    let said = [
        pair(Act::SlowPlain, Act::SlowUnlag).map(|pair| slow(&pair)),
        pair(Act::FreezingPlain, Act::FreezingUnlag).map(|pair| freezing(&pair)),
        pair(Act::FailingPlain, Act::FailingUnlag).map(|pair| failing(&pair)),
        pair(Act::FarPlain, Act::FarUnlag).map(|pair| far(&pair)),
        pair(Act::LostPlain, Act::LostUnlag).and_then(|pair| lost(&pair)),
    ];
    said.into_iter().flatten().collect()
}

fn us(value: f64) -> String {
    duration(value * 1e3)
}

/// What became of a time.
fn verdict(before: f64, with: f64) -> String {
    let ratio = before / with.max(1.0);
    if ratio >= SAME_WITHIN {
        format!("{ratio:.1} times less")
    } else if ratio > 1.0 / SAME_WITHIN {
        "nothing gained".into()
    } else {
        format!("{:.1} times MORE", 1.0 / ratio.max(1e-3))
    }
}

/// `p99 290 ms -> 45 ms (6.4 times less)`
fn change(name: &str, pair: &Pair<'_>, of: impl Fn(&ActReport) -> f64) -> String {
    let (before, with) = (of(pair.plain), of(pair.unlag));
    format!("{name} {} -> {} ({})", us(before), us(with), verdict(before, with))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn slow(pair: &Pair<'_>) -> String {
    format!(
        "A replica ten times slower than its two neighbours got {} of the requests in turn and {} from the adaptive balance: {}, {}.",
        percent(pair.plain_trial.troubled_share),
        percent(pair.unlag_trial.troubled_share),
        change("p50", pair, |act| act.latency_us.p50),
        change("p99", pair, |act| act.latency_us.p99)
    )
}

fn freezing(pair: &Pair<'_>) -> String {
    format!(
        "Where one of three replicas freezes for 300 ms every 1.3 s, hedging took {}, {}; over 100 ms took {} of {} requests before \
         and {} of {} with it. It cost {} more requests at the replicas; {} copies were cancelled.",
        change("p99", pair, |act| act.latency_us.p99),
        change("p99.9", pair, |act| act.latency_us.p999),
        pair.plain_trial.slow_answers,
        pair.plain.requests,
        pair.unlag_trial.slow_answers,
        pair.unlag.requests,
        percent(pair.unlag_trial.extra_share),
        pair.unlag_trial.cancelled
    )
}

fn failing(pair: &Pair<'_>) -> String {
    format!(
        "Where one of three replicas answers 500 at once, callers saw {} errors in {} requests when the three were asked in turn, and {} \
         in {} where errors count as load: {}. It cost {} more requests at the replicas.",
        pair.plain.errors,
        pair.plain.requests,
        pair.unlag.errors,
        pair.unlag.requests,
        fewer_errors(pair),
        percent(pair.unlag_trial.extra_share)
    )
}

/// What became of the errors, as shares of the requests.
fn fewer_errors(pair: &Pair<'_>) -> String {
    let share = |act: &ActReport| act.errors as f64 / act.requests.max(1) as f64;
    let (before, with) = (share(pair.plain), share(pair.unlag));
    if pair.plain.errors == 0 && pair.unlag.errors == 0 {
        "nothing to gain".into()
    } else if pair.unlag.errors == 0 {
        "all gone".into()
    } else if before >= with * SAME_WITHIN {
        format!("{:.0} times less", before / with)
    } else if before > with / SAME_WITHIN {
        "nothing gained".into()
    } else {
        "MORE than before".into()
    }
}

fn far(pair: &Pair<'_>) -> String {
    format!(
        "With as many replicas 30 ms away as near, least-request sent {} far and regions {}: {}, {}.",
        percent(pair.plain_trial.troubled_share),
        percent(pair.unlag_trial.troubled_share),
        change("p50", pair, |act| act.latency_us.p50),
        change("p99", pair, |act| act.latency_us.p99)
    )
}

fn lost(pair: &Pair<'_>) -> Option<String> {
    let (before, with) = (pair.plain_trial.loss.as_ref()?, pair.unlag_trial.loss.as_ref()?);
    let again = |after: Option<f64>| match after {
        Some(ms) if ms > 0.0 => format!("the last failed {} after the loss", us(ms * 1e3)),
        Some(_) => "none while it was lost".into(),
        None => "none succeeded until it was back".into(),
    };
    Some(format!(
        "The near region was lost for {}: {} of {} requests failed the plain way ({}), {} of {} with regions and retries ({}): {}. \
         From its return to the end of the act {} went near again the plain way, {} with regions.",
        us(with.lost_ms * 1e3),
        pair.plain.errors,
        pair.plain.requests,
        again(before.again_after_ms),
        pair.unlag.errors,
        pair.unlag.requests,
        again(with.again_after_ms),
        fewer_errors(pair),
        percent(before.near_share_after),
        percent(with.near_share_after)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{LossReport, act_report};
    use super::*;
    use crate::load::Report;

    /// Each act with its requests, errors, median and 99th percentile, and what the replicas saw.
    fn act(act: Act, errors: u64, p50_ms: f64, p99_ms: f64, trial: TrialReport) -> ActReport {
        let mut report = act_report(act, &Report::default(), 1_000, Vec::new());
        (report.requests, report.errors, report.trial) = (1_000, errors, Some(trial));
        (report.latency_us.p50, report.latency_us.p99) = (p50_ms * 1e3, p99_ms * 1e3);
        report.latency_us.p999 = p99_ms * 2e3;
        report
    }

    fn trial(troubled_share: f64, slow_answers: u64) -> TrialReport {
        TrialReport { extra_share: 0.012, cancelled: 9, troubled_share, slow_answers, loss: None }
    }

    fn lost(again_after_ms: Option<f64>) -> TrialReport {
        let loss = LossReport { lost_ms: 1_200.0, again_after_ms, near_share_after: 0.5 };
        TrialReport { loss: Some(loss), ..trial(0.5, 0) }
    }

    fn only(acts: &[ActReport]) -> String {
        let said = gains(acts);
        assert_eq!(said.len(), 1, "{said:?}");
        said.concat()
    }

    #[test]
    fn what_is_said_of_a_slow_replica_follows_the_measures_whichever_way_they_fall() {
        let plain = act(Act::SlowPlain, 0, 12.0, 240.0, trial(0.333, 9));
        let said = |p50, p99| only(&[plain.clone(), act(Act::SlowUnlag, 0, p50, p99, trial(0.02, 1))]);
        let better = said(9.0, 40.0);
        assert!(better.contains("33.3 % of the requests in turn and 2.0 %"), "{better}");
        assert!(better.contains("p99 240 ms -> 40.0 ms (6.0 times less)"), "{better}");
        let same = said(11.9, 239.0);
        assert!(same.matches("(nothing gained)").count() == 2 && !same.contains("less"), "{same}");
        assert!(said(12.0, 720.0).contains("p99 240 ms -> 720 ms (3.0 times MORE)"));
    }

    #[test]
    fn what_hedging_cost_is_said_beside_what_it_gained() {
        let plain = act(Act::FreezingPlain, 0, 10.0, 70.0, trial(0.3, 11));
        let said = only(&[plain, act(Act::FreezingUnlag, 0, 10.0, 70.0, trial(0.3, 12))]);
        assert!(said.contains("p99.9 140 ms -> 140 ms (nothing gained)"), "{said}");
        assert!(said.contains("11 of 1000 requests before and 12 of 1000 with it"), "{said}");
        assert!(
            said.contains("It cost 1.2 % more requests at the replicas; 9 copies were cancelled"),
            "{said}"
        );
    }

    #[test]
    fn as_many_errors_as_before_are_no_gain_and_more_are_called_so() {
        let plain = act(Act::FailingPlain, 333, 9.0, 40.0, trial(0.333, 0));
        let said =
            |errors| only(&[plain.clone(), act(Act::FailingUnlag, errors, 9.0, 40.0, trial(0.333, 0))]);
        assert!(said(3).contains("3 in 1000 where errors count as load: 111 times less"), "{}", said(3));
        assert!(said(0).contains("all gone") && said(330).contains("nothing gained"));
        assert!(said(900).contains("MORE than before"));
    }

    #[test]
    fn a_lost_region_is_told_with_its_failures_and_until_when_there_were_some() {
        let plain = act(Act::LostPlain, 15, 9.0, 90.0, lost(Some(104.0)));
        let said =
            |errors, again| only(&[plain.clone(), act(Act::LostUnlag, errors, 9.0, 90.0, lost(again))]);
        let good = said(0, Some(0.0));
        assert!(
            good.contains("15 of 1000 requests failed the plain way (the last failed 104 ms after"),
            "{good}"
        );
        assert!(
            good.contains("0 of 1000 with regions and retries (none while it was lost): all gone"),
            "{good}"
        );
        let bad = said(300, None);
        assert!(bad.contains("(none succeeded until it was back): MORE than before"), "{bad}");
    }

    #[test]
    fn a_pair_of_which_one_was_not_measured_teaches_nothing() {
        let alone = act(Act::SlowPlain, 0, 12.0, 240.0, trial(0.333, 9));
        let silent = act(Act::SlowUnlag, 1_000, 0.0, 0.0, trial(0.0, 0));
        assert!(gains(std::slice::from_ref(&alone)).is_empty() && gains(&[alone, silent]).is_empty());
    }
}
