//! What is to be encoded, for the one thread that does it. What callers get plain until then goes first; all effort, which takes
//! seconds for each MiB, is for when nobody waits for anything.

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
        let queue = if effort == Effort::Quick { &mut queues.quick } else { &mut queues.heavy };
        if queue.len() < QUEUE_MAX && queues.taken.insert((key, effort)) {
            queue.push_back(Job { key, effort, bring: bring() });
            self.changed.notify_one();
        }
    }

    /// Waits for the next job; none once closed.
    pub(super) fn next(&self) -> Option<Job> {
        let is_idle =
            |queues: &mut Queues| !queues.is_closed && queues.quick.is_empty() && queues.heavy.is_empty();
        let mut queues =
            self.changed.wait_while(self.queues(), is_idle).unwrap_or_else(PoisonError::into_inner);
        if queues.is_closed {
            return None;
        }
        queues.quick.pop_front().or_else(|| queues.heavy.pop_front())
    }

    /// It is made, or will not be.
    pub(super) fn done(&self, key: Key, effort: Effort) {
        self.queues().taken.remove(&(key, effort));
    }

    /// Nothing more is made.
    pub(super) fn close(&self) {
        self.queues().is_closed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unlag_config::Encoding;

    fn add(jobs: &Jobs, n: u8, effort: Effort) {
        jobs.add(Key::of_hash([n; 16], Encoding::Gzip), effort, || Box::new(|| None));
    }

    fn next(jobs: &Jobs) -> (Key, Effort) {
        let job = jobs.next().expect("not closed");
        jobs.done(job.key, job.effort);
        (job.key, job.effort)
    }

    #[test]
    fn what_nobody_has_in_any_form_goes_first_however_much_waits_for_all_effort() {
        let jobs = Jobs::default();
        (0..200).for_each(|n| add(&jobs, n, Effort::Heavy));
        add(&jobs, 201, Effort::Quick);
        add(&jobs, 0, Effort::Quick);
        let made = std::array::from_fn(|_| next(&jobs));
        let key = |n| Key::of_hash([n; 16], Encoding::Gzip);
        assert_eq!(made, [(key(201), Effort::Quick), (key(0), Effort::Quick), (key(0), Effort::Heavy)]);
    }

    #[test]
    fn each_queue_has_an_end_and_nothing_waits_twice() {
        let jobs = Jobs::default();
        for effort in [Effort::Quick, Effort::Heavy] {
            (0..200).for_each(|n| add(&jobs, n / 2, effort));
        }
        assert_eq!(jobs.queues().taken.len(), 2 * QUEUE_MAX);
        for _ in 0..2 * QUEUE_MAX {
            next(&jobs);
        }
        assert!(jobs.queues().taken.is_empty());
        add(&jobs, 0, Effort::Quick);
        jobs.close();
        assert!(jobs.next().is_none());
    }
}
