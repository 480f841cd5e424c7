//! Write-behind: takes what waits for one server, packs it beside the tier's thread, and sends it in one go on a connection
//! that no ask uses. What fails is counted and forgotten: the next answer of the origin will be put again. Only removals that a broken
//! connection took along are done again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::envelope;
use crate::figures::{Counters, count};
use crate::lock;
use crate::name::Name;
use crate::node::Node;
use crate::puts::Put;
use crate::wire::{Failure, Item};

/// What is sent in one go: enough to make the way there and back not matter, little enough to be done well in time.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 20;

/// What has been waiting: what can be sent, and how much could not be.
type Packed = (Vec<Item>, u64);

pub(crate) struct Writer {
    pub(crate) node: Arc<Node>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) namespace: String,
    pub(crate) item_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) moved: Arc<tokio::sync::Notify>,
}

impl Writer {
    /// Writes until the server is gone from the cluster.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut gone = self.node.gone.subscribe();
        tokio::select! {
            () = self.write() => {}
            _ = gone.wait_for(|gone| *gone) => {}
        }
    }

    async fn write(&self) {
        let mut refused = false;
        loop {
            let Some(wire) = self.node.writer.wire() else {
                self.node.writable.notified().await;
                continue;
            };
            let taken = lock(&self.node.puts).take(BATCH, BATCH_BYTES);
            if taken.is_empty() {
                self.node.put.notified().await;
                continue;
            }
            let removals: Vec<(Name, Put)> =
                taken.iter().filter(|(_, put)| put.value.is_none()).cloned().collect();
            let (items, dropped) = self.pack(taken).await;
            add(&self.counters.puts_dropped, dropped);
            let count_of_items = items.len() as u64;
            if items.is_empty() {
                continue;
            }
            match tokio::time::timeout(self.timeout, wire.put(items)).await {
                Ok(Ok(results)) => self.took(results, &mut refused),
                failed => {
                    let error = failed.map_or("no answer in time".to_owned(), |lost| format!("{lost:?}"));
                    tracing::debug!(server = %self.node.name, error, "writes to the shared cache failed");
                    add(&self.counters.puts_failed, count_of_items - removals.len() as u64);
                    add(&self.counters.puts_dropped, lock(&self.node.puts).take_back(removals));
                    // The next connection stands when the server answers again; until then, writes wait.
                    self.node.writer.replace();
                }
            }
        }
    }

    async fn pack(&self, taken: Vec<(Name, Put)>) -> Packed {
        let (namespace, item_bytes) = (self.namespace.clone(), self.item_bytes);
        let count = taken.len() as u64;
        let packing = tokio::task::spawn_blocking(move || packed(taken, &namespace, item_bytes));
        packing.await.unwrap_or((Vec::new(), count))
    }

    fn took(&self, results: Vec<Result<(), Failure>>, refused: &mut bool) {
        let mut error = None;
        for result in results {
            match result {
                Ok(()) => count(&self.counters.puts_written),
                Err(failure) => {
                    count(&self.counters.puts_failed);
                    match failure {
                        Failure::Moved(_) => self.moved.notify_one(),
                        failure => error = Some(failure),
                    }
                }
            }
        }
        match (&error, *refused) {
            (Some(error), false) => {
                tracing::warn!(server = %self.node.name, %error, "the shared cache refuses writes");
            }
            (None, true) => tracing::info!(server = %self.node.name, "the shared cache takes writes again"),
            _ => {}
        }
        *refused = error.is_some();
    }
}

fn packed(taken: Vec<(Name, Put)>, namespace: &str, item_bytes: usize) -> Packed {
    let (mut items, mut dropped, now) = (Vec::with_capacity(taken.len()), 0, Instant::now());
    for (name, put) in taken {
        let lifetime = put.left(now);
        let Some(value) = put.value else {
            items.push(Item { name: name.stored(namespace), value: None, lifetime });
            continue;
        };
        // What cannot be written must not leave what is older in its place.
        let sealed = envelope::seal(put.epoch, &put.key, &value).filter(|sealed| sealed.len() <= item_bytes);
        dropped += u64::from(sealed.is_none() || lifetime.is_zero());
        let value = sealed.filter(|_| !lifetime.is_zero());
        items.push(Item { name: name.stored(namespace), value, lifetime });
    }
    (items, dropped)
}

fn add(counter: &std::sync::atomic::AtomicU64, more: u64) {
    counter.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
}
