//! What the tier counts, and how it is shown.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::breaker::State;

/// Counters of a tier since its start.
#[derive(Default, Debug)]
pub(crate) struct Counters {
    pub(crate) gets: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) odd: AtomicU64,
    pub(crate) passed_by: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) given_up: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) puts_written: AtomicU64,
    pub(crate) puts_dropped: AtomicU64,
    pub(crate) puts_failed: AtomicU64,
    pub(crate) announced: AtomicU64,
    pub(crate) announcements_replaced: AtomicU64,
    pub(crate) purges_heard: AtomicU64,
    pub(crate) losses: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// A moment's figures of a tier.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Asks.
    pub gets: u64,
    /// Asks that were answered with a value.
    pub hits: u64,
    /// Asks that were answered with none; those with an odd one are among them.
    pub misses: u64,
    /// Values that were not ours, or damaged, and so counted as none.
    pub odd: u64,
    /// Asks that were refused at once: no connection, an open breaker, a silent server, purges that cannot be heard.
    pub passed_by: u64,
    /// Answers that came in the server's time but after the caller's.
    pub late: u64,
    /// Asks that the server did not answer in its time.
    pub timeouts: u64,
    /// Asks that were given up without blame: those beyond the first when the server fell silent, and those behind large values.
    pub given_up: u64,
    /// Asks that ended in an error.
    pub failures: u64,
    /// Values to be written or removed.
    pub puts: u64,
    /// Values that were written or removed.
    pub puts_written: u64,
    /// Values that were dropped: no room in the queue, too large, too old when their turn came, or nowhere to go.
    pub puts_dropped: u64,
    /// Values that the server did not take, or did not take in time.
    pub puts_failed: u64,
    /// Announcements that have reached the log.
    pub announced: u64,
    /// Announcements whose place one that covers them has taken, since too many waited.
    pub announcements_replaced: u64,
    /// Announcements that wait to reach it.
    pub announcements_pending: usize,
    /// Announcements that were heard, our own among them.
    pub purges_heard: u64,
    /// How often the log did not reach back to what was heard last.
    pub losses: u64,
    /// Whether purges are heard; while not, asks are refused.
    pub listening: bool,
    /// Whether they are not heard because the server refuses our login.
    pub refused: bool,
    /// Each server.
    pub nodes: Vec<NodeFigures>,
}

/// A moment's figures of one server.
#[derive(Clone, Debug)]
pub struct NodeFigures {
    /// Host and port.
    pub server: String,
    /// Connections that stand and answer asks.
    pub connections: usize,
    /// Its breaker.
    pub breaker: State,
    /// Mean time of an answer, the last ones weighing most.
    pub mean: Duration,
    /// What 95 of 100 answers stay below; none before the first.
    pub p95: Option<Duration>,
    /// Asks that are out.
    pub asks_out: usize,
    /// Bytes that wait to be written.
    pub queue_bytes: usize,
}

impl Counters {
    pub(crate) fn figures(&self) -> Figures {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        Figures {
            gets: load(&self.gets),
            hits: load(&self.hits),
            misses: load(&self.misses),
            odd: load(&self.odd),
            passed_by: load(&self.passed_by),
            late: load(&self.late),
            timeouts: load(&self.timeouts),
            given_up: load(&self.given_up),
            failures: load(&self.failures),
            puts: load(&self.puts),
            puts_written: load(&self.puts_written),
            puts_dropped: load(&self.puts_dropped),
            puts_failed: load(&self.puts_failed),
            announced: load(&self.announced),
            announcements_replaced: load(&self.announcements_replaced),
            purges_heard: load(&self.purges_heard),
            losses: load(&self.losses),
            ..Figures::default()
        }
    }
}
