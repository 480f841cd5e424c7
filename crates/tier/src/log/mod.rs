//! Purges and their order. A purge is announced into a log that the store keeps; every node reads the log, its own
//! announcements included, and so all hear the same purges in the same order, each with a number that only rises.
//!
//! The number is a logical clock. A cache stamps an object with [`Tier::seq`](crate::Tier::seq) *before* it asks the origin; a
//! purge with a higher number then kills the object wherever it is found, and no two wall clocks are ever compared. What a node
//! cannot judge, because the log does not reach back far enough, is dead to it: that is the *floor*. When the log itself is lost,
//! nobody can judge anything stored before: a new *epoch* begins, and names in the store contain the epoch.
//!
//! ```text
//! connect ─► enter ─► replay what was missed ─► Joined ─► listen: Purge, Purge, …
//!              │                                  ▲          │ link broken: not listening, asks are refused; enter again
//!              └── Lost (the log does not reach back to what was heard last, or is another) ◄─┘
//! ```

pub(crate) mod memcached;
mod pending;
pub(crate) mod redis;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::figures::{Counters, count};
use crate::lock;
use crate::shared::Shared;
use crate::wire::Speaks;

pub use pending::Announced;
use pending::Pending;

/// The longest announcement: a few tags, or an address with all that a URL may hold.
pub const MESSAGE_MAX: usize = 16 << 10;

/// Announcements that the log keeps for nodes that join or come back: some MiB as they are, 256 MiB were each as long as may be.
const LOG_MAX: u64 = 16_384;

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is heard, in order, on the thread of the tier: whoever listens must be quick about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A purge; everything whose stamp is below `seq` and which it concerns is dead.
    Purge {
        /// Its number. Numbers rise, but for what is heard again while joining anew.
        seq: u64,
        /// As it was announced.
        message: Bytes,
    },
    /// The announcement of this ticket is in the log, and so are those of lower ones. It is heard for itself, before or after.
    Announced {
        /// What [`Tier::announce`](crate::Tier::announce) gave for it.
        ticket: u64,
        /// Its number.
        seq: u64,
    },
    /// All that the log holds has been heard. What is stamped below `floor` cannot be judged and is dead.
    Joined {
        /// The lowest stamp that can be judged.
        floor: u64,
    },
    /// Purges may have been missed. What is kept from before cannot be judged until `Joined` says what can.
    Lost,
}

/// Why listening ended.
pub(crate) enum Break {
    /// The link; what was heard last still counts.
    Link(String),
    /// What was heard last does not connect to what the log holds.
    Lost(&'static str),
}

#[derive(Clone, Copy, Default)]
struct Standing {
    listening: bool,
    epoch: u64,
    /// Rises with every loss: an ask that began before one brings nothing that can be judged after.
    term: u64,
}

/// What a node knows of the log, and what it has to say.
pub(crate) struct Journal {
    seq: AtomicU64,
    standing: Mutex<Standing>,
    pending: Mutex<Pending>,
    pub(crate) wake: Notify,
    /// Whether the server did not let us in when it was last tried.
    pub(crate) refused: AtomicBool,
    hears: Box<dyn Fn(Heard) + Send + Sync>,
    counters: Arc<Counters>,
}

impl Journal {
    pub(crate) fn new(counters: Arc<Counters>, hears: Box<dyn Fn(Heard) + Send + Sync>) -> Journal {
        let (standing, pending) = Default::default();
        Journal {
            seq: AtomicU64::new(0),
            standing,
            pending,
            wake: Notify::new(),
            refused: AtomicBool::new(false),
            hears,
            counters,
        }
    }

    /// The number of the purge that was applied last.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Epoch and term, while purges are heard.
    pub(crate) fn listening(&self) -> Option<(u64, u64)> {
        let standing = *lock(&self.standing);
        standing.listening.then_some((standing.epoch, standing.term))
    }

    /// Epoch and term as of the last join, heard or not since; `None` before the first and after a loss.
    pub(crate) fn epoch(&self) -> Option<u64> {
        Some(lock(&self.standing).epoch).filter(|epoch| *epoch != 0)
    }

    /// Keeps an announcement until it is in the log, if there is room.
    pub(crate) fn announce(&self, message: Bytes) -> Announced {
        let announced = lock(&self.pending).add(message);
        self.wake.notify_one();
        announced
    }

