//! What happened in the last minute: a few former states of each route, to subtract from the present one.

use crate::limits::{HISTORY_ROUTES, HISTORY_STATES};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use unlag_record::{Histogram, Outcome, RequestSeries};

/// The requests of one route over all outcomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) durations: Histogram,
    pub(crate) client_errors: u64,
    pub(crate) server_errors: u64,
    pub(crate) cancelled: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, series: &RequestSeries) {
        self.durations.merge(&series.histogram);
        match series.outcome {
            Outcome::Ok => {}
            Outcome::ClientError => self.client_errors += series.histogram.count(),
            Outcome::ServerError => self.server_errors += series.histogram.count(),
            Outcome::Cancelled => self.cancelled += series.histogram.count(),
        }
    }

    pub(crate) fn merge(&mut self, other: &Totals) {
        self.durations.merge(&other.durations);
        self.client_errors += other.client_errors;
        self.server_errors += other.server_errors;
        self.cancelled += other.cancelled;
    }

    fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            durations: self.durations.since(&earlier.durations),
            client_errors: self.client_errors.saturating_sub(earlier.client_errors),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
        }
    }
}

/// The totals of each route.
pub(crate) type ByRoute = HashMap<Arc<str>, Totals>;

/// Adds up the outcomes of each route.
pub(crate) fn by_route(series: &[RequestSeries]) -> ByRoute {
    let mut routes = ByRoute::new();
    for series in series {
        routes.entry(series.route.clone()).or_default().add(series);
    }
    routes
}

/// Former states, oldest first. Times are durations since the console started.
#[derive(Debug, Default)]
pub(crate) struct History {
    states: VecDeque<State>,
}

#[derive(Debug)]
struct State {
    at: Duration,
    routes: ByRoute,
    /// Whether routes were left out, so that an absent one is not a new one.
    partial: bool,
}

/// What happened to a route between a former state and now.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) totals: Totals,
    pub(crate) length: Duration,
}

impl History {
    /// Remembers the state at `now`; the oldest one makes room.
    pub(crate) fn push(&mut self, now: Duration, mut routes: ByRoute) {
        let partial = routes.len() > HISTORY_ROUTES;
        if partial {
            // The busiest routes are the ones that are looked at.
            let mut counts: Vec<u64> = routes.values().map(|totals| totals.durations.count()).collect();
            counts.sort_unstable_by(|left, right| right.cmp(left));
            let least = counts.get(HISTORY_ROUTES).copied().unwrap_or(0);
            routes.retain(|_, totals| totals.durations.count() > least);
        }
        self.states.push_back(State { at: now, routes, partial });
        while self.states.len() > HISTORY_STATES {
            self.states.pop_front();
        }
    }

    /// What happened to `route`, now at `totals`, since the oldest state, at most some 80 seconds ago. `None` if
    /// nothing is remembered. A route that is new since then counts from nothing.
    pub(crate) fn last_minute(&self, now: Duration, route: &str, totals: &Totals) -> Option<Window> {
        let State { at, routes, partial } = self.states.front()?;
        let totals = match routes.get(route) {
            Some(earlier) => totals.since(earlier),
            None if *partial => return None,
            None => totals.clone(),
        };
        Some(Window { totals, length: now.saturating_sub(*at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(count: u64, errors: u64) -> Totals {
        let mut totals = Totals { server_errors: errors, ..Totals::default() };
        (0..count).for_each(|_| totals.durations.record(1_000_000));
        totals
    }

    fn state(count: u64) -> ByRoute {
        HashMap::from([("shop".into(), totals(count, count / 10))])
    }

    #[test]
    fn the_last_minute_is_the_difference_to_the_oldest_state() {
        let mut history = History::default();
        assert!(history.last_minute(Duration::ZERO, "shop", &totals(1, 0)).is_none());
        for step in 0..10u64 {
            history.push(Duration::from_secs(step * 20), state(step * 100));
        }
        let window = history.last_minute(Duration::from_secs(190), "shop", &totals(950, 95)).unwrap();
        assert_eq!(window.length, Duration::from_secs(70));
        assert_eq!((window.totals.durations.count(), window.totals.server_errors), (350, 35));
    }

    #[test]
    fn a_route_that_is_new_counts_from_nothing() {
        let mut history = History::default();
        history.push(Duration::ZERO, ByRoute::new());
        let window = history.last_minute(Duration::from_secs(5), "new", &totals(7, 0)).unwrap();
        assert_eq!(window.totals.durations.count(), 7);
    }

    #[test]
    fn only_the_busiest_routes_are_remembered_past_the_bound() {
        let mut history = History::default();
        let routes =
            (0..HISTORY_ROUTES as u64 + 50).map(|number| (number.to_string().into(), totals(number + 1, 0)));
        history.push(Duration::ZERO, routes.collect());
        let now = Duration::from_secs(5);
        assert_eq!(history.states[0].routes.len(), HISTORY_ROUTES);
        assert!(history.last_minute(now, "0", &totals(9, 0)).is_none());
        assert!(history.last_minute(now, "299", &totals(301, 0)).is_some());
    }
}
