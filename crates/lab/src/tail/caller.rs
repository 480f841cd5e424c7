//! The callers of a run: every request goes out when it is due, whatever became of those before it, and its clock starts
//! at that moment. A caller may try again, as naive ones do.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::answer::Answer;
use super::plan::{Call, Kind};
use super::wire::{Known, wire};
use crate::timer::Timer;

/// Requests under way at most; one more is not sent, and counts as an error.
const UNDER_WAY_MAX: usize = 12_000;

/// How requests are sent.
#[derive(Debug, Clone)]
pub(super) struct Calling {
    /// In turn.
    pub(super) targets: Vec<SocketAddr>,
    /// Where calls go, in turn, that pass the proxy by.
    pub(super) replicas: Vec<SocketAddr>,
    /// The first included.
    pub(super) attempts: u32,
    pub(super) attempt_timeout: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    pub(super) call: Call,
    pub(super) end: End,
    /// From the moment it was due.
    pub(super) latency: Duration,
    pub(super) attempts: u32,
    /// How late it was sent.
    pub(super) late: Duration,
    /// A read that shows less than this caller has written.
    pub(super) stale: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Status(u16),
    Timeout,
    /// Refused, reset, or cut short.
    Broken,
    /// Too many were under way.
    Unsent,
}

impl End {
    pub(super) fn is_ok(self) -> bool {
        matches!(self, Self::Status(status) if status < 400)
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Timeout => "timeout".into(),
            Self::Broken => "broken".into(),
            Self::Unsent => "unsent".into(),
        }
    }
}

/// Sends the calls and waits for what becomes of them, on a thread of its own.
pub(super) fn run(calls: Vec<Call>, calling: &Calling) -> Result<Vec<Outcome>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("callers".into()).spawn_scoped(scope, || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(send_all(calls, calling))
        });
        let thread = thread.context("callers: cannot start a thread")?;
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("callers: their thread panicked")))
    })
}

