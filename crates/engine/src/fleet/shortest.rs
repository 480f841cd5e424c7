//! The shortest answers of an endpoint, and what they say of the way to it: that it is longer than to another, if all answers are
//! longer by the same time. The shortest alone do not say that: one endpoint may have been asked for something short and another
//! not, long ago, or too seldom to tell.

use super::cell::AtomicF32;
use super::speed::STANDARD_ERRORS;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The usual time of an endpoint's answer is made of about so many.
pub(super) const USUAL_OF: u64 = 32;
/// The shortest answers say something about distance after so many.
pub(super) const FLOOR_ANSWERS: u32 = 8;
/// What makes a distance of a difference between shortest answers: a factor, as all of them are some time at work, and a time.
const FLOOR_TIMES: f32 = 3.0;
pub(super) const FLOOR_MS: f32 = 2.0;
/// The window of shortest answers, and how many there are in one at least; two of them count.
const FLOOR_WINDOW_MS: u32 = 10_000;
const FLOOR_WINDOW_ANSWERS: u32 = 32;
/// What others are compared with is of no longer ago than this: they may all have been asked for something shorter then.
const FLOOR_FRESH_MS: u32 = 60_000;
/// A longer way makes a usual answer longer by as much as the shortest, where nobody is in its way; a slower endpoint makes it
/// longer by many times as much, and one that was only not asked for anything short by nothing. Between these ratios it is the way,
/// if the difference is more than chance.
pub(super) const FLOOR_SHARE: f32 = 1.5;
const FLOOR_SHARE_MIN: f32 = 0.5;
/// Who is known to be far stays so within ratios that are so many times as wide: figures of chance lie now here, now there.
const FLOOR_STAYS: f32 = 2.0;
/// The usual answer where nobody is in the way is made of so many.
const UNCROWDED_OF: u32 = 64;
/// One answer counts towards the usual one as so many usual ones at most: an export or a pause is not usual.
const USUAL_TIMES: f32 = 3.0;
/// Moments of another core, ahead of ours, are no older than now.
const AHEAD_MS: u32 = 60_000;

/// How long ago `at_ms` was, of a clock that turns over.
pub(super) fn since_ms(now_ms: u32, at_ms: u32) -> u32 {
    let since_ms = now_ms.wrapping_sub(at_ms);
    if since_ms > u32::MAX - AHEAD_MS { 0 } else { since_ms }
}

/// An endpoint's shortest answer of some, and its usual one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) least_ms: f32,
    pub(super) usual_ms: f32,
    /// The square of what the usual one may be off by.
    pub(super) usual_error: f32,
}

impl Floor {
    /// Whether it is the way that makes the difference; less has to speak for it where that was known before.
    pub(super) fn is_farther_than(&self, shortest: &Floor, was_known: bool) -> bool {
        let wider = if was_known { FLOOR_STAYS } else { 1.0 };
        let error_ms = (self.usual_error + shortest.usual_error).sqrt();
        let longer_ms = self.least_ms - shortest.least_ms;
        let usually_longer_ms = self.usual_ms - shortest.usual_ms;
        self.least_ms > FLOOR_TIMES * shortest.least_ms
            && longer_ms > FLOOR_MS
            && (FLOOR_SHARE_MIN / wider * longer_ms..FLOOR_SHARE * wider * longer_ms)
                .contains(&usually_longer_ms)
            && (was_known || usually_longer_ms > STANDARD_ERRORS * error_ms)
    }
}

/// The shortest answers of this window and the one before it, and the usual one where nobody is in its way.
#[derive(Debug)]
pub(super) struct Shortest {
    usual_ms: AtomicF32,
    /// How far answers lie from it, squared, and how many there were.
    spread: AtomicF32,
    usual_of: AtomicU32,
    us: AtomicU32,
    answers: AtomicU32,
    since_ms: AtomicU32,
    latest_ms: AtomicU32,
    before_us: AtomicU32,
    before_answers: AtomicU32,
    before_until_ms: AtomicU32,
}

