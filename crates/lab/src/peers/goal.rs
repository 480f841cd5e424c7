//! What a scenario is to show, and whether it does. The numbers are those that unlag is held to; the others are judged by
//! them too, for comparison.

/// A goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// The origin is asked once, and waiting for it adds little.
    OneFetch {
        /// Added to the median, in milliseconds.
        added_ms: f64,
    },
    /// The same where something stale is stored, which nobody may be given.
    OneFreshFetch {
        /// Added to the median, in milliseconds.
        added_ms: f64,
    },
    /// Nobody can share; asking all at once through the cache takes so many times as long as without it.
    TimesDirect(f64),
    /// What is stale is served as fast as what is fresh, and fetched again once.
    AsFastAsAHit {
        /// The 99th percentile above that of hits, in milliseconds.
        added_ms: f64,
    },
    /// Everybody is served while the origin fails, and it is asked once a second at most ([`probes_allowed`]).
    Served,
    /// Who comes later gets a stream from its beginning, at once.
    JoinsAStream {
        /// Until the first byte of content, in milliseconds.
        first_byte_ms: f64,
    },
    /// CPU time of a hit, in that of the reference.
    Ratio(f64),
    /// Everything is held, and memory grows by the bound at most, give or take this share of it.
    AllHeld(f64),
    /// Memory grows by what was configured, give or take this share of it.
    Within(f64),
}

/// What was measured, as far as a goal looks at it: medians over the rounds, but the worst round for counts. What is not
/// there was not measured, and then no goal that needs it is met.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    /// Fewest and most requests that the origin got in a round.
    pub(super) origin_requests: Option<(u64, u64)>,
    /// Callers without the whole right answer, in all rounds.
    pub(super) faults: u64,
    pub(super) added_p50_us: Option<f64>,
    pub(super) added_to_hits_us: Option<f64>,
    pub(super) times_direct: Option<f64>,
    /// Requests to a failing origin beyond those allowed, in the worst round.
    pub(super) probes_too_many: Option<u64>,
    pub(super) first_byte_us: Option<f64>,
    pub(super) ratio: Option<f64>,
    /// Growth over the bound.
    pub(super) growth: Option<f64>,
    /// Of what was stored, the share that is still there.
    pub(super) held_share: Option<f64>,
}

/// Requests that a failing origin may get in so long a time: the first, and another with every whole second after it.
pub(super) fn probes_allowed(seconds: f64) -> u64 {
    1 + seconds as u64
}

impl Goal {
    /// The goal in words.
    pub(super) fn text(self) -> String {
        match self {
            Self::OneFetch { added_ms } => format!("1 origin request, <= {added_ms} ms added"),
            Self::OneFreshFetch { added_ms } => {
                format!("1 origin request, <= {added_ms} ms added, nothing stale")
            }
            Self::TimesDirect(times) => format!("<= {times} x direct"),
            Self::AsFastAsAHit { added_ms } => {
                format!("1 origin request, p99 <= {added_ms} ms above that of hits")
            }
            Self::Served => "all served, one origin request a second at most".to_owned(),
            Self::JoinsAStream { first_byte_ms } => {
                format!("1 origin request, first byte <= {first_byte_ms} ms")
            }
            Self::Ratio(ratio) => format!("<= {ratio} x nginx"),
            Self::AllHeld(share) => format!("all held, at most {:.0} % above the bound", share * 100.0),
            Self::Within(share) => format!("within {:.0} % of the bound", share * 100.0),
        }
    }

    /// Whether it is met. No goal is met by an answer that is wrong or missing.
    pub(super) fn is_met(self, measured: &Measured) -> bool {
        let at_most = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
        let is_asked_once = measured.origin_requests == Some((1, 1));
        let is_reached = match self {
            Self::OneFetch { added_ms } => is_asked_once && at_most(measured.added_p50_us, added_ms * 1e3),
            // What took much less time than the origin takes was not fetched from it.
            Self::OneFreshFetch { added_ms } => {
                is_asked_once
                    && at_most(measured.added_p50_us, added_ms * 1e3)
                    && measured.times_direct.is_some_and(|times| times > 0.5)
            }
            Self::TimesDirect(times) => at_most(measured.times_direct, times),
            Self::AsFastAsAHit { added_ms } => {
                is_asked_once && at_most(measured.added_to_hits_us, added_ms * 1e3)
            }
            Self::Served => measured.probes_too_many == Some(0),
            Self::JoinsAStream { first_byte_ms } => {
                is_asked_once && at_most(measured.first_byte_us, first_byte_ms * 1e3)
            }
            Self::Ratio(ratio) => at_most(measured.ratio, ratio),
            Self::AllHeld(share) => {
                at_most(measured.growth, 1.0 + share) && measured.held_share.is_some_and(|held| held >= 1.0)
            }
            Self::Within(share) => at_most(measured.growth.map(|growth| (growth - 1.0).abs()), share),
        };
        is_reached && measured.faults == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_is_counted_from_the_first_request() {
        assert_eq!([0.5, 1.9, 2.0].map(probes_allowed), [1, 2, 3]);
    }

    #[test]
    fn a_goal_is_met_by_what_was_measured_and_by_nothing_that_was_not() {
        let good = Measured {
            origin_requests: Some((1, 1)),
            added_p50_us: Some(1_900.0),
            added_to_hits_us: Some(-50.0),
            times_direct: Some(1.04),
            probes_too_many: Some(0),
            first_byte_us: Some(800.0),
            ratio: Some(0.65),
            growth: Some(0.96),
            held_share: Some(1.0),
            ..Measured::default()
        };
        type Spoil = fn(&mut Measured);
        let goals: [(Goal, Spoil); 9] = [
            (Goal::AllHeld(0.05), |m| m.held_share = Some(0.999)),
            (Goal::OneFreshFetch { added_ms: 2.0 }, |m| m.times_direct = Some(0.02)),
            (Goal::OneFetch { added_ms: 2.0 }, |m| m.added_p50_us = Some(2_001.0)),
            (Goal::TimesDirect(1.05), |m| m.times_direct = Some(1.06)),
            (Goal::AsFastAsAHit { added_ms: 0.1 }, |m| m.added_to_hits_us = Some(101.0)),
            (Goal::Served, |m| m.probes_too_many = Some(1)),
            (Goal::JoinsAStream { first_byte_ms: 1.0 }, |m| m.first_byte_us = Some(1_001.0)),
            (Goal::Ratio(0.65), |m| m.ratio = Some(0.66)),
            (Goal::Within(0.05), |m| m.growth = Some(1.06)),
        ];
        for (goal, spoil) in goals {
            assert!(goal.is_met(&good), "{goal:?}");
            assert!(!goal.is_met(&Measured::default()), "{goal:?} without a figure");
            assert!(!goal.is_met(&Measured { faults: 1, ..good }), "{goal:?} with a wrong answer");
            let mut bad = good;
            spoil(&mut bad);
            assert!(!goal.is_met(&bad), "{goal:?} with {bad:?}");
        }
        for goal in [
            Goal::OneFetch { added_ms: 2.0 },
            Goal::AsFastAsAHit { added_ms: 0.1 },
            Goal::JoinsAStream { first_byte_ms: 1.0 },
        ] {
            for requests in [(0, 0), (0, 1), (1, 2)] {
                assert!(
                    !goal.is_met(&Measured { origin_requests: Some(requests), ..good }),
                    "{goal:?}, {requests:?}"
                );
            }
        }
        assert!(!Goal::Within(0.05).is_met(&Measured { growth: Some(0.9), ..good }), "too little as well");
    }
}
