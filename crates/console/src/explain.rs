//! Why a request took as long as it did: its waterfall as text, and one sentence that names the phase most out of
//! the ordinary for its route; and, in `why.rs`, why what was decided was decided. Pure: a request and its route's histograms in,
//! text out.

mod ahead;
mod why;

pub use ahead::{ahead, text};
use std::fmt::Write;
use unlag_record::{CacheUse, Histogram, Outcome, Phase, Recent, Snapshot};
pub use why::{Reason, Setting, reasons};

/// Lines are at most this wide.
const WIDTH: usize = 80;
/// Cells of a bar; the rest of a line is the phase's name, its time and its share.
const BAR: usize = 44;
/// Below this many requests, a route's median says little, and the sentence says so.
const ENOUGH_REQUESTS: u64 = 20;
/// Up to this factor of the median, a request is as usual.
const USUAL_FACTOR: f64 = 1.25;

/// What is usual for a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// How many requests this is drawn from.
    pub requests: u64,
    /// The median of their total durations.
    pub median_ns: u64,
    /// The median of each phase, in the order of [`Phase::ALL`]; a request that did not enter a phase counts as 0.
    pub phases_ns: [u64; Phase::COUNT],
}

impl Baseline {
    /// What is usual for `route` according to `snapshot`.
    pub fn of(snapshot: &Snapshot, route: &str) -> Baseline {
        let mut total = Histogram::new();
        for series in snapshot.requests.iter().filter(|series| *series.route == *route) {
            total.merge(&series.histogram);
        }
        let requests = total.count();
        let phases_ns = Phase::ALL.map(|phase| {
            let of_phase =
                |series: &&unlag_record::PhaseSeries| *series.route == *route && series.phase == phase;
            let histogram = snapshot.phases.iter().find(of_phase).map(|series| &series.histogram);
            histogram.map_or(0, |histogram| median_of_all(histogram, requests))
        });
        Baseline { requests, median_ns: total.quantile(0.5), phases_ns }
    }

    fn phase_ns(&self, phase: Phase) -> u64 {
        self.phases_ns.get(phase.index()).copied().unwrap_or(0)
    }
}

/// The median over `requests` values, of which those missing in `histogram` are 0.
fn median_of_all(histogram: &Histogram, requests: u64) -> u64 {
    let entered = histogram.count();
    let missing = requests.saturating_sub(entered);
    let rank = requests.max(entered).div_ceil(2);
    if rank <= missing || entered == 0 {
        return 0;
    }
    histogram.quantile((rank - missing) as f64 / entered as f64)
}

/// The phase with the largest excess over what is usual, and that excess in nanoseconds; `None` if none took
/// longer than usual.
pub fn culprit(recent: &Recent, baseline: &Baseline) -> Option<(Phase, u64)> {
    let excess = |phase| recent.timeline.spent_ns(phase).saturating_sub(baseline.phase_ns(phase));
    let worst = Phase::ALL.into_iter().map(|phase| (phase, excess(phase)));
    worst.max_by_key(|(_, excess)| *excess).filter(|(_, excess)| *excess > 0)
}

/// The waterfall, the sentence, and why what was decided was decided.
pub fn explain(recent: &Recent, baseline: &Baseline, reasons: &[Reason]) -> String {
    let mut out = heading(recent);
    out.push('\n');
    for phase in Phase::ALL {
        if let Some(first_ns) = recent.timeline.first_ns(phase) {
            row(&mut out, recent, phase, first_ns);
        }
    }
    let total = duration(recent.timeline.total_ns());
    let _ = writeln!(out, "{:<14}{:BAR$}{:>12}", "total", "", total);
    out.push('\n');
    paragraph(&mut out, &sentence(recent, baseline));
    for reason in reasons {
        out.push('\n');
        paragraph(&mut out, &reason.text);
    }
    out
}

fn paragraph(out: &mut String, text: &str) {
    for line in wrap(text) {
        out.push_str(&line);
        out.push('\n');
    }
}

/// What happened, in words, compared with what is usual for the route.
pub fn sentence(recent: &Recent, baseline: &Baseline) -> String {
    let total_ns = recent.timeline.total_ns();
    let mut out = duration(total_ns);
    let usual = total_ns as f64 <= baseline.median_ns as f64 * USUAL_FACTOR;
    match baseline.median_ns {
        // What was refused or given up is soon done with, and nothing is usual about it.
        _ if recent.cause.is_some() && (usual || baseline.median_ns == 0) => {}
        0 => out.push_str(", the first of its route"),
        median if usual => {
            let _ = write!(out, ", as usual for this route (median {})", duration(median));
        }
        median => {
            let factor = total_ns as f64 / median as f64;
            let _ = write!(out, ", {factor:.1} times this route's median ({})", duration(median));
        }
    }
    match culprit(recent, baseline).filter(|_| !usual) {
        Some((phase, _)) => {
            let spent = duration(recent.timeline.spent_ns(phase));
            let before = match baseline.phase_ns(phase) {
                0 => "usually nothing".to_owned(),
                ns => format!("usually {}", duration(ns)),
            };
            let _ = write!(out, ": {spent} went into {} ({before}).", words(phase));
        }
        None => {
            let longest = Phase::ALL.into_iter().max_by_key(|&phase| recent.timeline.spent_ns(phase));
            let longest = longest.unwrap_or(Phase::Overhead);
            let spent = duration(recent.timeline.spent_ns(longest));
            let _ = write!(out, ": most of it, {spent}, went into {}.", words(longest));
        }
    }
    circumstances(&mut out, recent, baseline);
    out
}

