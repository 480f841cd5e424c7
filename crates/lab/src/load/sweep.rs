//! One request for each of many paths, as fast as they are answered: a few connections, several requests under way on each
//! (pipelining). For filling a cache and for looking what is in it, not for measuring latency.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::response::ResponseReader;

/// Requests under way on one connection: written at once, then answered one after another.
const DEPTH: u64 = 32;

/// A sweep over the paths of the numbers `0, step, 2 × step, …` below `end`.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Where to connect.
    pub address: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// One more than the largest number.
    pub end: u64,
    /// From one number to the next.
    pub step: u64,
    /// More fields, each with its line end.
    pub fields: &'static str,
    /// The path of a number.
    pub path: fn(u64) -> String,
    /// What is not answered by then is given up, with an error.
    pub within: Duration,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Content of answers with 200, in bytes.
    pub content_bytes: u64,
}

impl Sweep {
    /// Runs it on this thread.
    pub fn run(&self) -> Result<Swept> {
        ensure!((1..=256).contains(&self.connections), "sweep: connections must be 1 to 256");
        ensure!(self.step > 0, "sweep: the step must be above 0");
        let deadline = Instant::now() + self.within;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.context("sweep: cannot start a runtime")?.block_on(async {
            let next = std::rc::Rc::new(Cell::new(0));
            let mut connections = JoinSet::new();
            for _ in 0..self.connections {
                let (sweep, next) = (*self, std::rc::Rc::clone(&next));
                connections.spawn_local(async move { sweep.connection(&next, deadline).await });
            }
            let mut all = Swept::default();
            for swept in connections.join_all().await {
                let swept = swept?;
                swept.statuses.iter().for_each(|(k, n)| *all.statuses.entry(*k).or_default() += n);
                all.content_bytes += swept.content_bytes;
            }
            Ok(all)
        })
    }

    async fn connection(&self, next: &Cell<u64>, deadline: Instant) -> Result<Swept> {
        let mut stream = TcpStream::connect(self.address).await.context("sweep: cannot connect")?;
        stream.set_nodelay(true)?;
        let (mut swept, mut batch, mut buffer) = (Swept::default(), String::new(), vec![0; 64 * 1024]);
        loop {
            batch.clear();
            let mut asked = 0;
            while asked < DEPTH && next.get() < self.end {
                let (path, Self { address, fields, .. }) = ((self.path)(next.get()), self);
                batch.push_str(&format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{fields}\r\n"));
                next.set(next.get() + self.step);
                asked += 1;
            }
            if asked == 0 {
                return Ok(swept);
            }
            let answered = async {
                stream.write_all(batch.as_bytes()).await.context("sweep: cannot write")?;
                read(&mut stream, asked, &mut buffer, &mut swept).await
            };
            timeout_at(deadline.into(), answered).await.context("sweep: not done in time")??;
        }
    }
}

async fn read(stream: &mut TcpStream, asked: u64, buffer: &mut [u8], swept: &mut Swept) -> Result<()> {
    let mut reader = ResponseReader::new();
    reader.start(false);
    let mut left = asked;
    while left > 0 {
        let length = stream.read(buffer).await.context("sweep: cannot read")?;
        ensure!(length > 0, "sweep: the connection was closed with {left} answers to come");
        let mut piece = buffer.get(..length).unwrap_or_default();
        while !piece.is_empty() {
            let Ok(step) = reader.feed(piece) else { bail!("sweep: the answer is not HTTP") };
            let Some(complete) = step else { break };
            ensure!(left > 0, "sweep: more answers than requests");
            left -= 1;
            *swept.statuses.entry(complete.status).or_default() += 1;
            if complete.status == 200 {
                swept.content_bytes += complete.body_bytes;
            }
            piece = piece.get(complete.consumed..).unwrap_or_default();
            reader.start(false);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Origin;

    fn sweep(origin: &Origin, path: fn(u64) -> String) -> Sweep {
        let within = Duration::from_secs(20);
        Sweep { address: origin.address, connections: 3, end: 1_000, step: 1, fields: "", path, within }
    }

    #[test]
    fn every_path_is_asked_for_once_and_every_answer_is_read() {
        let origin = Origin::start().expect("starts");
        let all = sweep(&origin, |number| format!("/s/fresh/0/100/{number}"));
        let swept = all.run().expect("runs");
        assert_eq!(swept.statuses, BTreeMap::from([(200, 1_000)]));
        assert_eq!((swept.content_bytes, origin.requests()), (100_000, 1_000));
        for number in [0, 1, 31, 32, 999] {
            assert_eq!(origin.requests_for(&format!("/s/fresh/0/100/{number}")), 1, "{number}");
        }
        let some = Sweep { step: 10, ..sweep(&origin, |number| format!("/nothing/{number}")) };
        assert_eq!(some.run().expect("runs").statuses, BTreeMap::from([(404, 100)]));
        assert_eq!(origin.requests_for("/nothing/990"), 1);
    }

    #[test]
    fn what_takes_too_long_is_an_error() {
        let origin = Origin::start().expect("starts");
        let mut slow = sweep(&origin, |number| format!("/s/fresh/5000/100/{number}"));
        slow.within = Duration::from_millis(50);
        assert!(format!("{:#}", slow.run().expect_err("too slow")).contains("not done in time"));
    }
}
