//! What a request would cost at an endpoint: the adaptive balancer's order, least requests at heart.
//!
//! `distance + unit * slower * crowding + failures + silence`, in milliseconds. Among equal endpoints only crowding differs, so
//! the choice is that of least requests; an endpoint that is certainly slower costs more from its first request on; one that is
//! far away is asked where the crowd nearby costs about as much as the way; one that answers errors at once costs many answers times
//! its share of failures, where every balancer that only counts or times requests would send it most of them; one that has
//! stopped moving costs its silence, which is seen within milliseconds, long before any of its answers is late.
//!
//! Ideas: server-local load with a severe penalty beyond it (C3, NSDI 2015; Prequal, NSDI 2024), least loaded first for errors
//! as load (Finagle's failure accrual), silence as a signal (accrual failure detectors).

use crate::fleet::{Endpoint, Figures, fails_more};
pub use unlag_record::Cost;

/// What a failure costs: so many usual answers, and no less than a time that people notice.
const FAILURE_UNITS: f32 = 40.0;
const FAILURE_MS: f32 = 200.0;
/// Silence costs beyond so many usual ones.
const SILENT_GAPS: f32 = 1.5;
/// The way counts by this factor: who waits for the crowd to pass keeps others waiting, who goes far does not.
const DISTANCE: f32 = 0.6;
/// What one more request costs below the knee, in units at the knee: enough to spread them, too little to go far for.
const SPREAD: f32 = 0.1;
/// A difference in speed is one from here on: below, it is the scheduling of both machines that differs.
const FELT_MS: f32 = 0.5;
/// What is known not to move is asked when all are.
pub const SUSPECT_MS: f32 = 100_000.0;

/// What one more request costs at `endpoint`.
#[inline]
pub fn cost(endpoint: &Endpoint, figures: &Figures, now: u64) -> Cost {
    let load = endpoint.load(figures, now);
    // Of two, the heavier takes more at once.
    let knee = figures.knee * endpoint.weight() as f32 / figures.weight;
    let silence_ms = endpoint.silence_ns(now) as f32 / 1e6 - endpoint.way_ms();
    let is_silent = silence_ms > SILENT_GAPS * figures.gap_ms;
    let suspicion_ms = if endpoint.is_suspect(now) { SUSPECT_MS } else { 0.0 };
    let slower = endpoint.slower();
    let failing = match endpoint.failing() {
        failing if failing <= 0.0 || !fails_more(failing, figures.failing) => 0.0,
        // Who was left out is looked at once, by one request at a time: what it failed before is why.
        _ if endpoint.is_to_be_looked_at(now) => 0.0,
        failing => failing,
    };
    let is_felt = ((slower - 1.0) * figures.unit_ms).abs() > FELT_MS;
    Cost {
        distance_ms: DISTANCE * endpoint.distance_ms(),
        work_ms: figures.unit_ms * if is_felt { slower } else { 1.0 } * crowding(load, knee),
        failure_ms: FAILURE_MS.max(FAILURE_UNITS * figures.unit_ms) * failing,
        silence_ms: suspicion_ms + if is_silent { silence_ms } else { 0.0 },
    }
}

/// Flat up to the knee, where more requests only use what is idle, and steep beyond.
#[inline]
fn crowding(load: f32, knee: f32) -> f32 {
    let beyond = ((load + 1.0) / knee).max(1.0);
    beyond * beyond + SPREAD * load / knee
}
