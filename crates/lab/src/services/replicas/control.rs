//! How replicas are told to begin, and asked what they saw: `POST /start`, `GET /report`, and `GET /settled`, which is the report
//! once they hold no request.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::counts::ReplicasReport;
use super::replica::Service;
use super::spec::Addresses;

/// How long replicas get to notice who has gone: those that stand still notice nothing until they move again.
const SETTLE: Duration = Duration::from_secs(1);

impl Addresses {
    /// Starts the clock of the faults, and the counts from nothing. Blocks until it is done.
    pub fn start_clock(&self) -> Result<()> {
        self.ask("POST /start").map(drop)
    }

    /// What the replicas have seen since the clock was started. Blocks until they have said it.
    pub fn report(&self) -> Result<ReplicasReport> {
        Ok(serde_json::from_str(&self.ask("GET /report")?)?)
    }

    /// The same once they hold no request, or after a second.
    pub fn settled(&self) -> Result<ReplicasReport> {
        Ok(serde_json::from_str(&self.ask("GET /settled")?)?)
    }

    fn ask(&self, line: &str) -> Result<String> {
        ask(self.control, line).context("the replicas' control")
    }
}

/// Asks one thing, and gives the content of the answer.
pub(crate) fn ask(address: SocketAddr, line: &str) -> Result<String> {
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("it answered: {answer}"),
    }
}

pub(super) struct Control(pub(super) Rc<Service>);

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Start,
    Report,
    Settled,
    Unknown,
}

impl crate::services::serve::Service for Control {
    type Asked = Order;

    fn read(head: &httparse::Request<'_, '_>) -> Order {
        match (head.method, head.path) {
            (Some("POST"), Some("/start")) => Order::Start,
            (Some("GET"), Some("/report")) => Order::Report,
            (Some("GET"), Some("/settled")) => Order::Settled,
            _ => Order::Unknown,
        }
    }

    async fn answer(&self, to: &mut TcpStream, order: Order) -> io::Result<()> {
        let (status, body) = match order {
            Order::Start => {
                self.0.start();
                ("200 OK", "{}".to_owned())
            }
            Order::Settled => {
                let began = Instant::now();
                while self.0.counts.borrow().is_busy() && began.elapsed() < SETTLE {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                ("200 OK", serde_json::to_string(&self.0.counts.borrow().report())?)
            }
            Order::Report => ("200 OK", serde_json::to_string(&self.0.counts.borrow().report())?),
            Order::Unknown => ("404 Not Found", "{}".to_owned()),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        to.write_all(answer.as_bytes()).await
    }
}
