//! Route and endpoint names as small numbers: stable across reloads, never forgotten, bounded.

use crate::{EndpointId, OTHER, RouteId};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Regions that are known by name. They are kept for good, and a list of endpoints that is written anew for years may name others
/// each time; those of one service are a few.
const REGIONS_MAX: usize = 1_000;
/// Endpoints that are known by name: a service that is replaced several times a day has new addresses for years. Far fewer have
/// histograms of their own.
const ENDPOINTS_MAX: usize = 65_535;
/// What stands for all others.
const OTHER_REGION: u16 = u16::MAX;

/// The names handed out so far. Number 0 is `other` in both lists.
pub(crate) struct Names {
    max_routes: usize,
    tables: RwLock<Tables>,
}

/// An endpoint's two names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct EndpointName {
    pub(crate) upstream: Arc<str>,
    pub(crate) address: Arc<str>,
}

#[derive(Default)]
struct Tables {
    routes: Vec<Arc<str>>,
    route_ids: HashMap<Arc<str>, RouteId>,
    endpoints: Vec<EndpointName>,
    endpoint_ids: HashMap<EndpointName, EndpointId>,
    regions: Vec<String>,
}

impl Names {
    pub(crate) fn new(max_routes: usize) -> Names {
        let names = Names { max_routes, tables: RwLock::default() };
        names.route(OTHER);
        names.endpoint(OTHER, OTHER);
        names
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a route name, new if need be; `other` once the bound is reached.
    pub(crate) fn route(&self, name: &str) -> RouteId {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = tables.route_ids.get(name) {
            return *id;
        }
        // `other` itself comes on top of the bound.
        let Some(next) = next_number(tables.routes.len(), self.max_routes) else { return RouteId::OTHER };
        let name: Arc<str> = name.into();
        tables.routes.push(name.clone());
        tables.route_ids.insert(name, RouteId(next));
        RouteId(next)
    }

    /// The number of an endpoint, new if need be; `other` once the bound is reached.
    pub(crate) fn endpoint(&self, upstream: &str, address: &str) -> EndpointId {
        let name = EndpointName { upstream: upstream.into(), address: address.into() };
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = tables.endpoint_ids.get(&name) {
            return *id;
        }
        let Some(next) = next_number(tables.endpoints.len(), ENDPOINTS_MAX) else {
            return EndpointId::OTHER;
        };
        tables.endpoints.push(name.clone());
        tables.endpoint_ids.insert(name, EndpointId(next));
        EndpointId(next)
    }

    /// The number of a region, new if need be; all beyond [`REGIONS_MAX`] share one.
    pub(crate) fn region(&self, name: &str) -> u16 {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = tables.regions.iter().position(|known| known == name) {
            return at as u16;
        }
        if tables.regions.len() >= REGIONS_MAX {
            return OTHER_REGION;
        }
        tables.regions.push(name.to_owned());
        (tables.regions.len() - 1) as u16
    }

    pub(crate) fn region_name(&self, number: u16) -> Option<String> {
        match number {
            OTHER_REGION => Some(OTHER.to_owned()),
            number => self.read().regions.get(usize::from(number)).cloned(),
        }
    }

    pub(crate) fn route_name(&self, id: RouteId) -> Arc<str> {
        self.read().routes.get(id.0 as usize).cloned().unwrap_or_else(|| OTHER.into())
    }

    pub(crate) fn endpoint_name(&self, id: EndpointId) -> EndpointName {
        let known = self.read().endpoints.get(id.0 as usize).cloned();
        known.unwrap_or_else(|| EndpointName { upstream: OTHER.into(), address: OTHER.into() })
    }

    /// Every route with its number, in the order of their first use.
    pub(crate) fn routes(&self) -> Vec<(RouteId, Arc<str>)> {
        (0..).map(RouteId).zip(self.read().routes.iter().cloned()).collect()
    }

    /// The first endpoints with their numbers, in the order of their first use: `other`, and so many.
    pub(crate) fn endpoints(&self, count: usize) -> Vec<(EndpointId, EndpointName)> {
        (0..).map(EndpointId).zip(self.read().endpoints.iter().take(count + 1).cloned()).collect()
    }
}

/// The next free number of a list with `len` entries, of which the first does not count against the bound.
fn next_number(len: usize, bound: usize) -> Option<u32> {
    if len > bound { None } else { u32::try_from(len).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_beyond_a_thousand_share_a_name() {
        let names = Names::new(1);
        let numbers: Vec<u16> = (0..1_002).map(|nth| names.region(&format!("r{nth}"))).collect();
        assert_eq!(names.region_name(numbers[999]).as_deref(), Some("r999"));
        assert_eq!(numbers[1_000..], [OTHER_REGION; 2]);
        assert_eq!(names.region_name(OTHER_REGION).as_deref(), Some("other"));
        assert_eq!(names.region("r7"), numbers[7], "who is known stays known");
    }

    #[test]
    fn a_name_keeps_its_number() {
        let names = Names::new(10);
        let (shop, cart) = (names.route("shop"), names.route("cart"));
        assert_ne!(shop, cart);
        assert_eq!(names.route("shop"), shop);
        assert_eq!(&*names.route_name(shop), "shop");
        assert_eq!(names.route(OTHER), RouteId::OTHER);
        let a = names.endpoint("catalog", "10.0.0.1:80");
        assert_ne!(a, names.endpoint("orders", "10.0.0.1:80"));
        assert_eq!(names.endpoint("catalog", "10.0.0.1:80"), a);
    }

    #[test]
    fn names_past_the_bound_are_other_and_known_ones_stay() {
        let names = Names::new(2);
        let first = names.route("a");
        names.route("b");
        assert_eq!(names.route("c"), RouteId::OTHER);
        assert_eq!(names.route("a"), first);
        assert_eq!(names.routes().len(), 3);
        let last = (0..ENDPOINTS_MAX).map(|nth| names.endpoint("u", &nth.to_string())).last();
        assert_eq!(&*names.endpoint_name(last.unwrap()).address, (ENDPOINTS_MAX - 1).to_string());
        assert_eq!(names.endpoint("u", "more"), EndpointId::OTHER);
        assert_eq!(names.endpoints(1).len(), 2);
    }
}
