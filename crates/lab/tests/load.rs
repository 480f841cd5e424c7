//! The load generator against real services: what it counts, what it reads, and that a stall is not hidden.

#![expect(clippy::expect_used, reason = "a test may fail")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use unlag_lab::load::{Arrivals, Failure, Options, Protocol, Request, run, run_blocking, run_observed};
use unlag_lab::services::{Backend, Fault, Shop};

const MS: u64 = 1_000_000;

fn options(address: SocketAddr, request: Request) -> Options {
    Options { connections: 4, duration: Duration::from_millis(500), ..Options::new(address, request) }
}

/// Answers every connection on its own thread with what `answer` makes of its number of requests so far, and
/// closes it when there is nothing left to say.
fn scripted(answer: fn(usize) -> Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                for number in 0.. {
                    let Some(text) = answer(number) else { return };
                    if stream.read(&mut buffer).unwrap_or(0) == 0
                        || stream.write_all(text.as_bytes()).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_bounded_closed_loop_sends_exactly_what_was_asked_and_reads_every_body_whole() {
    let backend = Backend::start().expect("starts");
    for (path, size) in [("/bytes/1024", 1024), ("/bytes/65536", 65_536)] {
        let mut options = options(backend.address, Request::typical_get(path));
        (options.requests, options.duration) = (501, Duration::from_secs(20));
        let report = run_blocking(&options).expect("runs");
        assert_eq!((report.all.offered, report.sent, report.all.ok, report.errors()), (501, 501, 501, 0));
        assert_eq!(report.body_bytes, 501 * size);
        assert_eq!(report.all.latency.count(), 501);
        assert_eq!(report.reconnects, 0, "connections are kept");
    }
    assert_eq!(backend.requests(), 2 * 501, "the backend counts what it is asked");
    let mut post = options(backend.address, Request::typical_post("/sink", 100_000));
    post.requests = 20;
    let report = run_blocking(&post).expect("runs");
    assert_eq!((report.all.ok, report.body_bytes), (20, 20 * 1024));
    let mut missing = options(backend.address, Request::get("/nothing"));
    missing.requests = 3;
    let report = run_blocking(&missing).expect("runs");
    assert_eq!((report.statuses.get(&404), report.all.ok, report.errors()), (Some(&3), 0, 3));
    assert_eq!(report.summary().errors.get("status_4xx"), Some(&3));
}

#[test]
fn a_backend_counts_what_comes_through_all_its_doors() {
    let backend = Backend::with_doors(3).expect("starts");
    assert_eq!((backend.doors.len(), backend.doors[0]), (3, backend.address));
    for door in &backend.doors {
        let mut options = options(*door, Request::typical_get("/bytes/1024"));
        (options.requests, options.duration) = (7, Duration::from_secs(20));
        assert_eq!(run_blocking(&options).expect("runs").all.ok, 7);
    }
    assert_eq!(backend.requests(), 21);
}

#[test]
fn constant_arrivals_offer_the_rate_and_windows_add_up_to_the_whole() {
    let backend = Backend::start().expect("starts");
    let mut options = options(backend.address, Request::get("/bytes/1024"));
    options.arrivals = Arrivals::Constant { rate: 1_000.0 };
    let (mut offered, mut answered, mut windows) = (0, 0, 0);
    let report = run_observed(&options, Duration::from_millis(100), |window| {
        offered += window.all.offered;
        answered += window.answered();
        windows += 1;
    })
    .expect("runs");
    assert_eq!((report.all.offered, report.errors()), (500, 0));
    assert_eq!((offered, answered), (500, 500));
    assert!(windows >= 5, "{windows} windows");
}

#[tokio::test]
async fn it_runs_beside_a_callers_own_runtime() {
    let backend = Backend::start().expect("starts");
    let mut options = options(backend.address, Request::get("/healthz"));
    options.requests = 10;
    assert_eq!(run(options).await.expect("runs").all.ok, 10);
}

#[test]
fn a_stall_of_the_service_is_charged_to_every_request_that_was_due_meanwhile() {
    let shop = Shop::start().expect("opens");
    let mut options = options(shop.addresses("users")[0], Request::get("/users/1"));
    // One connection: a closed loop would meet the stall once, and call it one slow request in hundreds.
    (options.connections, options.duration) = (1, Duration::from_millis(1_500));
    options.arrivals = Arrivals::Constant { rate: 100.0 };
    let mut windows = 0;
    let report = run_observed(&options, Duration::from_millis(100), |_| {
        windows += 1;
        match windows {
            5 => shop.faults.set("users", 0, Fault::frozen()).expect("exists"),
            8 => shop.faults.clear(),
            _ => {}
        }
    })
    .expect("runs");
    let latency = &report.all.latency;
    assert_eq!((report.all.offered, report.all.ok), (150, 150), "{:?}", report.summary());
    assert!(latency.quantile_ns(0.99) >= 200 * MS, "{:?}", report.summary());
    let delayed = latency.count_between(50 * MS, u64::MAX);
    assert!(delayed >= 20, "a stall of 300 ms at 100/s delays about 30 requests, not {delayed}");
}

#[test]
fn what_cannot_be_sent_in_time_is_an_error_and_not_left_out() {
    let shop = Shop::start().expect("opens");
    shop.faults.set("cart", 0, Fault::frozen()).expect("exists");
    let mut options = options(shop.addresses("cart")[0], Request::get("/cart/1"));
    options.arrivals = Arrivals::Constant { rate: 200.0 };
    (options.outstanding, options.timeout) = (10, Duration::from_millis(300));
    (options.connections, options.duration) = (2, Duration::from_millis(200));
    let report = run_blocking(&options).expect("runs");
    let failed = |failure| report.failures.get(&failure).copied().unwrap_or(0);
    assert_eq!((report.all.offered, report.all.ok), (40, 0), "{:?}", report.summary());
    assert_eq!(failed(Failure::Timeout) + failed(Failure::Unsent), 40, "{:?}", report.summary());
    assert!(failed(Failure::Timeout) >= 2 && failed(Failure::Unsent) >= 30, "{:?}", report.summary());
    assert_eq!(
        report.all.latency.count(),
        failed(Failure::Timeout),
        "giving up does not improve the figures"
    );
    assert!(report.all.latency.min_ns() >= 300 * MS, "{:?}", report.summary());
}

#[test]
fn chunked_answers_and_announced_ends_of_connections_are_followed() {
    let address = scripted(|number| match number {
        0 => {
            Some("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n")
        }
        1 => Some("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbye"),
        _ => None,
    });
    let mut options = options(address, Request::typical_post("/x", 10));
    (options.requests, options.connections) = (10, 1);
    let report = run_blocking(&options).expect("runs");
    assert_eq!((report.all.ok, report.errors()), (10, 0), "{:?}", report.summary());
    assert_eq!(report.body_bytes, 5 * 9 + 5 * 3);
    assert_eq!(report.reconnects, 4);
}

#[test]
fn a_kept_connection_that_was_closed_silently_costs_a_get_a_reconnect_and_a_post_an_error() {
    let answer = |number| (number == 0).then_some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let mut get = options(scripted(answer), Request::get("/"));
    (get.requests, get.connections) = (6, 1);
    let report = run_blocking(&get).expect("runs");
    assert_eq!((report.all.ok, report.errors(), report.reconnects), (6, 0, 5), "{:?}", report.summary());
    let mut post = options(scripted(answer), Request::typical_post("/", 10));
    (post.requests, post.connections) = (6, 1);
    let report = run_blocking(&post).expect("runs");
    assert_eq!(report.failures.get(&Failure::Closed), Some(&3), "{:?}", report.summary());
}

#[test]
fn a_body_that_is_cut_off_is_not_an_answer() {
    let address = scripted(|number| {
        (number == 0).then_some("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nonly this much")
    });
    let mut options = options(address, Request::get("/"));
    options.requests = 4;
    let report = run_blocking(&options).expect("runs");
    assert_eq!((report.all.ok, report.failures.get(&Failure::Closed)), (0, Some(&4)));
}

/// An HTTP/2 service that echoes how much it was sent.
fn start_http2() -> SocketAddr {
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
            ready.send(listener.local_addr().expect("bound")).expect("received");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            let (mut body, mut length) = (request.into_body(), 0);
                            while let Some(Ok(piece)) = body.data().await {
                                length += piece.len();
                                let _ = body.flow_control().release_capacity(piece.len());
                            }
                            if let Ok(mut stream) = respond.send_response(http::Response::new(()), false) {
                                let _ = stream.send_data(vec![b'x'; 1 + length].into(), true);
                            }
                        });
                    }
                });
            }
        });
    });
    address.recv().expect("an address")
}

