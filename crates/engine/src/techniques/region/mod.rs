//! Region: which part of a fleet a request may go to. Reads go wherever the balancer finds them answered soonest, which is the
//! nearest region until it is busy; what changes something goes to the primary, where there is one; so do the reads of a caller
//! who has just written, for as long as copies may lag behind, and what a replica itself says that only the primary can answer.
//!
//! The distance of a region is part of what its endpoints cost (see `balance`), so there is no switch between regions here: they
//! are left request by request when that pays, and a region that is lost is left because its silence and its failures cost.
//!
//! Idea: writes to the primary and replays on a replica's word as Fly.io has them; session guarantees (Terry et al. 1994) for the
//! reads of a writer. When not to: one region, or stores that take writes anywhere. Knobs: `primary` of an upstream and of a
//! route, `read_your_writes`, `spill`, `[region]`.

pub mod policy;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::exchange::{Exchange, Outcome};
use crate::fleet::{RegionId, Went};
use crate::http::Scheme;
use crate::marker::Markers;
use crate::pipeline::{Next, Stage};
use crate::plan::Upstream;
use policy::{Place, Replay};
use std::rc::Rc;
use std::sync::Arc;
use unlag_record::Placed;

/// The stage, for a route to an upstream that has a primary.
#[derive(Debug)]
pub struct Region {
    primary: RegionId,
    /// What the route says, whatever the method.
    to_primary: Option<bool>,
    upstream: Arc<Upstream>,
    markers: Arc<Markers>,
}

impl Region {
    /// Sends what belongs there to the primary of `upstream`, if that has one.
    pub fn of(upstream: &Arc<Upstream>, to_primary: Option<bool>, markers: Arc<Markers>) -> Option<Region> {
        Some(Region { primary: upstream.primary?, to_primary, upstream: Arc::clone(upstream), markers })
    }

    /// Where a request belongs, before anything else answers it: who has just written is not given what was stored before.
    pub fn place(&self, exchange: &mut Exchange) -> Place {
        let has_written = self.upstream.read_your_writes.is_some()
            && self.markers.are_shown(&exchange.head, &self.upstream.name, clock::wall());
        let place = policy::place(&exchange.head.method, self.to_primary, has_written);
        let placed = match place {
            Place::Anywhere => None,
            Place::Primary => Some(Placed::Primary),
            Place::PrimaryForWriter => Some(Placed::Writer),
        };
        if placed.is_some() {
            exchange.region = Some(self.primary);
            exchange.trace.note(|why| why.placed = placed);
        }
        place
    }

    fn count(&self, went: Went) {
        self.upstream.service.went().count(went);
    }

    /// Sends a request where it belongs.
    async fn send<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let writes = !exchange.head.method.is_safe();
        let is_secure = exchange.scheme == Scheme::Https;
        if exchange.region.is_some() {
            let has_written = exchange.trace.why().placed == Some(Placed::Writer);
            self.count(if has_written { Went::ReadAfterWrite } else { Went::Write });
            let mut response = next.run(exchange).await?;
            if writes {
                self.markers.give(&self.upstream, &mut response, is_secure);
            }
            return Ok(response);
        }
        // Looked at again beside its answer only if it can be sent again.
        let wanted_back = exchange.comes_back;
        let is_at_hand = exchange.body.replica().is_some() && exchange.upgrade.is_none();
        exchange.comes_back |= is_at_hand;
        let mut response = next.run(exchange).await?;
        if is_at_hand && policy::replay(&response.head) == Some(Replay::Primary) {
            let Some(mut exchange) = response.request.take() else { return Ok(response) };
            drop(response);
            exchange.region = Some(self.primary);
            exchange.trace.note(|why| why.placed = Some(Placed::Replica));
            exchange.comes_back = wanted_back;
            self.count(Went::Replayed);
            let mut response = next.run(exchange).await?;
            if writes {
                self.markers.give(&self.upstream, &mut response, is_secure);
            }
            return Ok(response);
        }
        if !wanted_back {
            response.request = None;
        }
        Ok(response)
    }
}

impl Stage for Region {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let mut response = self.send(exchange, next).await?;
        // It is for whoever knows where the primary is.
        response.head.fields.remove(policy::REPLAY);
        Ok(response)
    }
}
