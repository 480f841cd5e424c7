//! The process's own log, on stderr: for people on a terminal, JSON lines otherwise. A sink that does not keep up loses lines
//! instead of holding the process up.

use std::io::IsTerminal;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the sink.
const WAITING_LINES: usize = 4_096;

/// Starts the log; it is written until the guard is dropped.
pub(crate) fn start() -> WorkerGuard {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = builder.finish(std::io::stderr());
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,hickory_net=error,hickory_resolver=error"));
    let log = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    let terminal = std::io::stderr().is_terminal();
    if terminal {
        log.with_ansi(std::env::var_os("NO_COLOR").is_none()).init();
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    guard
}
