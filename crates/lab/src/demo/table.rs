//! The live table: redrawn in place on a terminal, one line every five seconds elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use super::{ActReport, PhaseShare, Plan};
use crate::bench::duration;

/// Seconds between two lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Phases shown; the rest is small.
const PHASES_SHOWN: usize = 5;

/// Where the demo is shown.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    redraw: bool,
    drawn_lines: usize,
    next_line: Duration,
}

impl<W: Write> Screen<W> {
    /// `redraw`: `out` is a terminal that understands cursor movements.
    pub fn new(out: W, redraw: bool) -> Self {
        Self { out, redraw, drawn_lines: 0, next_line: LINE_EVERY }
    }

    /// Shows the state after `elapsed`. A screen that cannot be written to does not end the demo.
    pub(super) fn show(&mut self, done: &[ActReport], current: &ActReport, elapsed: Duration, plan: Plan) {
        let text = if self.redraw {
            let text = table(done, current, elapsed, plan);
            let up = self.drawn_lines;
            self.drawn_lines = text.lines().count();
            if up > 0 { format!("\x1b[{up}A\x1b[J{text}") } else { text }
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_EVERY;
            line(current, elapsed)
        } else {
            return;
        };
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Leaves the final table and what is learnt from it.
    pub(super) fn finish(&mut self, acts: &[ActReport], lessons: &[String]) -> io::Result<()> {
        if self.redraw && self.drawn_lines > 0 {
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn_lines)?;
        }
        writeln!(self.out, "{}", rows(acts, None))?;
        for lesson in lessons {
            writeln!(self.out, "- {lesson}")?;
        }
        self.out.flush()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn table(done: &[ActReport], current: &ActReport, elapsed: Duration, plan: Plan) -> String {
    let shown = elapsed.as_secs().min(plan.seconds);
    let mut out =
        format!("{shown} of {} s, {:.0} requests/s: {}\n\n", plan.seconds, plan.rate, current.act.story());
    out.push_str(&rows(done, Some(current)));
    if !current.phases.is_empty() {
        out.push_str("\nwhere the time goes       share       p50       p99\n");
        for phase in current.phases.iter().take(PHASES_SHOWN) {
            let PhaseShare { name, share, p50_us, p99_us } = phase;
            let (p50, p99) = (duration(p50_us * 1e3), duration(p99_us * 1e3));
            let _ = writeln!(out, "  {name:<20} {:>6.1} % {p50:>9} {p99:>9}", share * 100.0);
        }
    }
    out
}

fn rows(done: &[ActReport], current: Option<&ActReport>) -> String {
    let mut out =
        String::from("                      requests  arrived  errors       p50       p95       p99\n");
    for (report, mark) in done.iter().map(|report| (report, ' ')).chain(current.map(|report| (report, '>'))) {
        let latency = &report.latency_us;
        let [p50, p95, p99] = [latency.p50, latency.p95, latency.p99].map(|us| duration(us * 1e3));
        let ActReport { act, requests, shop_requests, errors, .. } = report;
        let title = act.title();
        let _ = writeln!(
            out,
            "{mark} {title:<20}{requests:>8}{shop_requests:>9}{errors:>8}{p50:>10}{p95:>10}{p99:>10}"
        );
    }
    out
}

fn line(current: &ActReport, elapsed: Duration) -> String {
    let latency = &current.latency_us;
    let [p50, p95, p99] = [latency.p50, latency.p95, latency.p99].map(|us| duration(us * 1e3));
    let ActReport { act, requests, errors, phases, .. } = current;
    let mut out = format!(
        "{} s, {}: {requests} requests, {errors} errors, p50 {p50}, p95 {p95}, p99 {p99}",
        elapsed.as_secs(),
        act.title()
    );
    for phase in phases.iter().take(2) {
        let _ = write!(out, ", {} {:.0} %", phase.name, phase.share * 100.0);
    }
    out.push('\n');
    out
}
