//! Requests of several cores that wait in one room.

use super::super::room::{Places, Promise, Room, Verdict, Waiting};
use super::super::shed::Rank;
use crate::error::Error;
use crate::fleet::RegionId;
use crate::fleet::ranking::{Ask, has_room};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use unlag_config::{Criticality, Queue};

const CORES: u32 = 3;
const LIMIT: u32 = 4;
const NEVER: u64 = u64::MAX;

/// An endpoint that takes so many at a time.
#[derive(Debug)]
struct Endpoint {
    limit: AtomicU32,
    in_flight: AtomicU32,
    most: AtomicU32,
}

/// One request at the endpoint.
struct InFlight<'a>(&'a Endpoint, &'a Room);

impl<'a> InFlight<'a> {
    fn begin(endpoint: &'a Endpoint, room: &'a Room) -> InFlight<'a> {
        endpoint.most.fetch_max(endpoint.in_flight.fetch_add(1, SeqCst) + 1, SeqCst);
        InFlight(endpoint, room)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
        if self.1.is_waited_in() {
            self.1.settle(crate::clock::now());
        }
    }
}

impl Places for Endpoint {
    fn has_room(&self, _: Option<RegionId>, _: &[(u32, Error)], promised: u32, _: u64) -> bool {
        self.in_flight.load(SeqCst) + promised < self.limit.load(SeqCst)
    }
}

fn room(limit: u32) -> (Arc<Room>, Arc<Endpoint>) {
    let endpoint = Arc::new(Endpoint { limit: limit.into(), in_flight: 0.into(), most: 0.into() });
    let (room, places) = (Arc::new(Room::default()), Arc::clone(&endpoint));
    let places: Weak<Endpoint> = Arc::downgrade(&places);
    room.set_places(places);
    room.set_queue(Some(&Queue { wait_max: Duration::from_secs(60), length_max: 100_000 }));
    (room, endpoint)
}

/// A request from its arrival to its end; whether it was served.
async fn request(room: &Arc<Room>, endpoint: &Endpoint, number: u32) -> bool {
    let now = crate::clock::now();
    let promise = if room.is_waited_in() || !endpoint.has_room(None, &[], room.promised(), now) {
        let rank = Rank::new(Criticality::Default, (number % 64) as u8);
        let mut waiting = None;
        let verdict = poll_fn(|cx| {
            let waiting = waiting.get_or_insert_with(|| {
                let entered = room.enter(rank, (None, &[]), NEVER, cx.waker(), now);
                room.settle(now);
                entered
            });
            match waiting {
                Ok(waiting) => waiting.poll(cx),
                Err(verdict) => Poll::Ready(*verdict),
            }
        })
        .await;
        if verdict != Verdict::Go {
            return false;
        }
        Some(Promise::of(room))
    } else {
        None
    };
    if number % 31 == 7 {
        // Something else went wrong with it: the place is not taken.
        return true;
    }
    let _in_flight = InFlight::begin(endpoint, room);
    promise.into_iter().for_each(|promise| promise.keep(crate::clock::now()));
    for _ in 0..number % 5 {
        tokio::task::yield_now().await;
    }
    true
}

