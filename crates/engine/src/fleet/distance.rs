//! How far away an endpoint is, and which region is the nearest: measured, never configured.
//!
//! Round trips say it where they can be had (connecting, pings). Where something on the way answers for the endpoint (a relay, a
//! mesh, a load balancer), its shortest answers do: a longer way makes all of them longer by the same time.

use super::Endpoint;
use super::shortest::{FLOOR_ANSWERS, FLOOR_MS, FLOOR_SHARE, Floor, USUAL_OF};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How far another region is until it is measured: a neighbouring one.
const ASSUMED_FAR_MS: f32 = 20.0;
/// Another region is never nearer than this: where round trips say so, something on the way answers for it.
const OTHER_REGION_MS: f32 = 1.0;
/// Distances closer to each other than this are the same.
const DISTANCE_MIN_MS: f32 = 0.5;
/// How fast a distance is forgotten that only answers tell and none confirms: a request in two minutes looks.
const FLOOR_FORGOTTEN_MS: f32 = 60_000.0;

/// The number of the region of the nearest endpoint that is well, where there are several regions.
pub(super) fn home(fleet: &[Arc<Endpoint>], now: u64) -> u32 {
    let first = fleet.first().and_then(|endpoint| endpoint.region);
    if fleet.iter().all(|endpoint| endpoint.region == first) {
        return u32::MAX;
    }
    let is_well = |endpoint: &&Arc<Endpoint>| endpoint.is_in_service(now) && endpoint.failing() < 0.5;
    let well = fleet.iter().filter(is_well);
    let nearest = well.min_by(|a, b| a.distance_ms().total_cmp(&b.distance_ms()));
    nearest.and_then(|endpoint| endpoint.region).map_or(u32::MAX, |region| u32::from(region.0))
}
impl Endpoint {
    /// Learns how long an answer took that met a crowd, or did not: the moving average for whoever looks, and the shortest one.
    pub(super) fn note_wait(&self, wait_ns: u64, is_crowded: bool, now: u64) {
        let cell = &self.cell;
        let answers = (cell.successes.load(Relaxed) + 1).min(USUAL_OF);
        let known = cell.wait_ns.load(Relaxed);
        let next = known - known / answers + wait_ns / answers;
        cell.wait_ns.store(next, Relaxed);
        let wait_us = u32::try_from(wait_ns / 1_000).unwrap_or(u32::MAX - 1);
        cell.shortest.note(wait_us, (now / 1_000_000) as u32);
        if !is_crowded {
            cell.shortest.note_usual(wait_ns as f32 / 1e6);
        }
    }

    /// Its shortest answer, if there were enough.
    fn floor(&self) -> Option<Floor> {
        self.floor_of(self.cell.shortest.of_all())
    }

    /// Its shortest answer of late, which others are compared with.
    pub(super) fn floor_of_late(&self, now: u64) -> Option<Floor> {
        self.floor_of(self.cell.shortest.of_late((now / 1_000_000) as u32))
    }

    fn floor_of(&self, (least_us, answers): (u32, u32)) -> Option<Floor> {
        let (usual_ms, usual_error) = self.cell.shortest.usual();
        (answers >= FLOOR_ANSWERS).then(|| Floor { least_ms: least_us as f32 / 1e3, usual_ms, usual_error })
    }

    /// It is in another region than this node: far, until that is measured.
    pub fn assume_far(&self) {
        if self.is_unmeasured() {
            self.cell.distance_ms.set(ASSUMED_FAR_MS);
        }
    }

    fn is_taken_for_far(&self) -> bool {
        self.cell.distance_ms.get() == ASSUMED_FAR_MS
    }

    /// Whether its distance is what is assumed of another region, and not measured yet.
    pub(super) fn is_assumed_far(&self) -> bool {
        self.is_taken_for_far() && self.is_unmeasured()
    }

    /// Until it has answered a few times nothing is certain: a round trip may have met a busy moment of ours, or something on the
    /// way that answers for another region.
    fn is_unmeasured(&self) -> bool {
        let is_far = self.round_trip_ms().is_some_and(|trip_ms| trip_ms >= OTHER_REGION_MS);
        let is_assumed = self.is_taken_for_far();
        self.cell.successes.load(Relaxed) < u64::from(FLOOR_ANSWERS) && !(is_assumed && is_far)
    }

