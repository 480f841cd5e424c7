//! Recording allocates nothing once its series exist. Alone in its binary, because the count is of the process.

mod sample;

use sample::{record, timeline};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use unlag_record::{AccessLog, Bounds, Phase, Record, Registry, RequestId, Sample, Sink};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Holds the log's thread, so that only the recording side runs while allocations are counted.
struct Held(Sender<()>, Receiver<()>);

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn recording_allocates_nothing_in_steady_state_with_the_log_on() {
    let ((entered, has_entered), (release, wait)) = (channel(), channel());
    let log = AccessLog::start(Sink::Writer(Box::new(Held(entered, wait))), Sample::All, 256).unwrap();
    let registry = Registry::new(Bounds::default(), Some(log));
    let (recorder, route) = (registry.recorder(), registry.route("shop"));
    let endpoint = Some(registry.endpoint("catalog", "10.0.0.1:80"));
    let every: Vec<(Phase, u64)> = Phase::ALL.into_iter().map(|phase| (phase, 10_000)).collect();
    let first = timeline(&every);
    recorder.record(&Record { endpoint, ..record(route, &first) });
    has_entered.recv_timeout(Duration::from_secs(10)).unwrap();

    let region = Region::new(ALLOCATOR);
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
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    drop(release);
}