impl Default for Shortest {
    fn default() -> Shortest {
        let none = || AtomicU32::new(0);
        let (us, before_us) = (AtomicU32::new(u32::MAX), AtomicU32::new(u32::MAX));
        let (answers, since_ms, latest_ms) = (none(), none(), none());
        let (before_answers, before_until_ms) = (none(), none());
        let (usual_ms, spread, usual_of) = (AtomicF32::new(0.0), AtomicF32::new(0.0), none());
        Shortest {
            usual_ms,
            spread,
            usual_of,
            us,
            answers,
            since_ms,
            latest_ms,
            before_us,
            before_answers,
            before_until_ms,
        }
    }
}

impl Shortest {
    /// An answer took so long.
    pub(super) fn note(&self, took_us: u32, now_ms: u32) {
        let answers = self.answers.load(Relaxed);
        let lasts_ms = since_ms(now_ms, self.since_ms.load(Relaxed));
        if answers >= FLOOR_WINDOW_ANSWERS && lasts_ms > FLOOR_WINDOW_MS {
            self.before_us.store(self.us.swap(u32::MAX, Relaxed), Relaxed);
            self.before_answers.store(answers, Relaxed);
            self.before_until_ms.store(self.latest_ms.load(Relaxed), Relaxed);
            self.since_ms.store(now_ms, Relaxed);
            self.answers.store(0, Relaxed);
        }
        if took_us < self.us.load(Relaxed) {
            self.us.store(took_us, Relaxed);
        }
        self.answers.store(self.answers.load(Relaxed).saturating_add(1), Relaxed);
        self.latest_ms.store(now_ms, Relaxed);
    }

    /// An answer that nobody was in the way of took so long.
    pub(super) fn note_usual(&self, took_ms: f32) {
        let of = (self.usual_of.load(Relaxed) + 1).min(UNCROWDED_OF);
        let known_ms = if of == 1 { took_ms } else { self.usual_ms.get() };
        let took_ms = if of > FLOOR_ANSWERS { took_ms.min(USUAL_TIMES * known_ms) } else { took_ms };
        let (apart_ms, share) = (took_ms - known_ms, 1.0 / of as f32);
        self.usual_ms.set(known_ms + share * apart_ms);
        let spread = self.spread.get();
        self.spread.set(spread + share * (apart_ms * apart_ms - spread));
        self.usual_of.store(of, Relaxed);
    }

    /// The usual answer where nobody is in the way, and the square of what that may be off by.
    pub(super) fn usual(&self) -> (f32, f32) {
        let of = self.usual_of.load(Relaxed);
        let error = if of < FLOOR_ANSWERS { f32::INFINITY } else { self.spread.get() / of as f32 };
        (self.usual_ms.get(), error)
    }

    /// The shortest of all that is known, in microseconds, and of how many.
    pub(super) fn of_all(&self) -> (u32, u32) {
        let answers = self.answers.load(Relaxed).saturating_add(self.before_answers.load(Relaxed));
        (self.us.load(Relaxed).min(self.before_us.load(Relaxed)), answers)
    }

    /// The same, of what is no longer ago than others are compared with.
    pub(super) fn of_late(&self, now_ms: u32) -> (u32, u32) {
        let is_late = |at: &AtomicU32| since_ms(now_ms, at.load(Relaxed)) <= FLOOR_FRESH_MS;
        match (is_late(&self.latest_ms), is_late(&self.before_until_ms)) {
            (true, true) => self.of_all(),
            (true, false) => (self.us.load(Relaxed), self.answers.load(Relaxed)),
            _ => (u32::MAX, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_is_ahead_of_ours_is_now_and_a_clock_turns_over() {
        assert_eq!((since_ms(70, 10), since_ms(10, 10), since_ms(10, 12)), (60, 0, 0));
        assert_eq!(since_ms(4, u32::MAX - 5), 10);
        let shortest = Shortest::default();
        (0..FLOOR_ANSWERS).for_each(|_| shortest.note(500, 1_002));
        assert_eq!(shortest.of_late(1_000), (500, FLOOR_ANSWERS), "another core is two milliseconds ahead");
    }
}
