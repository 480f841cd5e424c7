//! One ask: sent on a connection of its server, and ended by an answer, by time, or by the server's silence.
//!
//! Two clocks run. The caller's budget says when the caller is told that nothing has come; the server's own time says when that
//! counts against the server. A caller in a hurry thus does not open the breaker, and an ask whose caller has gone still says
//! how the server is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::envelope;
use crate::figures::count;
use crate::health::{Outcome, Ticket};
use crate::node::Node;
use crate::shared::Shared;
use crate::wire::{Failure, Held};

/// Longer content is unpacked beside the tier's thread, which others wait for.
const ASIDE_BYTES: usize = 64 << 10;

/// What an ask brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The value, and how much of its lifetime the server says is left.
    Value(Bytes, Duration),
    /// There is none.
    Absent,
    /// Not known: ask the origin.
    Unavailable,
}

pub(crate) struct Ask {
    pub(crate) node: Arc<Node>,
    pub(crate) ticket: Ticket,
    pub(crate) epoch: u64,
    /// Between two losses of the log; what comes in another than it was asked in cannot be judged.
    pub(crate) term: u64,
    pub(crate) key: Bytes,
    pub(crate) stored: String,
    pub(crate) asked: Instant,
    pub(crate) budget: Duration,
    pub(crate) answer_timeout: Duration,
}

/// A connection that has received as much meanwhile is short of bandwidth, which says nothing of the server.
const BUSY_BYTES: u64 = 64 << 10;

/// How the server took it.
enum End {
    Came(Result<Option<Held>, Failure>),
    Late,
    /// Not in time, but behind a large value.
    Behind,
    Silent,
    NoConnection,
}

/// Sees to it that an ask which is out ends, also with a panic.
struct Out<'a> {
    node: &'a Node,
    ticket: Ticket,
    outcome: Outcome,
}

impl Out<'_> {
    fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.node.ended(Instant::now(), self.ticket, self.outcome);
    }
}

impl Ask {
    /// Runs to its end, whether or not the caller still waits.
    pub(crate) async fn run(self, reply: oneshot::Sender<Answer>, shared: &Shared) {
        let (mut caller, counters) = (Some(reply), &*shared.counters);
        let out = Out { node: &self.node, ticket: self.ticket, outcome: Outcome::Failed };
        let (end, taken) = self.wait(&mut caller).await;
        let outcome = match &end {
            End::Came(Ok(_) | Err(Failure::Moved(_))) => Outcome::Answered(taken),
            End::Came(Err(_)) | End::NoConnection | End::Late => Outcome::Failed,
            End::Silent | End::Behind => Outcome::GivenUp,
        };
        out.end(outcome);
        let answer = match end {
            End::Came(Ok(_)) if caller.is_none() => return count(&counters.late),
            End::Came(Ok(Some(held))) => self.open(held, shared).await,
            End::Came(Ok(None)) => {
                count(&counters.misses);
                Answer::Absent
            }
            other => self.nothing(&other, shared),
        };
        if let Some(caller) = caller {
            // The caller may have gone.
            let _ = caller.send(answer);
        }
    }

    fn nothing(&self, end: &End, shared: &Shared) -> Answer {
        let counters = &*shared.counters;
        match end {
            End::Came(Err(error)) => {
                tracing::debug!(server = %self.node.name, %error, "an ask of the shared cache failed");
                if matches!(error, Failure::Moved(_)) {
                    shared.moved.notify_one();
                }
                count(&counters.failures);
            }
            End::Came(Ok(_)) | End::NoConnection => count(&counters.failures),
            End::Late => count(&counters.timeouts),
            End::Silent | End::Behind => count(&counters.given_up),
        }
        Answer::Unavailable
    }

