//! Who listens whether an endpoint that does not move begins to.
//!
//! What was inside it when it froze has been asked for elsewhere, and nobody waits for it any more: nothing would show that it goes
//! on, and it would be left out for a second where a collector paused for a fifth of one. So the last request is not cancelled: its
//! answer is nobody's, but it is the sign.

use super::cell::flags;
use super::{Endpoint, InFlight};
use std::sync::Arc;

/// A request that is left with an endpoint for its answer to be a sign of life. It counts as in flight, for there it is.
#[derive(Debug)]
pub struct Vigil {
    last: InFlight,
}

impl Endpoint {
    /// Begins to listen, if this is not known to move and nobody else listens. For whoever gives up a request that it has.
    pub fn vigil(self: &Arc<Self>, now: u64) -> Option<Vigil> {
        let begins = self.is_suspect(now) && self.cell.raise(flags::WATCHED);
        begins.then(|| Vigil { last: self.begin(now) })
    }
}

impl Vigil {
    /// Whether it is still not known to move.
    pub fn is_needed(&self, now: u64) -> bool {
        self.last.endpoint().is_suspect(now)
    }

    /// It answered: it moves.
    pub fn answered(self, now: u64) {
        let endpoint = self.last.endpoint();
        endpoint.progressed(now);
        endpoint.trust();
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.last.endpoint().cell.set(flags::WATCHED, false);
    }
}
