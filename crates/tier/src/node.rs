//! One server: the connections to it, its health, what waits to be written to it. Asks come from any thread; connections are
//! opened, watched and replaced on the tier's own.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::breaker::Change;
use crate::figures::NodeFigures;
use crate::health::{Health, Outcome, Ticket};
use crate::lock;
use crate::puts::Puts;
use crate::tasks::keep_running;
use crate::wire::{self, Target, Wire};

/// A connection with an ask unanswered for so long is replaced: its path may be gone without a word.
const DEAF_AFTER: Duration = Duration::from_secs(1);

/// Between two attempts to connect.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Room for one connection.
#[derive(Default)]
pub(crate) struct Slot {
    wire: Mutex<Option<Wire>>,
    out: AtomicUsize,
    /// Since when it has owed an answer that was due.
    deaf_since: Mutex<Option<Instant>>,
    replace: Notify,
}

impl Slot {
    pub(crate) fn wire(&self) -> Option<Wire> {
        lock(&self.wire).clone()
    }

    /// Has the connection closed and another one opened; nobody gets the old one from here on.
    pub(crate) fn replace(&self) {
        *lock(&self.wire) = None;
        self.replace.notify_one();
    }

    /// Forgets a call to replace that concerned an earlier connection.
    async fn forget_replace(&self) {
        tokio::select! {
            biased;
            () = self.replace.notified() => {}
            () = std::future::ready(()) => {}
        }
    }
}

pub(crate) struct Node {
    pub(crate) target: Target,
    pub(crate) name: String,
    readers: Vec<Slot>,
    pub(crate) writer: Slot,
    turn: AtomicUsize,
    health: Mutex<Health>,
    pub(crate) puts: Mutex<Puts>,
    pub(crate) put: Notify,
    /// The writer has a connection.
    pub(crate) writable: Notify,
    /// Set when a cluster no longer has this server; its tasks end.
    pub(crate) gone: watch::Sender<bool>,
}

/// A connection lent to one ask; it counts as busy meanwhile.
pub(crate) struct Lent<'a> {
    slot: &'a Slot,
    pub(crate) wire: Wire,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.slot.out.fetch_sub(1, Relaxed);
    }
}

impl Node {
    pub(crate) fn new(target: Target, connections: usize, queue_bytes: usize, seed: u64) -> Node {
        Node {
            name: target.server.to_string(),
            target,
            readers: std::iter::repeat_with(Slot::default).take(connections.max(1)).collect(),
            writer: Slot::default(),
            turn: AtomicUsize::new(0),
            health: Mutex::new(Health::new(Instant::now(), seed)),
            puts: Mutex::new(Puts::new(queue_bytes)),
            put: Notify::new(),
            writable: Notify::new(),
            gone: watch::Sender::new(false),
        }
    }

    /// Lets an ask out, or not.
    pub(crate) fn admit(&self, now: Instant) -> Option<Ticket> {
        lock(&self.health).admit(now)
    }

    /// An ask has ended.
    pub(crate) fn ended(&self, now: Instant, ticket: Ticket, outcome: Outcome) {
        let change = lock(&self.health).ended(now, ticket, outcome);
        self.tell(change, "it does not answer in time, or with errors");
    }

    /// When the server is taken to be silent if no answer comes before, or that it is now.
    pub(crate) fn silent_from(&self) -> Option<Instant> {
        lock(&self.health).silent_from()
    }

    /// The least busy connection.
    pub(crate) fn lend(&self) -> Option<Lent<'_>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let count = self.readers.len();
        let in_turn = self.readers.iter().cycle().skip(turn % count.max(1)).take(count);
        let slot =
            in_turn.filter(|slot| lock(&slot.wire).is_some()).min_by_key(|slot| slot.out.load(Relaxed))?;
        let wire = slot.wire()?;
        slot.out.fetch_add(1, Relaxed);
        Some(Lent { slot, wire })
    }

    pub(crate) fn figures(&self) -> NodeFigures {
        let queue_bytes = lock(&self.puts).bytes();
        let health = lock(&self.health);
        NodeFigures {
            server: self.name.clone(),
            connections: self.connections(),
            breaker: health.breaker.state(),
            mean: health.latency.mean(),
            p95: health.latency.p95(),
            asks_out: health.out(),
            queue_bytes,
        }
    }

    pub(crate) fn p95(&self) -> Option<Duration> {
        lock(&self.health).latency.p95()
    }

    pub(crate) fn mean(&self) -> Duration {
        lock(&self.health).latency.mean()
    }

    fn connections(&self) -> usize {
        self.readers.iter().filter(|slot| lock(&slot.wire).is_some()).count()
    }

    /// Starts what keeps its connections, on the runtime of the tier.
    pub(crate) fn keep(self: &Arc<Self>, connect_timeout: Duration) {
        for at in 0..=self.readers.len() {
            let node = self.clone();
            keep_running("connection", move || node.clone().keep_while_there(at, connect_timeout));
        }
    }

    fn slot(&self, at: usize) -> &Slot {
        self.readers.get(at).unwrap_or(&self.writer)
    }

    async fn keep_while_there(self: Arc<Self>, at: usize, connect_timeout: Duration) {
        let mut gone = self.gone.subscribe();
        tokio::select! {
            () = self.keep_slot(at, connect_timeout) => {}
            _ = gone.wait_for(|gone| *gone) => {}
        }
        *lock(&self.slot(at).wire) = None;
    }

    async fn keep_slot(&self, at: usize, connect_timeout: Duration) {
        let slot = self.slot(at);
        let mut pause = PAUSE_FIRST;
        loop {
            let begun = Instant::now();
            match wire::connect(&self.target, connect_timeout).await {
                Ok((wire, driver)) => {
                    slot.forget_replace().await;
                    self.opened(at, wire);
                    let why = tokio::select! {
                        () = driver => "the connection has ended",
                        () = slot.replace.notified() => "answers are overdue",
                    };
                    *lock(&slot.wire) = None;
                    self.closed(at, why);
                }
                Err(error) => self.closed(at, &error.to_string()),
            }
            // A connection that does not last is not opened again at once, however well it began.
            pause = if begun.elapsed() > PAUSE_MAX { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    fn opened(&self, at: usize, wire: Wire) {
        let slot = self.slot(at);
        *lock(&slot.deaf_since) = None;
        *lock(&slot.wire) = Some(wire);
        if at >= self.readers.len() {
            return self.writable.notify_one();
        }
        let change = lock(&self.health).breaker.linked(Instant::now());
        self.tell(change, "");
    }

    fn closed(&self, at: usize, why: &str) {
        if at < self.readers.len() && self.connections() == 0 {
            let change = lock(&self.health).breaker.unlinked();
            self.tell(change, why);
        }
    }

    /// One line for each change, however many requests it concerns.
    fn tell(&self, change: Option<Change>, why: &str) {
        match change {
            Some(Change::Opened) => {
                tracing::warn!(server = %self.name, why, "the shared cache is passed by");
            }
            Some(Change::Closed) => tracing::info!(server = %self.name, "the shared cache answers again"),
            None => {}
        }
    }
}

impl Lent<'_> {
    /// It has answered.
    pub(crate) fn answered(&self) {
        *lock(&self.slot.deaf_since) = None;
    }

    /// It owes an answer that was due.
    pub(crate) fn overdue(&self, now: Instant) {
        let mut since = lock(&self.slot.deaf_since);
        if now.saturating_duration_since(*since.get_or_insert(now)) >= DEAF_AFTER {
            *since = None;
            self.slot.replace();
        }
    }
}
