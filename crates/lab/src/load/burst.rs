//! Callers that ask for one thing at the same moment, each on a connection of its own that was open before. What they get
//! is kept and compared with what is right: a cache that mixes up answers is not fast.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::response::ResponseReader;
use crate::framing::has_token;

/// Callers at most.
const CALLERS_MAX: usize = 1_000;
/// From the release to the last byte; what is not whole by then has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is asked for, of whom, and what is right.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where to connect.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    /// The content of the right answer.
    pub content: Vec<u8>,
}

/// How one caller fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// From the release to the first byte of content.
    pub first_byte: Duration,
    /// From the release to the last byte, or until it was given up.
    pub latency: Duration,
    /// What was wrong, if anything.
    pub fault: Option<Fault>,
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another status than 200.
    Status(u16),
    /// A 200 with other content than the right one, or a part of it.
    WrongContent,
    /// Closed before the answer was whole.
    Closed,
    /// Not whole in time.
    Timeout,
    /// Not HTTP.
    Malformed,
}

/// All callers at once. They are released together, and the clock of each starts then.
pub fn at_once(question: &Question, callers: usize) -> Result<Vec<Call>> {
    ensure!((1..=CALLERS_MAX).contains(&callers), "burst: callers must be 1 to {CALLERS_MAX}");
    runtime()?.block_on(async {
        let mut callers = open(question.address, callers).await?;
        let request = request(question);
        let released = Instant::now();
        for caller in &mut callers {
            // An empty socket takes a head of a hundred bytes; one that does not shows as a time-out.
            let _ = caller.try_write(request.as_bytes());
        }
        let mut reading = JoinSet::new();
        for caller in callers {
            let content = question.content.clone();
            reading.spawn_local(async move { read(caller, &content, released).await.0 });
        }
        Ok(reading.join_all().await)
    })
}

/// One caller, again and again on one connection, `gap` apart.
pub fn paced(question: &Question, times: usize, gap: Duration) -> Result<Vec<Call>> {
    ensure!((1..=CALLERS_MAX).contains(&times), "burst: times must be 1 to {CALLERS_MAX}");
    runtime()?.block_on(async {
        let (mut calls, mut kept) = (Vec::new(), None);
        let mut ticks = tokio::time::interval(gap.max(Duration::from_millis(1)));
        for _ in 0..times {
            ticks.tick().await;
            let mut caller = match kept.take() {
                Some(caller) => caller,
                None => TcpStream::connect(question.address).await.context("burst: cannot connect")?,
            };
            let asked = Instant::now();
            caller.write_all(request(question).as_bytes()).await.context("burst: cannot write")?;
            let (call, open) = read(caller, &question.content, asked).await;
            kept = open;
            calls.push(call);
        }
        Ok(calls)
    })
}

/// One caller, and a second one `after` the first has asked, each with a clock of its own.
pub fn joined(question: &Question, after: Duration) -> Result<[Call; 2]> {
    runtime()?.block_on(async {
        let mut callers = open(question.address, 2).await?.into_iter();
        let mut ask = |first: Duration| {
            let (caller, question) = (callers.next(), question.clone());
            async move {
                tokio::time::sleep(first).await;
                let mut caller = caller.context("burst: too few connections")?;
                let asked = Instant::now();
                caller.write_all(request(&question).as_bytes()).await.context("burst: cannot write")?;
                anyhow::Ok(read(caller, &question.content, asked).await.0)
            }
        };
        let (first, second) = (ask(Duration::ZERO), ask(after));
        let (first, second) = tokio::join!(first, second);
        Ok([first?, second?])
    })
}

fn runtime() -> Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).context("burst: cannot start a runtime")
}

fn request(question: &Question) -> String {
    let Question { address, path, .. } = question;
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: lab\r\naccept: */*\r\n\r\n")
}

/// Connections that were each served once, so that none is still being accepted when the clock starts.
async fn open(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let first = Question { address, path: "/healthz".into(), content: b"ok\n".to_vec() };
    let mut callers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut caller = TcpStream::connect(address).await.context("burst: cannot connect")?;
        caller.set_nodelay(true)?;
        caller.write_all(request(&first).as_bytes()).await?;
        let (call, kept) = read(caller, &first.content, Instant::now()).await;
        ensure!(call.fault.is_none(), "burst: /healthz was answered with {:?}", call.fault);
        callers.push(kept.context("burst: the proxy does not keep connections")?);
    }
    Ok(callers)
}

/// Reads one answer and judges it; the connection is given back if it may be used again.
async fn read(mut caller: TcpStream, content: &[u8], asked: Instant) -> (Call, Option<TcpStream>) {
    let deadline = asked + TIMEOUT;
    let mut answer = Vec::new();
    let (mut reader, mut first_byte) = (ResponseReader::new(), None);
    reader.start(false);
    let ended = loop {
        let before = answer.len();
        let piece = match timeout_at(deadline.into(), caller.read_buf(&mut answer)).await {
            Err(_) => break Err(Fault::Timeout),
            Ok(Err(_)) => break Err(Fault::Closed),
            Ok(Ok(0)) => break reader.end().ok_or(Fault::Closed),
            Ok(Ok(_)) => answer.get(before..).unwrap_or_default(),
        };
        let step = reader.feed(piece);
        if first_byte.is_none() && head_bytes(&answer).is_some_and(|head| answer.len() > head) {
            first_byte = Some(asked.elapsed());
        }
        match step {
            Ok(Some(complete)) => break Ok(complete),
            Ok(None) if answer.len() <= ANSWER_BYTES_MAX => {}
            Ok(None) | Err(_) => break Err(Fault::Malformed),
        }
    };
    let latency = asked.elapsed();
    let fault = match ended {
        Ok(complete) => judge(complete.status, &answer, content),
        Err(fault) => Some(fault),
    };
    let kept = ended.is_ok_and(|complete| complete.reusable).then_some(caller);
    (Call { first_byte: first_byte.unwrap_or(latency), latency, fault }, kept)
}

fn head_bytes(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The fault of a whole answer, if it has one.
fn judge(status: u16, answer: &[u8], content: &[u8]) -> Option<Fault> {
    if status != 200 {
        return Some(Fault::Status(status));
    }
    match content_of(answer) {
        None => Some(Fault::Malformed),
        Some(found) if found != content => Some(Fault::WrongContent),
        Some(_) => None,
    }
}

/// The content of a whole answer, without chunk framing.
fn content_of(answer: &[u8]) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    let is_chunked = head.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("transfer-encoding") && has_token(field.value, b"chunked")
    });
    let mut rest = answer.get(length..)?;
    if !is_chunked {
        return Some(rest.to_vec());
    }
    let mut content = Vec::new();
    loop {
        let httparse::Status::Complete((used, size)) = httparse::parse_chunk_size(rest).ok()? else {
            return None;
        };
        if size == 0 {
            return Some(content);
        }
        let end = used.checked_add(usize::try_from(size).ok()?)?;
        content.extend_from_slice(rest.get(used..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
#[path = "burst_tests.rs"]
mod tests;
