//! Places where a test breaks or blocks a running engine on purpose; outside of this crate's own tests they are nothing.

use crate::shared::Shared;

/// What happens once at a place.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Whoever comes by panics.
    Panic,
    /// Whoever comes by blocks its thread for this long.
    Block(std::time::Duration),
}

/// What is to happen, and where.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Faults(std::sync::Mutex<Vec<(&'static str, Fault)>>);

#[cfg(test)]
impl Faults {
    /// Has the next one who comes to `place` meet `fault`.
    pub fn add(&self, place: &'static str, fault: Fault) {
        self.0.lock().unwrap().push((place, fault));
    }

    /// Whether nobody has come to `place` yet.
    pub fn is_ahead(&self, place: &'static str) -> bool {
        self.0.lock().unwrap().iter().any(|(known, _)| *known == place)
    }

    fn take(&self, place: &'static str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap();
        let index = faults.iter().position(|(known, _)| *known == place)?;
        Some(faults.remove(index).1)
    }
}

/// A place where it may happen.
#[cfg(test)]
pub fn point(shared: &Shared, place: &'static str) {
    match shared.faults.take(place) {
        None => {}
        Some(Fault::Panic) => panic!("{place} is broken on purpose"),
        Some(Fault::Block(time)) => {
            let (_open, nothing) = std::sync::mpsc::channel::<()>();
            let _ = nothing.recv_timeout(time);
        }
    }
}

/// A place where it may happen in tests.
#[cfg(not(test))]
#[inline(always)]
pub fn point(_: &Shared, _: &'static str) {}
