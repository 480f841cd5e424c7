//! The handle: what any thread may do, and the one thread on which everything happens.

use std::future::Future;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

use crate::address::Address;
use crate::ask::{Answer, Ask};
use crate::figures::{Counters, Figures, count};
use crate::log::{self, Announced, Heard, Journal};
use crate::name::Name;
use crate::puts::Put;
use crate::settings::Settings;
use crate::shared::{Shared, servers};
use crate::tasks::keep_running;
use crate::topology::Topology;
use crate::wire::redis::LIFETIME_MAX;
use crate::wire::{LOOKUPS, Lookups, Speaks, Target, tls};
use crate::{cluster, lock};

/// How long the end may take for what has been announced and not sent.
const FAREWELL: Duration = Duration::from_millis(250);

/// The longest that anybody may wait for a cache.
const BUDGET_MAX: Duration = Duration::from_secs(60);

/// Threads for packing and unpacking large values beside the tier's own; two, so that a write does not hold up a read.
const ASIDE_THREADS: usize = 2;

/// How long those may finish what they are at.
const ASIDE_END: Duration = Duration::from_millis(100);

/// The shared tier of a cache. Cheap to share. Dropping the last handle has its thread end and does not wait for that:
/// it may be dropped wherever it was used last. Whoever shuts down [closes](Tier::close) it.
pub struct Tier {
    shared: Arc<Shared>,
    runtime: Handle,
    /// The thread ends by itself when this is gone.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Tier {
    /// Starts the tier. It never waits for the network: while there is no server, asks are refused and writes wait.
    ///
    /// `hears` is called on the tier's thread and must return quickly: while it runs, nothing else is heard or answered.
    pub fn open(
        address: &Address,
        settings: Settings,
        hears: impl Fn(Heard) + Send + Sync + 'static,
    ) -> io::Result<Arc<Tier>> {
        let namespace = &settings.namespace;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if namespace.is_empty() || namespace.len() > 64 || !namespace.bytes().all(allowed) {
            let error = format!(
                "the namespace {namespace:?} is not of 1 to 64 letters, digits, `-`, `_`, `.` or `:`"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            speaks: speaks(address, &settings)?,
            lookups: Lookups::default(),
            topology: ArcSwap::default(),
            journal: Journal::new(counters.clone(), Box::new(hears)),
            counters,
            moved: Arc::new(Notify::new()),
            settings,
        });
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(ASIDE_THREADS + LOOKUPS)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let (handle, of_thread) = (runtime.handle().clone(), shared.clone());
        let (servers, seeds) = servers(address);
        if !seeds {
            let nodes = servers.iter().map(|server| shared.new_node(server.clone())).collect();
            shared.use_topology(Topology::of(nodes));
        }
        let work = async move {
            if seeds {
                let seeds: Vec<Target> = servers.into_iter().map(|server| of_thread.target(server)).collect();
                let shared = of_thread.clone();
                keep_running("cluster", move || cluster::keep(shared.clone(), seeds.clone()));
            }
            for node in &of_thread.topology.load().nodes {
                of_thread.start(node);
            }
            let shared = of_thread.clone();
            keep_running("log", move || log::follow(shared.clone()));
            let _ = stopped.await;
            farewell(&of_thread).await;
        };
        let thread = std::thread::Builder::new().name("tier".into()).spawn(move || {
            runtime.block_on(work);
            runtime.shutdown_timeout(ASIDE_END);
        })?;
        tracing::debug!(%address, "the shared tier of the cache is started");
        let (stop, thread) = (Mutex::new(Some(stop)), Mutex::new(Some(thread)));
        Ok(Arc::new(Tier { shared, runtime: handle, stop, thread }))
    }

    /// Asks for the value of a key. The question is on its way when this returns; the future may be dropped at any time.
    ///
    /// It is ready within `budget`, give or take the timer's millisecond, and at once when there is nobody to ask.
    pub fn get(&self, key: &[u8], budget: Duration) -> impl Future<Output = Answer> + Send + use<> {
        let asked = self.ask(key, budget);
        async move {
            match asked {
                Some(answer) => answer.await.unwrap_or(Answer::Unavailable),
                None => Answer::Unavailable,
            }
        }
    }

    fn ask(&self, key: &[u8], budget: Duration) -> Option<oneshot::Receiver<Answer>> {
        let (shared, now, budget) = (&self.shared, Instant::now(), budget.min(BUDGET_MAX));
        count(&shared.counters.gets);
        let admitted = shared.journal.listening().and_then(|(epoch, term)| {
            let stored = self.name(epoch, key).stored(&shared.settings.namespace);
            let node = shared.topology.load().node_of(&stored)?.clone();
            let ticket = node.admit(now)?;
            Some((epoch, term, stored, node, ticket))
        });
        let Some((epoch, term, stored, node, ticket)) = admitted else {
            count(&shared.counters.passed_by);
            return None;
        };
        let (reply, answer) = oneshot::channel();
        let (key, answer_timeout) = (Bytes::copy_from_slice(key), shared.settings.answer_timeout);
        let ask = Ask { node, ticket, epoch, term, key, stored, asked: now, budget, answer_timeout };
        let shared = shared.clone();
        self.runtime.spawn(async move { ask.run(reply, &shared).await });
        Some(answer)
    }

