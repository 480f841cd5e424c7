//! What a scenario is to show, and whether it does: pure functions of the table.

use super::arm::UNLAG_HEDGE;
use super::report::{Row, VariantReport};
use super::trials::Estimate;

/// The "first" column of the goals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    None,
    /// Both intervals of the paired ratios end at or below this.
    NoHarm {
        ratio: f64,
    },
    /// p99 against the best of a variant in which all replicas are well, with so many requests beyond the first copies.
    NearHealthy {
        ratio: f64,
        extra: f64,
        than: &'static str,
    },
    /// p99.9 against the best peer of the same run, with so many requests beyond the first copies.
    Freezes {
        ratio: f64,
        extra: f64,
    },
    /// p99 with hedging against without.
    HedgeHarmless {
        ratio: f64,
    },
    /// Errors that callers see.
    Errors {
        share: f64,
    },
    /// p99 with several workers against one.
    WorkersAsOne {
        ratio: f64,
    },
    Overload {
        goodput: f64,
        critical: f64,
        recovery_s: f64,
    },
    /// Share sent far, and p99 against another arm.
    Geo {
        far: f64,
        ratio: f64,
        than: &'static str,
    },
    /// It is lost without a loss, and asked again once it is back: as much and as fast as before.
    RegionDies {
        seconds: f64,
        home_s: f64,
        ratio: f64,
    },
    /// All replicas fail for a while: sent against asked meanwhile, success afterwards, and no crowd at the door.
    ServiceFails {
        sent: f64,
        recovery_s: f64,
        peak: f64,
    },
    /// Replicas come and go without errors, p99 against the best of a variant in which none does.
    Churn {
        ratio: f64,
        than: &'static str,
    },
    NothingTwice {
        extra: f64,
    },
    Deadlines {
        after_ms: f64,
    },
    OwnWrites,
    /// What the hold-outs say that hedging saves is what two arms say; where there is nothing to save, that it saves nothing.
    HoldOut {
        saves: bool,
    },
}

