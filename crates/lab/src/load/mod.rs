//! The load generator. Open loop: requests are due at times of their own, and a request's clock starts at its
//! intended time, so a stalled service cannot hide its stall by slowing the questions down (no coordinated
//! omission). Closed loop: every connection asks again as soon as it was answered, for cost per request.
//!
//! Everything is bounded: time, number of requests, requests outstanding. What could not be sent in time is an
//! error in the report, never silently left out.

mod burst;
mod http1;
mod http2;
mod report;
mod request;
mod response;
mod runner;
mod source;
mod sweep;
mod target;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::runtime::{Builder, LocalOptions};

pub use burst::{Call, Fault, Question, at_once, joined, paced};
pub use report::{Failure, Latency, Part, Report, Summary};
pub use request::Request;
pub use sweep::{Sweep, Swept};
pub use target::Target;

use crate::cpu::ThreadCpu;

/// Which protocol to speak, in clear text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive, one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2 {
        /// Requests in flight on one connection at most.
        streams: usize,
    },
}

/// When requests are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Closed loop: the next request follows the answer. Right for cost per request, wrong for latency.
    Closed,
    /// Open loop, evenly spaced.
    Constant {
        /// Requests per second, above 0.
        rate: f64,
    },
    /// Open loop, with the exponential gaps that independent callers produce.
    Poisson {
        /// Mean requests per second, above 0.
        rate: f64,
    },
}

impl Arrivals {
    /// The rate asked for; `None` in a closed loop.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Self::Closed => None,
            Self::Constant { rate } | Self::Poisson { rate } => Some(*rate),
        }
    }
}

/// One run of load.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the `Host` field or `:authority` says.
    pub authority: String,
    /// The requests, drawn by weight. At least one.
    pub mix: Vec<Request>,
    /// HTTP/1.1 by default.
    pub protocol: Protocol,
    /// Connections opened before the clock starts. Default 64.
    pub connections: usize,
    /// When requests are due. Default closed loop.
    pub arrivals: Arrivals,
    /// How long requests are offered; answers are waited for beyond it, `timeout` at most. Default 10 s.
    pub duration: Duration,
    /// Requests offered at most. Default: no bound but the duration.
    pub requests: u64,
    /// Requests due and not yet answered at most; one more counts as [`Failure::Unsent`]. Default 10,000.
    pub outstanding: usize,
    /// From the intended time to the last byte of the answer. Default 10 s.
    pub timeout: Duration,
    /// Decides the gaps of Poisson arrivals and the order of the mix. Default 1.
    pub seed: u64,
}

impl Options {
    /// A closed loop of 64 connections for 10 s asking for one thing.
    pub fn new(address: SocketAddr, request: Request) -> Self {
        Self {
            address,
            authority: address.to_string(),
            mix: vec![request],
            protocol: Protocol::Http1,
            connections: 64,
            arrivals: Arrivals::Closed,
            duration: Duration::from_secs(10),
            requests: u64::MAX,
            outstanding: 10_000,
            timeout: Duration::from_secs(10),
            seed: 1,
        }
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.mix.is_empty(), "load: the mix has no request");
        ensure!((1..=20_000).contains(&self.connections), "load: connections must be 1 to 20,000");
        if let Some(rate) = self.arrivals.rate() {
            ensure!(
                rate > 0.0 && rate <= 1e6,
                "load: the rate must be above 0 and at most 1,000,000 a second"
            );
        }
        if let Protocol::Http2 { streams } = self.protocol {
            ensure!((1..=1_000).contains(&streams), "load: streams must be 1 to 1,000 a connection");
        }
        ensure!(self.outstanding > 0, "load: outstanding must be above 0");
        ensure!(!self.timeout.is_zero(), "load: the timeout must be above 0");
        Ok(())
    }
}

/// Runs the load on a thread of its own and waits for it, whatever runtime the caller is on.
pub async fn run(options: Options) -> Result<Report> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("load".into())
        .spawn(move || {
            let _ = done.send(run_on_this_thread(&options, Duration::MAX, &mut |_| ()));
        })
        .context("load: cannot start a thread")?;
    result.await.context("load: its thread ended early")?
}

/// Runs the load on a thread of its own and blocks until it is done.
pub fn run_blocking(options: &Options) -> Result<Report> {
    run_observed(options, Duration::MAX, |_| ())
}

/// Like [`run_blocking`], and hands the report of every `window` to `observe`, on the caller's thread.
/// The windows add up to the report that is returned.
pub fn run_observed(options: &Options, window: Duration, mut observe: impl FnMut(Report)) -> Result<Report> {
    let (windows, received) = mpsc::sync_channel::<Report>(64);
    std::thread::scope(|scope| {
        let load = std::thread::Builder::new()
            .name("load".into())
            .spawn_scoped(scope, move || {
                // A reader that is 64 windows behind loses windows; the total keeps everything.
                run_on_this_thread(options, window, &mut |report| drop(windows.try_send(report)))
            })
            .context("load: cannot start a thread")?;
        received.iter().for_each(&mut observe);
        load.join().unwrap_or_else(|_| Err(anyhow::anyhow!("load: its thread panicked")))
    })
}

fn run_on_this_thread(
    options: &Options,
    window: Duration,
    observe: &mut dyn FnMut(Report),
) -> Result<Report> {
    options.check()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("load: cannot start a runtime")?;
    let cpu = ThreadCpu::current();
    let before = cpu.as_ref().and_then(ThreadCpu::used_ns);
    let mut report = runtime.block_on(runner::run(options, window, observe))?;
    let after = cpu.as_ref().and_then(ThreadCpu::used_ns);
    report.cpu_ns = after.zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(report)
}
