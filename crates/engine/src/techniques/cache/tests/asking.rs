//! Asking the origin whether something still holds, and what else may come of that.

use super::*;
use tokio::task::{LocalSet, spawn_local};
use unlag_tier::Heard;

const STALE: &[(&str, &str)] = &[("cache-control", "max-age=1, stale-if-error=60"), ("etag", "\"v\"")];

fn sums(bed: &Bed) -> figures::Sums {
    bed.cache.learned.sums()
}

/// An origin that says that whatever it is asked about still holds, and else begins to send 3 MiB.
fn sends_much(bed: &Bed) {
    let much: &'static str = String::leak("x".repeat(3 << 20));
    bed.origin.pieces.set(Some((64 << 10, Duration::from_millis(100))));
    *bed.origin.answer.borrow_mut() = Box::new(move |asked| {
        let (status, body) = if asked.has(Name::IfNoneMatch) { (304, "") } else { (200, much) };
        Ok((status, fields(&[("cache-control", "max-age=1"), ("etag", "\"v\"")]), body))
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_still_on_its_way_is_not_asked_about_and_served_without_its_beginning() {
    LocalSet::new()
        .run_until(async {
            let bed = Rc::new(Bed::new(Overrides::default()));
            sends_much(&bed);
            let first = Rc::clone(&bed);
            let first = spawn_local(async move { first.get("/x", &[]).await });
            for wait_ms in [500, 1_000, 2_000] {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                let next = bed.get("/x", &[]).await;
                assert_eq!((next.0, next.2.len()), (200, 3 << 20), "after {wait_ms} ms more: {}", next.1);
            }
            assert_eq!(first.await.unwrap().2.len(), 3 << 20);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn that_an_answer_is_not_for_others_with_this_callers_credentials_takes_out_nothing() {
    for who in [("cookie", "a=b"), ("authorization", "me")] {
        let bed = Bed::new(Overrides::default());
        bed.answers(200, &[("etag", "\"v\"")], "one");
        bed.get("/x", &[]).await;
        bed.answers(304, &[("etag", "\"v\""), ("set-cookie", "seen=1")], "");
        assert_eq!(bed.get("/x", &[who]).await.2, "one");
        assert_eq!(bed.cache.store.len(), 1, "{who:?}");
        bed.answers(304, &[("etag", "\"v\""), ("cache-control", "private")], "");
        assert_eq!(bed.get("/x", &[who]).await.2, "one");
        assert_eq!(bed.cache.store.len(), 0, "what the origin says of the thing itself does");
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_of_ours_answers_no_caller_who_made_none() {
    let bed = Bed::new(Overrides::default());
    let vary: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("vary", "x"), ("etag", "\"v\"")];
    bed.answers(200, vary, "one");
    bed.get("/x", &[("x", "1")]).await;
    *bed.origin.answer.borrow_mut() = Box::new(move |asked| match asked.has(Name::IfNoneMatch) {
        true => Ok((304, fields(&[("etag", "\"of another\"")]), "")),
        false => Ok((200, fields(vary), "two")),
    });
    let other = bed.get("/x", &[("x", "2")]).await;
    assert_eq!((other.0, other.2.as_str(), bed.asked()), (200, "two", 3));
    bed.answers(304, &[], "");
    let third = bed.raw(Method::GET, "/y", &[("if-none-match", "\"mine\"")]).await.unwrap().head.status;
    assert_eq!(third, 304, "whoever makes one gets its answer");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_at_once_is_asked_once_a_second_while_stale_things_are_served() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, &[("cache-control", "max-age=1, stale-while-revalidate=60")], "one");
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.fails();
            for _ in 0..30 {
                assert_eq!(bed.get("/x", &[]).await.2, "one");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!((3..=5).contains(&bed.asked()), "{}", bed.asked());
            *bed.origin.answer.borrow_mut() = Box::new(|_| Ok((503, fields(&[("retry-after", "30")]), "")));
            seconds(2).await;
            for _ in 0..10 {
                bed.get("/x", &[]).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            assert!(bed.asked() <= 6, "it has asked for 30 s of peace: {}", bed.asked());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_time_is_up_gets_what_is_stale_where_it_may_whether_it_leads_or_waits() {
    LocalSet::new()
        .run_until(async {
            let bed = Rc::new(Bed::new(Overrides::default()));
            bed.answers(200, STALE, "one");
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.origin.delay.set(Duration::from_secs(3_600));
            let hurried: Vec<_> = (0..2)
                .map(|_| {
                    let bed = Rc::clone(&bed);
                    spawn_local(async move {
                        let (began, mut exchange) = (clock::now(), bed.exchange(Method::GET, "/x", &[]));
                        exchange.deadline_ns = began + SECOND / 4;
                        assert!(bed.cache.takes(&mut exchange));
                        let answer = Stage::serve(&bed.cache, exchange, &bed.origin).await.unwrap();
                        (answer.head.status, clock::now() - began)
                    })
                })
                .collect();
            for request in hurried {
                assert_eq!(request.await.unwrap(), (200, SECOND / 4));
            }
            let peace = bed.get("/x", &[]).await;
            assert_eq!((peace.2.as_str(), bed.asked()), ("one", 2), "nor does the next one wait");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_nobody_asked_for_is_nobodys_but_its_callers() {
    let bed = Bed::new(Overrides { explains: true, ..Overrides::default() });
    let part: &[(&str, &str)] =
        &[("content-range", "bytes 5-7/20"), ("etag", "\"v\""), ("cache-control", "max-age=60")];
    bed.answers(206, part, "one");
    assert_eq!(bed.get("/x", &[]).await.0, 206);
    assert_eq!(bed.cache.store.len(), 0);
    bed.get("/x", &[("range", "bytes=5-7")]).await;
    assert_eq!(bed.cache.store.len(), 1);
    assert_eq!(bed.get("/x", &[("range", "bytes=0-1")]).await.1, "unlag; fwd=partial; stored; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_insists_is_told_from_a_lifetime_that_is_over() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=60")], "one");
    bed.get("/x", &[]).await;
    for insists in ["no-cache", "max-age=5", "min-fresh=90"] {
        seconds(6).await;
        let again = bed.get("/x", &[("cache-control", insists)]).await;
        assert_eq!(again.1, "unlag; fwd=request; fwd-status=200; stored; ttl=60", "{insists}");
    }
    assert_eq!(sums(&bed).misses[Miss::Request as usize], 3);
    seconds(60).await;
    assert!(bed.get("/x", &[]).await.1.contains("fwd=stale"));
}

#[tokio::test(start_paused = true)]
async fn what_was_served_although_the_origin_failed_counts_as_a_hit_and_not_as_a_miss() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, STALE, "one");
    bed.get("/x", &[]).await;
    seconds(2).await;
    bed.fails();
    assert_eq!(bed.get("/x", &[]).await.2, "one");
    seconds(2).await;
    bed.answers(500, &[], "");
    assert_eq!(bed.get("/x", &[]).await.2, "one");
    let sums = sums(&bed);
    assert_eq!((sums.hits, sums.stale, sums.misses.iter().sum::<u64>()), (2, 2, 1));
    seconds(60).await;
    bed.get("/x", &[]).await;
    let sums = self::sums(&bed);
    assert_eq!((sums.hits, sums.misses[Miss::Stale as usize]), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_comes_to_nothing_leaves_what_is_there() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, &[("cache-control", "max-age=1, stale-while-revalidate=60")], "one");
            bed.get("/x", &[]).await;
            bed.answers(503, &[("cache-control", "max-age=5")], "down");
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(bed.get("/x", &[]).await.2, "one", "a failure does not take its place");
            }
            bed.answers(200, &[("cache-control", "max-age=60")], "two and a half");
            bed.origin.pieces.set(Some((3, Duration::from_millis(100))));
            bed.origin.is_cut.set(true);
            let before = bed.asked();
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                assert_eq!(bed.get("/x", &[]).await.2, "one", "nor does what is cut");
            }
            assert!(bed.asked() <= before + 8, "one at a time: {}", bed.asked() - before);
            bed.origin.is_cut.set(false);
            tokio::time::sleep(Duration::from_secs(2)).await;
            bed.get("/x", &[]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(bed.get("/x", &[]).await.2, "two and a half", "what is whole does");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_content_of_which_nothing_comes_any_more() {
    LocalSet::new()
        .run_until(async {
            let bed = Rc::new(Bed::new(Overrides::default()));
            bed.answers(200, &[("cache-control", "max-age=600")], "one");
            bed.origin.pieces.set(Some((1, Duration::from_secs(3_600))));
            let stuck = Rc::clone(&bed);
            drop(spawn_local(async move { stuck.get("/x", &[]).await }));
            tokio::time::sleep(Duration::from_secs(4)).await;
            bed.origin.pieces.set(None);
            assert_eq!(bed.get("/x", &[]).await.2, "one");
            assert_eq!(bed.asked(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_304_about_something_else_freshens_nothing() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=1"), ("etag", "\"a\"")], "one");
    bed.get("/x", &[]).await;
    seconds(2).await;
    *bed.origin.answer.borrow_mut() = Box::new(|asked| match asked.has(Name::IfNoneMatch) {
        true => Ok((304, fields(&[("etag", "\"b\"")]), "")),
        false => Ok((200, fields(&[("etag", "\"b\"")]), "two")),
    });
    assert_eq!(bed.get("/x", &[]).await.2, "two");
    assert_eq!(bed.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_may_be_served_something_stale_waits_a_second_for_an_origin_that_hangs() {
    LocalSet::new()
        .run_until(async {
            let bed = Rc::new(Bed::new(Overrides::default()));
            bed.answers(200, STALE, "one");
            bed.origin.delay.set(Duration::from_millis(1));
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.origin.delay.set(Duration::from_secs(20));
            let began = clock::now();
            let requests: Vec<_> = (0..3)
                .map(|_| {
                    let bed = Rc::clone(&bed);
                    spawn_local(async move { (bed.get("/x", &[]).await.2, clock::now() - began) })
                })
                .collect();
            for request in requests {
                let (content, took) = request.await.unwrap();
                assert!(content == "one" && took <= SECOND * 5 / 4, "{content} after {took} ns");
            }
            bed.answers(200, &[("cache-control", "max-age=60")], "two");
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(bed.get("/x", &[]).await.2, "two", "and what comes in the end is kept");
            assert!(bed.asked() <= 4, "{}", bed.asked());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_set_a_cookie_is_served_no_more_once_the_rule_says_so() {
    let bed = Bed::new(Overrides { set_cookie: true, ..Overrides::default() });
    bed.answers(200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], "one");
    bed.get("/x", &[]).await;
    assert!(bed.get("/x", &[]).await.1.contains("hit"));
    let mut after = bed;
    after.cache.overrides.set_cookie = false;
    assert!(!after.get("/x", &[]).await.1.contains("hit"));
}

#[tokio::test(start_paused = true)]
async fn variants_that_are_large_make_room_for_each_other_and_are_not_lost_together() {
    let bed = Bed::new(Overrides::default());
    let large: &'static str = String::leak("x".repeat(300 << 10));
    bed.answers(200, &[("cache-control", "max-age=60"), ("vary", "x")], large);
    for number in 0..20 {
        bed.get("/x", &[("x", &number.to_string())]).await;
        assert!(bed.get("/x", &[("x", &number.to_string())]).await.1.contains("hit"), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_says_once_which_it_is() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-2/3")], "one");
    bed.get("/x", &[]).await;
    let part = bed.raw(Method::GET, "/x", &[("range", "bytes=1-1")]).await.unwrap().head;
    assert_eq!(part.fields.all(Name::ContentRange).collect::<Vec<_>>(), [b"bytes 1-1/3"]);
}

#[tokio::test(start_paused = true)]
async fn where_purges_may_have_been_missed_nothing_is_served_unasked_and_what_still_holds_is_kept() {
    let bed = Bed::new(Overrides::default());
    let lives = ("cache-control", "max-age=60, stale-while-revalidate=60, stale-if-error=60");
    bed.answers(200, Box::leak(Box::new([lives, ("etag", "\"v1\"")])), "one");
    bed.get("/x", &[]).await;
    seconds(1).await;
    bed.cache.store.hear(Heard::Lost, 0);
    bed.fails();
    for asked in [&[][..], &[("cache-control", "max-stale, stale-if-error=60")]] {
        assert_ne!(bed.get("/x", asked).await.2, "one", "it may have been purged, and nobody can say");
    }
    // What is asked for in the same instant may be of before it.
    seconds(1).await;
    bed.answers(304, &[("etag", "\"v1\"")], "");
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; fwd=stale; fwd-status=304; ttl=60", "one"));
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; ttl=60", "one"));
    assert_eq!(bed.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_may_take_as_long_as_its_content_does() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, &[("cache-control", "max-age=1, stale-while-revalidate=600")], "one");
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.answers(200, &[("cache-control", "max-age=600")], "two");
            bed.origin.pieces.set(Some((1, Duration::from_secs(2))));
            bed.get("/x", &[]).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(bed.get("/x", &[]).await.2, "two");
            assert_eq!(bed.asked(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_leaves_what_may_be_served_stale() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, STALE, "one");
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.answers(200, &[("cache-control", "max-age=600")], "two");
            bed.origin.pieces.set(Some((1, Duration::from_millis(1))));
            bed.origin.is_cut.set(true);
            bed.get("/x", &[]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            bed.fails();
            assert_eq!(bed.get("/x", &[]).await.2, "one");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_asked_for_earlier_takes_no_newer_ones_place() {
    LocalSet::new()
        .run_until(async {
            let bed = Rc::new(Bed::new(Overrides { explains: true, ..Overrides::default() }));
            bed.answers(200, &[("cache-control", "max-age=60")], "old");
            bed.origin.delay.set(Duration::from_secs(2));
            let (slow, lines) = (Rc::clone(&bed), &[("cache-control", "no-cache")]);
            let slow = spawn_local(async move { slow.get("/x", lines).await });
            tokio::time::sleep(Duration::from_secs(1)).await;
            bed.origin.delay.set(Duration::ZERO);
            bed.answers(200, &[("cache-control", "max-age=60")], "new");
            bed.get("/x", lines).await;
            bed.answers(200, &[("cache-control", "max-age=60")], "old");
            slow.await.unwrap();
            assert_eq!(bed.get("/x", &[]).await.2, "new");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_credentials_waits_no_longer_for_an_origin_that_hangs_and_counts_once() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, &[("cache-control", "public, max-age=1, stale-if-error=60")], "one");
            bed.origin.delay.set(Duration::from_millis(1));
            bed.get("/x", &[]).await;
            seconds(2).await;
            bed.origin.delay.set(Duration::from_secs(20));
            let began = clock::now();
            let answer = bed.get("/x", &[("cookie", "a=b")]).await;
            assert_eq!((answer.2.as_str(), clock::now() - began), ("one", SECOND));
            bed.fails();
            tokio::time::sleep(Duration::from_secs(30)).await;
            let sums = sums(&bed);
            assert_eq!((sums.hits, sums.stale), (1, 1), "what it came to in the end is no hit");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_comes_with_the_whole_reaches_a_caller_that_has_a_copy() {
    let bed = Bed::new(Overrides { explains: true, ..Overrides::default() });
    let told: &[(&str, &str)] = &[("etag", "\"v\""), ("set-cookie", "a=b")];
    bed.answers(200, told, "one");
    let answer = bed.raw(Method::GET, "/x", &[("if-none-match", "\"v\"")]).await.unwrap().head;
    assert_eq!((answer.status, answer.fields.has(Name::SetCookie)), (200, true));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_stored_takes_out_what_it_takes_the_place_of_and_no_other_variant() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=600"), ("vary", "x")], "one");
    for variant in ["1", "2"] {
        bed.get("/x", &[("x", variant)]).await;
    }
    bed.answers(200, &[("cache-control", "no-store"), ("vary", "x")], "two");
    assert_eq!(bed.get("/x", &[("x", "1"), ("cache-control", "no-cache")]).await.2, "two");
    assert_eq!(bed.get("/x", &[("x", "2")]).await.2, "one");
    assert_eq!(bed.get("/x", &[("x", "1")]).await.2, "two");
    // What a caller with credentials is told says nothing of what others are.
    bed.get("/x", &[("x", "2"), ("cache-control", "no-cache"), ("cookie", "a=b")]).await;
    assert_eq!(bed.get("/x", &[("x", "2")]).await.2, "one");
}

#[tokio::test(start_paused = true)]
async fn fetches_that_go_on_without_their_callers_have_a_budget() {
    LocalSet::new()
        .run_until(async {
            for (others, is_kept) in [(0, true), (128, false)] {
                let bed = Bed::new(Overrides::default());
                bed.answers(200, STALE, "one");
                bed.origin.delay.set(Duration::from_millis(1));
                bed.get("/x", &[]).await;
                seconds(2).await;
                let others: Vec<_> =
                    (0..others).filter_map(|_| bed.cache.store.begin_refresh(&bed.cache.learned)).collect();
                bed.origin.delay.set(Duration::from_secs(20));
                bed.answers(200, &[("cache-control", "max-age=600")], "two");
                assert_eq!(bed.get("/x", &[]).await.2, "one");
                tokio::time::sleep(Duration::from_secs(30)).await;
                let next = bed.get("/x", &[]).await;
                assert_eq!(next.2 == "two", is_kept, "{} others: {}", others.len(), next.1);
            }
        })
        .await;
}
