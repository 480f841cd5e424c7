//! One look at a file for all who ask for it at the same time: after a release everybody asks for what nobody has read yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Looks under way, by what they look at, with those who wait for them: as many as there are requests at most.
#[derive(Debug)]
pub struct Flights<T>(Mutex<HashMap<Vec<u8>, Vec<oneshot::Sender<T>>>>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights(Mutex::default())
    }
}

/// A look that was begun. Whoever waits for it hears of its end, however that comes.
pub struct Flight<T> {
    flights: Arc<Flights<T>>,
    key: Vec<u8>,
}

impl<T: Clone> Flights<T> {
    /// Waits for what is found at `key`; the first to do so is also to look.
    pub fn join(self: &Arc<Self>, key: &[u8]) -> (oneshot::Receiver<T>, Option<Flight<T>>) {
        let (send, receive) = oneshot::channel();
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match flights.get_mut(key) {
            Some(waiting) => {
                waiting.push(send);
                (receive, None)
            }
            None => {
                flights.insert(key.into(), vec![send]);
                (receive, Some(Flight { flights: Arc::clone(self), key: key.into() }))
            }
        }
    }
}

impl<T> Flight<T> {
    fn end(&self) -> Vec<oneshot::Sender<T>> {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.key).unwrap_or_default()
    }
}

impl<T: Clone> Flight<T> {
    /// Tells all who wait.
    pub fn land(self, found: T) {
        for waiting in self.end() {
            let _ = waiting.send(found.clone());
        }
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_looks_for_all_and_all_hear_of_it() {
        let flights: Arc<Flights<u8>> = Arc::default();
        let (first, flight) = flights.join(b"a");
        let (second, none) = flights.join(b"a");
        let (_, other) = flights.join(b"b");
        assert!(none.is_none() && other.is_some());
        flight.unwrap().land(7);
        assert_eq!((first.blocking_recv(), second.blocking_recv()), (Ok(7), Ok(7)));
        let (third, flight) = flights.join(b"a");
        drop(flight.expect("a look of its own"));
        assert!(third.blocking_recv().is_err(), "it ended without a word");
        assert!(flights.join(b"a").1.is_some());
    }
}
