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

/// Measures every peer once, each in a fresh process.
pub(super) fn run(
    bench: &Bench<'_>,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let mut rows = Vec::new();
    for peer in installed {
        let name = peer.peer.name();
        match measure(bench, peer) {
            Ok(row) => {
                say(&format!("  {name}: {}", row.brief("kib_per_connection")));
                rows.push(row);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                say(&format!("{name} is skipped in idle: {reason}"));
                skipped.push(Skipped { peer: name.into(), scenario: Some("idle".into()), reason });
            }
        }
    }
    Ok((!rows.is_empty()).then(|| ScenarioReport {
        name: Scenario::Idle.name().into(),
        meaning: Scenario::Idle.meaning().into(),
        headline: "kib_per_connection".into(),
        rows,
        dropped: 0,
        steal_max: 0.0,
    }))
}

fn measure(bench: &Bench<'_>, peer: &Installed) -> Result<Row> {
    let process = bench.start(peer, 1)?;
    run_blocking(&Scenario::Get1k.load(process.http1, WARM_UP))?;
    bench.interrupt.pause(SETTLE);
    let before = process.memory_bytes();
    let wanted = bench.options.idle_connections;
    let mut held = Vec::with_capacity(wanted);
    for number in 0..wanted {
        let connection = open_and_ask(process.http1);
        held.push(connection.with_context(|| format!("connection {} of {wanted}", number + 1))?);
    }
    bench.interrupt.pause(SETTLE);
    let with_idle = process.memory_bytes();
    let closed = held.iter().filter(|connection| is_closed(connection)).count();
    drop(held);
    let mut row = Row::new(peer.peer.name());
    let kib = (with_idle as f64 - before as f64) / 1024.0;
    row.add("kib_per_connection", &[kib / wanted.max(1) as f64]);
    row.add("before_mib", &[before as f64 / 1_048_576.0]);
    row.add("with_idle_mib", &[with_idle as f64 / 1_048_576.0]);
    row.errors = closed as u64;
    Ok(row)
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
