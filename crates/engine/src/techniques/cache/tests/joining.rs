//! Many who want the same at one time.

use super::*;
use std::cell::Cell;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const DELAY: Duration = Duration::from_millis(200);

fn slow(overrides: Overrides) -> Rc<Bed> {
    let bed = Bed::new(overrides);
    bed.origin.delay.set(DELAY);
    Rc::new(bed)
}

type Lines = &'static [(&'static str, &'static str)];

/// So many requests that begin at the same moment.
fn burst(bed: &Rc<Bed>, count: usize, lines: Lines) -> Vec<JoinHandle<Got>> {
    (0..count)
        .map(|_| {
            let bed = Rc::clone(bed);
            spawn_local(async move { bed.get("/x", lines).await })
        })
        .collect()
}

async fn all(burst: Vec<JoinHandle<Got>>) -> Vec<Got> {
    let mut all = Vec::new();
    for request in burst {
        all.push(request.await.unwrap());
    }
    all
}

/// What a burst came to, and how long it took in all.
async fn timed(bed: &Rc<Bed>, count: usize, lines: Lines) -> (Vec<Got>, Duration) {
    let began = clock::now();
    (all(burst(bed, count, lines)).await, Duration::from_nanos(clock::now() - began))
}

async fn run<F: Future<Output = ()>>(test: F) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn fifty_who_want_the_same_cause_one_fetch_and_wait_no_longer_than_it_takes() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60")], "one");
        let (all, took) = timed(&bed, 50, &[]).await;
        assert!(all.iter().all(|got| (got.0, got.2.as_str()) == (200, "one")), "{all:?}");
        assert_eq!(all[1].1, "unlag; fwd=uri-miss; collapsed; ttl=60");
        assert_eq!((bed.asked(), took), (1, DELAY));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_one_caller_sets_the_others_free_at_once_and_nobody_waits_for_it_again() {
    for said in
        [&[("cache-control", "no-store")][..], &[("cache-control", "private")], &[("set-cookie", "a=b")]]
    {
        run(async {
            let bed = slow(Overrides::default());
            bed.answers(200, said, "mine");
            let (_, first) = timed(&bed, 50, &[]).await;
            assert_eq!((bed.asked(), first), (50, 2 * DELAY));
            let (_, second) = timed(&bed, 50, &[]).await;
            assert_eq!((bed.asked(), second), (100, DELAY));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_be_asked_about_each_time_is_not_shared_even_at_the_same_time() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "no-cache"), ("etag", "\"1\"")], "one");
        timed(&bed, 5, &[]).await;
        assert_eq!(bed.asked(), 5);
        bed.answers(200, &[("cache-control", "no-cache"), ("etag", "\"2\"")], "two");
        for round in 2..4 {
            seconds(1).await;
            let (_, took) = timed(&bed, 5, &[]).await;
            assert_eq!((bed.asked(), took), (5 * round, DELAY), "and nobody waits for it again");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_of_others_is_shared_by_requests_that_do_not_differ_and_not_stored() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[], "one");
        let (all, took) = timed(&bed, 50, &[]).await;
        assert_eq!((bed.asked(), took), (1, DELAY));
        assert!(all.iter().all(|got| got.2 == "one"));
        bed.get("/x", &[]).await;
        assert_eq!(bed.asked(), 2, "not stored");
        let first = burst(&bed, 1, &[("x-user", "1")]);
        let (others, took) = timed(&bed, 2, &[("x-user", "2")]).await;
        assert_eq!((others.len(), bed.asked(), took), (2, 4, DELAY), "others do not even wait for it");
        drop(first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_with_credentials_share_only_where_the_route_says_so_and_only_with_the_same_ones() {
    run(async {
        let lines: Lines = &[("authorization", "Bearer 1")];
        let bed = slow(Overrides::default());
        bed.answers(200, &[], "one");
        timed(&bed, 5, lines).await;
        timed(&bed, 5, &[("cookie", "a=b")]).await;
        assert_eq!(bed.asked(), 10);
        let mut bed = Bed::new(Overrides::default());
        Arc::get_mut(&mut bed.route).unwrap().config.coalesce = Some(true);
        bed.origin.delay.set(DELAY);
        bed.answers(200, &[], "one");
        let bed = Rc::new(bed);
        timed(&bed, 5, lines).await;
        assert_eq!(bed.asked(), 1);
        let one = burst(&bed, 1, lines);
        let (_, took) = timed(&bed, 1, &[("authorization", "Bearer 2")]).await;
        assert_eq!((bed.asked(), took), (3, DELAY), "another caller does not even wait");
        drop(one);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_its_caller_hangs_up_and_others_wait_and_ends_when_nobody_does() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60")], "one");
        let first = burst(&bed, 1, &[]).remove(0);
        tokio::task::yield_now().await;
        let others = burst(&bed, 3, &[]);
        tokio::task::yield_now().await;
        first.abort();
        assert!(all(others).await.iter().all(|got| got.2 == "one"));
        assert_eq!(bed.asked(), 1);
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60")], "one");
        let alone = burst(&bed, 1, &[]).remove(0);
        tokio::task::yield_now().await;
        alone.abort();
        seconds(1).await;
        bed.get("/x", &[]).await;
        assert_eq!(bed.asked(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_that_of_all_who_waited_and_of_nobody_after_them() {
    run(async {
        let bed = slow(Overrides::default());
        bed.fails();
        let (all, took) = timed(&bed, 50, &[]).await;
        assert!(all.iter().all(|got| got.0 == 502));
        assert_eq!((bed.asked(), took), (1, DELAY));
        bed.answers(503, &[], "down");
        let (all, _) = timed(&bed, 50, &[]).await;
        assert!(all.iter().all(|got| got.0 == 503));
        assert_eq!(bed.asked(), 2);
        bed.answers(200, &[], "well");
        assert_eq!(bed.get("/x", &[]).await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_select_another_variant_share_a_fetch_of_their_own() {
    run(async {
        let bed = slow(Overrides::default());
        let lines: Lines = &[("cache-control", "max-age=60"), ("vary", "accept-language")];
        *bed.origin.answer.borrow_mut() = Box::new(move |request| {
            let is_german = request.get_named("accept-language") == Some(b"de");
            Ok((200, fields(lines), if is_german { "hallo" } else { "hello" }))
        });
        let german = burst(&bed, 10, &[("accept-language", "de")]);
        let (english, took) = timed(&bed, 10, &[("accept-language", "en")]).await;
        assert!(all(german).await.iter().all(|got| got.2 == "hallo"));
        assert!(english.iter().all(|got| got.2 == "hello"));
        assert_eq!((bed.asked(), took), (2, 2 * DELAY), "what selects is known with the first answer");
        seconds(61).await;
        let german = burst(&bed, 10, &[("accept-language", "de")]);
        let (_, took) = timed(&bed, 10, &[("accept-language", "en")]).await;
        assert_eq!((bed.asked(), took), (4, DELAY));
        all(german).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_a_fetch_takes_too_long_one_of_those_who_wait_goes_for_all() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=1")], "one");
        bed.get("/x", &[]).await;
        seconds(5).await;
        bed.origin.delay.set(Duration::from_secs(600));
        let stuck = burst(&bed, 1, &[]);
        tokio::task::yield_now().await;
        bed.origin.delay.set(DELAY);
        let (others, took) = timed(&bed, 50, &[]).await;
        assert!(others.iter().all(|got| got.2 == "one"));
        assert_eq!((bed.asked(), took), (3, 2 * DELAY + DELAY), "twice what a slow fetch takes");
        drop(stuck);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_becomes_slow_is_not_stormed() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=1")], "one");
        bed.origin.delay.set(Duration::from_millis(1));
        for path in ["/a", "/b", "/c"] {
            bed.get(path, &[]).await;
        }
        bed.origin.delay.set(Duration::from_millis(1_500));
        timed(&bed, 50, &[]).await;
        assert_eq!(bed.asked(), 3 + 4, "at once, after 100 ms, 200 ms and 400 ms more");
        seconds(5).await;
        timed(&bed, 50, &[]).await;
        assert_eq!(bed.asked(), 8, "it is known to be slow");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_differ_share_the_first_fetch_of_a_route_and_no_other_that_is_not_for_all() {
    run(async {
        let agents: [Lines; 3] = [&[("user-agent", "a")], &[("user-agent", "b")], &[("user-agent", "c")]];
        for (said, fetches) in [(&[("cache-control", "max-age=60")][..], [1, 1]), (&[], [3, 6])] {
            let bed = slow(Overrides::default());
            bed.answers(200, said, "one");
            for (round, count) in fetches.into_iter().enumerate() {
                let all_at_once: Vec<_> = agents.iter().flat_map(|agent| burst(&bed, 1, agent)).collect();
                let began = clock::now();
                assert!(all(all_at_once).await.iter().all(|got| got.2 == "one"));
                let took = Duration::from_nanos(clock::now() - began);
                assert_eq!(bed.asked(), count, "{said:?}");
                assert!(took <= if round == 0 { 2 * DELAY } else { DELAY }, "{said:?}: {took:?}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_who_asks_after_a_change_gets_what_was_asked_for_before_it() {
    run(async {
        let bed = slow(Overrides::default());
        let version = Rc::new(Cell::new("old"));
        let now = Rc::clone(&version);
        *bed.origin.answer.borrow_mut() =
            Box::new(move |_| Ok((200, fields(&[("cache-control", "max-age=60")]), now.get())));
        // The answer is made when it is due: what was asked for first is held until after the change.
        bed.get("/x", &[]).await;
        bed.cache.store.remove(b"http://a/x", clock::now());
        let before = burst(&bed, 2, &[]);
        tokio::time::advance(DELAY / 2).await;
        bed.cache.store.remove(b"http://a/x", clock::now());
        tokio::time::advance(DELAY / 4).await;
        let after = burst(&bed, 2, &[]);
        tokio::task::yield_now().await;
        assert_eq!(bed.asked(), 3, "those after the change do not join the fetch of before");
        version.set("new");
        assert!(all(after).await.iter().all(|got| got.2 == "new"));
        all(before).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leaders_own_deadline_ends_its_waiting_and_not_the_fetch_of_the_others() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60")], "one");
        bed.get("/what-is-stored", &[]).await;
        let hurried = Rc::clone(&bed);
        let first = spawn_local(async move {
            let mut exchange = hurried.exchange(Method::GET, "/x", &[("x-request-timeout-ms", "50")]);
            exchange.deadline_ns = clock::now() + 50_000_000;
            assert!(hurried.cache.takes(&mut exchange));
            let began = clock::now();
            let outcome = Stage::serve(&hurried.cache, exchange, &hurried.origin).await;
            (
                outcome.map(|response| response.head.status).map_err(|failure| failure.error),
                clock::now() - began,
            )
        });
        tokio::task::yield_now().await;
        let others = burst(&bed, 3, &[]);
        assert_eq!(first.await.unwrap(), (Err(Error::Deadline), 50_000_000));
        assert!(all(others).await.iter().all(|got| got.2 == "one"));
        assert_eq!(bed.asked(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_sets_a_cookie_is_shared_with_nobody_who_was_not_told_that_all_may_have_it() {
    run(async {
        let bed = slow(Overrides { set_cookie: true, ..Overrides::default() });
        bed.answers(200, &[("set-cookie", "sid=1")], "mine");
        timed(&bed, 4, &[]).await;
        assert_eq!(bed.asked(), 4);
        bed.answers(200, &[("set-cookie", "a=b"), ("cache-control", "max-age=60")], "for all");
        let bed = Rc::new(Bed { cache: bed.cache.clone(), ..Bed::new(Overrides::default()) });
        bed.answers(200, &[("set-cookie", "a=b"), ("cache-control", "max-age=60")], "for all");
        bed.get("/y", &[]).await;
        assert!(bed.get("/y", &[]).await.1.contains("hit"), "where it is declared");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_with_copies_share_a_fetch_and_are_told_that_they_have_it() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60"), ("etag", "\"v\"")], "one");
        bed.get("/what-is-stored", &[]).await;
        for copy in ["\"v\"", "\"of before\""] {
            bed.cache.store.remove(b"http://a/x", clock::now());
            tokio::time::advance(Duration::from_millis(1)).await;
            let before = bed.asked();
            let requests: Vec<_> = (0..10)
                .map(|_| {
                    let bed = Rc::clone(&bed);
                    spawn_local(async move { bed.get("/x", &[("if-none-match", copy)]).await })
                })
                .collect();
            let expected = if copy == "\"v\"" { (304, "") } else { (200, "one") };
            assert!(all(requests).await.iter().all(|got| (got.0, got.2.as_str()) == expected), "{copy}");
            assert_eq!(bed.asked(), before + 1);
            assert!(bed.get("/x", &[]).await.1.contains("hit"));
        }
        // When it is over, it is the question of all.
        seconds(61).await;
        let before = bed.asked();
        let requests: Vec<_> = (0..10)
            .map(|_| {
                let bed = Rc::clone(&bed);
                spawn_local(async move { bed.get("/x", &[("range", "bytes=0-0")]).await })
            })
            .collect();
        all(requests).await;
        assert_eq!(bed.asked(), before + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_one_odd_answer_has_spoilt_is_well_again_with_the_first_that_may_be_stored() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(400, &[("cache-control", "no-store")], "what?");
        bed.get("/x", &[]).await;
        bed.answers(200, &[("cache-control", "max-age=1")], "one");
        bed.get("/x", &[]).await;
        seconds(2).await;
        let before = bed.asked();
        timed(&bed, 20, &[]).await;
        assert_eq!(bed.asked(), before + 1);
        bed.answers(503, &[("cache-control", "no-store")], "down");
        seconds(2).await;
        bed.get("/x", &[]).await;
        bed.answers(200, &[("cache-control", "max-age=1")], "one");
        let before = bed.asked();
        timed(&bed, 20, &[]).await;
        assert_eq!(bed.asked(), before + 1, "that it failed says nothing of what it answers when it is well");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stale_for_one_may_not_for_another() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=1"), ("age", "0")], "one");
        bed.get("/x", &[]).await;
        seconds(2).await;
        bed.answers(503, &[], "down");
        let first = burst(&bed, 1, &[("cache-control", "stale-if-error=60")]);
        tokio::task::yield_now().await;
        let others = burst(&bed, 2, &[]);
        assert_eq!(all(first).await[0].2, "one");
        assert!(all(others).await.iter().all(|got| got.0 == 503));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_origin_that_hangs_does_not_keep_others_from_being_fetched_again() {
    let store = Arc::new(Store::new(1 << 20));
    let (hangs, well) = (Arc::new(Learned::new(1)), Arc::new(Learned::new(2)));
    let stuck: Vec<_> = (0..1_000).filter_map(|_| store.begin_refresh(&hangs)).collect();
    assert_eq!(stuck.len(), 128);
    assert!(store.begin_refresh(&well).is_some());
    drop(stuck);
    assert!(store.begin_refresh(&hangs).is_some());
}

#[tokio::test(start_paused = true)]
async fn those_who_read_slowly_what_is_too_large_leave_room_for_what_is_kept() {
    run(async {
        let bed = slow(Overrides::default());
        let much: &'static str = String::leak("x".repeat(2 << 20));
        bed.answers(200, &[("cache-control", "max-age=60")], much);
        bed.origin.pieces.set(Some((64 << 10, Duration::from_millis(1))));
        let mut unread = Vec::new();
        // One is all that there is room for at a time.
        for _ in 0..3 {
            let mut exchange = bed.exchange(Method::GET, "/large", &[]);
            assert!(bed.cache.takes(&mut exchange));
            unread.push(Stage::serve(&bed.cache, exchange, &bed.origin).await.unwrap());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bed.answers(200, &[("cache-control", "max-age=60")], "small");
        bed.get("/x", &[]).await;
        assert!(bed.get("/x", &[]).await.1.contains("hit"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_cannot_fetch_for_others_waits_no_longer_than_another_would_take() {
    run(async {
        let bed = slow(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=60")], "one");
        bed.get("/what-is-stored", &[]).await;
        bed.origin.delay.set(Duration::from_secs(600));
        let stuck = burst(&bed, 1, &[]);
        tokio::task::yield_now().await;
        bed.origin.delay.set(DELAY);
        let (_, took) = timed(&bed, 3, &[("range", "bytes=0-0")]).await;
        assert_eq!((bed.asked(), took), (5, 2 * DELAY + DELAY));
        drop(stuck);
    })
    .await;
}
