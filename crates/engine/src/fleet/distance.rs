//! How far away an endpoint is, and which region is the nearest: measured, never configured.
//!
//! Round trips say it where they can be had (connecting, pings). Where something on the way answers for the endpoint (a relay, a
//! mesh, a load balancer), its shortest answers do: a longer way makes all of them longer by the same time.

use super::Endpoint;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How far another region is until it is measured: a neighbouring one.
const ASSUMED_FAR_MS: f32 = 20.0;
/// Distances closer to each other than this are the same.
const DISTANCE_MIN_MS: f32 = 0.5;
/// The usual time of an endpoint's answer is made of about so many.
const USUAL_OF: u64 = 32;
/// The shortest answers say something about distance after so many.
const FLOOR_ANSWERS: u64 = 8;
/// What makes a distance of a difference between shortest answers: a factor, as all of them are some time at work, and a time.
const FLOOR_TIMES: f32 = 3.0;
const FLOOR_MS: f32 = 2.0;
/// The window of shortest answers; two of them count.
const FLOOR_WINDOW_MS: u32 = 10_000;
/// A longer way makes a usual answer longer by as much as the shortest; a slower endpoint by many times as much. Up to this
/// ratio it is the way.
const FLOOR_SHARE: f32 = 1.5;
/// How fast a distance is forgotten that only answers tell and none confirms: a request in two minutes looks.
const FLOOR_FORGOTTEN_MS: f32 = 60_000.0;

/// The number of the region of the nearest endpoint that is well, where there are several regions.
pub(super) fn home(fleet: &[Arc<Endpoint>], now: u64) -> u32 {
    let first = fleet.first().and_then(|endpoint| endpoint.region);
    if fleet.iter().all(|endpoint| endpoint.region == first) {
        return u32::MAX;
    }
    let is_well = |endpoint: &&Arc<Endpoint>| {
        !endpoint.is_unhealthy()
            && !endpoint.is_ejected(now)
            && !endpoint.is_drained()
            && endpoint.failing() < 0.5
    };
    let well = fleet.iter().filter(is_well);
    let nearest = well.min_by(|a, b| a.distance_ms().total_cmp(&b.distance_ms()));
    nearest.and_then(|endpoint| endpoint.region).map_or(u32::MAX, |region| u32::from(region.0))
}
/// An endpoint's shortest answer, and its usual one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) least_ms: f32,
    usual_ms: f32,
}

impl Floor {
    /// Whether it is the way that makes the difference.
    fn is_farther_than(&self, shortest: &Floor) -> bool {
        let longer_ms = self.least_ms - shortest.least_ms;
        self.least_ms > FLOOR_TIMES * shortest.least_ms
            && longer_ms > FLOOR_MS
            && self.usual_ms - shortest.usual_ms < FLOOR_SHARE * longer_ms
    }
}

impl Endpoint {
    /// Learns how long an answer took: the moving average for whoever looks, and the shortest one.
    pub(super) fn note_wait(&self, wait_ns: u64, now: u64) {
        let cell = &self.cell;
        let answers = (cell.successes.load(Relaxed) + 1).min(USUAL_OF);
        let known = cell.wait_ns.load(Relaxed);
        let next = known - known / answers + wait_ns / answers;
        cell.wait_ns.store(next, Relaxed);
        let now_ms = (now / 1_000_000) as u32;
        if now_ms.wrapping_sub(cell.floor_since_ms.load(Relaxed)) > FLOOR_WINDOW_MS {
            cell.floor_before_us.store(cell.floor_us.swap(u32::MAX, Relaxed), Relaxed);
            cell.floor_since_ms.store(now_ms, Relaxed);
        }
        let wait_us = u32::try_from(wait_ns / 1_000).unwrap_or(u32::MAX - 1);
        if wait_us < cell.floor_us.load(Relaxed) {
            cell.floor_us.store(wait_us, Relaxed);
        }
    }

    /// The shortest answer of the last windows, if there were enough.
    pub(super) fn floor(&self) -> Option<Floor> {
        let cell = &self.cell;
        let floor_us = cell.floor_us.load(Relaxed).min(cell.floor_before_us.load(Relaxed));
        let is_known = floor_us < u32::MAX && cell.successes.load(Relaxed) >= FLOOR_ANSWERS;
        let usual_ms = cell.wait_ns.load(Relaxed) as f32 / 1e6;
        is_known.then(|| Floor { least_ms: floor_us as f32 / 1e3, usual_ms })
    }

    /// It is in another region than this node: far, until that is measured.
    pub fn assume_far(&self) {
        if self.is_unmeasured() {
            self.cell.distance_ms.set(ASSUMED_FAR_MS);
        }
    }

    fn is_unmeasured(&self) -> bool {
        let cell = &self.cell;
        cell.round_trip_us.load(Relaxed) == u32::MAX && cell.successes.load(Relaxed) < FLOOR_ANSWERS
    }

    pub(super) fn round_trip_ms(&self) -> f32 {
        match self.cell.round_trip_us.load(Relaxed) {
            u32::MAX => 0.0,
            known => known as f32 / 1e3,
        }
    }

    /// A round trip to it took so long: connecting, or a ping.
    pub fn note_round_trip(&self, took_ns: u64) {
        let took_us = u32::try_from(took_ns / 1_000).unwrap_or(u32::MAX - 1);
        let next = match self.cell.round_trip_us.load(Relaxed) {
            // The shortest is the way; a longer one is believed slowly.
            known if known == u32::MAX || took_us <= known => took_us,
            known => known + (took_us - known) / 8,
        };
        self.cell.round_trip_us.store(next, Relaxed);
    }

    /// How much farther away it is than the nearest: by round trips, or by shortest answers where something on the way answers
    /// for it (a relay, a mesh, a load balancer).
    pub(super) fn farther_ms(&self, nearest_ms: f32, shortest: Option<Floor>, now: u64) -> f32 {
        if self.is_unmeasured() {
            return self.cell.distance_ms.get();
        }
        let by_trip_ms = self.round_trip_ms() - nearest_ms;
        let by_floor_ms = match (self.floor(), shortest) {
            (Some(own), Some(shortest)) if own.is_farther_than(&shortest) => {
                (own.least_ms - shortest.least_ms) * (-self.unsampled_ms(now) / FLOOR_FORGOTTEN_MS).exp()
            }
            _ => 0.0,
        };
        // The shortest of few answers is not short: believed against a round trip only where something else answers that.
        let is_relayed = by_floor_ms > FLOOR_SHARE * by_trip_ms + FLOOR_MS;
        let farther_ms = if is_relayed { by_floor_ms } else { by_trip_ms };
        if farther_ms < DISTANCE_MIN_MS { 0.0 } else { farther_ms }
    }
}
