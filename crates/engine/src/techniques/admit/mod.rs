//! Admit: what an upstream is spared, so that it answers the rest. How many requests are in flight to an endpoint at a time is
//! bounded by a number or by what its latency taught; what comes beyond waits in a line for all cores (one for what may go anywhere,
//! one for what has to go to a region), in which the most critical and, once the wait is no passing moment, the newest go first;
//! what would wait in vain is refused at once. An upstream that nobody can reach is asked by one request at a time. And a route
//! may be asked only so often.
//!
//! Idea: Gradient2 (Netflix), CoDel and adaptive LIFO (Nichols and Jacobson; Maurer), DAGOR (Zhou et al. 2018), GCRA. A plain
//! queue in front of twice the load answers nobody in time (0 % goodput); this one 95 % and more, and every critical request.
//! When not to: `limit = "off"`; without `adaptive` or a number nothing is ever refused. Knobs: `limit`, `queue`, `criticality`, `rate`.
//! Metrics: the phase `queue`, the causes `overloaded`, `upstream_lost` and `rate`.
//!
//! This stage decides before an endpoint is chosen; [`watch`] stands around the sending and learns.

pub mod allowance;
pub mod breaker;
pub mod criticality;
pub mod gauge;
pub mod limit;
pub mod lines;
pub mod pin;
pub mod queue;
pub mod rate;
pub mod room;
pub mod shed;
#[cfg(test)]
mod tests;
pub mod watch;

use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Failure, Outcome};
use crate::fleet::ranking::{self, Ask, graded};
use crate::fleet::{Endpoint, RegionId};
use crate::net::alarm::Alarm;
use crate::pipeline::{Next, Stage, Way};
use crate::plan::Upstream;
use allowance::caller_address;
use lines::Whither;
use room::{Places, Promise, Verdict, Waiting};
use shed::Rank;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use unlag_config::Network;
use unlag_record::{Bound, Phase, Refusal};

/// How often who waits looks for room that no answer made: an endpoint that joined, or whose ejection has run out.
const LOOK_NS: u64 = 100_000_000;

/// The stage.
#[derive(Debug)]
pub struct Admit {
    upstream: Arc<Upstream>,
    /// Whether a limit holds; else only an upstream that is lost stops a request.
    holds: bool,
    wait_max_ns: u64,
    /// Whose word on the caller is believed.
    trusted: Rc<[Network]>,
}

/// A request that looks whether an endpoint is back, and nobody else does while it lives.
struct Look(Arc<Endpoint>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.gauge.contact.looked();
    }
}

impl Admit {
    /// Admits to `upstream`; what `trusted` peers say of a caller is believed.
    pub fn new(upstream: Arc<Upstream>, trusted: Rc<[Network]>) -> Admit {
        let holds = upstream.limit.is_enforced();
        let wait_max_ns = upstream.queue.as_ref().map_or(0, |queue| clock::ns(queue.wait_max));
        Admit { upstream, holds, wait_max_ns, trusted }
    }

    /// What stands in for an answer while nobody can be reached: nothing if somebody can, else the right to look, or a refusal.
    fn look(&self, exchange: &mut Exchange) -> Result<Option<Look>, Error> {
        let (fleet, now) = (self.upstream.fleet(), clock::now());
        if fleet.iter().all(|endpoint| endpoint.is_drained()) {
            // That is another reason, and said where an endpoint is chosen.
            return Ok(None);
        }
        let mut back_ns = u64::MAX;
        for endpoint in fleet.iter() {
            let contact = &endpoint.gauge.contact;
            if endpoint.is_drained() {
                continue;
            }
            if !contact.is_lost() {
                // It has joined since.
                self.upstream.room.set_lost(false);
                return Ok(None);
            }
            // What has to stay in a region does not look elsewhere.
            let is_meant = exchange.region.is_none() || endpoint.region == exchange.region;
            if is_meant && contact.looks(now) {
                exchange.only = Some(endpoint.index);
                return Ok(Some(Look(Arc::clone(endpoint))));
            }
            back_ns = back_ns.min(contact.look_at_ns().saturating_sub(now));
        }
        let seconds = u16::try_from(back_ns.div_ceil(1_000_000_000)).unwrap_or(1).max(1);
        self.upstream.room.note_refused_lost();
        Err(Error::UpstreamLost { after_s: seconds })
    }

    /// Whether there is room for the exchange, and nobody waits for that.
    fn has_room_for(&self, exchange: &Exchange) -> bool {
        let (room, failed) = (&self.upstream.room, exchange.failed.as_slice());
        !room.is_waited_in_for(Whither::of(exchange.region, failed))
            && self.upstream.has_room(exchange.region, failed, room.promised(), clock::now())
    }

