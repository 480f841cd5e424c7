//! The answers that are kept, and the keys whose requests are under way.

use crate::error::Error;
use crate::http::ResponseHead;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keys that are known at one time. At ten new ones a second an answer is kept for a quarter of an hour; whoever asks again does so
/// within minutes.
const KEYS_MAX: usize = 10_000;
/// Memory for keys and answers.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Requests with a key that are taken in or under way at one time: each holds up to half a MiB of content.
const UNDER_WAY_MAX: usize = 1_000;
/// What an entry takes beside its key and its answer.
const ENTRY_BYTES: usize = 256;

/// What was answered.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Whole {
        /// Its head.
        head: ResponseHead,
        /// Its content.
        content: Bytes,
        /// When it told its caller to read what it wrote from the primary, if it did.
        wrote_ns: Option<u64>,
    },
    /// Nothing that is known: it may have been executed.
    Failure(Error),
    /// Something that is not kept: it was executed.
    Unkept,
}

impl Answer {
    fn bytes(&self) -> usize {
        match self {
            Answer::Whole { head, content, .. } => {
                head.fields.allocations().iter().sum::<usize>() + content.len()
            }
            Answer::Failure(_) | Answer::Unkept => 0,
        }
    }
}

#[derive(Debug)]
struct Entry {
    fingerprint: u128,
    /// None while the request is under way.
    answer: Option<Arc<Answer>>,
    until_ns: u64,
    /// Tells it from one that had the same key before.
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Box<[u8]>, Entry>,
    /// Answered ones, the one that was answered first in front; some may be gone already.
    order: VecDeque<(Box<[u8]>, u64)>,
    bytes: usize,
    next: u64,
}

/// All of them, for all cores.
#[derive(Debug, Default)]
pub struct Answers {
    state: Mutex<State>,
    under_way: AtomicUsize,
}

/// What the console shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswersStatus {
    /// Keys that are known.
    pub keys: usize,
    /// Memory for them and their answers.
    pub bytes: usize,
    /// Requests with a key that are taken in or under way.
    pub under_way: usize,
}

/// The right to have a request with a key under way, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Answers>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// What is known of a key.
#[derive(Debug)]
pub enum Known {
    /// Nothing: the request is under way from now on.
    New(Running),
    /// Its request is under way.
    UnderWay,
    /// It was used for another request.
    Otherwise,
    /// This was answered.
    Answered(Arc<Answer>),
    /// As many requests are under way as there may be.
    Full,
}

impl Answers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has one more request under way; none if there are as many as there may be.
    pub fn begin(self: &Arc<Self>) -> Option<Turn> {
        let turn = Turn(Arc::clone(self));
        (self.under_way.fetch_add(1, Relaxed) < UNDER_WAY_MAX).then_some(turn)
    }

    /// What the console shows.
    pub fn status(&self) -> AnswersStatus {
        let state = self.state();
        AnswersStatus {
            keys: state.entries.len(),
            bytes: state.bytes,
            under_way: self.under_way.load(Relaxed),
        }
    }

    /// Looks for a key, and enters it if it is new.
    pub fn look(self: &Arc<Self>, key: Box<[u8]>, fingerprint: u128, now: u64) -> Known {
        let mut state = self.state();
        state.forget_old(now);
        // Those of routes that keep them for less may stand behind others in the order of forgetting.
        if state.entries.get(&key).is_some_and(|known| known.until_ns <= now) {
            state.remove(&key);
        }
        match state.entries.get(&key) {
            Some(known) if known.fingerprint != fingerprint => return Known::Otherwise,
            Some(Entry { answer: Some(answer), .. }) => return Known::Answered(Arc::clone(answer)),
            Some(_) => return Known::UnderWay,
            None => {}
        }
        let bytes = key.len() * 2 + ENTRY_BYTES;
        if !state.make_room(bytes) {
            return Known::Full;
        }
        state.next += 1;
        state.bytes += bytes;
        let number = state.next;
        state.entries.insert(key.clone(), Entry { fingerprint, answer: None, until_ns: u64::MAX, number });
        Known::New(Running { answers: Arc::clone(self), key, number })
    }
}

