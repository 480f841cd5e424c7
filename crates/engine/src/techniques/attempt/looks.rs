//! When requests are looked at that may have a second copy: one timer for all of a core.
//!
//! Nearly all of them are answered before they are due, and of the rest most are at an endpoint that has moved meanwhile. With a
//! timer of its own each would be woken to find that out, once for every answer on a busy core. So a task of the core keeps a
//! table of them, looks at those that are due without waking them, and wakes the one that a copy is due for.

use super::hedge::Sight;
use crate::clock;
use crate::exchange::Trace;
use crate::fleet::Endpoint;
use crate::net::alarm::{Alarm, NEVER};
use slab::Slab;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Time between two rounds, unless somebody new is due sooner: the runtime's timers are as coarse.
const TICK_NS: u64 = 1_000_000;
/// An empty table keeps room for so many.
const KEPT: usize = 1_024;

thread_local! {
    static TABLE: RefCell<Table> = const { RefCell::new(Table::new()) };
}

/// Requests under way on this core.
struct Table {
    under_way: Slab<UnderWay>,
    /// When each is due, by its place: apart, since all of these are read in every round.
    due_ns: Vec<u64>,
    /// When the task comes round.
    next_ns: u64,
    task: Option<Waker>,
}

struct UnderWay {
    trace: Rc<Trace>,
    sight: Sight,
    is_due: bool,
    waker: Waker,
}

impl Table {
    const fn new() -> Table {
        Table { under_way: Slab::new(), due_ns: Vec::new(), next_ns: NEVER, task: None }
    }

    /// Puts a request in; where it stands.
    fn put(&mut self, due_ns: u64, request: UnderWay) -> usize {
        let place = self.under_way.insert(request);
        if self.due_ns.len() <= place {
            self.due_ns.resize(place + 1, NEVER);
        }
        self.due_ns.get_mut(place).into_iter().for_each(|known| *known = due_ns);
        self.come_round_by(due_ns);
        place
    }

    fn take(&mut self, place: usize) -> Option<UnderWay> {
        self.due_ns.get_mut(place).into_iter().for_each(|known| *known = NEVER);
        let taken = self.under_way.try_remove(place);
        if self.under_way.is_empty() && self.due_ns.len() > KEPT {
            (self.under_way, self.due_ns) = (Slab::new(), Vec::new());
        }
        taken
    }

    /// Somebody is to be looked at by then.
    fn come_round_by(&mut self, due_ns: u64) {
        if due_ns < self.next_ns {
            self.next_ns = due_ns;
            self.task.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Wakes those that a copy is due for. (What is woken is polled later, and not from here.)
    fn look(&mut self, now: u64) {
        let mut next_ns = NEVER;
        for (place, due_ns) in self.due_ns.iter_mut().enumerate() {
            if *due_ns <= now {
                *due_ns = self.under_way.get_mut(place).map_or(NEVER, |request| request.look(now));
            }
            next_ns = next_ns.min(*due_ns);
        }
        self.next_ns = next_ns.max(now.saturating_add(TICK_NS));
    }
}

impl UnderWay {
    /// Wakes it if a copy is due by what was known of its route when it asked; when to look again, if not.
    fn look(&mut self, now: u64) -> u64 {
        self.sight.progress_ns = self.trace.lending.endpoint().as_deref().map(Endpoint::progress_ns);
        let due_ns = self.sight.due_ns();
        if due_ns > now {
            return due_ns;
        }
        self.is_due = true;
        self.waker.wake_by_ref();
        NEVER
    }
}

/// Looks at the requests of this core for as long as it serves.
pub async fn run() {
    let mut alarm = Alarm::default();
    std::future::poll_fn(|cx| {
        loop {
            let next_ns = TABLE.with_borrow_mut(|table| {
                table.task = Some(cx.waker().clone());
                table.next_ns
            });
            alarm.set(next_ns);
            ready!(alarm.poll(cx));
            TABLE.with_borrow_mut(|table| table.look(clock::now()));
        }
    })
    .await
}

/// A request in the table of its core.
#[derive(Debug, Default)]
pub struct Look {
    place: Option<usize>,
    asked_ns: u64,
}

impl Look {
    /// The moment for which it was last asked.
    pub fn asked_ns(&self) -> u64 {
        self.asked_ns
    }

    /// Asks to be looked at from `due_ns` on: as long as the endpoint that has the request of `trace` moves, no copy of it is due
    /// by what `sight` says, and nobody is woken.
    pub fn ask(&mut self, due_ns: u64, trace: &Rc<Trace>, sight: Sight, cx: &Context<'_>) {
        self.asked_ns = due_ns;
        let (trace, waker) = (Rc::clone(trace), cx.waker().clone());
        let asked = UnderWay { trace, sight, is_due: false, waker };
        let before = TABLE.with_borrow_mut(|table| {
            let before = self.place.take().and_then(|place| table.take(place));
            self.place = Some(table.put(due_ns, asked));
            before
        });
        // Not before the table is free again.
        drop(before);
    }

    /// Ready once a copy is due; wakes the task by then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        TABLE.with_borrow_mut(|table| match self.place.and_then(|place| table.under_way.get_mut(place)) {
            Some(it) if it.is_due => Poll::Ready(()),
            Some(it) => {
                it.waker.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Pending,
        })
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        // At the end of a thread there is no table any more.
        let removed = TABLE.try_with(|table| table.borrow_mut().take(place));
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Fields, RequestHead, Version};
    use crate::net::alarm::Timer;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::task::Wake;

