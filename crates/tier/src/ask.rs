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
use crate::wire::Failure;

/// Longer content is unpacked beside the tier's thread, which others wait for.
const ASIDE_BYTES: usize = 64 << 10;

/// What an ask brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The value.
    Value(Bytes),
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

/// How the server took it.
enum End {
    Came(Result<Option<Bytes>, Failure>),
    Late,
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
            End::Silent => Outcome::GivenUp,
        };
        out.end(outcome);
        let answer = match end {
            End::Came(Ok(Some(sealed))) => self.open(sealed, shared).await,
            End::Came(Ok(None)) => {
                count(&counters.misses);
                Answer::Absent
            }
            End::Came(Err(error)) => {
                tracing::debug!(server = %self.node.name, %error, "an ask of the shared cache failed");
                if matches!(error, Failure::Moved(_)) {
                    shared.moved.notify_one();
                }
                count(&counters.failures);
                Answer::Unavailable
            }
            End::NoConnection => {
                count(&counters.failures);
                Answer::Unavailable
            }
            End::Late => {
                count(&counters.timeouts);
                Answer::Unavailable
            }
            End::Silent => {
                count(&counters.given_up);
                Answer::Unavailable
            }
        };
        match caller {
            // The caller may have gone.
            Some(caller) => drop(caller.send(answer)),
            None if outcome != Outcome::Failed => count(&counters.late),
            None => {}
        }
    }

    async fn wait(&self, caller: &mut Option<oneshot::Sender<Answer>>) -> (End, Duration) {
        let Some(lent) = self.node.lend() else { return (End::NoConnection, Duration::ZERO) };
        let sent = Instant::now();
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

    async fn open(&self, sealed: Bytes, shared: &Shared) -> Answer {
        let (epoch, key) = (self.epoch, self.key.clone());
        let opened = if sealed.len() < ASIDE_BYTES {
            envelope::open(epoch, &key, &sealed)
        } else {
            let aside = tokio::task::spawn_blocking(move || envelope::open(epoch, &key, &sealed));
            aside.await.unwrap_or(Err(envelope::Odd))
        };
        let counters = &*shared.counters;
        if shared.journal.listening() != Some((self.epoch, self.term)) {
            count(&counters.passed_by);
            return Answer::Unavailable;
        }
        match opened {
            Ok(value) => {
                count(&counters.hits);
                Answer::Value(value)
            }
            Err(envelope::Odd) => {
                count(&counters.odd);
                count(&counters.misses);
                Answer::Absent
            }
        }
    }
}