    async fn wait(&self, caller: &mut Option<oneshot::Sender<Answer>>) -> (End, Duration) {
        let Some(lent) = self.node.lend() else { return (End::NoConnection, Duration::ZERO) };
        let (sent, received) = (Instant::now(), lent.wire.received());
        let last = self.asked + self.budget.max(self.answer_timeout);
        let mut told_at = self.asked + self.budget;
        let mut coming = std::pin::pin!(lent.wire.get(&self.stored));
        loop {
            let silent_from = if self.ticket.beyond { self.node.silent_from() } else { None };
            let next =
                silent_from.unwrap_or(last).min(last).min(if caller.is_some() { told_at } else { last });
            tokio::select! {
                biased;
                came = &mut coming => {
                    lent.answered();
                    return (End::Came(came), sent.elapsed());
                }
                () = sleep_until(next.into()) => {}
            }
            let now = Instant::now();
            if now >= last {
                if lent.wire.received() - received > BUSY_BYTES {
                    return (End::Behind, now - sent);
                }
                lent.overdue(now);
                return (End::Late, now - sent);
            }
            if silent_from.is_some() && self.node.silent_from().is_some_and(|from| now >= from) {
                return (End::Silent, now - sent);
            }
            if now >= told_at {
                told_at = last;
                if let Some(caller) = caller.take() {
                    let _ = caller.send(Answer::Unavailable);
                }
            }
        }
    }

    async fn open(&self, Held { value: sealed, left }: Held, shared: &Shared) -> Answer {
        let (epoch, key) = (self.epoch, self.key.clone());
        let opened = if sealed.len() < ASIDE_BYTES {
            envelope::open(epoch, &key, &sealed)
        } else {
            let aside = tokio::task::spawn_blocking(move || envelope::open(epoch, &key, &sealed));
            match tokio::time::timeout_at((self.asked + self.budget).into(), aside).await {
                Ok(opened) => opened.unwrap_or(Err(envelope::Odd)),
                Err(_) => {
                    count(&shared.counters.late);
                    return Answer::Unavailable;
                }
            }
        };
        let counters = &*shared.counters;
        if shared.journal.listening() != Some((self.epoch, self.term)) {
            count(&counters.passed_by);
            return Answer::Unavailable;
        }
        match opened {
            Ok(value) => {
                count(&counters.hits);
                Answer::Value(value, left)
            }
            Err(envelope::Odd) => {
                count(&counters.odd);
                count(&counters.misses);
                Answer::Absent
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::breaker::State;
    use crate::log::Journal;
    use crate::settings::Settings;
    use crate::wire::Speaks;

    /// A memcached that greets and answers every ask with these bytes.
    fn server(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer) = (stream.unwrap(), answer.clone());
                std::thread::spawn(move || {
                    let mut buffer = [0; 1000];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        let greeting = buffer[..length] == *b"mn\r\n";
                        let _ = stream.write_all(if greeting { b"MN\r\n" } else { &answer });
                    }
                });
            }
        });
        port
    }

    /// The breaker after eight asks that a server began to answer like this, and what was counted.
    async fn after_asks(answer: Vec<u8>) -> (State, crate::Figures) {
        let counters = Arc::new(crate::figures::Counters::default());
        let shared = Shared {
            settings: Settings { connections: 1, ..Settings::default() },
            speaks: Speaks::Memcached,
            lookups: Default::default(),
            topology: Default::default(),
            journal: Journal::new(counters.clone(), Box::new(|_| {})),
            counters,
            moved: Arc::default(),
        };
        let node = shared.new_node(crate::Server { host: "127.0.0.1".into(), port: server(answer) });
        node.keep(Duration::from_secs(5));
        while node.lend().is_none() {
            tokio::task::yield_now().await;
        }
        for _ in 0..8 {
            let Some(ticket) = node.admit(Instant::now()) else { break };
            let (node, stored, key) = (node.clone(), "x".to_owned(), Bytes::new());
            let budget = Duration::from_millis(300);
            let ask = Ask {
                node,
                ticket,
                epoch: 1,
                term: 0,
                key,
                stored,
                asked: Instant::now(),
                budget,
                answer_timeout: budget,
            };
            let (reply, answered) = oneshot::channel();
            ask.run(reply, &shared).await;
            assert_eq!(answered.await, Ok(Answer::Unavailable));
        }
        (node.figures().breaker, shared.counters.figures())
    }

    #[tokio::test]
    async fn a_server_that_is_busy_sending_a_large_value_is_not_one_that_hangs() {
        let large = [b"VA 9000000\r\n".as_slice(), &[b'x'; 200_000]].concat();
        let (breaker, figures) = after_asks(large).await;
        assert_eq!((breaker, figures.given_up, figures.timeouts), (State::Closed, 8, 0));
        let (breaker, figures) = after_asks(b"VA 9000000\r\nx".to_vec()).await;
        assert_eq!((breaker, figures.given_up, figures.timeouts), (State::Open, 0, 5));
    }
}