impl State {
    /// Forgets answers whose time has passed.
    fn forget_old(&mut self, now: u64) {
        while let Some((key, number)) = self.order.front() {
            let known = self.entries.get(key).filter(|entry| entry.number == *number);
            if known.is_some_and(|entry| entry.until_ns > now) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Forgets the oldest answers until there is room for so much more; those under way stay.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.entries.len() >= KEYS_MAX || self.bytes + bytes > BYTES_MAX {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((key, number)) = self.order.pop_front() else { return false };
        if self.entries.get(&key).is_some_and(|entry| entry.number == number) {
            self.remove(&key);
        }
        true
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            let answer = entry.answer.map_or(0, |answer| answer.bytes());
            self.bytes = self.bytes.saturating_sub(key.len() * 2 + ENTRY_BYTES + answer);
        }
    }
}

/// A request under way. Dropped without an answer, its key is as if it had never been seen.
#[derive(Debug)]
pub struct Running {
    answers: Arc<Answers>,
    key: Box<[u8]>,
    number: u64,
}

impl Running {
    /// It was answered; that is known until then, and where there is no memory for the answer, at least that there was one.
    pub fn answered(self, answer: Answer, until_ns: u64) {
        let mut state = self.answers.state();
        let answer = if state.make_room(answer.bytes()) { answer } else { Answer::Unkept };
        let bytes = answer.bytes();
        let (key, number) = (self.key.clone(), self.number);
        let Some(entry) = state.entries.get_mut(&key).filter(|entry| entry.number == number) else { return };
        (entry.answer, entry.until_ns) = (Some(Arc::new(answer)), until_ns);
        state.bytes += bytes;
        state.order.push_back((key, number));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.answers.state();
        let own = state.entries.get(&self.key).filter(|entry| entry.number == self.number);
        if own.is_some_and(|entry| entry.answer.is_none()) {
            state.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    fn whole(bytes: usize) -> Answer {
        Answer::Whole { head: ResponseHead::new(200), content: vec![0; bytes].into(), wrote_ns: None }
    }

    fn begun(answers: &Arc<Answers>, text: &str) -> Running {
        match answers.look(key(text), 1, 0) {
            Known::New(running) => running,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_more_requests_with_a_key_are_under_way_than_the_bound() {
        let answers = Arc::new(Answers::default());
        let mut turns: Vec<_> = (0..UNDER_WAY_MAX).map_while(|_| answers.begin()).collect();
        assert_eq!((turns.len(), answers.status().under_way), (UNDER_WAY_MAX, UNDER_WAY_MAX));
        assert!(answers.begin().is_none() && answers.begin().is_none());
        drop(turns.pop());
        assert!(answers.begin().is_some());
        turns.clear();
        assert_eq!(answers.status().under_way, 0);
    }

    #[test]
    fn a_key_is_new_then_under_way_then_answered_and_after_its_time_new_again() {
        let answers = Arc::new(Answers::default());
        let running = begun(&answers, "a");
        assert!(matches!(answers.look(key("a"), 1, 0), Known::UnderWay));
        assert!(matches!(answers.look(key("a"), 2, 0), Known::Otherwise));
        running.answered(whole(1), 100);
        assert!(matches!(answers.look(key("a"), 1, 99), Known::Answered(_)));
        assert!(matches!(answers.look(key("a"), 2, 99), Known::Otherwise));
        assert!(matches!(answers.look(key("a"), 2, 100), Known::New(_)));
    }

    #[test]
    fn an_answer_is_over_when_its_time_is_whatever_was_kept_before_it() {
        let answers = Arc::new(Answers::default());
        begun(&answers, "for long").answered(whole(1), 1_000);
        begun(&answers, "for short").answered(whole(1), 10);
        assert!(matches!(answers.look(key("for short"), 1, 10), Known::New(_)));
        assert!(matches!(answers.look(key("for long"), 1, 999), Known::Answered(_)));
    }

    #[test]
    fn a_request_that_comes_to_nothing_leaves_nothing_behind() {
        let answers = Arc::new(Answers::default());
        drop(begun(&answers, "a"));
        drop(begun(&answers, "a"));
        let state = answers.state();
        assert_eq!((state.entries.len(), state.bytes), (0, 0));
    }

    #[test]
    fn answers_keep_within_their_memory_and_the_oldest_goes_first() {
        let answers = Arc::new(Answers::default());
        let size = BYTES_MAX / 10;
        (0..12).for_each(|n| begun(&answers, &n.to_string()).answered(whole(size), 100));
        assert!(answers.state().bytes <= BYTES_MAX);
        assert!(matches!(answers.look(key("0"), 1, 0), Known::New(_)), "gone");
        assert!(matches!(answers.look(key("11"), 1, 0), Known::Answered(_)));
    }

    #[test]
    fn as_many_may_be_under_way_as_there_is_room_for_and_no_more() {
        let answers = Arc::new(Answers::default());
        let running: Vec<_> = (0..KEYS_MAX).map(|n| begun(&answers, &n.to_string())).collect();
        assert!(matches!(answers.look(key("one more"), 1, 0), Known::Full));
        drop(running);
        assert!(matches!(answers.look(key("one more"), 1, 0), Known::New(_)));
    }
}
