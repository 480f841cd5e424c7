//! Memory of a proxy per idle keep-alive connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::install::Installed;
use super::measure::Bench;
use super::report::{Row, ScenarioReport, Skipped};
use super::scenario::Scenario;
use crate::load::run_blocking;

/// After the last request, before memory is read.
const SETTLE: Duration = Duration::from_millis(1_500);
const WARM_UP: Duration = Duration::from_millis(300);

/// What one round found.
struct Sample {
    before_bytes: u64,
    with_idle_bytes: u64,
    /// Connections that the proxy closed meanwhile.
    closed: u64,
}

/// Measures every peer once a round, each time in a fresh process: memory that was used once is seldom given back. A
/// peer that fails is left out of the rounds that follow.
pub(super) fn run(
    bench: &Bench<'_>,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let mut found: Vec<(&Installed, Vec<Sample>)> = installed.iter().map(|peer| (peer, Vec::new())).collect();
    for round in 1..=bench.options.rounds {
        let mut failed = Vec::new();
        for (peer, samples) in &mut found {
            let name = peer.peer.name();
            match measure(bench, peer) {
                Ok(sample) => samples.push(sample),
                Err(error) => {
                    skipped.push(Skipped::said(name, "idle", &error, say));
                    failed.push(peer.peer);
                }
            }
        }
        found.retain(|(peer, _)| !failed.contains(&peer.peer));
        say(&line(round, &found, bench.options.idle_connections));
    }
    let connections = bench.options.idle_connections;
    let rows: Vec<Row> =
        found.iter().map(|(peer, samples)| row(peer.peer.name(), samples, connections)).collect();
    Ok((!rows.is_empty()).then(|| ScenarioReport {
        name: Scenario::Idle.name().into(),
        meaning: Scenario::Idle.meaning().into(),
        headline: "kib_per_connection".into(),
        goal: None,
        rows,
        dropped: 0,
        steal_max: 0.0,
    }))
}

impl Sample {
    fn kib_per_connection(&self, connections: usize) -> f64 {
        (self.with_idle_bytes as f64 - self.before_bytes as f64) / 1024.0 / connections.max(1) as f64
    }
}

fn line(round: usize, found: &[(&Installed, Vec<Sample>)], connections: usize) -> String {
    let figure = |(peer, samples): &(&Installed, Vec<Sample>)| {
        let kib = samples.last().map_or(0.0, |sample| sample.kib_per_connection(connections));
        format!("{} {kib:.2}", peer.peer.name())
    };
    format!("  round {round}: {}", found.iter().map(figure).collect::<Vec<_>>().join(", "))
}

fn row(name: &str, samples: &[Sample], connections: usize) -> Row {
    let column = |read: &dyn Fn(&Sample) -> f64| samples.iter().map(read).collect::<Vec<_>>();
    let mut row = Row::new(name);
    row.add("kib_per_connection", &column(&|sample| sample.kib_per_connection(connections)));
    row.add("before_mib", &column(&|sample| sample.before_bytes as f64 / 1_048_576.0));
    row.add("with_idle_mib", &column(&|sample| sample.with_idle_bytes as f64 / 1_048_576.0));
    row.errors = samples.iter().map(|sample| sample.closed).sum();
    row
}

fn measure(bench: &Bench<'_>, peer: &Installed) -> Result<Sample> {
    let process = bench.start(peer, 1)?;
    run_blocking(&Scenario::Get1k.load(process.http1, WARM_UP))?;
    bench.interrupt.pause(SETTLE);
    let before_bytes = process.memory_bytes();
    let wanted = bench.options.idle_connections;
    let mut held = Vec::with_capacity(wanted);
    for number in 0..wanted {
        let connection = open_and_ask(process.http1);
        held.push(connection.with_context(|| format!("connection {} of {wanted}", number + 1))?);
    }
    bench.interrupt.pause(SETTLE);
    let with_idle_bytes = process.memory_bytes();
    let closed = held.iter().filter(|connection| is_closed(connection)).count() as u64;
    Ok(Sample { before_bytes, with_idle_bytes, closed })
}

/// One keep-alive connection that was served once, its answer read to the end.
fn open_and_ask(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET /bytes/1024 HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n")
            && answer.len() >= head + 4 + 1024
        {
            return Ok(stream);
        }
        let length = stream.read(&mut piece)?;
        anyhow::ensure!(length > 0, "the proxy closed it");
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
}

fn is_closed(mut stream: &TcpStream) -> bool {
    // Idle means that a read would block; an end of file or an error means that it was closed.
    let asked = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 1]));
    !matches!(asked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_per_connection_is_the_growth_of_each_round_and_the_row_its_median() {
        let sample =
            |grown: u64| Sample { before_bytes: 1 << 20, with_idle_bytes: (1 << 20) + grown, closed: 1 };
        let row = row("unlag", &[sample(4_096), sample(12_288), sample(8_192)], 4);
        assert_eq!((row.figures["kib_per_connection"].median, row.figures["kib_per_connection"].n), (2.0, 3));
        assert_eq!((row.figures["before_mib"].median, row.errors), (1.0, 3));
    }
}
