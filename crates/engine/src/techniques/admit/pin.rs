//! Which endpoints an operator takes out of service, or leaves in: switches of the admin API. They hold until they are turned
//! back, over reloads and for endpoints that discovery finds later.

use crate::clock;
use crate::fleet::{Endpoint, RegionId};
use crate::plan::Upstream;
use std::collections::BTreeSet;

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

/// Which endpoints are out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// All of them, but for the exceptions; else only these.
    all: bool,
    exceptions: BTreeSet<String>,
}

impl Drained {
    /// Takes the one at `address`, or all, out or back in.
    pub fn set(&mut self, address: Option<&str>, is_out: bool) {
        match address {
            None => *self = Drained { all: is_out, exceptions: BTreeSet::new() },
            Some(address) if is_out == self.all => _ = self.exceptions.remove(address),
            Some(address) => _ = self.exceptions.insert(address.to_owned()),
        }
    }

    /// Whether the one at `address` is out.
    pub fn holds(&self, address: &str) -> bool {
        self.all != self.exceptions.contains(address)
    }

    /// Whether all are out, those that are found later too.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// The addresses that were taken out one by one. None where all are: then they say nothing more.
    pub fn named(&self) -> impl Iterator<Item = &String> {
        self.exceptions.iter().filter(|_| !self.all)
    }

    /// Whether there is anything to take back at `address`, or anywhere.
    fn is_known(&self, address: Option<&str>) -> bool {
        match address {
            None => *self != Drained::default(),
            Some(address) => self.exceptions.contains(address),
        }
    }
}

impl Upstream {
    /// Takes the endpoint at `address`, or all, out of service or back in. What is under way goes on. Whether there is one: among
    /// the endpoints, or among what is out already. An endpoint that has left since would else be out for ever once it returns.
    pub fn drain(&self, address: Option<&str>, is_out: bool) -> bool {
        let is_meant = |authority: String| address.is_none_or(|address| authority == address);
        let is_any = self.fleet().iter().any(|endpoint| is_meant(endpoint.authority()));
        let is_known = is_any || self.room.drained().is_known(address);
        if is_known {
            self.room.drain(address, is_out);
            self.leave_out();
            self.room.settle(clock::now());
        }
        is_known
    }

    /// The addresses that were taken out one by one and at which it has no endpoint now.
    pub fn drained_gone(&self) -> Vec<String> {
        let there: BTreeSet<String> = self.fleet().iter().map(|endpoint| endpoint.authority()).collect();
        self.room.drained().named().filter(|address| !there.contains(*address)).cloned().collect()
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
        self.room.settle(clock::now());
        Ok(())
    }

    /// Has its endpoints go by the switches.
    pub(crate) fn leave_out(&self) {
        let (pin, drained, now) = (self.room.pin(), self.room.drained(), clock::now());
        for endpoint in self.fleet().iter() {
            endpoint.set_drained(drained.holds(&endpoint.authority()), now);
            endpoint.set_left_out(pin.as_ref().is_some_and(|pin| !pin.holds(endpoint)), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_may_be_out_but_for_some_and_none_but_for_some() {
        let mut drained = Drained::default();
        assert!(!drained.holds("a"));
        drained.set(Some("a"), true);
        assert!(drained.holds("a") && !drained.holds("b"));
        drained.set(None, true);
        assert!(drained.holds("a") && drained.holds("found later"));
        drained.set(Some("b"), false);
        assert!(drained.holds("a") && !drained.holds("b"));
        drained.set(None, false);
        assert_eq!(drained, Drained::default());
    }

    #[test]
    fn what_was_taken_out_by_name_is_known_by_it_and_a_wrong_name_is_not_even_while_all_are_out() {
        let mut drained = Drained::default();
        assert!(!drained.is_known(None) && !drained.is_known(Some("a")));
        drained.set(Some("a"), true);
        assert!(drained.is_known(None) && drained.is_known(Some("a")) && !drained.is_known(Some("b")));
        assert!(drained.named().eq(["a"]) && !drained.is_all());
        drained.set(None, true);
        drained.set(Some("b"), false);
        assert!(drained.is_known(None) && drained.is_known(Some("b")) && !drained.is_known(Some("c")));
        assert!(drained.named().next().is_none() && drained.is_all(), "one that is back in is not out");
    }
}
