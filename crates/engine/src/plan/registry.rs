//! What outlives plans: endpoints and what was learned of them, by what makes them the same.

use crate::clock;
use crate::fleet::{Cell, Endpoint, RegionId, Service};
use crate::techniques::admit::allowance::Used;
use crate::techniques::admit::gauge::Gauge;
use crate::techniques::admit::room::Room;
use crate::techniques::balance::hash;
use crate::upstream::discover_names::{Discovered, Found};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// The endpoints that have been seen, by what makes them the same: upstream, address and connection settings.
pub struct Registry {
    /// Names in metrics.
    pub record: Arc<unlag_record::Registry>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    services: Mutex<HashMap<String, Arc<Service>>>,
    /// By the name of the upstream.
    rooms: Mutex<HashMap<String, Arc<Room>>>,
    /// By the name of the route and its rate.
    used: Mutex<HashMap<String, Arc<Used>>>,
    discovered: Mutex<HashMap<String, Arc<Discovered>>>,
    next: std::sync::atomic::AtomicU32,
}

impl Registry {
    /// An empty registry.
    pub fn new(record: Arc<unlag_record::Registry>) -> Registry {
        let (endpoints, services, rooms, used, discovered) = Default::default();
        Registry { record, endpoints, services, rooms, used, discovered, next: 0.into() }
    }

    /// The endpoint, the same as before if it is known; then with the weight that it had.
    pub fn endpoint(&self, upstream: &Arc<str>, found: &Found, settings: &str) -> Arc<Endpoint> {
        let Found { endpoint: config, called, server_name, .. } = found;
        let key =
            format!("{upstream} {:?} {called:?} {server_name} {:?} {settings}", config.url, config.region);
        let region = config.region.as_ref().map(|name| self.region(name));
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let joins = endpoints.values().any(|peer| *peer.upstream == **upstream && peer.keeps_alive());
        let known = endpoints.entry(key).or_insert_with(|| {
            let index = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let record = self.record.endpoint(upstream, &config.url.authority());
            let room = self.room(upstream);
            let endpoint = new_endpoint(index, record, upstream, found, region, room);
            if joins {
                endpoint.joins(clock::now());
            }
            Arc::new(endpoint)
        });
        Arc::clone(known)
    }

    /// The number of a region, the same for as long as the process runs.
    pub fn region(&self, name: &str) -> RegionId {
        RegionId(self.record.region(name))
    }

    /// The name of a region.
    pub fn region_name(&self, region: RegionId) -> Option<String> {
        self.record.region_name(region.0)
    }

    /// What was found of a name, the same as before if it is known.
    pub fn discovered(&self, name: &str) -> Arc<Discovered> {
        let mut discovered = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(discovered.entry(name.to_owned()).or_default())
    }

    /// What is learned of an upstream's endpoints, the same as before if it is known.
    pub fn service(&self, upstream: &str) -> Arc<Service> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(upstream.to_owned()).or_default())
    }

    /// Where requests for an upstream of this name wait, the same as before if it is known.
    pub fn room(&self, upstream: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(upstream.to_owned()).or_default())
    }

    /// What is used up of the rate of a route of this name, the same as before if the rate is.
    pub fn used(&self, route: &str, rate: &unlag_config::Rate) -> Arc<Used> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let known = used.entry(format!("{route} {rate:?}"));
        Arc::clone(known.or_insert_with(|| Arc::new(Used::nothing(&rate.by))))
    }

    /// Forgets endpoints, services and names that no plan refers to any more.
    pub fn forget_unused(&self) {
        fn forget<T>(all: &Mutex<HashMap<String, Arc<T>>>) {
            all.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, one| Arc::strong_count(one) > 1);
        }
        forget(&self.services);
        forget(&self.endpoints);
        forget(&self.discovered);
        // What only an endpoint referred to.
        forget(&self.rooms);
        forget(&self.used);
    }
}

pub(super) fn new_endpoint(
    index: u32,
    record: unlag_record::EndpointId,
    upstream: &Arc<str>,
    found: &Found,
    region: Option<RegionId>,
    room: Arc<Room>,
) -> Endpoint {
    let Found { endpoint: config, called, server_name, .. } = found;
    let url = &config.url;
    let literal =
        url.host.parse::<IpAddr>().map(|ip| vec![SocketAddr::new(ip, url.port)]).unwrap_or_default();
    Endpoint {
        index,
        record,
        upstream: Arc::clone(upstream),
        url: url.clone(),
        host: called.authority(),
        server_name: server_name.clone(),
        hash: hash::of_endpoint(url),
        weight: config.weight.into(),
        region,
        cell: Cell::default(),
        gauge: Gauge::new(room),
        addresses: ArcSwap::from_pointee(literal),
        moved_ns: Default::default(),
        won: Mutex::default(),
        last_error: Mutex::default(),
    }
}
