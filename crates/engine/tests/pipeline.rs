//! What the interfaces of the pipeline promise: a panic costs one request (R3), and a stage may race an exchange against
//! its replica, answer for work that outlives its caller, or let several callers share one answer.

#![allow(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

#[path = "pipeline/bench.rs"]
mod bench;
#[path = "pipeline/stages.rs"]
mod stages;

use bench::{Bench, Origin, run, run_paused};
use bytes::Bytes;
use stages::{Coalesce, Hedge, Offload, PanicsAt};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use unlag_engine::clock;
use unlag_engine::error::Error;
use unlag_engine::exchange::Interim;
use unlag_engine::http::body::Source;
use unlag_engine::http::{Body, Chunk, ResponseHead, Size};
use unlag_engine::pipeline::{Next, Then};
use unlag_engine::techniques::balance::Balance;
use unlag_record::Phase;

const SLOW: Duration = Duration::from_secs(10);
const FAST: Duration = Duration::from_secs(1);

/// Content whose first piece breaks the stage that sends it.
struct Broken;

impl Source for Broken {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        panic!("this content breaks whoever reads it");
    }

    fn size(&self) -> Size {
        Size::Unknown
    }
}

/// Breaks the stage that has an interim answer to pass on.
#[derive(Debug)]
struct BrokenInterim;

impl Interim for BrokenInterim {
    fn send(&self, head: ResponseHead) {
        panic!("{} cannot be passed on", head.status);
    }
}

#[test]
fn r3_a_panic_in_the_pipeline_is_an_internal_error_of_one_request_and_the_next_one_works() {
    run(async {
        let bench = Bench::with_upstream().await;
        let fine = bench.ask("GET /plain", Body::Empty, None).await;
        assert_eq!((fine.status, fine.content.as_slice(), fine.error), (200, &b"fine"[..], None));

        let broken = bench.ask("POST /plain", Body::Stream(Box::new(Broken)), None).await;
        assert_eq!((broken.status, broken.error), (500, Some(Error::Internal)));
        assert!(broken.content.starts_with(b"unlag: "), "{}", broken.content.escape_ascii());
        assert_eq!(bench.core.shared.panics.count(), 1);

        let next = bench.ask("GET /plain", Body::Empty, None).await;
        assert_eq!((next.status, next.content.as_slice(), next.error), (200, &b"fine"[..], None));
        let endpoint = bench.endpoint(0).status(clock::now());
        assert_eq!((endpoint.in_flight, endpoint.connections, endpoint.idle), (0, 1, 1), "{endpoint:?}");
    });
}

#[test]
fn r3_a_panic_in_the_middle_of_an_answer_does_not_leave_its_connection_to_the_next_request() {
    run(async {
        let bench = Bench::with_upstream().await;
        let broken = bench.ask("GET /early", Body::Empty, Some(Rc::new(BrokenInterim))).await;
        assert_eq!((broken.status, broken.error), (500, Some(Error::Internal)));
        assert_eq!(bench.endpoint(0).status(clock::now()).idle, 0, "a connection in the middle of an answer");
        let next = bench.ask("GET /plain", Body::Empty, None).await;
        assert_eq!((next.status, next.content.as_slice()), (200, &b"fine"[..]));
        assert_eq!(bench.core.shared.panics.count(), 1);
    });
}

#[test]
fn r3_a_stage_that_panics_gives_back_what_the_stages_around_it_hold() {
    run_paused(async {
        let bench = Bench::with_endpoints(2);
        let origin = Rc::new(Origin::new([FAST]));
        let inner = Then(PanicsAt(b"/broken"), Rc::clone(&origin));
        let pipeline = Rc::new(Then(Balance::new(bench.upstream()), Rc::new(inner)));
        let broken = bench.exchange("GET /broken", Body::Empty);
        let running = Rc::clone(&pipeline);
        let panicked = tokio::task::spawn_local(async move { running.run(broken).await.is_ok() }).await;
        assert!(panicked.expect_err("it panics").is_panic());
        assert_eq!(bench.in_flight(), [0, 0]);
        let answer = pipeline.run(bench.exchange("GET /plain", Body::Empty)).await;
        assert_eq!(answer.expect("an answer").head.status, 200);
    });
}