async fn send_all(calls: Vec<Call>, calling: &Calling) -> Result<Vec<Outcome>> {
    let callers = Rc::new(Callers {
        calling: calling.clone(),
        idle: calling.targets.iter().chain(&calling.replicas).map(|_| RefCell::default()).collect(),
        known: RefCell::default(),
        outcomes: RefCell::new(Vec::with_capacity(calls.len())),
        under_way: Cell::new(0),
        next: Cell::new(0),
    });
    let mut timer = Timer::new()?;
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for call in calls {
        let due = start + call.at;
        if due > Instant::now() {
            timer.sleep_until(due).await?;
        } else {
            tokio::task::yield_now().await;
        }
        // What has ended is let go, so that the set does not grow with the run.
        while tasks.try_join_next().is_some() {}
        if callers.under_way.get() >= UNDER_WAY_MAX {
            callers.note(call, due, End::Unsent, 0, due, false);
            continue;
        }
        callers.under_way.set(callers.under_way.get() + 1);
        let callers = Rc::clone(&callers);
        tasks.spawn_local(async move {
            callers.one(call, due).await;
            callers.under_way.set(callers.under_way.get().saturating_sub(1));
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(callers.outcomes.take())
}

struct Callers {
    calling: Calling,
    /// Kept connections to each target, the last used first.
    idle: Vec<RefCell<Vec<TcpStream>>>,
    known: RefCell<HashMap<u64, Known>>,
    outcomes: RefCell<Vec<Outcome>>,
    under_way: Cell<usize>,
    next: Cell<usize>,
}

impl Callers {
    async fn one(&self, call: Call, due: Instant) {
        let sent = Instant::now();
        let (mut attempts, mut end, mut stale) = (0, End::Unsent, false);
        while attempts < self.calling.attempts && !end.is_ok() {
            attempts += 1;
            (end, stale) = self.attempt(call).await;
        }
        self.note(call, due, end, attempts, sent, stale);
    }

    fn note(&self, call: Call, due: Instant, end: End, attempts: u32, sent: Instant, stale: bool) {
        let late = sent.saturating_duration_since(due);
        self.outcomes.borrow_mut().push(Outcome { call, end, latency: due.elapsed(), attempts, late, stale });
    }

    /// Whose turn it is, among the targets and, after those, the replicas.
    fn target(&self, direct: bool) -> usize {
        let turn = self.next.get();
        self.next.set(turn.wrapping_add(1));
        let (targets, replicas) = (self.calling.targets.len(), self.calling.replicas.len());
        if direct { targets + turn % replicas.max(1) } else { turn % targets.max(1) }
    }

    async fn attempt(&self, call: Call) -> (End, bool) {
        let deadline = Instant::now() + self.calling.attempt_timeout;
        let target = self.target(call.direct);
        let known = match call.kind {
            Kind::Read(key) | Kind::Write(key) => self.known.borrow().get(&key).cloned().unwrap_or_default(),
            _ => Known::default(),
        };
        match timeout_at(deadline.into(), self.exchange(call, target, &known)).await {
            Err(_) => (End::Timeout, false),
            Ok(Err(_)) => (End::Broken, false),
            Ok(Ok(answer)) => {
                let end = End::Status(answer.status);
                (end, end.is_ok() && self.learn(call.kind, &known, &answer))
            }
        }
    }

    /// Remembers what was written; true when what was read is older than that.
    fn learn(&self, kind: Kind, known: &Known, answer: &Answer) -> bool {
        let version = answer.version.unwrap_or(0);
        match kind {
            Kind::Write(key) => {
                let mut all = self.known.borrow_mut();
                let own = all.entry(key).or_default();
                own.version = own.version.max(version);
                if answer.cookie.is_some() {
                    own.cookie.clone_from(&answer.cookie);
                }
                false
            }
            Kind::Read(_) => version < known.version,
            _ => false,
        }
    }

    async fn exchange(&self, call: Call, target: usize, known: &Known) -> io::Result<Answer> {
        let wire = wire(call, known);
        let kept = self.idle.get(target).and_then(|idle| idle.borrow_mut().pop());
        if let Some(stream) = kept {
            match self.on(stream, target, &wire).await {
                // A kept connection that its peer had closed: nothing of an answer came.
                Err((_, false)) if !call.kind.is_unsafe() => {}
                other => return other.map_err(|(error, _)| error),
            }
        }
        let Calling { targets, replicas, .. } = &self.calling;
        let address = targets.iter().chain(replicas).nth(target).copied().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.on(stream, target, &wire).await.map_err(|(error, _)| error)
    }

    /// Sends and reads on one connection, and keeps it if it may be. An error says whether an answer had begun.
    async fn on(
        &self,
        mut stream: TcpStream,
        target: usize,
        wire: &[u8],
    ) -> Result<Answer, (io::Error, bool)> {
        stream.write_all(wire).await.map_err(|error| (error, false))?;
        let mut answer = Answer::default();
        match read(&mut stream, &mut answer).await {
            Err(error) => Err((error, answer.has_begun())),
            Ok(()) => {
                if answer.reusable
                    && let Some(idle) = self.idle.get(target)
                {
                    idle.borrow_mut().push(stream);
                }
                Ok(answer)
            }
        }
    }
}

thread_local! {
    /// Where all connections read to, one after another.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 128 * 1024].into());
}

async fn read(stream: &mut TcpStream, answer: &mut Answer) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let length = stream.try_read(scratch)?;
            if length == 0 {
                return if answer.end() { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            answer
                .feed(scratch.get(..length).unwrap_or_default())
                .map_err(|_| io::ErrorKind::InvalidData.into())
        });
        match read {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if io::Error::kind(&error) == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Load, Phase};
    use super::*;
    use crate::services::{ReplicaSpec, Replicas, ReplicasSpec, Timed, When, Work, Wrong};

    fn spec(replicas: Vec<ReplicaSpec>) -> ReplicasSpec {
        let work = Work::LogNormal { mean_ms: 5.0, request_sigma: 0.0, copy_sigma: 0.0 };
        ReplicasSpec { seed: 1, work, workers: 4, drop_cancelled: true, reports_load: false, replicas }
    }

    #[test]
    fn every_call_has_an_outcome_and_a_caller_tries_again_as_often_as_it_may() {
        let fault = Wrong::Answer { status: 500, share: 1.0, retry_after: None };
        let failing =
            ReplicaSpec { faults: vec![Timed { fault, when: When::Always }], ..ReplicaSpec::default() };
        let slow = Timed { fault: Wrong::Slow(10_000.0), when: When::Always };
        let hanging = ReplicaSpec { faults: vec![slow], ..ReplicaSpec::default() };
        let replicas = Replicas::start(spec(vec![ReplicaSpec::default(), failing, hanging])).expect("starts");
        const KINDS: super::super::plan::Mix = &[(Kind::Get, 1), (Kind::Post, 1), (Kind::Stream, 1)];
        let load = Load {
            phases: vec![Phase { rate: 500.0, requests: 50 }],
            mix: KINDS,
            critical: 0.0,
            direct: 0.0,
            keys: 0,
        };
        let [well, failing, hanging] = replicas.addresses.replicas[..] else { panic!("three replicas") };
        let run = |target, attempts, timeout_ms| {
            let attempt_timeout = Duration::from_millis(timeout_ms);
            run(
                load.calls(1, 0),
                &Calling { targets: vec![target], replicas: Vec::new(), attempts, attempt_timeout },
            )
            .expect("runs")
        };
        let answered = run(well, 3, 10_000);
        assert_eq!(answered.len(), 50);
        assert!(answered.iter().all(|o| o.end == End::Status(200) && o.attempts == 1));
        assert!(answered.iter().all(|o| o.latency >= Duration::from_millis(5)));
        assert!(run(failing, 3, 10_000).iter().all(|o| o.end == End::Status(500) && o.attempts == 3));
        let given_up = run(hanging, 2, 30);
        assert!(given_up.iter().all(|o| o.end == End::Timeout && o.attempts == 2), "{:?}", given_up[0]);
        assert!(given_up.iter().all(|o| o.latency >= Duration::from_millis(60)));
        let nobody = crate::peers::process::free_address().expect("an address");
        assert!(run(nobody, 1, 1_000).iter().all(|o| o.end == End::Broken));
    }
}
