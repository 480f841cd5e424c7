//! A tier under test, and what it has heard.
#![allow(dead_code, reason = "each file of tests uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test reports by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use unlag_testkit::wait::{DEADLINE, holds_within};
use unlag_tier::{Announced, Answer, BreakerState, Heard, Settings, Tier};

/// Long enough for a machine that does other things.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A node: a tier with an ear.
pub(crate) struct Node {
    pub(crate) tier: Arc<Tier>,
    heard: Arc<Mutex<Vec<(Instant, Heard)>>>,
}

/// Settings that forgive a loaded machine.
pub(crate) fn patient() -> Settings {
    Settings { answer_timeout: PATIENCE, connect_timeout: Duration::from_secs(2), ..Settings::default() }
}

impl Node {
    /// Opens a tier without waiting for it.
    pub(crate) fn open(url: &str, settings: Settings) -> Node {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let hears = move |what| ear.lock().unwrap().push((Instant::now(), what));
        Node { tier: Tier::open(&url.parse().unwrap(), settings, hears).unwrap(), heard }
    }

    /// Opens one and waits until it listens and can be asked.
    pub(crate) fn ready(url: &str, settings: Settings) -> Node {
        let node = Node::open(url, settings);
        node.wait_ready();
        node
    }

    pub(crate) fn joined(url: &str) -> Node {
        Node::ready(url, patient())
    }

    pub(crate) fn wait_ready(&self) {
        self.wait("the tier can be asked", |node| {
            let figures = node.tier.figures();
            figures.listening
                && !figures.nodes.is_empty()
                && figures.nodes.iter().all(|node| node.connections > 0)
        });
    }

    pub(crate) fn wait(&self, what: &str, mut condition: impl FnMut(&Node) -> bool) {
        assert!(
            holds_within(DEADLINE, || condition(self)),
            "not within {DEADLINE:?}: {what}: {:#?}",
            self.tier.figures()
        );
    }

    pub(crate) fn get(&self, key: &[u8]) -> Answer {
        without_lifetime(block_on(self.tier.get(key, PATIENCE)))
    }

    /// Asks until the value is there: what is put is written some time soon.
    pub(crate) fn wait_for(&self, key: &[u8], value: &[u8]) {
        let value = answer(value);
        self.wait("the value can be read", |node| node.get(key) == value);
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) {
        self.tier.put(key, Bytes::copy_from_slice(value), HOUR);
    }

    pub(crate) fn announce(&self, message: &str) -> Announced {
        self.tier.announce(Bytes::copy_from_slice(message.as_bytes()))
    }

    /// What was heard, but for what became of announcements of its own.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock().unwrap();
        let all = heard.iter().map(|(_, heard)| heard.clone());
        all.filter(|heard| !matches!(heard, Heard::Announced { .. })).collect()
    }

    /// The number under which the announcement of a ticket is in the log, once that is known.
    pub(crate) fn number_of(&self, own: u64) -> Option<u64> {
        self.heard.lock().unwrap().iter().find_map(|(_, heard)| match heard {
            Heard::Announced { ticket, seq } if *ticket == own => Some(*seq),
            _ => None,
        })
    }

    /// The purges heard, in order, as number and text.
    pub(crate) fn purges(&self) -> Vec<(u64, String)> {
        let text = |message: &Bytes| String::from_utf8_lossy(message).into_owned();
        let heard = self.heard();
        heard
            .iter()
            .filter_map(|heard| match heard {
                Heard::Purge { seq, message } => Some((*seq, text(message))),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.purges().into_iter().map(|(_, text)| text).collect()
    }

    /// When a purge was heard.
    pub(crate) fn heard_at(&self, text: &str) -> Option<Instant> {
        let heard = self.heard.lock().unwrap();
        heard.iter().find_map(|(at, heard)| match heard {
            Heard::Purge { message, .. } if message == text.as_bytes() => Some(*at),
            _ => None,
        })
    }

    pub(crate) fn wait_for_messages(&self, expected: &[&str]) {
        self.wait("all purges are heard", |node| node.messages().len() >= expected.len());
        assert_eq!(self.messages(), expected);
    }

    pub(crate) fn losses(&self) -> usize {
        self.heard().iter().filter(|heard| **heard == Heard::Lost).count()
    }

    pub(crate) fn breaker(&self) -> BreakerState {
        self.tier.figures().nodes[0].breaker
    }
}

/// A value, whatever is left of its lifetime.
pub(crate) fn answer(value: &[u8]) -> Answer {
    Answer::Value(Bytes::copy_from_slice(value), Duration::ZERO)
}

/// An answer as [`answer`] has it.
pub(crate) fn without_lifetime(found: Answer) -> Answer {
    match found {
        Answer::Value(value, _) => answer(&value),
        other => other,
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A way to a server that can be cut without a word: connections of before the cut stand, and carry nothing any more.
pub(crate) struct Path {
    port: u16,
    delay_ms: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
}

impl Path {
    pub(crate) fn to(server: String) -> Path {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, cuts) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let (seen, delay_ms) = (cuts.clone(), Arc::<AtomicUsize>::default());
        let delay = delay_ms.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(&server).unwrap());
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                for (from, to) in [(near, far), (far_too, near_too)] {
                    let (cuts, born, delay) = (seen.clone(), seen.load(Ordering::SeqCst), delay.clone());
                    std::thread::spawn(move || {
                        carry(from, to, &delay, || cuts.load(Ordering::SeqCst) > born);
                    });
                }
            }
        });
        Path { port, cuts, delay_ms }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From here on, whatever is carried in either direction comes so much later.
    pub(crate) fn delay(&self, ms: usize) {
        self.delay_ms.store(ms, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicUsize, is_cut: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        match delay_ms.load(Ordering::SeqCst) {
            0 => {}
            ms => unlag_testkit::wait::pause(Duration::from_millis(ms as u64)),
        }
        if !is_cut() && to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
