//! The lines that the binary writes to stderr, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde_json::Value;

/// Collects lines on a thread of its own; it can be told to stop reading, so that the pipe fills.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    paused: Mutex<bool>,
    resumed: Condvar,
    ended: AtomicBool,
}

impl Log {
    /// Reads `source` until its end.
    pub fn read(source: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let shared = log.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                let text = String::from_utf8_lossy(&line).into_owned();
                shared.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                let paused = shared.paused.lock().unwrap_or_else(PoisonError::into_inner);
                drop(shared.resumed.wait_while(paused, |paused| *paused));
            }
            shared.ended.store(true, Ordering::Relaxed);
        });
        log
    }

    /// Stops or resumes reading.
    pub fn set_paused(&self, paused: bool) {
        *self.0.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
        self.0.resumed.notify_all();
    }

    /// Whether nobody writes any more and everything is read.
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Every line until now.
    pub fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every line that is a JSON object, until now.
    pub fn objects(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The objects whose `message` begins with `message`.
    pub fn with_message(&self, message: &str) -> Vec<Value> {
        let matches = |line: &Value| field(line, "message").is_some_and(|text| text.starts_with(message));
        self.objects().into_iter().filter(matches).collect()
    }
}

/// A text field of a log line, at the top or under `fields`.
pub fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}
