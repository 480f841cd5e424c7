//! The time-out that a route's own tail suggests, and whether it may be used. A time-out that is learned can be wrong, and a
//! wrong one breaks requests that were fine: so it is only watched at first. What it would have broken is counted, and it is put
//! in force when that was next to nothing, and taken back when it breaks more than a slow moment explains.
//!
//! ```text
//!             10,000 answers, of which it would have broken less than 1 in 100,000
//! watched ───────────────────────────────────────────────────────────────────────► in force
//!    ▲                                                                                │
//!    └────────────── it broke more than 1 in 1,000 of the last 20,000 ────────────────┘
//! ```

/// The time-out is so many times what 999 of 1,000 answers take: beyond it lies what hangs, not what is slow.
const TIMES: u64 = 3;
/// The shortest: a pause of a garbage collector or a lost packet is longer than many a route's tail.
const SHORTEST_NS: u64 = 100_000_000;
/// As many answers must be known, and as many watched, before it is put in force.
pub const ANSWERS_MIN: u64 = 10_000;
/// It is put in force while it would break less than one answer in so many.
const BREAKS_ONE_IN: u64 = 100_000;
/// It is taken back when it breaks more than one request in so many: then the route has changed, not a request.
const TAKEN_BACK_ONE_IN: u64 = 1_000;
/// In force it goes by so many answers at most: when the route changes, all of its requests break until it is taken back, and a busy
/// day must not be what takes it so long.
const IN_FORCE_OF: u64 = 2 * ANSWERS_MIN;
/// Nothing is learned while more than this share fails: an outage says nothing of how long answers take.
const FAILING_MAX: f32 = 0.05;

/// A learned time-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// What is watched or in force, nanoseconds; 0 while too little is known.
    pub learned_ns: u64,
    /// Whether it is in force.
    pub is_in_force: bool,
    /// Answers that came while it was watched or in force, of late.
    pub answers: u64,
    /// Of these, how many it would have broken, or broke.
    pub broken: u64,
    /// How many it would have broken since the start, while it was only watched.
    pub would_have_broken: u64,
}

impl Limit {
    /// An answer took so long, or a request was given up after so long.
    pub fn note(&mut self, took_ns: u64) {
        if self.learned_ns == 0 {
            return;
        }
        self.answers += 1;
        if self.is_in_force && self.answers > IN_FORCE_OF {
            self.fade();
        }
        if took_ns < self.learned_ns {
            return;
        }
        self.broken += 1;
        self.would_have_broken += u64::from(!self.is_in_force);
        let has_changed = self.broken > 10 && self.broken * TAKEN_BACK_ONE_IN > self.answers;
        if self.is_in_force && has_changed {
            (self.is_in_force, self.answers, self.broken) = (false, 0, 0);
        }
    }

    /// So many answers are known, of which 999 in 1,000 took no longer than `p999_ns`; this share of requests fails.
    pub fn learn(&mut self, known: u64, p999_ns: u64, failing: f32) {
        if failing > FAILING_MAX || known < ANSWERS_MIN {
            return;
        }
        self.learned_ns = p999_ns.saturating_mul(TIMES).max(SHORTEST_NS);
        let is_harmless = self.answers >= ANSWERS_MIN && self.broken * BREAKS_ONE_IN < self.answers;
        self.is_in_force |= is_harmless;
    }

    /// What was counted matters less as time goes by.
    pub fn fade(&mut self) {
        (self.answers, self.broken) = (self.answers / 2, self.broken / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Watches a time-out of 300 ms over so many answers, of which so many are late.
    fn watched(answers: u64, late: u64) -> Limit {
        let mut limit = Limit::default();
        limit.learn(ANSWERS_MIN, 100 * MS, 0.0);
        (0..late).for_each(|_| limit.note(400 * MS));
        (late..answers).for_each(|_| limit.note(20 * MS));
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0);
        limit
    }

    #[test]
    fn a_time_out_is_used_after_ten_thousand_answers_that_it_would_not_have_broken() {
        assert!(!watched(ANSWERS_MIN - 1, 0).is_in_force);
        let limit = watched(ANSWERS_MIN, 0);
        assert!(limit.is_in_force && limit.learned_ns == 300 * MS);
        assert!(!watched(ANSWERS_MIN, 1).is_in_force, "one in 10,000 is too much");
        assert!(watched(200_001, 1).is_in_force);
    }

    #[test]
    fn a_time_out_is_never_shorter_than_a_pause_and_unknown_while_little_is_known() {
        let mut limit = Limit::default();
        limit.learn(ANSWERS_MIN - 1, MS, 0.0);
        assert_eq!(limit.learned_ns, 0);
        limit.learn(ANSWERS_MIN, MS, 0.0);
        assert_eq!(limit.learned_ns, SHORTEST_NS);
    }

    #[test]
    fn an_outage_teaches_nothing() {
        let mut limit = watched(ANSWERS_MIN, 0);
        let before = limit;
        limit.learn(5 * ANSWERS_MIN, 9_000 * MS, 0.06);
        assert_eq!(limit, before);
    }

    #[test]
    fn a_route_that_becomes_slower_is_believed_after_twenty_requests_however_many_were_fast() {
        let mut limit = watched(5_000_000, 0);
        (0..1_000_000).for_each(|_| limit.note(20 * MS));
        let cut = (1..).find(|_| {
            limit.note(300 * MS);
            !limit.is_in_force
        });
        assert!(cut.is_some_and(|cut| cut <= 21), "{cut:?}");
    }

    #[test]
    fn a_time_out_that_breaks_more_than_a_slow_moment_explains_is_taken_back() {
        let mut limit = watched(ANSWERS_MIN, 0);
        (0..10).for_each(|_| limit.note(300 * MS));
        assert!(limit.is_in_force, "ten requests hung");
        (0..10).for_each(|_| limit.note(300 * MS));
        assert!(!limit.is_in_force, "the route has become slower");
        limit.learn(5 * ANSWERS_MIN, 400 * MS, 0.0);
        assert!(!limit.is_in_force && limit.learned_ns == 1_200 * MS, "and is watched anew");
    }
}
