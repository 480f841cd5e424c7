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
//!
//! Among many quick requests a rare one may be slow by nature, an export among lookups, of which no share of all says anything. So
//! what it would have broken and was answered, it leaves time for; and whatever it breaks in force, it gives twice the time after.

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
/// It gives more time once for what breaks within so long: what hangs together is no reason to wait ever longer.
const BREAKS_NS: u64 = 10_000_000_000;
/// That an answer needed more time than the tail suggests is remembered for so long: some work is done once a week.
const REMEMBERED_NS: u64 = 8 * 24 * HOUR_NS;
/// What only broke may have hung: that is remembered for so long, unless an answer needs more time.
const HOUR_NS: u64 = 3_600_000_000_000;
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
    /// What the tail suggests.
    tail_ns: u64,
    /// For what was answered and needed more time.
    answered: Spared,
    /// For what it broke, and when it last broke one.
    broke: Spared,
    broke_ns: u64,
}

/// Time that it leaves beyond what the tail suggests, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spared {
    ns: u64,
    until_ns: u64,
}

impl Spared {
    fn raise(&mut self, ns: u64, until_ns: u64) {
        (self.ns, self.until_ns) = (self.ns.max(ns), until_ns);
    }

    fn at(&mut self, now: u64) -> u64 {
        if now > self.until_ns {
            self.ns = 0;
        }
        self.ns
    }
}

impl Limit {
    /// An answer took so long, or a request was given up after so long.
    pub fn note(&mut self, took_ns: u64, is_answered: bool, now: u64) {
        let limit_ns = self.learned_ns;
        if limit_ns == 0 {
            return;
        }
        if is_answered && took_ns >= self.tail_ns {
            self.answered.raise(took_ns.saturating_add(took_ns / 2), now.saturating_add(REMEMBERED_NS));
            self.learned_ns = limit_ns.max(self.answered.ns);
        }
        self.answers += 1;
        if self.is_in_force && self.answers > IN_FORCE_OF {
            self.fade();
        }
        if took_ns < limit_ns {
            return;
        }
        self.broken += 1;
        self.would_have_broken += u64::from(!self.is_in_force);
        if self.is_in_force
            && !is_answered
            && (self.broke_ns == 0 || now.saturating_sub(self.broke_ns) >= BREAKS_NS)
        {
            self.broke_ns = now;
            self.broke.raise(limit_ns.saturating_mul(2), now.saturating_add(HOUR_NS));
            self.learned_ns = self.broke.ns;
        }
        let has_changed = self.broken > 10 && self.broken * TAKEN_BACK_ONE_IN > self.answers;
        if self.is_in_force && has_changed {
            (self.is_in_force, self.answers, self.broken) = (false, 0, 0);
        }
    }

    /// So many answers are known, of which 999 in 1,000 took no longer than `p999_ns`; this share of requests fails.
    pub fn learn(&mut self, known: u64, p999_ns: u64, failing: f32, now: u64) {
        if failing > FAILING_MAX || known < ANSWERS_MIN {
            return;
        }
        self.tail_ns = p999_ns.saturating_mul(TIMES).max(SHORTEST_NS);
        self.learned_ns = self.tail_ns.max(self.answered.at(now)).max(self.broke.at(now));
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
    const SECOND: u64 = 1_000 * MS;

    /// So many answers that took so long.
    fn answers(limit: &mut Limit, count: u64, took_ms: u64) {
        (0..count).for_each(|_| limit.note(took_ms * MS, true, SECOND));
    }

    /// Watches a time-out of 300 ms over so many answers, of which so many are late, and hang.
    fn watched(count: u64, late: u64) -> Limit {
        let mut limit = Limit::default();
        limit.learn(ANSWERS_MIN, 100 * MS, 0.0, SECOND);
        (0..late).for_each(|_| limit.note(400 * MS, false, SECOND));
        answers(&mut limit, count - late, 20);
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0, SECOND);
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
        limit.learn(ANSWERS_MIN - 1, MS, 0.0, SECOND);
        assert_eq!(limit.learned_ns, 0);
        limit.learn(ANSWERS_MIN, MS, 0.0, SECOND);
        assert_eq!(limit.learned_ns, SHORTEST_NS);
    }

