//! The comparison: every policy in every scenario, beside round robin or least-request, as text or JSON.

use serde::Serialize;

use super::outcome::Outcome;
use super::policy::Policy;
use super::scenario::Scenario;

/// One policy's figures in one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// The policy's name.
    pub policy: String,
    /// Mean latency, ms.
    pub mean_ms: f64,
    /// Median, ms.
    pub p50_ms: f64,
    /// ms
    pub p99_ms: f64,
    /// ms
    pub p999_ms: f64,
    /// Median against the reference policy's.
    pub p50_ratio: f64,
    /// p99 against the reference policy's.
    pub p99_ratio: f64,
    /// p99.9 against the reference policy's.
    pub p999_ratio: f64,
    /// Percent of requests that failed or timed out.
    pub failed_percent: f64,
    /// Attempts beyond the first, in percent of the requests.
    pub extra_percent: f64,
    /// Percent of the attempts sent to the first replica, the odd one where there is one.
    pub first_percent: f64,
    /// Percent of the attempts sent far away.
    pub far_percent: f64,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// In these worlds.
    pub scenarios: Vec<Scenario>,
    /// These policies; the first is what the others are compared with.
    pub policies: Vec<Policy>,
    /// So many seeds, from 1.
    pub seeds: u64,
    /// Requests for each.
    pub requests: usize,
}

impl Comparison {
    /// Runs everything, telling each row as it is there.
    pub fn run(&self, mut tell: impl FnMut(&Row)) {
        for scenario in &self.scenarios {
            let mut reference = None;
            for policy in &self.policies {
                let outcome = super::run(scenario, policy, self.seeds, self.requests);
                tell(&row(scenario, policy, &outcome, reference.get_or_insert_with(|| outcome.clone())));
            }
        }
    }
}

fn row(scenario: &Scenario, policy: &Policy, outcome: &Outcome, reference: &Outcome) -> Row {
    let ratio = |q| outcome.quantile_ms(q) / reference.quantile_ms(q).max(1e-6);
    Row {
        scenario: scenario.name.to_owned(),
        policy: policy.name.clone(),
        mean_ms: outcome.mean_ms(),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        p999_ms: outcome.quantile_ms(0.999),
        p50_ratio: ratio(0.5),
        p99_ratio: ratio(0.99),
        p999_ratio: ratio(0.999),
        failed_percent: 100.0 * outcome.failed_share(),
        extra_percent: 100.0 * outcome.extra_share(),
        first_percent: 100.0 * outcome.sent_share(|replica| replica == 0),
        far_percent: 100.0 * outcome.sent_share(|replica| scenario.is_far(replica)),
    }
}

/// What the columns of [`Row::text`] are.
pub const HEADER: &str = "scenario     policy                  mean     p50     p99   p99.9 ms   p50   p99 p99.9 x   \
                          failed  extra  first    far %";

impl Row {
    /// One line of the table.
    pub fn text(&self) -> String {
        format!(
            "{:<12} {:<20} {:>7.2} {:>7.2} {:>7.2} {:>7.2}    {:>5.2} {:>5.2} {:>5.2}    {:>6.2} {:>6.2} {:>6.2} {:>6.2}",
            self.scenario,
            self.policy,
            self.mean_ms,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.p50_ratio,
            self.p99_ratio,
            self.p999_ratio,
            self.failed_percent,
            self.extra_percent,
            self.first_percent,
            self.far_percent,
        )
    }
}
