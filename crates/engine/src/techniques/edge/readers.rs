//! The threads that wait for disks, so that no core does. Few, because a disk does not become faster by being asked by many; what
//! they have been asked for and not done yet has a bound.

use crate::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

/// How many disk operations are under way at once.
const THREADS: usize = 4;
/// How many wait, of which each request and each download has one at most: at 20 µs each they are done in 40 ms. If they are not,
/// the disk hangs, and who comes is better told.
const QUEUE_MAX: usize = 8 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Debug, Default)]
pub struct Readers(OnceLock<Option<SyncSender<Job>>>);

impl Readers {
    /// Has a thread do `work`, whoever waits for it.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let threads = self.0.get_or_init(start).as_ref().ok_or(Error::File)?;
        threads.try_send(Box::new(work)).map_err(|_| Error::File)
    }

    /// Has a thread do `work` for one who waits for it, and may have left by then.
    pub fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Error> {
        let (done, wait) = oneshot::channel();
        self.run(move || {
            if !done.is_closed() {
                let _ = done.send(work());
            }
        })?;
        Ok(wait)
    }
}

fn start() -> Option<SyncSender<Job>> {
    let (send, receive) = sync_channel::<Job>(QUEUE_MAX);
    let receive = Arc::new(Mutex::new(receive));
    for number in 0..THREADS {
        let receive = Arc::clone(&receive);
        let started =
            std::thread::Builder::new().name(format!("unlag-files-{number}")).spawn(move || work(&receive));
        started
            .inspect_err(|error| tracing::error!(%error, "cannot start a thread that reads files"))
            .ok()?;
    }
    Some(send)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Whoever waits for it hears that it will not be done.
        if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a thread that reads files panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hanging_disk_leaves_undone_has_a_bound_and_a_panic_costs_one_job() {
        let readers = Readers::default();
        let panicked = readers.begin(|| panic!("on purpose")).unwrap();
        assert!(panicked.blocking_recv().is_err());
        assert_eq!(readers.begin(|| 7).unwrap().blocking_recv(), Ok(7));
        let gate = Arc::new(Mutex::new(()));
        let shut = gate.lock().unwrap();
        let waits: Vec<_> = std::iter::from_fn(|| {
            let gate = Arc::clone(&gate);
            readers.begin(move || drop(gate.lock())).ok()
        })
        .take(2 * QUEUE_MAX)
        .collect();
        assert!(waits.len() >= QUEUE_MAX && waits.len() <= QUEUE_MAX + THREADS, "{}", waits.len());
        drop(shut);
        waits.into_iter().for_each(|wait| wait.blocking_recv().unwrap());
    }
}
