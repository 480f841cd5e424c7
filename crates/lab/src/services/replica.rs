//! One replica of a shop service: a fixed number of workers, a queue in front of them, service times of its own.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::fault::Fault;
use super::serve::Service;
use crate::random::Random;
use crate::timer::Timers;

/// Requests that wait for a worker of one replica at most; one more is answered 503.
const QUEUE_MAX: usize = 1_000;

/// What a service is like. Its replicas share this and nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Character {
    pub(super) service: &'static str,
    pub(super) workers: usize,
    /// Median service time, healthy and without waiting.
    pub(super) median: Duration,
    /// Spread of the logarithm of service times.
    pub(super) sigma: f64,
    /// Size of an answer in bytes.
    pub(super) answer_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Replica {
    character: Character,
    number: usize,
    fault: watch::Receiver<Fault>,
    workers: Semaphore,
    waiting: Cell<usize>,
    random: RefCell<Random>,
    timers: Timers,
    served: Cell<u64>,
    /// What the replicas of the shop were asked, together.
    requests: Arc<AtomicU64>,
}

/// An asset is read and sent without a worker, but it takes its time.
const ASSET_TIME: Duration = Duration::from_millis(40);

/// What is asked for, by the second segment of the path: `/catalog/assets/logo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Healthy,
    /// Of today, for one customer.
    Own,
    /// The same for everybody, though nothing is said of how long it holds.
    Product,
    /// The same for everybody, for a while.
    Asset,
}

impl Page {
    fn of(path: &str) -> Self {
        match path.split('/').nth(2) {
            _ if path == "/healthz" => Self::Healthy,
            Some("products" | "cached") => Self::Product,
            Some("assets" | "edge") => Self::Asset,
            _ => Self::Own,
        }
    }

    fn content_type(self) -> &'static str {
        if self == Self::Asset { "application/octet-stream" } else { "application/json" }
    }

    fn cache_control(self) -> &'static str {
        match self {
            Self::Healthy | Self::Own => "no-store",
            Self::Product => "public",
            Self::Asset => "public, max-age=1, stale-while-revalidate=60",
        }
    }
}

impl Service for Replica {
    type Asked = Page;

    fn read(head: &httparse::Request<'_, '_>) -> Page {
        Page::of(head.path.unwrap_or(""))
    }

    async fn answer(&self, to: &mut TcpStream, page: Page) -> std::io::Result<()> {
        let status = match page {
            Page::Healthy => 200,
            Page::Own | Page::Product => self.work().await?,
            Page::Asset => self.timers.sleep(ASSET_TIME).await.map(|()| 200)?,
        };
        self.requests.fetch_add(u64::from(page != Page::Healthy), Ordering::Relaxed);
        to.write_all(&self.content(page, status)).await
    }
}

impl Replica {
    pub(super) fn new(
        character: Character,
        number: usize,
        seed: u64,
        fault: watch::Receiver<Fault>,
        requests: Arc<AtomicU64>,
    ) -> Self {
        Self {
            character,
            number,
            fault,
            workers: Semaphore::new(character.workers),
            waiting: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
            timers: Timers::default(),
            served: Cell::new(0),
            requests,
        }
    }

    /// Waits for a worker, takes the service time, and says which status came of it.
    async fn work(&self) -> std::io::Result<u16> {
        let errors = self.fault.borrow().errors;
        if self.random.borrow_mut().unit() < errors {
            return Ok(500);
        }
        if self.waiting.get() >= QUEUE_MAX {
            return Ok(503);
        }
        self.waiting.set(self.waiting.get() + 1);
        let worker = self.workers.acquire().await;
        self.waiting.set(self.waiting.get() - 1);
        if worker.is_err() {
            return Ok(503);
        }
        self.timers.sleep(self.draw_service_time()).await?;
        // An error means that the shop is closing.
        let _ = self.fault.clone().wait_for(|fault| !fault.frozen).await;
        Ok(200)
    }

    fn draw_service_time(&self) -> Duration {
        let slow = self.fault.borrow().slow.max(0.0);
        let Character { median, sigma, .. } = self.character;
        let seconds = self.random.borrow_mut().log_normal(median.as_secs_f64(), sigma) * slow;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(60)).min(Duration::from_secs(60))
    }

    fn content(&self, page: Page, status: u16) -> Vec<u8> {
        let Character { service, answer_bytes, .. } = self.character;
        let number = self.number;
        self.served.set(self.served.get() + 1);
        let reason = match status {
            200 => "OK",
            500 => "Internal Server Error",
            _ => "Service Unavailable",
        };
        let mut body = format!(
            r#"{{"service":"{service}","replica":{number},"served":{},"status":{status},"items":["#,
            self.served.get()
        );
        while status == 200 && body.len() < answer_bytes.saturating_sub(48) {
            body.push_str(&format!(
                r#"{{"id":{},"price":{}}},"#,
                body.len() * 7 % 9973,
                body.len() * 31 % 4999
            ));
        }
        body.push_str("null]}");
        let length = body.len();
        let (content_type, cache_control) = match status {
            200 => (page.content_type(), page.cache_control()),
            _ => ("application/json", "no-store"),
        };
        format!(
            "HTTP/1.1 {status} {reason}\r\nserver: shop\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\ncache-control: {cache_control}\r\nx-served-by: {service}-{number}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