/// What else is known about the request and bears on its duration.
fn circumstances(out: &mut String, recent: &Recent, baseline: &Baseline) {
    if let Some(cause) = recent.cause {
        let _ = write!(out, " unlag answered itself: {cause}.");
    }
    if let Some(cache) = recent.cache {
        out.push_str(match cache {
            CacheUse::Hit => " It was answered from the cache.",
            CacheUse::Stale => " It was answered from the cache, past the answer's lifetime.",
            CacheUse::Revalidated => {
                " The cache asked the upstream whether its answer still held, and it did."
            }
            CacheUse::Collapsed => " It got the answer to the fetch of another request.",
            CacheUse::Miss => " The cache had no answer for it.",
        });
    }
    if recent.outcome == Outcome::Cancelled {
        out.push_str(" The caller left before the answer was complete.");
    }
    if recent.attempts > 1 {
        let _ = write!(out, " It took {} attempts.", recent.attempts);
    }
    if recent.timeline.first_ns(Phase::Connect).is_some() {
        out.push_str(" No open connection was free, so a new one was made.");
    }
    if (1..ENOUGH_REQUESTS).contains(&baseline.requests) {
        let _ = write!(out, " (Only {} requests of this route so far.)", baseline.requests);
    }
}

/// What a phase is spent with.
fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Receive => "receiving the request's head",
        Phase::Queue => "waiting for admission",
        Phase::PoolWait => "waiting for a free connection",
        Phase::Dns => "resolving the upstream's name",
        Phase::Connect => "opening a connection",
        Phase::Tls => "the TLS handshake",
        Phase::Send => "sending the request",
        Phase::Wait => "waiting for the upstream's first byte",
        Phase::Transfer => "passing the answer on",
        Phase::Cache => "the cache",
        Phase::Overhead => "unlag itself",
    }
}

fn heading(recent: &Recent) -> String {
    let target = printable(&recent.target);
    let more = if recent.target_cut { "…" } else { "" };
    let whence = match (&recent.upstream, &recent.endpoint, recent.cache) {
        (Some(upstream), Some(endpoint), _) => format!("upstream {upstream} at {endpoint}"),
        (_, _, Some(CacheUse::Hit | CacheUse::Stale | CacheUse::Collapsed)) => "from the cache".to_owned(),
        _ => "no upstream asked".to_owned(),
    };
    let first = format!("{} {target}{more}", printable(&recent.method));
    let second = format!("{}, route {}, {whence}", recent.status, printable(&recent.route));
    format!("{}\n{}\n", fit(&first), fit(&second))
}

/// A bar from where the phase was first entered. One that was entered again is drawn in one piece.
fn row(out: &mut String, recent: &Recent, phase: Phase, first_ns: u64) {
    let (spent_ns, total_ns) = (recent.timeline.spent_ns(phase), recent.timeline.total_ns());
    let cell = |ns: u64| (u128::from(ns) * BAR as u128 / u128::from(total_ns.max(1))) as usize;
    let start = cell(first_ns).min(BAR - 1);
    let end = cell(first_ns + spent_ns).clamp(start + 1, BAR);
    let full = if spent_ns == 0 { "·" } else { "█" };
    let bar = format!("{}{}{}", " ".repeat(start), full.repeat(end - start), " ".repeat(BAR - end));
    let share = spent_ns as f64 * 100.0 / total_ns.max(1) as f64;
    let _ = writeln!(out, "{:<14}{bar}{:>12}{share:>7.1} %", phase.name(), duration(spent_ns));
}

/// A duration with three digits at least where it matters: `268 ms`, `1.53 s`, `84.2 µs`.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// How long something is kept, in the unit in which it was probably written.
fn kept(seconds: f64) -> String {
    let whole = seconds as u64;
    for (unit_s, unit) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if whole >= unit_s && whole.is_multiple_of(unit_s) {
            return format!("{} {unit}", whole / unit_s);
        }
    }
    format!("{seconds} s")
}

/// Without anything that could steer a terminal or turn text around.
fn printable(text: &str) -> String {
    let deceptive = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|character| if deceptive(character) { '\u{fffd}' } else { character }).collect()
}

fn fit(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// Breaks at spaces, so that no line is wider than allowed.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests;
