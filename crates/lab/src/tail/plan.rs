//! What is sent, and when: a pure function of the load and a seed, so that every arm of a round is asked the same.

use std::time::Duration;

use crate::random::Random;

/// One stretch of load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phase {
    /// Requests per second.
    pub(super) rate: f64,
    pub(super) requests: usize,
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Get,
    Post,
    /// An answer in twenty pieces.
    Stream,
    /// A GET that answers 1 MiB.
    Download,
    /// A POST of 1 MiB.
    Upload,
    /// A GET with 50 ms of time in all.
    Deadline,
    /// The same, said as gRPC says it.
    GrpcDeadline,
    /// Reads a key.
    Read(u64),
    /// Writes a key.
    Write(u64),
}

impl Kind {
    pub(super) fn has_deadline(self) -> bool {
        matches!(self, Self::Deadline | Self::GrpcDeadline)
    }

    pub(super) fn is_unsafe(self) -> bool {
        matches!(self, Self::Post | Self::Upload | Self::Write(_))
    }
}

/// Which kinds, with their weights. One alone is always taken.
pub(super) type Mix = &'static [(Kind, u32)];

pub(super) const GETS: Mix = &[(Kind::Get, 1)];

/// One request to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Call {
    /// When it is due, from the start.
    pub(super) at: Duration,
    /// The same in all arms of a round, and in no other round.
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// It says that it must not be shed.
    pub(super) critical: bool,
    /// It goes to a replica, past the proxy.
    pub(super) direct: bool,
    /// Which phase it belongs to.
    pub(super) phase: usize,
}

/// What a plan is made of.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) phases: Vec<Phase>,
    pub(super) mix: Mix,
    /// Share of requests that are critical.
    pub(super) critical: f64,
    /// Share of requests that go to the replicas past the proxy.
    pub(super) direct: f64,
    /// Keys of a [`Kind::Read`] or [`Kind::Write`] are drawn from so many.
    pub(super) keys: u64,
}

impl Load {
    pub(super) fn requests(&self) -> usize {
        self.phases.iter().map(|phase| phase.requests).sum()
    }

    /// How long it is offered, on average.
    pub(super) fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| phase.requests as f64 / phase.rate).sum()
    }

    /// The calls of a round: Poisson arrivals, numbered from `first_id`.
    pub(super) fn calls(&self, seed: u64, first_id: u64) -> Vec<Call> {
        let mut random = Random::new(seed);
        let weights: u64 = self.mix.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut calls = Vec::with_capacity(self.requests());
        let mut at_s = 0.0;
        for (phase, part) in self.phases.iter().enumerate() {
            for _ in 0..part.requests {
                at_s += random.exponential(1.0 / part.rate);
                calls.push(Call {
                    at: Duration::from_secs_f64(at_s),
                    id: first_id + calls.len() as u64,
                    kind: self.kind(random.below(weights), random.below(self.keys.max(1))),
                    critical: random.unit() < self.critical,
                    direct: self.direct > 0.0 && random.unit() < self.direct,
                    phase,
                });
            }
        }
        calls
    }

    fn kind(&self, ticket: u64, key: u64) -> Kind {
        let mut left = ticket;
        for (kind, weight) in self.mix {
            if left < u64::from(*weight) {
                return match kind {
                    Kind::Read(_) => Kind::Read(key),
                    Kind::Write(_) => Kind::Write(key),
                    other => *other,
                };
            }
            left -= u64::from(*weight);
        }
        Kind::Get
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_keeps_rates_and_shares() {
        let load = Load {
            phases: vec![Phase { rate: 1_000.0, requests: 20_000 }, Phase { rate: 100.0, requests: 2_000 }],
            mix: &[(Kind::Get, 9), (Kind::Write(0), 1)],
            critical: 0.2,
            direct: 0.3,
            keys: 5,
        };
        let calls = load.calls(3, 500);
        assert_eq!(calls, load.calls(3, 500));
        assert_ne!(calls, load.calls(4, 500));
        assert!(calls.is_sorted_by_key(|call| call.at));
        assert_eq!((calls[0].id, calls[21_999].id), (500, 22_499));
        let first_phase = calls[19_999].at.as_secs_f64();
        assert!((first_phase - 20.0).abs() < 0.6, "{first_phase}");
        assert!((calls[21_999].at.as_secs_f64() - first_phase - 20.0).abs() < 1.8);
        let writes = calls.iter().filter(|call| call.kind.is_unsafe()).count() as f64 / 22_000.0;
        assert!((writes - 0.1).abs() < 0.01, "{writes}");
        let critical = calls.iter().filter(|call| call.critical).count() as f64 / 22_000.0;
        assert!((critical - 0.2).abs() < 0.01, "{critical}");
        let direct = calls.iter().filter(|call| call.direct).count() as f64 / 22_000.0;
        assert!((direct - 0.3).abs() < 0.01, "{direct}");
        assert!((0..5).all(|key| calls.iter().any(|call| call.kind == Kind::Write(key))));
        assert!((load.seconds() - 40.0).abs() < 1e-9);
    }
}