impl Goal {
    /// The goal in words; `None` where there is none.
    pub(super) fn text(self) -> Option<String> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        Some(match self {
            Self::None => return None,
            Self::NoHarm { ratio } => format!("both 95 % intervals end at or below {ratio}"),
            Self::NearHealthy { ratio, extra, than } => {
                format!("p99 at most {ratio} x the best of {than}, extra at most {}", percent(extra))
            }
            Self::Freezes { ratio, extra } => {
                format!("p99.9 at most {ratio} x the best peer's, extra at most {}", percent(extra))
            }
            Self::HedgeHarmless { ratio } => format!("p99 with hedging at most {ratio} x that without"),
            Self::Errors { share } => format!("errors at most {}", percent(share)),
            Self::WorkersAsOne { ratio } => format!("p99 at most {ratio} x that of one worker"),
            Self::Overload { goodput, critical, recovery_s } => format!(
                "goodput at least {}, critical at least {}, recovery within {recovery_s} s",
                percent(goodput),
                percent(critical)
            ),
            Self::Geo { far, ratio, than } => {
                format!("at most {} sent far, p99 at most {ratio} x that of {than}", percent(far))
            }
            Self::RegionDies { seconds, home_s, ratio } => format!(
                "99.9 % succeed within {seconds} s, no idempotent request fails, no write runs twice; \
                 home again within {home_s} s of its return, p99 then at most {ratio} x that before"
            ),
            Self::ServiceFails { sent, recovery_s, peak } => format!(
                "at most {sent} sent for each one asked, 95 % succeed {recovery_s} s after, \
                 no more than {peak:.1} x the load in any 250 ms then"
            ),
            Self::Churn { ratio, than } => format!("no errors, p99 at most {ratio} x the best of {than}"),
            Self::NothingTwice { extra } => {
                format!("no unsafe request runs twice, extra at most {}", percent(extra))
            }
            Self::Deadlines { after_ms } => {
                format!("the service is told no more than is left, nothing runs {after_ms} ms after it")
            }
            Self::OwnWrites => "nobody reads less than he wrote, no write fails".into(),
            Self::HoldOut { saves: true } => "hold-outs say what hedging saves, within their interval".into(),
            Self::HoldOut { saves: false } => "hold-outs say that hedging saves nothing".into(),
        })
    }

    /// The variant that has to have run for this to be said.
    pub(super) fn than(self) -> Option<&'static str> {
        match self {
            Self::NearHealthy { than, .. } | Self::Churn { than, .. } => Some(than),
            _ => None,
        }
    }

    /// Whether a row meets it; `None` where that cannot be said. `healthy_p99_ms` is the best p99 of [`Goal::than`].
    pub(super) fn is_met(self, row: &Row, of: &VariantReport, healthy_p99_ms: Option<f64>) -> Option<bool> {
        let fact = |name: &str| row.facts.get(name).copied();
        let named = |name: &str| of.rows.iter().find(|row| row.arm == name);
        let p99 = row.p99_ms.map(|f| f.value);
        Some(match self {
            Self::None => return None,
            // What it is compared with is not compared with itself.
            Self::HedgeHarmless { .. }
            | Self::WorkersAsOne { .. }
            | Self::NoHarm { .. }
            | Self::OwnWrites
                if row.arm == of.reference =>
            {
                return None;
            }
            Self::NoHarm { ratio } => {
                let [p50, p99] =
                    [&of.paired_p50, &of.paired_p99].map(|paired| paired.as_ref().map(|r| r.high));
                p50? <= ratio && p99? <= ratio
            }
            Self::NearHealthy { ratio, extra, .. } => p99? <= ratio * healthy_p99_ms? && row.extra <= extra,
            Self::Freezes { ratio, extra } => {
                let peers = of.rows.iter().filter(|row| !row.own).filter_map(|row| row.p999_ms);
                let best = peers.map(|f| f.value).reduce(f64::min)?;
                row.p999_ms?.value <= ratio * best && row.extra <= extra
            }
            Self::HedgeHarmless { ratio } => p99? <= ratio * named(&of.reference)?.p99_ms?.value,
            Self::Errors { share } => row.error_share <= share,
            Self::WorkersAsOne { ratio } => p99? <= ratio * named(&of.reference)?.p99_ms?.value,
            Self::Overload { goodput, critical, recovery_s } => {
                fact("goodput")? >= goodput
                    && fact("critical_ok")? >= critical
                    && fact("recovery_s")? <= recovery_s
            }
            Self::Geo { far, ratio, than } => {
                row.watched_share? <= far && p99? <= ratio * named(than)?.p99_ms?.value
            }
            Self::RegionDies { seconds, home_s, ratio } => {
                fact("recovery_s")? <= seconds
                    && fact("failed_idempotent")? == 0.0
                    && fact("unsafe_executed_twice")? == 0.0
                    && fact("home_again_s")? <= home_s
                    && fact("p99_after_ms")? <= ratio * fact("p99_before_ms")?
            }
            Self::ServiceFails { sent, recovery_s, peak } => {
                fact("sent_to_asked")? <= sent
                    && fact("recovery_s")? <= recovery_s
                    && fact("peak_afterwards")? <= peak
            }
            Self::Churn { ratio, .. } => row.error_share == 0.0 && p99? <= ratio * healthy_p99_ms?,
            Self::NothingTwice { extra } => fact("unsafe_executed_twice")? == 0.0 && row.extra <= extra,
            Self::Deadlines { after_ms } => {
                fact("with_deadline")? > 0.99
                    && fact("deadline_too_late")? <= 0.001
                    && fact("worked_after_deadline_ms")? <= after_ms
            }
            Self::OwnWrites => fact("stale_own_reads")? == 0.0 && fact("failed_writes")? == 0.0,
            Self::HoldOut { saves } => {
                let mean = |row: &Row| Estimate::from_facts(&row.facts, "mean_ms", "mean_error_ms");
                let said = Estimate::from_facts(&row.facts, "saved_ms", "saved_error_ms")?;
                let truth = mean(named(&of.reference)?)?.minus(mean(named(UNLAG_HEDGE.name)?)?);
                // Few that were held out cannot tell a little from nothing; that they say nothing wrong is enough.
                let is_sure = said.ms > said.error_ms || (saves && said.error_ms > truth.ms);
                said.agrees_with(truth) && is_sure == saves
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::paired::Ratio;
    use super::super::report::Figure;
    use super::*;

    fn row(arm: &str, own: bool, p99_ms: f64, p999_ms: f64) -> Row {
        let figure = |value| Some(Figure { value, low: value, high: value });
        Row { arm: arm.into(), own, p99_ms: figure(p99_ms), p999_ms: figure(p999_ms), ..Row::default() }
    }

    #[test]
    fn freezes_are_judged_by_the_best_peer_and_by_what_the_copies_cost() {
        let goal = Goal::Freezes { ratio: 0.4, extra: 0.025 };
        let mut of = VariantReport {
            rows: vec![row("a", false, 1.0, 900.0), row("b", false, 1.0, 800.0)],
            ..VariantReport::default()
        };
        of.rows.push(row("unlag", true, 1.0, 1.0));
        assert_eq!(goal.is_met(&row("unlag", true, 1.0, 320.0), &of, None), Some(true));
        assert_eq!(goal.is_met(&row("unlag", true, 1.0, 321.0), &of, None), Some(false));
        let dear = Row { extra: 0.03, ..row("unlag", true, 1.0, 100.0) };
        assert_eq!(goal.is_met(&dear, &of, None), Some(false));
        of.rows.retain(|row| row.own);
        assert_eq!(goal.is_met(&dear, &of, None), None, "without a peer nothing can be said");
    }

    #[test]
    fn no_harm_is_judged_by_the_end_of_both_intervals() {
        let ratio = |high| Some(Ratio { median: 1.0, low: 0.9, high, n: 20 });
        let goal = Goal::NoHarm { ratio: 1.04 };
        let met = |p50, p99| {
            let of =
                VariantReport { paired_p50: ratio(p50), paired_p99: ratio(p99), ..VariantReport::default() };
            goal.is_met(&row("unlag", true, 1.0, 1.0), &of, None)
        };
        assert_eq!([met(1.03, 1.04), met(1.05, 1.0), met(1.0, 1.05)], [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn a_missing_fact_is_no_verdict() {
        let of = VariantReport::default();
        let mut found = row("unlag", true, 80.0, 150.0);
        let near = Goal::NearHealthy { ratio: 1.25, extra: 0.05, than: "t2-healthy" };
        assert_eq!(near.is_met(&found, &of, None), None);
        assert_eq!(near.is_met(&found, &of, Some(64.0)), Some(true));
        assert_eq!(near.is_met(&Row { extra: 0.06, ..found.clone() }, &of, Some(64.0)), Some(false));
        assert_eq!(Goal::OwnWrites.is_met(&found, &of, None), None);
        found.facts.insert("stale_own_reads".into(), 1.0);
        found.facts.insert("failed_writes".into(), 0.0);
        assert_eq!(Goal::OwnWrites.is_met(&found, &of, None), Some(false));
    }

    #[test]
    fn a_region_has_to_come_home_and_a_service_to_be_left_alone() {
        let met = |goal: Goal, facts: &[(&str, f64)]| {
            let mut found = row("unlag", true, 80.0, 150.0);
            found.facts = facts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            goal.is_met(&found, &VariantReport::default(), None)
        };
        let region = Goal::RegionDies { seconds: 2.0, home_s: 10.0, ratio: 1.5 };
        let back = |home_s, p99_after_ms| {
            let lost = [("recovery_s", 1.0), ("failed_idempotent", 0.0), ("unsafe_executed_twice", 0.0)];
            let back = [("home_again_s", home_s), ("p99_before_ms", 80.0), ("p99_after_ms", p99_after_ms)];
            met(region, &[lost, back].concat())
        };
        assert_eq!([back(10.0, 120.0), back(10.25, 80.0), back(0.0, 121.0)], [true, false, false].map(Some));
        assert_eq!(back(0.0, f64::NAN), Some(false), "nothing was measured afterwards");
        let service = Goal::ServiceFails { sent: 1.2, recovery_s: 1.0, peak: 2.0 };
        let failed = |sent, recovery_s, peak| {
            let facts = [("sent_to_asked", sent), ("recovery_s", recovery_s), ("peak_afterwards", peak)];
            met(service, &facts)
        };
        assert_eq!(
            [failed(1.2, 1.0, 2.0), failed(1.21, 0.0, 1.0), failed(1.0, 1.25, 1.0), failed(1.0, 0.0, 2.1)],
            [true, false, false, false].map(Some)
        );
    }
}
