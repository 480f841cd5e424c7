//! Recording allocates nothing once its series exist. The count is of this thread alone: the log's thread and the
//! test runner's allocate when they please.

mod sample;

use allocation_counter::measure;
use sample::{record, timeline};
use std::io;
use unlag_record::{AccessLog, Bounds, Phase, Record, Registry, RequestId, Sample, Sink};

#[test]
fn recording_allocates_nothing_in_steady_state_with_the_log_on() {
    let log = AccessLog::start(Sink::Writer(Box::new(io::sink())), Sample::All, 256).unwrap();
    let registry = Registry::new(Bounds::default(), Some(log));
    let (recorder, route) = (registry.recorder(), registry.route("shop"));
    let endpoint = Some(registry.endpoint("catalog", "10.0.0.1:80"));
    let every: Vec<(Phase, u64)> = Phase::ALL.into_iter().map(|phase| (phase, 10_000)).collect();
    let first = timeline(&every);
    recorder.record(&Record { endpoint, ..record(route, &first) });

    let steady = measure(|| {
        for step in 0..2_000 {
            let mut now = 0;
            let mut timeline = unlag_record::Timeline::start(now);
            for phase in Phase::ALL {
                timeline.enter(phase, now);
                now += step * 100;
            }
            timeline.finish(now);
            let id = RequestId(u128::from(step));
            recorder.record(&Record { endpoint, id, ..record(route, &timeline) });
        }
    });
    assert_eq!(steady.count_total, 0);
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(7_u64)))).count_total, 1, "the counter counts");
}