    /// A round trip to it, if that is known: no answer is faster than that.
    pub(super) fn round_trip_ms(&self) -> Option<f32> {
        let trip_us = self.cell.round_trip_us.load(Relaxed);
        let least_ms = self.floor().map_or(f32::INFINITY, |floor| floor.least_ms);
        (trip_us != u32::MAX).then(|| (trip_us as f32 / 1e3).min(least_ms))
    }

    /// A round trip to it took so long: connecting, or a ping.
    pub fn note_round_trip(&self, took_ns: u64) {
        let took_us = u32::try_from(took_ns / 1_000).unwrap_or(u32::MAX).min(u32::MAX - 1);
        let next = match self.cell.round_trip_us.load(Relaxed) {
            // The shorter of the first two: one alone may have met a busy moment of ours.
            u32::MAX => match self.cell.first_trip_us.swap(took_us, Relaxed) {
                u32::MAX => return,
                first_us => took_us.min(first_us),
            },
            // The shortest is the way; a longer one is believed slowly.
            known if took_us <= known => took_us,
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
        let by_trip_ms = self.round_trip_ms().map_or(0.0, |trip_ms| trip_ms - nearest_ms);
        let by_floor_ms = match (self.floor(), shortest) {
            // Nobody was asked of late: what was known is as good as ever.
            (_, None) => self.cell.distance_ms.get(),
            (Some(own), Some(shortest))
                if own.is_farther_than(&shortest, self.cell.distance_ms.get() > 0.0) =>
            {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Service;
    use crate::plan::tests::endpoint;

    const MS: u64 = 1_000_000;

    fn swept(fleet: &[Arc<Endpoint>], now: u64) -> Vec<f32> {
        Service::default().sweep(fleet, now);
        fleet.iter().map(|endpoint| endpoint.distance_ms()).collect()
    }

    fn answers(endpoint: &Endpoint, count: u32, took_ms: u64) {
        for now in 1..=u64::from(count) {
            endpoint.note_wait(took_ms * MS, false, now * MS);
            endpoint.succeeded(now * MS);
        }
    }

    #[test]
    fn who_is_farther_away_is_known_from_two_round_trips_and_a_few_answers() {
        let fleet = [endpoint(0), endpoint(1)];
        for (endpoint, took_ms) in fleet.iter().zip([1, 31]) {
            endpoint.note_round_trip(took_ms * MS + 5 * MS);
            endpoint.note_round_trip(took_ms * MS);
        }
        assert_eq!(swept(&fleet, 1_000 * MS), [0.0, 0.0], "nothing is certain yet");
        fleet.iter().for_each(|endpoint| answers(endpoint, FLOOR_ANSWERS, 50));
        assert_eq!(swept(&fleet, 2_000 * MS), [0.0, 30.0]);
    }

    #[test]
    fn a_round_trip_that_met_a_busy_moment_of_ours_makes_no_distance() {
        let fleet = [endpoint(0), endpoint(1), endpoint(2)];
        fleet[0].note_round_trip(MS / 10);
        fleet[0].note_round_trip(MS / 10);
        // One of two was right; and both were wrong, but no answer is faster than a round trip.
        fleet[1].note_round_trip(9 * MS);
        fleet[1].note_round_trip(MS / 10);
        fleet[2].note_round_trip(9 * MS);
        fleet[2].note_round_trip(8 * MS);
        fleet.iter().for_each(|endpoint| answers(endpoint, FLOOR_ANSWERS, 0));
        assert_eq!(swept(&fleet, 1_000 * MS), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn another_region_is_far_until_it_is_measured_whatever_answers_on_the_way() {
        let (relayed, open) = (endpoint(0), endpoint(1));
        let near = endpoint(2);
        for (endpoint, took_ns) in [(&relayed, MS / 10), (&open, 5 * MS), (&near, MS / 10)] {
            endpoint.note_round_trip(took_ns);
            endpoint.note_round_trip(took_ns);
        }
        relayed.assume_far();
        open.assume_far();
        answers(&near, FLOOR_ANSWERS, 1);
        let fleet = [relayed, open, near];
        let far = swept(&fleet, 1_000 * MS);
        assert_eq!(far, [ASSUMED_FAR_MS, 4.9, 0.0]);
        assert_eq!(fleet.each_ref().map(|one| one.is_assumed_far()), [true, false, false]);
    }

    /// Three endpoints that take 20 ms, of which the first was also asked for something that takes less, so many times.
    fn asked_for_less(times: u32) -> [Arc<Endpoint>; 3] {
        let fleet = [endpoint(0), endpoint(1), endpoint(2)];
        fleet.iter().for_each(|endpoint| answers(endpoint, 100, 20));
        answers(&fleet[0], times, 0);
        fleet
    }

    #[test]
    fn who_was_not_asked_for_anything_short_is_not_farther_away() {
        for times in [1, 3, 10] {
            assert_eq!(swept(&asked_for_less(times), 1_000 * MS), [0.0; 3], "{times} short answers");
        }
    }

    #[test]
    fn where_something_on_the_way_answers_it_is_by_all_its_answers_that_an_endpoint_is_far() {
        let fleet = [endpoint(0), endpoint(1)];
        for (endpoint, way_ms) in fleet.iter().zip([0, 30]) {
            endpoint.note_round_trip(MS / 10);
            endpoint.note_round_trip(MS / 10);
            for now in 1..=40 {
                endpoint.note_wait((way_ms + 5 + now % 30) * MS, false, now * MS);
                endpoint.succeeded(now * MS);
            }
        }
        let way_ms = |at_ms: u64| swept(&fleet, at_ms * MS)[1];
        assert!((29.0..31.0).contains(&way_ms(1_000)), "{}", way_ms(1_000));
        // A crowd at the near one changes nothing about the way.
        (1..=200).for_each(|now| fleet[0].note_wait(90 * MS, true, (1_000 + now) * MS));
        assert!((28.0..31.0).contains(&way_ms(2_000)), "{}", way_ms(2_000));
    }

    #[test]
    fn what_took_less_long_ago_makes_nobody_far_away() {
        let fleet = [endpoint(0), endpoint(1)];
        answers(&fleet[0], 100, 1);
        for now in 70_000..70_100 {
            fleet[1].note_wait(20 * MS, false, now * MS);
            fleet[1].succeeded(now * MS);
        }
        assert_eq!(swept(&fleet, 70_100 * MS), [0.0, 0.0]);
    }

    #[test]
    fn the_shortest_of_few_answers_is_no_distance() {
        let fleet = [endpoint(0), endpoint(1)];
        for (endpoint, shortest_ms, of) in [(&fleet[0], 1, 100), (&fleet[1], 6, FLOOR_ANSWERS)] {
            answers(endpoint, of, 20 + shortest_ms);
            endpoint.note_wait(shortest_ms * MS, false, 200 * MS);
        }
        assert_eq!(swept(&fleet, 1_000 * MS), [0.0, 0.0]);
    }

    #[test]
    fn neither_one_slow_answer_makes_anybody_near_nor_a_slow_spell_of_the_near_one_nor_a_pause_of_all() {
        let fleet = [endpoint(0), endpoint(1)];
        for (endpoint, took_ms) in fleet.iter().zip([10, 40]) {
            endpoint.note_round_trip(MS / 10);
            endpoint.note_round_trip(MS / 10);
            answers(endpoint, 40, took_ms);
        }
        let service = Service::default();
        let far_ms = |at_ms: u64| {
            service.sweep(&fleet, at_ms * MS);
            fleet[1].distance_ms()
        };
        assert!(far_ms(1_000) > 29.0);
        fleet[0].note_wait(1_000 * MS, false, 1_100 * MS);
        assert!(far_ms(1_200) > 28.0, "an export at the near one");
        fleet[1].note_wait(1_000 * MS, false, 1_300 * MS);
        assert!(far_ms(1_400) > 28.0, "an export at the far one");
        (0..150).for_each(|n| fleet[0].note_wait(30 * MS, false, (1_400 + n) * MS));
        assert!(far_ms(1_600) > 28.0, "its usual answers take longer by more than half of the way");
        assert!(far_ms(200_000) > 28.0, "nobody asked for three minutes");
    }
}
