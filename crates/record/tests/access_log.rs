//! What the access log promises: every phase, nothing that breaks a line, and never a wait.

#![expect(clippy::expect_used, reason = "what the tests need to run at all")]

mod sample;

use sample::{record, timeline};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use unlag_record::{AccessLog, Bounds, Outcome, Phase, Record, Registry, RequestId, Sample, Sink};

const MS: u64 = 1_000_000;

/// Hands what is written to the test.
struct Pipe(Sender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(sample: Sample) -> (std::sync::Arc<Registry>, Receiver<Vec<u8>>) {
    let (sender, written) = channel();
    let log = AccessLog::start(Sink::Writer(Box::new(Pipe(sender))), sample, 4_096)
        .expect("a thread can be started");
    (Registry::new(Bounds::default(), Some(log)), written)
}

/// All lines, once the registry is dropped.
fn lines(written: &Receiver<Vec<u8>>) -> Vec<String> {
    let bytes: Vec<u8> = written.iter().flatten().collect();
    String::from_utf8(bytes).expect("lines are UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn a_line_has_every_phase_and_they_add_up_to_the_total() {
    let (registry, written) = start(Sample::All);
    let recorder = registry.recorder();
    let phases: Vec<(Phase, u64)> =
        Phase::ALL.into_iter().zip(1..).map(|(phase, ns)| (phase, ns * 1_111)).collect();
    let timeline = timeline(&phases);
    let endpoint = Some(registry.endpoint("catalog", "10.0.0.1:80"));
    let caller = Some("192.0.2.7:4711".parse().unwrap());
    recorder.record(&Record { endpoint, caller, ..record(registry.route("shop"), &timeline) });
    drop((recorder, registry));

    let line = lines(&written).remove(0);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["time"], "2026-09-21T14:13:20.000Z");
    assert_eq!(value["id"], RequestId(0xabc).to_string());
    assert_eq!((&value["route"], &value["upstream"]), (&"shop".into(), &"catalog".into()));
    assert_eq!((&value["caller"], &value["status"]), (&"192.0.2.7:4711".into(), &200.into()));
    let ns = |name: &str| (value[format!("{name}_us")].as_f64().unwrap() * 1_000.0).round() as u64;
    let sum: u64 = Phase::ALL.into_iter().map(|phase| ns(phase.name())).sum();
    assert_eq!(sum, ns("total"));
    assert_eq!(ns("total"), timeline.total_ns());
}

#[test]
fn a_hostile_target_stays_one_line_of_plain_json() {
    let (registry, written) = start(Sample::All);
    let recorder = registry.recorder();
    let timeline = timeline(&[(Phase::Wait, MS)]);
    let hostile = b"/a\r\n{\"status\":200}\x1b[2J\xff\"\\\x00";
    recorder.record(&Record {
        target: hostile,
        request_id: b"x\ny",
        ..record(registry.route("r"), &timeline)
    });
    drop((recorder, registry));

    let lines = lines(&written);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", lines[0]);
    let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(value["target"], "/a\r\n{\"status\":200}\u{1b}[2J\\xff\"\\\0");
    assert_eq!(value["request_id"], "x\ny");
}

#[test]
fn a_line_has_a_bounded_length_whatever_the_caller_sends() {
    let (registry, written) = start(Sample::All);
    let recorder = registry.recorder();
    let timeline = timeline(&[(Phase::Wait, MS)]);
    let long = vec![0x01; 100_000];
    recorder.record(&Record { target: &long, request_id: &long, ..record(registry.route("r"), &timeline) });
    drop((recorder, registry));
    let line = lines(&written).remove(0);
    assert!(line.len() < 3_000, "{} bytes", line.len());
    assert!(line.contains("\"target_cut\":true"));
}

#[test]
fn a_sink_that_hangs_costs_lines_and_counts_them_but_holds_nobody_up() {
    struct Hanging(Sender<()>, Receiver<()>);
    impl Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            let _ = self.1.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let ((entered, has_entered), (release, wait)) = (channel(), channel());
    let sink = Sink::Writer(Box::new(Hanging(entered, wait)));
    let registry = Registry::new(Bounds::default(), Some(AccessLog::start(sink, Sample::All, 8).unwrap()));
    let (recorder, timeline) = (registry.recorder(), timeline(&[(Phase::Wait, MS)]));
    let record = record(registry.route("r"), &timeline);
    recorder.record(&record);
    has_entered.recv_timeout(Duration::from_secs(10)).unwrap();

    let began = Instant::now();
    (0..1_008).for_each(|_| recorder.record(&record));
    assert!(began.elapsed() < Duration::from_secs(5));
    let log = registry.log().unwrap();
    assert_eq!(log.dropped(), 1_000, "8 wait, the rest is dropped");
    drop(release);
    let deadline = Instant::now() + Duration::from_secs(10);
    while log.written() < 9 {
        assert!(Instant::now() < deadline, "{} written", log.written());
        std::thread::yield_now();
    }
}

#[test]
fn l9_a_sink_that_panics_costs_the_lines_at_hand_and_the_next_ones_are_written() {
    struct Broken(bool, Sender<Vec<u8>>);
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(std::mem::replace(&mut self.0, true), "this sink is broken the first time");
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, written) = channel();
    let sink = Sink::Writer(Box::new(Broken(false, sender)));
    let registry = Registry::new(Bounds::default(), Some(AccessLog::start(sink, Sample::All, 8).unwrap()));
    let (recorder, timeline) = (registry.recorder(), timeline(&[(Phase::Wait, MS)]));
    recorder.record(&record(registry.route("first"), &timeline));
    let deadline = Instant::now() + Duration::from_secs(10);
    while registry.log().unwrap().failed() == 0 {
        assert!(Instant::now() < deadline, "it did not panic");
        std::thread::yield_now();
    }
    recorder.record(&record(registry.route("second"), &timeline));
    drop((recorder, registry));
    let lines = lines(&written);
    assert!(lines.len() == 1 && lines[0].contains("second"), "{lines:?}");
}

