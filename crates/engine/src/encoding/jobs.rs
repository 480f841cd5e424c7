//! What is to be encoded, for the thread of each effort. What callers get plain until then is quick, and waits for nothing that is
//! given all effort, which takes seconds for each MiB.

use super::encoder::Effort;
use super::variants::{Bring, Key};
use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait, of each effort. What finds no room is asked for again with the next request.
const QUEUE_MAX: usize = 64;

/// One job.
pub(super) struct Job {
    /// What is to be made.
    pub(super) key: Key,
    /// How.
    pub(super) effort: Effort,
    /// Of what.
    pub(super) bring: Bring,
}

#[derive(Default)]
struct Queues {
    quick: VecDeque<Job>,
    heavy: VecDeque<Job>,
    /// What waits or is being made.
    taken: HashSet<(Key, Effort)>,
    is_closed: bool,
}

impl Queues {
    fn of(&mut self, effort: Effort) -> &mut VecDeque<Job> {
        if effort == Effort::Quick { &mut self.quick } else { &mut self.heavy }
    }
}

/// The jobs.
#[derive(Default)]
pub(super) struct Jobs {
    queues: Mutex<Queues>,
    changed: Condvar,
}

impl Jobs {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something made, where that is not under way and there is room.
    pub(super) fn add(&self, key: Key, effort: Effort, bring: impl FnOnce() -> Bring) {
        let mut guard = self.queues();
        let queues = &mut *guard;
        if queues.of(effort).len() < QUEUE_MAX && queues.taken.insert((key, effort)) {
            queues.of(effort).push_back(Job { key, effort, bring: bring() });
            self.changed.notify_all();
        }
    }

    /// Waits for the next job of an effort; none once closed.
    pub(super) fn next(&self, effort: Effort) -> Option<Job> {
        let is_idle = |queues: &mut Queues| !queues.is_closed && queues.of(effort).is_empty();
        let mut queues =
            self.changed.wait_while(self.queues(), is_idle).unwrap_or_else(PoisonError::into_inner);
        if queues.is_closed {
            return None;
        }
        queues.of(effort).pop_front()
    }

    /// It is made, or will not be.
    pub(super) fn done(&self, key: Key, effort: Effort) {
        self.queues().taken.remove(&(key, effort));
    }

    /// Nothing more is made.
    pub(super) fn close(&self) {
        self.queues().is_closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unlag_config::Encoding;

    fn add(jobs: &Jobs, n: u8, effort: Effort) {
        jobs.add(Key::of_hash([n; 16], Encoding::Gzip), effort, || Box::new(|| None));
    }

    fn next(jobs: &Jobs, effort: Effort) -> Key {
        let job = jobs.next(effort).expect("not closed");
        assert_eq!(job.effort, effort);
        jobs.done(job.key, job.effort);
        job.key
    }

    #[test]
    fn each_effort_has_a_queue_of_its_own() {
        let jobs = Jobs::default();
        (0..200).for_each(|n| add(&jobs, n, Effort::Heavy));
        add(&jobs, 201, Effort::Quick);
        add(&jobs, 0, Effort::Quick);
        let made =
            [Effort::Quick, Effort::Heavy, Effort::Quick, Effort::Heavy].map(|effort| next(&jobs, effort));
        assert_eq!(made, [201, 0, 0, 1].map(|n| Key::of_hash([n; 16], Encoding::Gzip)));
    }

    #[test]
    fn each_queue_has_an_end_and_nothing_waits_twice() {
        let jobs = Jobs::default();
        for effort in [Effort::Quick, Effort::Heavy] {
            (0..200).for_each(|n| add(&jobs, n / 2, effort));
        }
        assert_eq!(jobs.queues().taken.len(), 2 * QUEUE_MAX);
        for _ in 0..QUEUE_MAX {
            next(&jobs, Effort::Quick);
            next(&jobs, Effort::Heavy);
        }
        assert!(jobs.queues().taken.is_empty());
        add(&jobs, 0, Effort::Quick);
        jobs.close();
        assert!([Effort::Quick, Effort::Heavy].iter().all(|&effort| jobs.next(effort).is_none()));
    }
}