    const MS: u64 = 1_000_000;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A table with one request that was sent to `endpoint` when the clock stood at 1 ms, and whom it wakes. A copy is due once the
    /// endpoint has been silent for 20 ms, or after 100 ms in any case.
    fn with_one_sent_to(endpoint: &Arc<Endpoint>) -> (Table, Arc<Woken>) {
        let mut fields = Fields::default();
        let (path, authority) = (fields.store(b"/"), fields.store(b"a"));
        let method = http::Method::GET;
        let head = RequestHead { method, path, query: None, authority, version: Version::Http11, fields };
        let trace = Trace::new(MS, &head, None, &Timer::default());
        trace.lending.watch();
        trace.lending.goes_to(endpoint);
        let (p50_ns, rung_ns, progress_ns) = (Some(5 * MS), Some(100 * MS), Some(MS));
        let sight = Sight { sent_ns: MS, p50_ns, rung_ns, progress_ns, gap_ns: 10 * MS, distance_ns: 0 };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut table = Table::new();
        table.put(sight.due_ns(), UnderWay { trace, sight, is_due: false, waker });
        (table, woken)
    }

    /// Has the task come round until somebody is woken, while the endpoint begins and ends other requests every so often; when
    /// that is, and how often it came round.
    fn woken_after_ms(moves_every_ms: u64) -> (u64, u32) {
        let endpoint = crate::plan::tests::endpoint(0);
        drop(endpoint.begin(MS));
        let (mut table, woken) = with_one_sent_to(&endpoint);
        let (mut now_ms, mut rounds) = (1, 0);
        while woken.0.load(SeqCst) == 0 && now_ms < 1_000 {
            now_ms += 1;
            if now_ms % moves_every_ms == 0 {
                drop(endpoint.begin(now_ms * MS));
            }
            if table.next_ns <= now_ms * MS {
                rounds += 1;
                table.look(now_ms * MS);
            }
        }
        (now_ms - 1, rounds)
    }

    #[test]
    fn whose_endpoint_moves_is_left_alone_until_it_is_late_and_whose_does_not_is_woken_at_once() {
        assert_eq!(woken_after_ms(1_000), (20, 1), "it has not moved");
        let (after_ms, rounds) = woken_after_ms(7);
        assert!(after_ms == 100 && rounds <= 100 / 13 + 1, "it moves: {after_ms} ms, {rounds} rounds");
    }

    #[test]
    fn a_table_that_was_full_of_requests_keeps_no_room_for_them_once_all_are_gone() {
        let endpoint = crate::plan::tests::endpoint(0);
        let (mut table, _) = with_one_sent_to(&endpoint);
        let one = table.take(0).unwrap();
        let another = || UnderWay { trace: Rc::clone(&one.trace), waker: one.waker.clone(), ..one };
        let places: Vec<usize> = (0..=KEPT).map(|_| table.put(NEVER, another())).collect();
        assert_eq!(table.due_ns.len(), KEPT + 1);
        places.into_iter().for_each(|place| drop(table.take(place)));
        assert_eq!((table.due_ns.capacity(), table.under_way.capacity()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_due_is_woken_by_the_task_and_one_that_is_gone_is_not_looked_at() {
        let endpoint = crate::plan::tests::endpoint(0);
        drop(endpoint.begin(clock::now()));
        let now = clock::now();
        let (table, _) = with_one_sent_to(&endpoint);
        let (trace, sight) =
            table.under_way.iter().map(|(_, it)| (Rc::clone(&it.trace), it.sight)).next().unwrap();
        let sight = Sight { sent_ns: now, progress_ns: Some(now), ..sight };
        let mut gone = Look::default();
        let mut look = Look::default();
        let due = std::future::poll_fn(|cx| {
            if look.asked_ns() == 0 {
                gone.ask(now + MS, &trace, sight, cx);
                look.ask(sight.due_ns(), &trace, sight, cx);
                std::mem::take(&mut gone);
            }
            look.poll(cx)
        });
        tokio::select! {
            () = run() => unreachable!("it goes on for ever"),
            () = due => {}
        }
        let after_ms = (clock::now() - now) / MS;
        assert!((20..24).contains(&after_ms), "{after_ms}");
        drop(look);
        TABLE.with_borrow(|table| {
            assert!(table.under_way.is_empty() && table.due_ns.iter().all(|due_ns| *due_ns == NEVER));
        });
    }
}
