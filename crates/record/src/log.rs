//! The access log: JSON lines, written by a thread of its own from a bounded channel. Recording never waits for
//! it: when the channel is full because the sink is slow, lines are dropped and counted.

use crate::entry::Entry;
use crate::glance::write_glance;
use crate::line::write_line;
use crate::names::Names;
use crate::{Outcome, Record};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Where the lines go.
pub enum Sink {
    /// The standard error stream.
    Stderr,
    /// The same, a terminal: lines are for people instead of JSON.
    Terminal,
    /// A file that is appended to; [`AccessLog::reopen`] opens its path anew, as log rotation needs it.
    File(PathBuf),
    /// Anything else that takes bytes.
    Writer(Box<dyn Write + Send>),
}

/// Which requests get a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// Every request.
    All,
    /// Those that took at least this many nanoseconds, and every server error.
    Slow(u64),
    /// This share of them, 0 to 1, drawn by trace id: all requests of one trace or none.
    Share(f64),
}

/// How many lines may wait for the sink: some 80,000 requests a second with a turn every 50 ms.
pub const DEFAULT_WAITING_LINES: usize = 4_096;

/// How long lines rest before the thread looks for them. It is not woken for each, because waking costs the
/// recording core more than everything else that it records.
const TURN: Duration = Duration::from_millis(50);

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// How long dropping the log waits for a sink that does not take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A running access log. Dropping it writes what is waiting, for at most two seconds.
pub struct AccessLog {
    sample: Sample,
    lines: Option<SyncSender<Entry>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    names: OnceLock<Arc<Names>>,
    reopen: AtomicBool,
    dropped: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    #[default]
    Running,
    Stopping,
    Stopped,
}

impl AccessLog {
    /// Opens the sink and starts the thread. `waiting_lines` bounds what may wait for the sink, with
    /// [`DEFAULT_WAITING_LINES`] as a good value.
    pub fn start(sink: Sink, sample: Sample, waiting_lines: usize) -> io::Result<AccessLog> {
        let (lines, waiting) = sync_channel(waiting_lines.max(1));
        let shared = Arc::new(Shared::default());
        let mut writer = LineWriter { output: Output::open(sink)?, shared: shared.clone() };
        thread::Builder::new().name("access-log".into()).spawn(move || writer.survive(&waiting))?;
        Ok(AccessLog { sample, lines: Some(lines), shared })
    }

    pub(crate) fn attach(&self, names: Arc<Names>) {
        // A log belongs to one registry; a second attachment cannot happen, since the registry owns it.
        let _ = self.shared.names.set(names);
    }

    #[inline]
    pub(crate) fn wants(&self, record: &Record<'_>) -> bool {
        match self.sample {
            Sample::All => true,
            Sample::Slow(over_ns) => {
                record.timeline.total_ns() >= over_ns || record.outcome == Outcome::ServerError
            }
            Sample::Share(share) => draw(record.id.0) < share,
        }
    }

    /// Hands over a line, or counts it as dropped.
    #[inline]
    pub(crate) fn offer(&self, entry: Entry) {
        if self.lines.as_ref().is_none_or(|lines| lines.try_send(entry).is_err()) {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Opens the file anew at the thread's next turn; nothing for other sinks. If that fails, the old file
    /// goes on being used and the failure is counted.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }

    /// Lines dropped because the sink did not keep up.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Lines handed to the sink.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Writes and reopenings that failed, and panics of the thread.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.lines = None;
        let mut stage = self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Running {
            *stage = Stage::Stopping;
        }
        self.shared.changed.notify_all();
        let stopped =
            self.shared.changed.wait_timeout_while(stage, LAST_LINES, |stage| *stage != Stage::Stopped);
        drop(stopped);
    }
}

/// A number in 0..1 that depends on the whole id, even if its maker left parts of it constant.
fn draw(id: u128) -> f64 {
    let mut mixed = (id as u64) ^ (id >> 64) as u64;
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

enum Output {
    Stderr,
    Terminal,
    File(PathBuf, File),
    Writer(Box<dyn Write + Send>),
}

impl Output {
    fn open(sink: Sink) -> io::Result<Output> {
        Ok(match sink {
            Sink::Stderr => Output::Stderr,
            Sink::Terminal => Output::Terminal,
            Sink::File(path) => {
                let file = append_to(&path)?;
                Output::File(path, file)
            }
            Sink::Writer(writer) => Output::Writer(writer),
        })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Output::Stderr | Output::Terminal => io::stderr().write_all(text.as_bytes()),
            Output::File(_, file) => file.write_all(text.as_bytes()),
            Output::Writer(writer) => writer.write_all(text.as_bytes()).and_then(|()| writer.flush()),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Output::File(path, file) = self {
            *file = append_to(path)?;
        }
        Ok(())
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("access log {}: {error}", path.display())))
}

/// The thread's side.
struct LineWriter {
    output: Output,
    shared: Arc<Shared>,
}

impl LineWriter {
    /// Writes, and goes on after a panic: without this thread every line would be lost from then on.
    fn survive(&mut self, waiting: &Receiver<Entry>) {
        while catch_unwind(AssertUnwindSafe(|| self.run(waiting))).is_err() {
            self.shared.failed.fetch_add(1, Relaxed);
            // A sink that panics each time shall not keep a core busy.
            thread::park_timeout(TURN);
        }
    }

    fn run(&mut self, waiting: &Receiver<Entry>) {
        let mut text = String::with_capacity(WRITE_BYTES + 4_096);
        while self.turn(waiting, &mut text) {
            let stage = self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner);
            let rested =
                self.shared.changed.wait_timeout_while(stage, TURN, |stage| *stage == Stage::Running);
            drop(rested);
        }
        *self.shared.stage.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Stopped;
        self.shared.changed.notify_all();
    }

    /// Writes all that waits. False once the log was dropped and everything is written.
    fn turn(&mut self, waiting: &Receiver<Entry>, text: &mut String) -> bool {
        if self.shared.reopen.swap(false, Relaxed) && self.output.reopen().is_err() {
            self.shared.failed.fetch_add(1, Relaxed);
        }
        loop {
            let mut lines = 0;
            let ended = loop {
                match waiting.try_recv() {
                    Ok(entry) => lines += self.append(text, &entry),
                    Err(TryRecvError::Empty) => break Some(true),
                    Err(TryRecvError::Disconnected) => break Some(false),
                }
                if text.len() >= WRITE_BYTES {
                    break None;
                }
            };
            self.flush(text, lines);
            if let Some(goes_on) = ended {
                return goes_on;
            }
        }
    }

    fn append(&self, text: &mut String, entry: &Entry) -> u64 {
        let Some(names) = self.shared.names.get() else { return 0 };
        match self.output {
            Output::Terminal => write_glance(text, entry),
            _ => write_line(text, entry, names),
        }
        1
    }

    fn flush(&mut self, text: &mut String, lines: u64) {
        if !text.is_empty() {
            let counter = match self.output.write(text) {
                Ok(()) => &self.shared.written,
                Err(_) => {
                    self.shared.failed.fetch_add(1, Relaxed);
                    &self.shared.dropped
                }
            };
            counter.fetch_add(lines, Relaxed);
            text.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn_by_trace_and_close_to_what_was_asked() {
        let drawn = (0..20_000u128).filter(|id| draw(id << 64) < 0.1).count();
        assert!((1_800..2_200).contains(&drawn), "{drawn} of 20000");
        assert_eq!(draw(77), draw(77));
        assert!((0.0..1.0).contains(&draw(u128::MAX)));
    }
}
