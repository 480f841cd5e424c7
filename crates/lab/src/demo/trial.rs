//! What is measured of one act on a pool: what arrived at its replicas, and, where a region is lost, when requests
//! succeeded again.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::pools::{Pool, lost_during};
use super::{Act, Plan};
use crate::load::Report;
use crate::services::ReplicasReport;

/// An answer that took longer is called slow: several times what a healthy near replica takes for one in a hundred.
const SLOW_ANSWER: Duration = Duration::from_millis(100);

/// What the replicas of a pool saw in an act.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialReport {
    /// Copies of requests beyond the first that arrived at the replicas, as a share of the requests.
    pub extra_share: f64,
    /// Copies whose sender left before they were answered.
    pub cancelled: u64,
    /// Share of the copies that went where it is better not to ask: to the troubled replica, or to the far region.
    pub troubled_share: f64,
    /// Answers that took over 100 ms.
    pub slow_answers: u64,
    /// What the loss of the near region did, in the acts in which it is lost.
    pub loss: Option<LossReport>,
}

/// What the loss of a region did to its callers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossReport {
    /// How long it was lost, in milliseconds.
    pub lost_ms: f64,
    /// From the loss to the last request that failed before the region came back, in milliseconds; 0 when none failed.
    /// `None`: no request succeeded until then.
    pub again_after_ms: Option<f64>,
    /// Share of the copies that went to the near region from when it came back to the end of the act.
    pub near_share_after: f64,
}

/// One stretch of an act, with its end from the start of the act.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    pub(super) end: Duration,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// An act on a pool while it is on.
pub(super) struct Trial<'a> {
    pool: &'a Pool,
    began: Instant,
    lost: Option<Range<Duration>>,
    stretches: Vec<Stretch>,
    /// What the replicas had seen when the region came back.
    at_return: Option<ReplicasReport>,
}

impl<'a> Trial<'a> {
    pub(super) fn begin(pool: &'a Pool, act: Act, plan: Plan) -> Result<Self> {
        let is_lost = matches!(act, Act::LostPlain | Act::LostUnlag);
        // Both acts of a far region are on one pool; the clock that loses the near one is started in the second.
        if !matches!(act, Act::FarPlain | Act::FarUnlag) {
            pool.start_clock()?;
        }
        Ok(Self {
            pool,
            began: Instant::now(),
            lost: is_lost.then(|| lost_during(plan.length_of(act))),
            stretches: Vec::new(),
            at_return: None,
        })
    }

    /// Notes what a window of the load found, as it ends.
    pub(super) fn observe(&mut self, window: &Report) {
        let Some(lost) = &self.lost else { return };
        let end = self.began.elapsed();
        self.stretches.push(Stretch { end, answered: window.all.ok, failed: window.errors() });
        if end >= lost.end && self.at_return.is_none() {
            self.at_return = self.pool.report().ok();
        }
    }

    pub(super) fn copies(&self) -> u64 {
        self.pool.report().map_or(0, |report| report.copies)
    }

    /// What the replicas saw, once they have noticed who has gone.
    pub(super) fn end(self, load: &Report) -> Result<(u64, TrialReport)> {
        let seen = self.pool.settled()?;
        let gone = |report: &ReplicasReport| {
            report.replicas.iter().map(|r| r.cancelled_begun + r.cancelled_queued).sum()
        };
        let loss = self.lost.as_ref().map(|lost| LossReport {
            lost_ms: ms(lost.end - lost.start),
            again_after_ms: again_after(&self.stretches, lost).map(ms),
            near_share_after: near_share(self.pool, self.at_return.as_ref(), &seen),
        });
        let trial = TrialReport {
            extra_share: seen.extra(),
            cancelled: gone(&seen),
            troubled_share: self.pool.troubled().map(|replica| seen.share(replica)).sum(),
            slow_answers: load.all.latency.count_between(SLOW_ANSWER.as_nanos() as u64, u64::MAX),
            loss,
        };
        Ok((seen.copies, trial))
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Share of the copies since `before` that went to the near replicas; all since the clock was started when that is unknown.
fn near_share(pool: &Pool, before: Option<&ReplicasReport>, now: &ReplicasReport) -> f64 {
    let copies = now.copies.saturating_sub(before.map_or(0, |report| report.copies));
    let seen = |report: &ReplicasReport| -> u64 {
        report.replicas.iter().take(pool.near().len()).map(|replica| replica.seen).sum()
    };
    seen(now).saturating_sub(before.map_or(0, seen)) as f64 / copies.max(1) as f64
}

/// How long after the loss the last request failed before the region came back; `None` when nothing succeeded after that.
pub(super) fn again_after(stretches: &[Stretch], lost: &Range<Duration>) -> Option<Duration> {
    let during = || stretches.iter().filter(|stretch| stretch.end > lost.start && stretch.end <= lost.end);
    let last_failure = during().rfind(|stretch| stretch.failed > 0).map_or(lost.start, |s| s.end);
    let succeeded = during().any(|stretch| stretch.end > last_failure && stretch.answered > 0);
    succeeded.then(|| last_failure - lost.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_succeed_again_after_the_last_that_failed_before_the_region_came_back() {
        let stretch =
            |end_ms, answered, failed| Stretch { end: Duration::from_millis(end_ms), answered, failed };
        let lost = Duration::from_millis(100)..Duration::from_millis(300);
        let again = |stretches: &[Stretch]| again_after(stretches, &lost).map(ms);
        let before = stretch(50, 9, 3);
        let after = stretch(350, 9, 5);
        assert_eq!(again(&[before, stretch(150, 9, 0), stretch(200, 9, 0), after]), Some(0.0));
        assert_eq!(
            again(&[before, stretch(150, 2, 7), stretch(200, 9, 1), stretch(250, 9, 0), after]),
            Some(100.0)
        );
        assert_eq!(
            again(&[before, stretch(150, 2, 7), stretch(300, 9, 1), after]),
            None,
            "failed to the end"
        );
        assert_eq!(
            again(&[before, stretch(150, 0, 0), stretch(300, 0, 0), after]),
            None,
            "nothing was answered"
        );
    }
}
