//! One measurement: load on one proxy, with the CPU time and the steal that went with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::configure::configure;
use super::install::Installed;
use super::process::{Directory, Interrupt, Process};
use super::scenario::Scenario;
use super::{PROXY_CORE, PeersOptions};
use crate::cpu::{ThreadCpu, Ticks};
use crate::load::{Report, run_blocking};
use crate::services::Backend;

/// Load before each measurement, so that caches and kept connections are those of a busy proxy.
const SETTLE: Duration = Duration::from_millis(150);
/// More steal than this, and a measurement is dropped.
pub(crate) const STEAL_MAX: f64 = 0.02;

/// What all measurements share.
pub(super) struct Bench<'a> {
    pub(super) options: &'a PeersOptions,
    pub(super) interrupt: &'a Interrupt,
    pub(super) directory: &'a Directory,
    pub(super) backend: &'a Backend,
}

/// What one measurement found. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// CPU of the proxy per answer; `None` without a proxy.
    pub(super) cpu_us: Option<f64>,
    pub(super) backend_us: Option<f64>,
    pub(super) load_us: Option<f64>,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) rate: f64,
    pub(super) errors: u64,
    pub(super) answered: u64,
    /// Requests that the backend saw.
    pub(super) seen: u64,
    pub(super) steal: f64,
    /// What the proxy wrote to its log meanwhile.
    pub(super) log_bytes: u64,
}

impl Bench<'_> {
    /// Starts a peer and waits until requests go through it.
    pub(super) fn start(&self, installed: &Installed, workers: usize) -> Result<Process> {
        let (parent, backends) = (&self.directory.path, self.backend.doors.as_slice());
        let launch = configure(installed, parent, backends, workers, &self.options.unlag_arguments)?;
        let cores =
            (PROXY_CORE..PROXY_CORE + workers).map(|core| core.to_string()).collect::<Vec<_>>().join(",");
        let mut process = Process::start(&launch, &cores, self.interrupt)?;
        process.wait_until(|| answers(launch.http1))?;
        Ok(process)
    }

    /// Lets `process` run, measures it, pauses it again. Without a process the backend itself is measured.
    pub(super) fn measure(&self, scenario: Scenario, process: Option<&Process>) -> Result<Sample> {
        let address = process.map_or(self.backend.address, |process| {
            if scenario.is_http2() { process.http2 } else { process.http1 }
        });
        if let Some(process) = process {
            process.resume();
        }
        let sample = self.measure_running(scenario, process, address);
        if let Some(process) = process {
            process.pause();
        }
        sample
    }

    fn measure_running(
        &self,
        scenario: Scenario,
        process: Option<&Process>,
        address: SocketAddr,
    ) -> Result<Sample> {
        run_blocking(&scenario.load(address, SETTLE))?;
        let backend_ns = || self.backend.cpu.as_ref().and_then(ThreadCpu::used_ns);
        let (ticks, backend_before, seen_before) = (Ticks::now(), backend_ns(), self.backend.requests());
        let (cpu_before, log_before) = process.map_or((0, 0), |p| (p.cpu_ns(), p.log_bytes()));
        let report = run_blocking(&scenario.load(address, self.options.length))?;
        let cpu_ns = process.map(|p| p.cpu_ns().saturating_sub(cpu_before));
        let steal = Ticks::now().zip(ticks).map_or(0.0, |(after, before)| after.steal_since(&before));
        let backend_ns = backend_ns().zip(backend_before).map(|(after, before)| after - before);
        let seen = self.backend.requests().saturating_sub(seen_before);
        every_request_was_seen(report.answered(), seen)?;
        Ok(Sample {
            cpu_us: cpu_ns.and_then(|ns| per_answer_us(ns, &report)),
            backend_us: backend_ns.and_then(|ns| per_answer_us(ns, &report)),
            load_us: report.cpu_us_per_answer(),
            p50_us: report.all.latency.quantile_ns(0.5) as f64 / 1e3,
            p99_us: report.all.latency.quantile_ns(0.99) as f64 / 1e3,
            rate: report.achieved_rate(),
            errors: report.errors(),
            answered: report.answered(),
            seen,
            steal,
            log_bytes: process.map_or(0, |p| p.log_bytes().saturating_sub(log_before)),
        })
    }
}

/// A proxy that answers for the backend does other work than those it is compared with.
pub(super) fn every_request_was_seen(answered: u64, seen: u64) -> Result<()> {
    ensure!(
        seen >= answered,
        "the backend saw {seen} requests and {answered} were answered: the proxy answered for it, \
         so this is not the same work"
    );
    Ok(())
}

/// CPU time per answer; `None` without answers.
pub(super) fn per_answer_us(ns: u64, report: &Report) -> Option<f64> {
    let answered = report.answered();
    (answered > 0).then(|| ns as f64 / 1e3 / answered as f64)
}

/// A request goes through to the backend.
pub(crate) fn answers(address: SocketAddr) -> bool {
    ask_once(address).is_ok_and(|status| status == 200)
}

fn ask_once(address: SocketAddr) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(
        format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let line = std::str::from_utf8(&line)?;
    line.strip_prefix("HTTP/1.1 ").and_then(|status| status.parse().ok()).context("not HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_the_backend_was_not_asked_for_is_an_error() {
        assert!(every_request_was_seen(10, 10).is_ok());
        // One that was sent again, or whose caller did not wait for the answer.
        assert!(every_request_was_seen(10, 11).is_ok());
        let error = every_request_was_seen(10, 9).expect_err("one was answered by somebody else").to_string();
        assert!(error.contains("the backend saw 9 requests and 10 were answered"), "{error}");
    }
}