    /// Has a value written some time soon. It never waits: without room, what has waited longest is dropped and counted.
    pub fn put(&self, key: &[u8], value: Bytes, lifetime: Duration) {
        self.write(key, Some(value), lifetime);
    }

    /// Has what stands under a key removed some time soon, in order with what is put there: the newest word on a key is the one
    /// that counts. It never waits, and is dropped like a value.
    pub fn remove(&self, key: &[u8]) {
        // Nothing that is there now lives longer.
        self.write(key, None, LIFETIME_MAX);
    }

    fn write(&self, key: &[u8], value: Option<Bytes>, lifetime: Duration) {
        let shared = &self.shared;
        count(&shared.counters.puts);
        let target = shared.journal.epoch().and_then(|epoch| {
            let name = self.name(epoch, key);
            let node = shared.topology.load().node_of(&name.stored(&shared.settings.namespace))?.clone();
            Some((epoch, name, node))
        });
        let until = Instant::now() + lifetime.min(LIFETIME_MAX);
        let Some((epoch, name, node)) = target else {
            return count(&shared.counters.puts_dropped);
        };
        let put = Put { epoch, key: Bytes::copy_from_slice(key), value, until };
        let dropped = lock(&node.puts).push(name, put);
        shared.counters.puts_dropped.fetch_add(dropped, std::sync::atomic::Ordering::Relaxed);
        node.put.notify_one();
    }

    /// Announces a purge to all nodes, this one included. It is kept until it is in the log; when there is no room, it is not, and
    /// one that covers all is to be announced [instead](Tier::announce_instead).
    #[must_use = "what is not kept is lost unless something that covers it is announced"]
    pub fn announce(&self, message: Bytes) -> Announced {
        self.shared.journal.announce(message)
    }

    /// Announces a purge that covers all those that wait, in their stead; its ticket.
    pub fn announce_instead(&self, message: Bytes) -> u64 {
        self.shared.journal.announce_instead(message)
    }

    /// The number of the purge that was heard last: what an object is stamped with before its origin is asked for it.
    pub fn seq(&self) -> u64 {
        self.shared.journal.seq()
    }

    /// Whether purges are heard. While not, asks are refused, and what is kept elsewhere may miss a purge.
    pub fn is_listening(&self) -> bool {
        self.shared.journal.listening().is_some()
    }

    /// Which log purges are heard from: another number when the log of before was lost. None before the first join. Names in the
    /// store have it in them, so a cache need not ask; tests do, to tell one log from the next.
    pub fn epoch(&self) -> Option<u64> {
        self.shared.journal.epoch()
    }

    /// The mean time of an answer of the slowest server, the last ones weighing most; zero before the first.
    pub fn mean(&self) -> Duration {
        self.shared.topology.load().nodes.iter().map(|node| node.mean()).max().unwrap_or_default()
    }

    /// What 95 of 100 answers of the slowest server stay below; none before the first.
    pub fn p95(&self) -> Option<Duration> {
        self.shared.topology.load().nodes.iter().filter_map(|node| node.p95()).max()
    }

    /// A moment's figures.
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        Figures {
            announcements_pending: shared.journal.pending(),
            listening: self.is_listening(),
            refused: !self.is_listening() && shared.journal.refused.load(Relaxed),
            nodes: shared.topology.load().nodes.iter().map(|node| node.figures()).collect(),
            ..shared.counters.figures()
        }
    }

    /// Ends it: what has been announced gets a moment to get out, and this waits for it, for less than a second. From then on asks
    /// are refused. Not for the thread on which purges are heard.
    pub fn close(&self) {
        lock(&self.stop).take();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }

    fn name(&self, epoch: u64, key: &[u8]) -> Name {
        Name::of(&self.shared.settings.namespace, epoch, key)
    }
}

fn speaks(address: &Address, settings: &Settings) -> io::Result<Speaks> {
    let (tls, login, database) = match address {
        Address::Memcached { .. } => return Ok(Speaks::Memcached),
        Address::Redis { tls, login, database, .. } => (*tls, login.clone(), *database),
        Address::RedisCluster { tls, login, .. } => (*tls, login.clone(), 0),
    };
    let tls = if tls { Some(tls::config(settings.authorities.as_deref())?) } else { None };
    Ok(Speaks::Redis { tls, login, database })
}

/// Gives what has been announced a moment to get out.
async fn farewell(shared: &Shared) {
    let last = Instant::now() + FAREWELL;
    while shared.journal.pending() > 0 && shared.journal.listening().is_some() && Instant::now() < last {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pending = shared.journal.pending();
    if pending > 0 {
        tracing::warn!(pending, "purges have not reached the shared cache's log before the end");
    }
}
