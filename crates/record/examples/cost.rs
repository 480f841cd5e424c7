//! Prints what recording one request costs: a timeline with eight phases, then its record, alone and with the
//! access log, on one core and on two at once. Run it with `--release` on a quiet machine.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use unlag_record::{
    AccessLog, Bounds, DEFAULT_WAITING_LINES, EndpointId, Outcome, Phase, Protocol, Record, Recorder,
    Registry, RequestId, RouteId, Sample, Sink, Timeline,
};

const ROUNDS: usize = 7;
const PER_ROUND: u64 = 200_000;
const ENTERED: [Phase; 8] = [
    Phase::Queue,
    Phase::PoolWait,
    Phase::Connect,
    Phase::Send,
    Phase::Wait,
    Phase::Transfer,
    Phase::Cache,
    Phase::Overhead,
];

fn phases(step: u64) -> Timeline {
    let mut now = step;
    let mut timeline = Timeline::start(now);
    for phase in ENTERED {
        timeline.enter(phase, now);
        now += 1_000 + (step * 7_919) % 100_000;
    }
    timeline.finish(now);
    timeline
}

/// The best of several rounds, in nanoseconds for one request.
fn best(mut one: impl FnMut(u64)) -> f64 {
    let round = |one: &mut dyn FnMut(u64)| {
        let began = Instant::now();
        (0..PER_ROUND).for_each(&mut *one);
        began.elapsed().as_nanos() as f64 / PER_ROUND as f64
    };
    (0..ROUNDS).map(|_| round(&mut one)).fold(f64::INFINITY, f64::min)
}

struct Core {
    recorder: Recorder,
    route: RouteId,
    endpoint: EndpointId,
}

impl Core {
    fn of(registry: &Arc<Registry>) -> Core {
        let endpoint = registry.endpoint("catalog", "10.0.0.1:8080");
        Core { recorder: registry.recorder(), route: registry.route("product"), endpoint }
    }

    fn request(&self, step: u64) {
        let timeline = phases(step);
        self.recorder.record(&Record {
            id: RequestId(u128::from(step)),
            request_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
            route: self.route,
            endpoint: Some(self.endpoint),
            status: 200,
            outcome: Outcome::Ok,
            cause: None,
            method: "GET",
            target: b"/product/7?currency=EUR",
            protocol: Protocol::Http11,
            caller: None,
            bytes_in: 0,
            bytes_out: 1_024,
            attempts: 1,
            reused: true,
            started_unix_ms: 1_790_000_000_000 + step / 100,
            timeline: &timeline,
        });
    }
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let timeline = best(|step| {
        std::hint::black_box(phases(step));
    });
    writeln!(out, "timeline with 8 enters                      {timeline:7.1} ns")?;

    let core = Core::of(&Registry::new(Bounds::default(), None));
    let alone = best(|step| core.request(step));
    writeln!(out, "timeline and record                         {alone:7.1} ns")?;
    writeln!(out, "  record alone                              {:7.1} ns", alone - timeline)?;

    let registry = Registry::new(Bounds::default(), None);
    let both: Vec<f64> = std::thread::scope(|scope| {
        let cores = [Core::of(&registry), Core::of(&registry)];
        let running = cores.map(|core| scope.spawn(move || best(|step| core.request(step))));
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    writeln!(out, "the same on two cores at once               {:7.1} ns", both.iter().sum::<f64>() / 2.0)?;

    // The channel is full most of the time here: a bench records faster than any sink writes.
    let log = AccessLog::start(Sink::Writer(Box::new(std::io::sink())), Sample::All, DEFAULT_WAITING_LINES)?;
    let registry = Registry::new(Bounds::default(), Some(log));
    let core = Core::of(&registry);
    let logged = best(|step| core.request(step));
    let (written, dropped) = registry.log().map_or((0, 0), |log| (log.written(), log.dropped()));
    writeln!(
        out,
        "with the access log                         {logged:7.1} ns ({written} lines, {dropped} dropped)"
    )
}