#[test]
fn cores_together_send_no_more_than_the_limit_and_one_each_and_nobody_is_forgotten() {
    let (room, endpoint) = room(LIMIT);
    let served = Arc::new(AtomicU32::new(0));
    let cores = (0..CORES).map(|core| {
        let (room, endpoint, served) = (Arc::clone(&room), Arc::clone(&endpoint), Arc::clone(&served));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            runtime.unwrap().block_on(async {
                let tasks = (0..2_000u32).map(|number| {
                    let (room, endpoint) = (Arc::clone(&room), Arc::clone(&endpoint));
                    tokio::task::spawn_local(async move {
                        let number = number * CORES + core;
                        let asks = request(&room, &endpoint, number);
                        // Every seventh caller goes away after a while.
                        let gone = async {
                            for _ in 0..number % 50 {
                                tokio::task::yield_now().await;
                            }
                        };
                        if !number.is_multiple_of(7) {
                            return asks.await;
                        }
                        let (mut asks, mut gone) = (std::pin::pin!(asks), std::pin::pin!(gone));
                        poll_fn(|cx| match asks.as_mut().poll(cx) {
                            Poll::Pending if room.is_waited_in() => gone.as_mut().poll(cx).map(|()| true),
                            polled => polled,
                        })
                        .await
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    served.fetch_add(u32::from(task.await.unwrap()), SeqCst);
                }
            });
        })
    });
    cores.collect::<Vec<_>>().into_iter().for_each(|core| core.join().unwrap());
    assert_eq!(served.load(SeqCst), CORES * 2_000);
    let most = endpoint.most.load(SeqCst);
    assert!((LIMIT..=LIMIT + CORES).contains(&most), "{most}");
    assert_eq!((room.promised(), room.status().waiting), (0, 0), "nothing is left behind");
    assert!(room.status().waited > 0);
}

#[tokio::test]
async fn a_limit_that_grows_lets_in_as_many_as_it_grew_by() {
    let (room, endpoint) = room(0);
    let rank = Rank::new(Criticality::Default, 0);
    let waker = std::task::Waker::noop();
    let mut all: Vec<_> = (0..5).map(|_| room.enter(rank, (None, &[]), NEVER, waker, 1).unwrap()).collect();
    let cx = std::task::Context::from_waker(waker);
    room.settle(2);
    assert!(all.iter_mut().all(|waiting| waiting.poll(&cx).is_pending()));
    endpoint.limit.store(3, SeqCst);
    room.settle(3);
    let go = |all: &mut Vec<Waiting<'_>>| {
        let ready = |waiting: &mut Waiting<'_>| waiting.poll(&cx).is_ready();
        let before = all.len();
        all.retain_mut(|waiting| !ready(waiting));
        before - all.len()
    };
    assert_eq!((go(&mut all), room.status().waiting, room.promised()), (3, 2, 3));
    drop(Promise::of(&room));
    assert_eq!(go(&mut all), 1, "a place that is not taken goes to the next");
}

#[tokio::test]
async fn who_takes_a_promised_place_elsewhere_keeps_nobody_waiting_for_this_one() {
    let (room, _endpoint) = room(1);
    let waker = std::task::Waker::noop();
    let cx = std::task::Context::from_waker(waker);
    let rank = Rank::new(Criticality::Default, 0);
    let enter = || room.enter(rank, (None, &[]), NEVER, waker, 1).unwrap();
    let (mut first, mut second) = (enter(), enter());
    room.settle(2);
    assert!(first.poll(&cx).is_ready() && second.poll(&cx).is_pending(), "the only place is promised");
    Promise::of(&room).keep(3);
    assert!(second.poll(&cx).is_ready(), "and free again");
    drop(Promise::of(&room));
}

/// Room for one at each of two real endpoints, and the two.
fn two_with_room_for_one_each() -> (Arc<Room>, Arc<Two>) {
    let fleet = [crate::plan::tests::endpoint(0), crate::plan::tests::endpoint(1)];
    fleet.iter().for_each(|endpoint| endpoint.set_limit(unlag_config::Limit::Fixed(1)));
    let (room, two) = (room(0).0, Arc::new(Two(fleet)));
    room.set_places(Arc::downgrade(&two) as Weak<Two>);
    (room, two)
}

#[derive(Debug)]
struct Two([Arc<crate::fleet::Endpoint>; 2]);

impl Places for Two {
    fn has_room(&self, only: Option<RegionId>, failed: &[(u32, Error)], promised: u32, now: u64) -> bool {
        has_room(&self.0, Ask { failed, only, now, turn: 0 }, promised)
    }
}

#[tokio::test]
async fn who_has_failed_somewhere_waits_for_a_place_elsewhere_and_is_in_nobodys_way() {
    let (room, two) = two_with_room_for_one_each();
    let busy = two.0.each_ref().map(|endpoint| endpoint.begin(1));
    let waker = std::task::Waker::noop();
    let cx = std::task::Context::from_waker(waker);
    let rank = Rank::new(Criticality::Default, 0);
    let failed = [(two.0[0].index, Error::ResetEarly)];
    let mut retry = room.enter(rank, (None, &failed), NEVER, waker, 2).unwrap();
    let mut another = room.enter(rank, (None, &[]), NEVER, waker, 3).unwrap();
    let [first, second] = busy;
    drop(first);
    room.settle(4);
    assert!(retry.poll(&cx).is_pending(), "the place is where it failed");
    assert_eq!(another.poll(&cx), Poll::Ready(Verdict::Go));
    let takes = two.0[0].begin(5);
    Promise::of(&room).keep(5);
    drop(second);
    room.settle(6);
    assert_eq!(retry.poll(&cx), Poll::Ready(Verdict::Go), "the other is free");
    drop((takes, Promise::of(&room)));
}