#[test]
fn a_stage_may_race_an_exchange_against_its_replica_and_drop_the_loser() {
    run_paused(async {
        let bench = Bench::with_endpoints(2);
        let origin = Rc::new(Origin::new([SLOW, FAST]));
        let balanced = Rc::new(Then(Balance::new(bench.upstream()), Rc::clone(&origin)));
        let pipeline = Then(Hedge { after: Duration::from_secs(2) }, balanced);
        let began = Instant::now();
        let answer = pipeline.run(bench.exchange("GET /", Body::Bytes(Bytes::from_static(b"again")))).await;
        let answer = answer.expect("an answer");
        assert_eq!(began.elapsed(), Duration::from_secs(2) + FAST, "the second attempt won");
        let mut asked = origin.asked();
        asked.sort_unstable();
        assert_eq!(asked, [0, 1], "each attempt goes to an endpoint of its own");
        let winner = answer.in_flight.as_ref().map(|held| held.endpoint().index).expect("a count is held");
        assert_eq!(bench.endpoint(winner as usize).in_flight(), 1);
        assert_eq!(bench.endpoint(1 - winner as usize).in_flight(), 0, "the loser is no longer in flight");
        drop(answer);
        sleep(SLOW * 2).await;
        assert_eq!(bench.in_flight(), [0, 0]);
        assert_eq!(origin.answered(), 1, "nobody works on for the loser");
    });
}

#[test]
fn an_exchange_whose_content_is_a_stream_is_not_raced() {
    run_paused(async {
        let bench = Bench::with_endpoints(2);
        let origin = Rc::new(Origin::new([SLOW, FAST]));
        let balanced = Rc::new(Then(Balance::new(bench.upstream()), Rc::clone(&origin)));
        let pipeline = Then(Hedge { after: Duration::from_secs(2) }, balanced);
        let began = Instant::now();
        let answer = pipeline.run(bench.exchange("POST /", Body::Stream(Box::new(Broken)))).await;
        assert_eq!(answer.expect("an answer").head.status, 200);
        assert_eq!((began.elapsed(), origin.asked().len()), (SLOW, 1));
    });
}

#[test]
fn a_stage_may_answer_at_once_for_work_that_outlives_its_caller_and_its_plan() {
    run_paused(async {
        let bench = Bench::with_endpoints(1);
        let origin = Rc::new(Origin::new([SLOW]));
        let balanced = Rc::new(Then(Balance::new(bench.upstream()), Rc::clone(&origin)));
        let stage = Offload::default();
        let finished = Rc::clone(&stage.finished);
        let pipeline = Then(stage, balanced);
        let began = Instant::now();
        let exchange = bench.exchange("POST /report", Body::Bytes(Bytes::from_static(b"input")));
        let trace = Rc::clone(&exchange.trace);
        let answer = pipeline.run(exchange).await.expect("an answer");
        assert_eq!((answer.head.status, began.elapsed()), (202, Duration::ZERO));
        let recorded_at = clock::now();
        trace.finish(recorded_at);
        let recorded = trace.timeline().total_ns();
        // The caller leaves, and a reload takes this pipeline out of force.
        drop((answer, pipeline));
        sleep(SLOW / 2).await;
        assert_eq!((bench.in_flight(), finished.borrow().as_slice()), (vec![1], &[][..]));
        sleep(SLOW).await;
        assert_eq!((bench.in_flight(), finished.borrow().as_slice()), (vec![0], &[Some(200)][..]));
        assert_eq!(trace.timeline().total_ns(), recorded, "what was recorded does not change afterwards");
    });
}

#[test]
fn callers_may_share_one_answer_even_when_the_one_who_asked_first_leaves() {
    run_paused(async {
        let bench = Bench::with_endpoints(2);
        let origin = Rc::new(Origin::new([SLOW]));
        let balanced = Rc::new(Then(Balance::new(bench.upstream()), Rc::clone(&origin)));
        let pipeline = Rc::new(Then(Coalesce::default(), balanced));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (pipeline, exchange) = (Rc::clone(&pipeline), bench.exchange("GET /same", Body::Empty));
                tokio::task::spawn_local(async move {
                    let mut answer = pipeline.run(exchange).await.expect("an answer");
                    bench::content(&mut answer.body).await
                })
            })
            .collect();
        sleep(FAST).await;
        callers.first().expect("a first caller").abort();
        let began = Instant::now();
        for (index, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(content) => assert_eq!(content, b"answer 1", "caller {index}"),
                Err(error) => assert!(index == 0 && error.is_cancelled(), "caller {index}: {error}"),
            }
        }
        assert_eq!((began.elapsed(), origin.answered()), (SLOW - FAST, 1));
        assert_eq!(bench.in_flight(), [0, 0]);
        // The next one is a question of its own again.
        let again = pipeline.run(bench.exchange("GET /same", Body::Empty)).await;
        assert_eq!(bench::content(&mut again.expect("an answer").body).await, b"answer 2");
    });
}

#[test]
fn what_goes_on_without_its_caller_is_timed_to_its_own_end() {
    run(async {
        let trace = Bench::with_endpoints(1).left_alone();
        let before = trace.enter(Phase::Wait);
        while clock::now() <= before {}
        trace.enter(Phase::Overhead);
        assert!(trace.timeline().spent_ns(Phase::Wait) > 0, "the wait went on");
        assert!(trace.latest_ns() > before);
    });
}
