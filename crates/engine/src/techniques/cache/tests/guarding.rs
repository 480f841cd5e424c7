//! What is given to everybody must not depend on who asks.

use super::*;
use tokio::task::LocalSet;

const ALICE: &[(&str, &str)] = &[("cookie", "user=alice")];
const BOB: &[(&str, &str)] = &[("cookie", "user=bob")];

/// An origin that says that all may have it, whoever asks.
fn careless(answer: impl Fn(Option<&[u8]>, usize) -> &'static str + 'static) -> Bed {
    let bed = Bed::new(Overrides::default());
    let count = std::cell::Cell::new(0);
    *bed.origin.answer.borrow_mut() = Box::new(move |request| {
        count.set(count.get() + 1);
        let body = answer(request.get(Name::Cookie), count.get());
        Ok((200, fields(&[("cache-control", "public, max-age=600")]), body))
    });
    bed
}

/// Has everything that was begun beside a request come to its end.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_callers_whose_answers_differ_under_one_key_do_not_get_each_others_for_long() {
    let of = |cookie: Option<&[u8]>, _| match cookie {
        Some(b"user=alice") => "alice",
        Some(_) => "bob",
        None => "nobody",
    };
    LocalSet::new()
        .run_until(async {
            let bed = careless(of);
            assert_eq!(bed.get("/x", ALICE).await.2, "alice");
            assert_eq!(bed.get("/x", BOB).await.2, "alice", "as any cache would");
            settle().await;
            for (caller, own) in [(BOB, "bob"), (ALICE, "alice"), (BOB, "bob")] {
                assert_eq!(bed.get("/x", caller).await.2, own, "from then on");
            }
            seconds(guard::BYPASS_S - 1).await;
            assert_eq!(bed.get("/x", BOB).await.2, "bob");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_the_same_for_all_or_changes_by_itself_is_kept() {
    let same = |_: Option<&[u8]>, _: usize| "same";
    let changed = |_: Option<&[u8]>, count: usize| if count == 1 { "old" } else { "new" };
    let each = |_: Option<&[u8]>, count: usize| ["a", "b", "c", "d", "e"][count.min(4)];
    LocalSet::new()
        .run_until(async {
            for bed in [careless(same), careless(changed), careless(each)] {
                let first = bed.get("/x", ALICE).await.2;
                bed.get("/x", BOB).await;
                settle().await;
                let asked = bed.asked();
                for caller in [BOB, ALICE, &[]] {
                    assert_eq!(bed.get("/x", caller).await.2, first);
                }
                assert_eq!(bed.asked(), asked, "and not checked at every hit");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn credentials_that_the_origin_refuses_take_nothing_out() {
    LocalSet::new()
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            *bed.origin.answer.borrow_mut() = Box::new(move |request| {
                let status = if request.has(Name::Authorization) { 401 } else { 200 };
                Ok((status, fields(&[("cache-control", "public, max-age=600")]), "for all"))
            });
            bed.get("/x", &[]).await;
            bed.get("/x", &[("authorization", "Bearer bad")]).await;
            settle().await;
            assert!(bed.get("/x", &[]).await.1.contains("hit"));
        })
        .await;
}