    #[test]
    fn an_outage_teaches_nothing() {
        let mut limit = watched(ANSWERS_MIN, 0);
        let before = limit;
        limit.learn(5 * ANSWERS_MIN, 9_000 * MS, 0.06, SECOND);
        assert_eq!(limit, before);
    }

    #[test]
    fn a_route_that_becomes_slower_is_believed_after_twenty_requests_however_many_were_fast() {
        let mut limit = watched(5_000_000, 0);
        answers(&mut limit, 1_000_000, 20);
        let cut = (1..).find(|_| {
            limit.note(3 * SECOND, false, SECOND);
            !limit.is_in_force
        });
        assert!(cut.is_some_and(|cut| cut <= 21), "{cut:?}");
    }

    #[test]
    fn a_time_out_that_breaks_more_than_a_slow_moment_explains_is_taken_back() {
        let mut limit = watched(ANSWERS_MIN, 0);
        (0..10).for_each(|_| limit.note(3 * SECOND, false, SECOND));
        assert!(limit.is_in_force, "ten requests hung");
        (0..10).for_each(|_| limit.note(3 * SECOND, false, SECOND));
        assert!(!limit.is_in_force, "the route has become slower");
        limit.learn(5 * ANSWERS_MIN, 400 * MS, 0.0, SECOND);
        assert!(!limit.is_in_force && limit.learned_ns == 1_200 * MS, "and is watched anew");
    }

    #[test]
    fn a_rare_request_that_is_slow_by_nature_is_broken_a_few_times_and_then_no_more() {
        let mut limit = watched(ANSWERS_MIN, 0);
        let mut broken = 0;
        // An export of 8 s every five minutes among 300,000 quick answers.
        for minutes in (0..2_000).step_by(5) {
            let now = (minutes + 1) * 60 * SECOND;
            (0..3_000).for_each(|_| limit.note(20 * MS, true, now));
            let is_broken = limit.is_in_force && limit.learned_ns <= 8 * SECOND;
            broken += u32::from(is_broken);
            limit.note(if is_broken { limit.learned_ns } else { 8 * SECOND }, !is_broken, now);
            limit.learn(u64::from(u32::MAX), 100 * MS, 0.0, now);
            assert!(limit.is_in_force, "{minutes} minutes");
        }
        assert!((4..=6).contains(&broken), "{broken}: 300 ms, doubled each time");
    }

    #[test]
    fn what_was_seen_to_take_longer_before_it_is_in_force_is_not_broken_and_what_hangs_is() {
        let mut limit = Limit::default();
        limit.learn(ANSWERS_MIN, 100 * MS, 0.0, SECOND);
        limit.note(8 * SECOND, true, SECOND);
        limit.note(60 * SECOND, false, SECOND);
        answers(&mut limit, 300_000, 20);
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0, SECOND);
        assert!(limit.is_in_force && limit.learned_ns == 12 * SECOND, "{limit:?}");
        // More than a week later nothing has needed it.
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0, REMEMBERED_NS + 2 * SECOND);
        assert_eq!(limit.learned_ns, 300 * MS);
    }

    #[test]
    fn what_only_hangs_is_given_more_time_for_an_hour_and_once_in_ten_seconds() {
        let mut limit = watched(ANSWERS_MIN, 0);
        let mut seconds = 0;
        // Seven requests hang, one in ten seconds, and five with each of them; the usual answers go on.
        for _ in 0..7 {
            seconds += 10;
            limit.note(60 * SECOND, false, seconds * SECOND);
            (0..5).for_each(|_| limit.note(limit.learned_ns, false, seconds * SECOND + 1));
            (0..200_000).for_each(|_| limit.note(20 * MS, true, seconds * SECOND + 2));
        }
        assert_eq!(limit.learned_ns, (300 * MS) << 7);
        let hour = HOUR_NS / SECOND;
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0, (seconds + hour - 1) * SECOND);
        assert_eq!(limit.learned_ns, (300 * MS) << 7, "an hour is not over");
        limit.note(400 * MS, true, seconds * SECOND);
        limit.learn(2 * ANSWERS_MIN, 100 * MS, 0.0, (seconds + hour + 1) * SECOND);
        assert_eq!(limit.learned_ns, 600 * MS, "as one that was answered needs");
    }
}