#[test]
fn http2_streams_share_their_connection_and_bodies_pass_both_ways() {
    let address = start_http2();
    let mut options = options(address, Request::typical_post("/", 30_000));
    options.protocol = Protocol::Http2 { streams: 8 };
    (options.connections, options.requests) = (2, 100);
    options.duration = Duration::from_secs(20);
    let report = run_blocking(&options).expect("runs");
    assert_eq!((report.all.ok, report.errors(), report.reconnects), (100, 0, 0), "{:?}", report.summary());
    assert_eq!(report.body_bytes, 100 * 30_001);
}

#[test]
fn options_that_make_no_sense_are_refused_in_words() {
    let backend = Backend::start().expect("starts");
    let good = options(backend.address, Request::get("/"));
    let refused = |change: fn(&mut Options)| {
        let mut options = good.clone();
        change(&mut options);
        format!("{:#}", run_blocking(&options).expect_err("refused"))
    };
    assert!(refused(|o| o.mix.clear()).contains("no request"));
    assert!(refused(|o| o.connections = 0).contains("connections must be"));
    assert!(refused(|o| o.arrivals = Arrivals::Poisson { rate: -1.0 }).contains("rate must be"));
    assert!(refused(|o| o.protocol = Protocol::Http2 { streams: 0 }).contains("streams must be"));
}
