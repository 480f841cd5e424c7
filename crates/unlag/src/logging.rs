//! The process's own log, on stderr: for people on a terminal, JSON lines otherwise. A sink that does not keep up loses lines
//! instead of holding the process up.

use std::backtrace::Backtrace;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use unlag_engine::seldom::Seldom;

/// Lines that wait for the sink.
const WAITING_LINES: usize = 4_096;

/// What is said unless `RUST_LOG` says otherwise. Libraries warn of what any peer can make happen as often as it likes: that is
/// counted where it is handled, and no caller may fill the log with it.
const QUIET_LIBRARIES: &str =
    "info,h2=error,hickory_net=error,hickory_resolver=error,hyper=error,rustls=error";

/// Starts the log, which is told of every panic; it is written until the guard is dropped.
pub(crate) fn start() -> WorkerGuard {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = builder.finish(std::io::stderr());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET_LIBRARIES));
    let log = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    let terminal = std::io::stderr().is_terminal();
    if terminal {
        log.with_ansi(std::env::var_os("NO_COLOR").is_none()).init();
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    std::panic::set_hook(Box::new(tell));
    guard
}

/// Says where a panic came from. It costs a walk over the stack, and more than one a second tell nothing new.
fn tell(panic: &PanicHookInfo<'_>) {
    static LINE: Seldom = Seldom::new();
    let Some(times) = LINE.due() else { return };
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name(),
        place = panic.location().map(tracing::field::display),
        reason = panic.payload_as_str(),
        backtrace = %Backtrace::force_capture(),
        times,
        "panic"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn r3_a_panic_is_in_the_log_with_its_place_and_backtrace() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = tracing_subscriber::fmt().json().with_writer(Lines(Arc::clone(&written))).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(tell));
        tracing::subscriber::with_default(log, || {
            let _ = std::panic::catch_unwind(|| panic!("it went wrong"));
        });
        std::panic::set_hook(before);
        let line = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let of = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!((of("message"), of("reason")), ("panic".into(), "it went wrong".into()));
        assert!(of("place").contains("logging.rs") && of("backtrace").contains("logging"), "{line}");
    }

    #[derive(Clone)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
        type Writer = Lines;

        fn make_writer(&self) -> Lines {
            self.clone()
        }
    }
}
