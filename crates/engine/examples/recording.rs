//! Prints what recording one request costs, in nanoseconds: the trace of a plain request from HTTP/1.1 to HTTP/1.1
//! with every reading of the clock that the server takes for it, then its record in histograms and ring; and the
//! readings alone.
//!
//! The `recording` scenario of `cargo xtask bench peers` runs it, once a round. By hand: `cargo run --release --package
//! unlag-engine --example recording` on a quiet machine.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use unlag_engine::clock;
use unlag_engine::exchange::Trace;
use unlag_engine::http::h1::parse::{self, HeadLimits};
use unlag_engine::http::{RequestHead, date};
use unlag_engine::net::alarm::Timer;
use unlag_record::{
    Bounds, EndpointId, Outcome, Phase, Protocol, Record, Recorder, Registry, RequestId, RouteId,
};

/// The best of so many: what disturbs a pass only makes it longer.
const PASSES: usize = 7;
const PER_PASS: u64 = 200_000;
/// What a plain request enters after `receive`, in the order in which server and upstream do.
const ENTERED: [Phase; 5] = [Phase::Overhead, Phase::Send, Phase::Wait, Phase::Overhead, Phase::Transfer];
/// The first byte, the date of the record, and the end.
const READINGS: usize = ENTERED.len() + 3;

/// Nanoseconds for one, the best of several passes.
fn best(mut one: impl FnMut(u64)) -> f64 {
    let pass = |one: &mut dyn FnMut(u64)| {
        let began = clock::now();
        (0..PER_PASS).for_each(&mut *one);
        clock::now().saturating_sub(began) as f64 / PER_PASS as f64
    };
    (0..PASSES).map(|_| pass(&mut one)).fold(f64::INFINITY, f64::min)
}

struct Core {
    recorder: Recorder,
    route: RouteId,
    endpoint: EndpointId,
    head: RequestHead,
    caller: SocketAddr,
}

impl Core {
    fn of(registry: &Arc<Registry>, head: RequestHead) -> Core {
        let endpoint = registry.endpoint("catalog", "10.0.0.1:8080");
        Core {
            recorder: registry.recorder(),
            route: registry.route("product"),
            endpoint,
            head,
            caller: SocketAddr::from(([10, 0, 0, 9], 40_000)),
        }
    }

    fn request(&self, step: u64) {
        let trace = Trace::new(clock::now(), &self.head, Some(self.caller), &Timer::default());
        let started_unix_ms = date::unix_ms(clock::now());
        trace.id.set(RequestId(u128::from(step)));
        *trace.request_id.borrow_mut() = b"4bf92f3577b34da6a3ce929d0e0e4736".as_slice().into();
        for phase in ENTERED {
            trace.enter(phase);
        }
        trace.finish(clock::now());
        self.recorder.record(&Record {
            id: trace.id.get(),
            request_id: &trace.request_id.borrow(),
            route: self.route,
            endpoint: Some(self.endpoint),
            status: 200,
            outcome: Outcome::Ok,
            cause: None,
            cache: None,
            hedge: None,
            trials: Default::default(),
            why: &unlag_record::Why::NONE,
            method: trace.method.as_str(),
            target: &trace.target,
            protocol: Protocol::Http11,
            caller: trace.caller,
            bytes_in: 0,
            bytes_out: 1_024,
            attempts: 1,
            reused: true,
            started_unix_ms,
            timeline: &trace.timeline(),
        });
    }
}

fn head() -> io::Result<RequestHead> {
    let bytes = b"GET /product/7?currency=EUR HTTP/1.1\r\nhost: shop.example\r\n\r\n";
    let limits = HeadLimits { head: 1_024, fields: 16, uri: 256 };
    let parsed = parse::request(bytes, &mut 0, &limits).map_err(io::Error::other)?;
    Ok(parsed.ok_or(io::ErrorKind::UnexpectedEof)?.head)
}

fn main() -> io::Result<()> {
    let readings = best(|_| {
        (0..READINGS).for_each(|_| {
            std::hint::black_box(clock::now());
        });
    });
    let core = Core::of(&Registry::new(Bounds::default(), None), head()?);
    let recording = best(|step| core.request(step));
    let mut out = io::stdout();
    writeln!(out, "recording_ns {recording:.1}\nreadings_ns {readings:.1}")
}
