//! One attempt, and the second copy that may join it. Both are polled by the one task of their request; the first good answer
//! is the caller's, and what loses is dropped, which cancels it: a stream is reset, a connection closed (all but one at an endpoint
//! that does not move: see `upstream/leaving.rs`).
//!
//! ```text
//! sent ────────── silent or late ──► copy to another endpoint ──► a good answer of either: the other is cancelled
//!   └─ answered: nothing was copied                            ├► a bad one waits for the other
//!                                                              └► silent as well ──► another copy instead, up to three
//! ```

use super::fleet;
use super::hedge::{self, Sight};
use super::learned::Learned;
use super::looks::Look;
use super::purse::{Lost, Paid};
use super::silence::Silence;
use crate::clock;
use crate::error::Error;
use crate::exchange::{Failure, Outcome, Trace};
use crate::fleet::{Endpoint, RegionId};
use crate::http::Name;
use crate::net::alarm::{Alarm, NEVER};
use crate::pipeline::Next;
use crate::plan::Upstream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use unlag_record::{Fate, Hedge, Late, Trigger};

/// Copies of a request at most, one after the other: where a region freezes whole, the one that got the copy may be part of it.
const COPIES_MAX: u32 = 3;

/// One attempt of a request that may have no second copy: until its answer, its limit, or until it leaves an endpoint that does not
/// move. It is pinned by the caller: handed over, the future of all that follows would have room here twice.
pub async fn alone(
    mut first: Pin<&mut impl Future<Output = Outcome>>,
    limit: Limit,
    mut silence: Option<Silence<'_>>,
    alarm: &mut Alarm,
) -> Outcome {
    alarm.set(silence.as_ref().map_or(NEVER, |silence| silence.look_at_ns).min(limit.at_ns));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = first.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        loop {
            ready!(alarm.poll(cx));
            let now = clock::now();
            let Some(silence) = silence.as_mut().filter(|_| now < limit.at_ns) else {
                return Poll::Ready(Err(limit.error.into()));
            };
            let silent = silence.look(now);
            alarm.set(silence.look_at_ns.min(limit.at_ns));
            let Some(silent) = silent else { continue };
            // Whoever has the request gives a copy of it when it is polled.
            silence.trace.lending.ask();
            let answered = first.as_mut().poll(cx);
            let copy = silence.trace.lending.take();
            if answered.is_ready() {
                return answered;
            }
            if let Some(left) = copy.and_then(|copy| silence.leaves(copy, &silent, now)) {
                return Poll::Ready(Err(Failure { error: Error::Silent, exchange: Some(left) }));
            }
        }
    })
    .await
}

/// What the two have in common.
pub struct Race<'a, N> {
    next: &'a Rc<N>,
    learned: &'a Learned,
    upstream: &'a Upstream,
    trace: &'a Rc<Trace>,
    sent_ns: u64,
    limit: Limit,
    /// The share of its work that the route may spend on copies.
    share: f64,
    /// The region in which it has to stay.
    only: Option<RegionId>,
    copies: Copies<'a>,
    look: Look,
}

/// When an attempt is given up, and why.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The moment.
    pub at_ns: u64,
    /// The reason.
    pub error: Error,
}

#[derive(Default)]
struct Copies<'a> {
    /// When it is to be looked whether a copy is due; none before the latest one is under way.
    look_at_ns: Option<u64>,
    looks: u32,
    made: u32,
    running: Option<Running<'a>>,
    /// A bad answer of the first, while the copy may have a better one.
    held: Option<Outcome>,
    /// What the copy that won has noted.
    won: Option<Rc<Trace>>,
}

struct Running<'a> {
    answer: Pin<Box<dyn Future<Output = Outcome> + 'a>>,
    trace: Rc<Trace>,
    paid: Paid,
    since_ns: u64,
}

