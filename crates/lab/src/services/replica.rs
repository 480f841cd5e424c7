//! One replica of a shop service: a fixed number of workers, a queue in front of them, service times of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::fault::Fault;
use super::receive::{Persistence, RequestReader, Step};
use crate::random::Random;
use crate::timer::Timer;

/// Requests that wait for a worker of one replica at most; one more is answered 503.
const QUEUE_MAX: usize = 1_000;
const CONNECTIONS_MAX: usize = 4_096;

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
    timers: RefCell<Vec<Timer>>,
    served: Cell<u64>,
}

impl Replica {
    pub(super) fn new(character: Character, number: usize, seed: u64, fault: watch::Receiver<Fault>) -> Self {
        Self {
            character,
            number,
            fault,
            workers: Semaphore::new(character.workers),
            waiting: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
            timers: RefCell::default(),
            served: Cell::new(0),
        }
    }

    /// Serves a listener until dropped.
    pub(super) async fn run(self: Rc<Self>, listener: TcpListener) {
        let alive = Rc::new(());
        loop {
            match listener.accept().await {
                Ok((stream, _)) if Rc::strong_count(&alive) <= CONNECTIONS_MAX => {
                    let (replica, alive) = (Rc::clone(&self), Rc::clone(&alive));
                    tokio::task::spawn_local(async move {
                        let _ = replica.serve(stream).await;
                        drop(alive);
                    });
                }
                Ok((refused, _)) => drop(refused),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = RequestReader::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = stream.read(&mut buffer).await?;
            let mut piece = buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                return Ok(());
            }
            while !piece.is_empty() {
                let Ok((used, step)) = reader.feed(piece, |head| is_health_check(head.path)) else {
                    return Ok(());
                };
                piece = piece.get(used..).unwrap_or_default();
                match step {
                    Step::NeedMore => {}
                    Step::Continue => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
                    Step::Request(health_check, persistence) => {
                        let status = if health_check { 200 } else { self.work().await? };
                        stream.write_all(&self.answer(status)).await?;
                        if persistence == Persistence::Close {
                            return stream.shutdown().await;
                        }
                    }
                }
            }
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
        let start = Instant::now();
        let spare = self.timers.borrow_mut().pop();
        let mut timer = match spare {
            Some(timer) => timer,
            None => Timer::new()?,
        };
        let slept = timer.sleep_until(start + self.draw_service_time()).await;
        self.timers.borrow_mut().push(timer);
        slept?;
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

    fn answer(&self, status: u16) -> Vec<u8> {
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
        format!(
            "HTTP/1.1 {status} {reason}\r\nserver: shop\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\ncache-control: no-store\r\nx-served-by: {service}-{number}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn is_health_check(path: Option<&str>) -> bool {
    path == Some("/healthz")
}