    /// Lets the exchange go on when there is room, or refuses it.
    async fn admit<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let room = &self.upstream.room;
        let look = match room.is_lost() {
            true => self.look(&mut exchange),
            false => Ok(None),
        };
        let _look = match look {
            Ok(look) => look,
            Err(error) => return Err(Failure { error, exchange: Some(exchange) }),
        };
        if self.holds && exchange.only.is_none() {
            // Where there is room after all, it is promised at once. Boxed: most requests do not wait.
            match Box::pin(self.wait(&exchange)).await {
                Ok(promise) => exchange.promise = Some(promise),
                Err(error) => return Err(Failure { error, exchange: Some(exchange) }),
            }
        }
        next.run(exchange).await
    }

    /// Waits for room.
    async fn wait(&self, exchange: &Exchange) -> Result<Promise, Error> {
        let now = exchange.trace.enter(Phase::Queue);
        let room = &self.upstream.room;
        let due_ns = (now + self.wait_max_ns).min(exchange.deadline_ns.saturating_sub(room.p10_ns()));
        let fields = &exchange.head.fields;
        let caller = caller_address(fields, &self.trusted);
        let rank = Rank::new(criticality::of(fields), criticality::share(caller, now));
        let whither = (exchange.region, exchange.failed.as_slice());
        let mut alarm = Alarm::by(&exchange.trace.timer);
        alarm.set(due_ns.min(now + LOOK_NS));
        let mut waiting: Option<Waiting<'_>> = None;
        let verdict = std::future::poll_fn(|cx| {
            let waiting = match &mut waiting {
                Some(waiting) => waiting,
                none => match room.enter(rank, whither, due_ns, cx.waker(), now) {
                    Ok(entered) => {
                        let waiting = none.insert(entered);
                        room.settle(now);
                        waiting
                    }
                    Err(verdict) => return Poll::Ready(verdict),
                },
            };
            self.poll(waiting, due_ns, &mut alarm, cx)
        })
        .await;
        exchange.trace.enter(Phase::Overhead);
        match verdict {
            Verdict::Go => Ok(Promise::of(room)),
            Verdict::Refused(bound) => {
                let (only, failed, now) = (exchange.region, &*exchange.failed, clock::now());
                let figures = self.figures(bound, Ask { failed, only, now, ..Ask::default() });
                exchange.trace.note(|why| why.refusal = Some(figures));
                Err(Error::Overloaded { after_s: jittered_s(clock::now()) })
            }
        }
    }

    /// What a refusal is based on: those that it might have gone to.
    fn figures(&self, bound: Bound, ask: Ask<'_>) -> Refusal {
        let fleet = self.upstream.fleet();
        let lowest = graded(&fleet, ask).map(|(grade, _)| grade).min();
        let meant = || graded(&fleet, ask).filter(|(grade, _)| Some(*grade) == lowest).map(|(_, it)| it);
        let limits = meant().filter_map(|endpoint| endpoint.gauge.limit());
        let queue = self.upstream.queue.as_ref();
        Refusal::Overloaded {
            bound,
            limit: limits.fold(0, u32::saturating_add),
            in_flight: meant().map(|endpoint| endpoint.in_flight()).fold(0, u32::saturating_add),
            waiting: self.upstream.room.status().waiting,
            waiting_max: queue.map_or(0, |queue| queue.length_max),
            wait_max_ms: queue.map_or(0, |queue| queue.wait_max.as_millis() as u32),
        }
    }

    fn poll(
        &self,
        waiting: &mut Waiting<'_>,
        due_ns: u64,
        alarm: &mut Alarm,
        cx: &mut Context<'_>,
    ) -> Poll<Verdict> {
        loop {
            if let Poll::Ready(verdict) = waiting.poll(cx) {
                return Poll::Ready(verdict);
            }
            if alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            if now >= due_ns {
                self.upstream.room.note_refused(1);
                return Poll::Ready(Verdict::Refused(Bound::Wait));
            }
            self.upstream.room.settle(now);
            alarm.set(due_ns.min(now + LOOK_NS));
        }
    }
}

impl Places for Upstream {
    fn has_room(&self, only: Option<RegionId>, failed: &[(u32, Error)], promised: u32, now: u64) -> bool {
        ranking::has_room(&self.fleet(), Ask { failed, only, now, ..Ask::default() }, promised)
    }
}

/// A second from now to three: who was refused at the same moment does not come back at the same moment.
fn jittered_s(now: u64) -> u16 {
    1 + ((now / 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u16 % 3
}

impl Stage for Admit {
    fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> impl Future<Output = Outcome> {
        let goes_on = !self.upstream.room.is_lost() && (!self.holds || self.has_room_for(&exchange));
        match goes_on {
            true => Way::Past { next: next.run(exchange) },
            false => Way::Through { stage: Box::pin(self.admit(exchange, next)) },
        }
    }
}