impl<'a, N: Next> Race<'a, N> {
    /// One attempt that may have a copy, and its rules.
    pub fn new(
        next: &'a Rc<N>,
        (learned, upstream): (&'a Learned, &'a Upstream),
        trace: &'a Rc<Trace>,
        limit: Limit,
        share: f64,
        only: Option<RegionId>,
    ) -> Race<'a, N> {
        let sent_ns = trace.latest_ns();
        trace.lending.watch();
        let (copies, look) = Default::default();
        Race { next, learned, upstream, trace, sent_ns, limit, share, only, copies, look }
    }

    /// Runs it, and says what the copy has noted if it is the copy that won. Like [`alone`], it leaves the first to its caller.
    pub async fn run(
        mut self,
        mut first: Pin<&mut impl Future<Output = Outcome>>,
        alarm: &mut Alarm,
    ) -> (Outcome, Option<Rc<Trace>>) {
        let outcome = std::future::poll_fn(|cx| self.poll(cx, first.as_mut(), alarm)).await;
        self.trace.lending.forget();
        (outcome, self.copies.won.take())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut first: Pin<&mut impl Future<Output = Outcome>>,
        alarm: &mut Alarm,
    ) -> Poll<Outcome> {
        if self.copies.held.is_none()
            && let Poll::Ready(outcome) = first.as_mut().poll(cx)
            && let Some(outcome) = self.first_ended(outcome)
        {
            return Poll::Ready(outcome);
        }
        loop {
            if let Poll::Ready(outcome) = self.poll_copy(cx) {
                return Poll::Ready(outcome);
            }
            if self.copies.look_at_ns.is_none_or(|at_ns| at_ns != self.look.asked_ns()) {
                self.ask_for_a_look(cx);
            }
            alarm.set(self.limit.at_ns);
            if self.look.poll(cx).is_pending() && alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            if now >= self.limit.at_ns {
                return Poll::Ready(self.copies.held.take().unwrap_or(Err(self.limit.error.into())));
            }
            if self.copies.held.is_some() {
                // The first is over, and nothing is left to make a copy of: one that is silent is not waited for.
                let sight = self.sight();
                if sight.trigger(now).is_some() {
                    return self.copies.held.take().map_or(Poll::Pending, Poll::Ready);
                }
                self.copies.look_at_ns = Some(sight.due_ns().max(now + 1));
                continue;
            }
            let Some(paid) = self.look(now) else { continue };
            // Whoever has the request gives a copy of it when it is polled.
            self.trace.lending.ask();
            if let Poll::Ready(outcome) = first.as_mut().poll(cx) {
                self.trace.lending.forget();
                self.learned.settle(paid, Lost::Copy(0), now);
                return Poll::Ready(outcome);
            }
            self.send_copy(paid, now);
        }
    }

    /// Has the core look at it when it was meant to be looked at, or when a copy is due.
    fn ask_for_a_look(&mut self, cx: &Context<'_>) {
        let sight = self.sight();
        let look_at_ns = self.copies.look_at_ns.unwrap_or_else(|| sight.due_ns());
        self.copies.look_at_ns = Some(look_at_ns);
        let trace = Rc::clone(self.latest().0);
        self.look.ask(look_at_ns, &trace, sight, cx);
    }

    /// Who has the request, or its copy once there is one, and since when.
    fn latest(&self) -> (&Rc<Trace>, u64) {
        self.copies.running.as_ref().map_or((self.trace, self.sent_ns), |copy| (&copy.trace, copy.since_ns))
    }

    fn sight(&self) -> Sight {
        let (trace, sent_ns) = self.latest();
        let endpoint = trace.lending.endpoint();
        let tempo = &self.learned.tempo;
        let is_first = self.copies.running.is_none();
        Sight {
            sent_ns,
            p50_ns: tempo.p50_ns(),
            // That a copy takes long as well says that the request is large.
            rung_ns: if is_first { self.learned.rung_ns(sent_ns) } else { None },
            progress_ns: endpoint.as_deref().map(Endpoint::progress_ns),
            gap_ns: fleet::gap_ns(self.upstream),
            distance_ns: endpoint.as_ref().map_or(0, |endpoint| fleet::distance_ns(endpoint)),
        }
    }

    /// Endpoints that have the request or its copy.
    fn asked(&self) -> impl Iterator<Item = u32> {
        let of = |trace: &Trace| trace.lending.endpoint().as_ref().map(|endpoint| endpoint.index);
        let copy = self.copies.running.as_ref().and_then(|copy| of(&copy.trace));
        of(self.trace).into_iter().chain(copy)
    }

    /// Whether a copy is due and may be sent; what was paid for it.
    fn look(&mut self, now: u64) -> Option<Paid> {
        let sight = self.sight();
        let Some(trigger) = sight.trigger(now) else {
            self.copies.look_at_ns = Some(sight.due_ns().max(now + 1));
            return None;
        };
        let endpoint = self.latest().0.lending.endpoint().clone();
        if self.copies.made == 0 {
            self.note_late(&sight, trigger, endpoint.as_deref(), now);
        }
        let fate = match endpoint {
            // It waits for admission: more of it helps nobody.
            None => Fate::Overload,
            Some(_) if self.upstream.room.is_waited_in() || self.upstream.room.is_lost() => Fate::Overload,
            Some(endpoint) => {
                if trigger == Trigger::Stall {
                    fleet::suspect(&endpoint, now);
                }
                match fleet::has_alternative(self.upstream, self.asked(), self.only, trigger, now) {
                    false => Fate::NoAlternative,
                    true => {
                        // Half of the route's requests cost no more, on an endpoint that works.
                        let unit_ns = sight.p50_ns.unwrap_or_default();
                        let age_ns = now.saturating_sub(self.sent_ns);
                        match self.learned.pay(trigger, self.share, unit_ns, age_ns, now) {
                            Some(paid) => return Some(paid),
                            None => Fate::NoBudget,
                        }
                    }
                }
            }
        };
        let hedge = Hedge { trigger, fate };
        if self.copies.made == 0 && self.trace.hedge.replace(Some(hedge)).is_none() {
            self.learned.count(hedge);
        }
        self.copies.look_at_ns = Some(now + hedge::again_ns(self.copies.looks, sight.p50_ns));
        self.copies.looks += 1;
        None
    }

    /// Keeps who was late, and how late.
    fn note_late(&self, sight: &Sight, trigger: Trigger, first: Option<&Endpoint>, now: u64) {
        let (since_ns, usual_ns) = match trigger {
            Trigger::Stall => (sight.progress_ns.unwrap_or(now), Some(sight.gap_ns)),
            Trigger::Quantile => (sight.sent_ns, sight.rung_ns),
        };
        let ms = |ns: u64| ns as f32 / 1e6;
        let late = Late {
            first: first.map(|endpoint| endpoint.record),
            copy: None,
            after_ms: ms(now.saturating_sub(since_ns)),
            usual_ms: usual_ns.map_or(0.0, ms),
        };
        self.trace.note(|why| why.late = Some(late));
    }

    fn send_copy(&mut self, paid: Paid, now: u64) {
        self.copies.made += 1;
        // No further one where it could not be made, or where it is the last.
        self.copies.look_at_ns = Some(NEVER);
        let asked = self.asked().map(|index| (index, Error::NoOther)).collect::<Vec<_>>();
        let Some(mut copy) = self.trace.lending.take() else {
            return self.learned.settle(paid, Lost::Copy(0), now);
        };
        // One that is inside a frozen endpoint as well is given up. What was paid for it is spent.
        if let Some(stalled) = self.copies.running.take() {
            self.learned.count(Hedge { trigger: stalled.paid.trigger, fate: Fate::Lost });
        }
        // The copy has nothing to do with the endpoints that have the others, and nothing is held against those.
        copy.failed.extend(asked);
        copy.interim = None;
        let made = self.trace.attempts.get() + 1;
        self.trace.attempts.set(made);
        copy.head.fields.set_known(Name::XAttempt, itoa::Buffer::new().format(made).as_bytes());
        let (trace, next) = (Rc::clone(&copy.trace), self.next);
        if self.copies.made < COPIES_MAX {
            trace.lending.watch();
            self.copies.look_at_ns = None;
        }
        let answer = Box::pin(next.run(copy));
        self.copies.running = Some(Running { answer, trace, paid, since_ns: now });
    }

    /// What the caller gets, if the first has come to an end that is good enough, or the only one.
    fn first_ended(&mut self, outcome: Outcome) -> Option<Outcome> {
        let Some(running) = self.copies.running.take_if(|_| is_good(&outcome)) else {
            let is_last = self.copies.running.is_none();
            return match is_last {
                true => Some(outcome),
                false => {
                    self.copies.held = Some(outcome);
                    None
                }
            };
        };
        let now = self.trace.latest_ns();
        self.ended(&running, Fate::Lost, Lost::Copy(now.saturating_sub(running.since_ns)));
        Some(outcome)
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(running) = &mut self.copies.running else { return Poll::Pending };
        let outcome = ready!(running.answer.as_mut().poll(cx));
        let Some(running) = self.copies.running.take() else { return Poll::Pending };
        let now = running.trace.latest_ns();
        if !is_good(&outcome) {
            self.ended(&running, Fate::Lost, Lost::Copy(now.saturating_sub(running.since_ns)));
            // It is the first that is looked at again.
            self.look = Look::default();
            return self.copies.held.take().map_or(Poll::Pending, Poll::Ready);
        }
        self.ended(&running, Fate::Won, Lost::First(now.saturating_sub(self.sent_ns)));
        self.copies.won = Some(running.trace);
        Poll::Ready(outcome)
    }

    fn ended(&self, running: &Running<'_>, fate: Fate, lost: Lost) {
        let hedge = Hedge { trigger: running.paid.trigger, fate };
        self.trace.hedge.set(Some(hedge));
        let copy = running.trace.endpoint.get();
        self.trace.note(|why| why.late.iter_mut().for_each(|late| late.copy = copy));
        self.learned.count(hedge);
        self.learned.settle(running.paid, lost, clock::now());
    }
}

/// The answer of a copy that won, whose record is the caller's from here on.
pub(super) fn won(outcome: Outcome, winner: &Trace, trace: &Rc<Trace>) -> Outcome {
    trace.becomes(winner);
    outcome.map(|mut response| {
        if let Some(request) = &mut response.request {
            request.trace = Rc::clone(trace);
        }
        response
    })
}

/// Whether an outcome is worth having while another may come: failures of the upstream are not.
fn is_good(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|response| response.head.status < 500 || response.head.status == 501)
}
