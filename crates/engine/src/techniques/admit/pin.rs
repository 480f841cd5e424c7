//! Which endpoints an operator takes out of service, or leaves in: switches of the admin API. They hold until they are turned
//! back, over reloads and for endpoints that discovery finds later.

use crate::fleet::{Endpoint, RegionId};
use crate::plan::Upstream;
use std::sync::Arc;

/// The only endpoints that are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Those at these addresses.
    Endpoints(Vec<String>),
    /// Those of this region, which has this name.
    Region(RegionId, String),
}

impl Pin {
    /// Whether it leaves an endpoint in.
    pub fn holds(&self, endpoint: &Endpoint) -> bool {
        match self {
            Pin::Endpoints(addresses) => addresses.contains(&endpoint.authority()),
            Pin::Region(region, _) => endpoint.region == Some(*region),
        }
    }

    /// What it names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Pin::Endpoints(addresses) => addresses.clone(),
            Pin::Region(_, name) => vec![name.clone()],
        }
    }
}

impl Upstream {
    /// Takes the endpoint at `address`, or all, out of service or back in. What is under way goes on. Whether there is one.
    pub fn drain(&self, address: Option<&str>, is_out: bool) -> bool {
        let is_meant =
            |endpoint: &&Arc<Endpoint>| address.is_none_or(|address| endpoint.authority() == address);
        let fleet = self.fleet();
        let is_any = fleet.iter().filter(is_meant).map(|endpoint| endpoint.set_drained(is_out)).count() > 0;
        self.room.settle(crate::clock::now());
        is_any
    }

    /// Asks only the endpoints of `pin` from now on, or all again. If it names something that the upstream does not have, says
    /// what, and nothing changes: who is wrong by a letter must not take everything out.
    pub fn pin(&self, pin: Option<Pin>) -> Result<(), String> {
        let fleet = self.fleet();
        let is_there = |name: &String| fleet.iter().any(|endpoint| endpoint.authority() == *name);
        let missing = match &pin {
            Some(Pin::Endpoints(addresses)) => addresses.iter().find(|name| !is_there(name)),
            Some(Pin::Region(region, name)) => {
                let is_known = fleet.iter().any(|endpoint| endpoint.region == Some(*region));
                Some(name).filter(|_| !is_known)
            }
            None => None,
        };
        if let Some(name) = missing {
            return Err(name.clone());
        }
        self.room.set_pin(pin);
        self.leave_out();
        self.room.settle(crate::clock::now());
        Ok(())
    }

    /// Has its endpoints go by the pin.
    pub(crate) fn leave_out(&self) {
        let pin = self.room.pin();
        for endpoint in self.fleet().iter() {
            endpoint.set_left_out(pin.as_ref().is_some_and(|pin| !pin.holds(endpoint)));
        }
    }
}