#[test]
fn slow_means_slow_or_failed() {
    let (registry, written) = start(Sample::Slow(100 * MS));
    let (recorder, route) = (registry.recorder(), registry.route("r"));
    let (fast, slow) = (timeline(&[(Phase::Wait, MS)]), timeline(&[(Phase::Wait, 100 * MS)]));
    recorder.record(&record(route, &fast));
    recorder.record(&Record { target: b"/slow", ..record(route, &slow) });
    recorder.record(&Record { target: b"/failed", outcome: Outcome::ServerError, ..record(route, &fast) });
    drop((recorder, registry));
    let lines = lines(&written);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("/slow") && lines[1].contains("/failed"));
}

#[test]
fn a_share_logs_all_requests_of_a_trace_or_none() {
    let (registry, written) = start(Sample::Share(0.25));
    let (recorder, route) = (registry.recorder(), registry.route("r"));
    let timeline = timeline(&[(Phase::Wait, MS)]);
    for _ in 0..2 {
        (0..1_000).for_each(|id| recorder.record(&Record { id: RequestId(id), ..record(route, &timeline) }));
    }
    drop((recorder, registry));
    let lines = lines(&written);
    assert!((300..=700).contains(&lines.len()), "{} lines", lines.len());
    let (first, second) = lines.split_at(lines.len() / 2);
    assert_eq!(first, second);
}

#[test]
fn a_file_is_opened_anew_after_it_was_moved_away() {
    let directory = std::env::temp_dir().join(format!("unlag-access-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (path, moved) = (directory.join("access.log"), directory.join("access.log.1"));
    let log = AccessLog::start(Sink::File(path.clone()), Sample::All, 64).unwrap();
    let registry = Registry::new(Bounds::default(), Some(log));
    let (recorder, timeline) = (registry.recorder(), timeline(&[(Phase::Wait, MS)]));
    let log = registry.log().unwrap();
    let wait_for = |what: &str, reached: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !reached() {
            assert!(Instant::now() < deadline, "waited for {what}");
            std::thread::yield_now();
        }
    };
    recorder.record(&record(registry.route("before"), &timeline));
    wait_for("the first line", &|| log.written() == 1);
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    wait_for("the new file", &|| path.exists());
    recorder.record(&record(registry.route("after"), &timeline));
    wait_for("the second line", &|| log.written() == 2);
    assert!(std::fs::read_to_string(&moved).unwrap().contains("before"));
    assert!(std::fs::read_to_string(&path).unwrap().contains("after"));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_file_that_cannot_be_opened_is_named_in_the_error() {
    let path = std::path::PathBuf::from("/proc/nowhere/access.log");
    let error = AccessLog::start(Sink::File(path), Sample::All, 8).err().unwrap();
    assert!(error.to_string().contains("/proc/nowhere/access.log"), "{error}");
}