    /// Keeps an announcement in the place of all that wait; its ticket.
    pub(crate) fn announce_instead(&self, message: Bytes) -> u64 {
        let (ticket, replaced) = lock(&self.pending).replace(message);
        self.counters.announcements_replaced.fetch_add(replaced as u64, Ordering::Relaxed);
        tracing::error!(
            replaced,
            "too many purges wait for the shared cache's log: one of everything takes their place"
        );
        self.wake.notify_one();
        ticket
    }

    pub(crate) fn pending(&self) -> usize {
        lock(&self.pending).len()
    }

    /// What is to be sent in one go, until it is delivered.
    fn next(&self) -> Vec<Bytes> {
        lock(&self.pending).send()
    }

    /// The first one is in the log, under this number.
    fn delivered(&self, seq: u64) {
        let delivered = lock(&self.pending).delivered();
        if let Some(ticket) = delivered {
            count(&self.counters.announced);
            (self.hears)(Heard::Announced { ticket, seq });
        }
    }

    fn purge(&self, seq: u64, message: Bytes) {
        count(&self.counters.purges_heard);
        (self.hears)(Heard::Purge { seq, message });
        self.applied(seq);
    }

    fn applied(&self, seq: u64) {
        self.seq.fetch_max(seq, Ordering::AcqRel);
    }

    fn joined(&self, epoch: u64, floor: u64) {
        (self.hears)(Heard::Joined { floor });
        let mut standing = lock(&self.standing);
        standing.listening = true;
        standing.epoch = epoch;
    }

    /// Back where it left off.
    fn resumed(&self) {
        lock(&self.standing).listening = true;
        tracing::info!("purges of all nodes are heard again");
    }

    fn deaf(&self) {
        lock(&self.standing).listening = false;
    }

    fn lose(&self) {
        let mut standing = lock(&self.standing);
        let term = standing.term + 1;
        *standing = Standing { term, ..Standing::default() };
        drop(standing);
        count(&self.counters.losses);
        (self.hears)(Heard::Lost);
    }
}

/// Whatever ends the task that listens, a panic included: what is not heard is not served.
struct DeafAtEnd(Arc<Shared>);

impl Drop for DeafAtEnd {
    fn drop(&mut self) {
        self.0.journal.deaf();
    }
}

/// Listens and announces for the life of the tier.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let guard = DeafAtEnd(shared);
    let (shared, journal) = (&guard.0, &guard.0.journal);
    if journal.epoch().is_some() {
        // It is started again after a panic, and does not know where it was.
        journal.lose();
    }
    let mut place = redis::Place::default();
    let mut counted = memcached::Place::default();
    let (mut pause, mut told) = (PAUSE_FIRST, false);
    loop {
        let begun = Instant::now();
        let target = shared.topology.load().node_of(&shared.log_name()).map(|node| node.target.clone());
        let broke = match &target {
            None => Break::Link("no server is known yet".into()),
            Some(target) => match target.speaks {
                Speaks::Redis { .. } => redis::session(shared, target, &mut place).await,
                Speaks::Memcached => memcached::session(shared, target, &mut counted).await,
            },
        };
        told &= journal.listening().is_none();
        journal.deaf();
        match broke {
            Break::Lost(why) => {
                tracing::warn!(why, "purges may have been missed: what the shared cache held is judged anew");
                (place, counted) = Default::default();
                journal.lose();
            }
            Break::Link(error) => {
                if target.is_some() && !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error,
                        "purges of other nodes are not heard, the shared cache is passed by"
                    );
                }
                // Of a cluster, another server may have the log by now.
                shared.moved.notify_one();
            }
        }
        // What does not last is not tried again at once, however well it began.
        pause = if begun.elapsed() > PAUSE_MAX { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_a_loss_cannot_be_judged_after_it() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let journal = Journal::new(Arc::default(), Box::new(move |what| ear.lock().unwrap().push(what)));
        assert_eq!((journal.listening(), journal.epoch()), (None, None));
        journal.joined(7, 3);
        let before = journal.listening();
        journal.deaf();
        assert_eq!((journal.listening(), journal.epoch()), (None, Some(7)));
        journal.resumed();
        assert_eq!(journal.listening(), before, "a broken link alone is no loss");
        journal.lose();
        assert_eq!((journal.listening(), journal.epoch()), (None, None));
        journal.joined(7, 4);
        assert_ne!(journal.listening(), before);
        assert_eq!(
            *heard.lock().unwrap(),
            [Heard::Joined { floor: 3 }, Heard::Lost, Heard::Joined { floor: 4 }]
        );
    }
}
