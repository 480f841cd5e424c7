//! One look at a file for all who ask for it at the same time: after a release everybody asks for what nobody has read yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

type Landing<T> = watch::Receiver<Option<T>>;

/// Looks under way, by what they look at: as many as the threads that look take on. Nothing is kept for those who wait, who may
/// leave long before a disk that hangs lets a look end.
#[derive(Debug)]
pub struct Flights<T>(Mutex<HashMap<Vec<u8>, Landing<T>>>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights(Mutex::default())
    }
}

/// A look that was begun. Whoever waits for it hears of its end, however that comes.
pub struct Flight<T> {
    flights: Arc<Flights<T>>,
    key: Vec<u8>,
    found: Option<T>,
    landing: watch::Sender<Option<T>>,
}

/// One who waits for a look.
pub struct Waiting<T>(Landing<T>);

impl<T> Flights<T> {
    /// Waits for what is found at `key`; the first to do so is also to look.
    pub fn join(self: &Arc<Self>, key: &[u8]) -> (Waiting<T>, Option<Flight<T>>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(key) {
            return (Waiting(landing.clone()), None);
        }
        let (landing, wait) = watch::channel(None);
        flights.insert(key.into(), wait.clone());
        (Waiting(wait), Some(Flight { flights: Arc::clone(self), key: key.into(), found: None, landing }))
    }
}

impl<T: Clone> Waiting<T> {
    /// What was found; none if the look ended without a word.
    pub async fn found(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|found| found.clone())
    }
}

impl<T> Flight<T> {
    /// Tells all who wait.
    pub fn land(mut self, found: T) {
        self.found = Some(found);
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.key);
        drop(flights);
        // Told only now: whoever asks after he has heard looks anew, for what he heard may have changed since.
        self.landing.send_replace(self.found.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_looks_for_all_and_all_hear_of_it() {
        let flights: Arc<Flights<u8>> = Arc::default();
        let (first, flight) = flights.join(b"a");
        let (second, none) = flights.join(b"a");
        let (_, other) = flights.join(b"b");
        assert!(none.is_none() && other.is_some());
        flight.unwrap().land(7);
        assert_eq!((first.found().await, second.found().await), (Some(7), Some(7)));
        let (third, flight) = flights.join(b"a");
        drop(flight.expect("a look of its own"));
        assert_eq!(third.found().await, None, "it ended without a word");
        assert!(flights.join(b"a").1.is_some());
    }

    #[tokio::test]
    async fn whoever_asks_after_a_landing_is_not_told_what_it_found() {
        let flights: Arc<Flights<u16>> = Arc::default();
        for round in 0..2_000 {
            let (waiting, flight) = flights.join(b"a");
            let flight = flight.expect("a look of its own");
            let reader = std::thread::spawn(move || flight.land(round));
            assert_eq!(waiting.found().await, Some(round));
            assert!(flights.join(b"a").1.is_some(), "round {round}");
            reader.join().unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_for_those_who_left_a_look_that_does_not_end() {
        let flights: Arc<Flights<u8>> = Arc::default();
        let (first, flight) = flights.join(b"a");
        let flight = flight.unwrap();
        for _ in 0..10_000 {
            let (left, none) = flights.join(b"a");
            assert!(none.is_none());
            drop(left);
        }
        assert_eq!(flight.landing.receiver_count(), 2, "the first one and the table");
        flight.land(7);
        assert_eq!(first.found().await, Some(7));
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
