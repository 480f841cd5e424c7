//! A service as it is asked: its endpoints at this moment, and everything about it that a request needs to know.

use super::{PlanError, Registry};
use crate::clock;
use crate::error::Error;
use crate::fleet::{Endpoint, RegionId, Service};
use crate::techniques::admit::room::Room;
use crate::upstream::discover_names::{Discovered, Found};
use crate::upstream::{discover, tls};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use unlag_config::{Balance, Health, HostHeader, Limit, Protocol, Queue, Source};

/// A service.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// How long a connection may take, TLS apart.
    pub connect_timeout: Duration,
    /// Its active check.
    pub health: Option<Health>,
    /// Where its endpoints come from.
    pub source: Source,
    /// The name servers that its names are looked up at; none for those of the system.
    pub resolver: Vec<SocketAddr>,
    /// What was found of the name that its endpoints are looked up by, if they are.
    pub discovered: Option<Arc<Discovered>>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// What is learned of its endpoints together.
    pub service: Arc<Service>,
    /// The region that takes what changes something.
    pub primary: Option<RegionId>,
    /// How long the reads of a caller who wrote go there as well.
    pub read_your_writes: Option<Duration>,
    /// Share of requests that may leave the nearest region because it is busy.
    pub spill_max: f32,
    /// What is added to measured distances.
    tolls: Tolls,
    /// The path of its URL (`--to http://host/path`), put in front of every path.
    pub base_path: String,
    /// How many requests an endpoint takes at a time.
    pub limit: Limit,
    /// Who waits while all of them have as many as they take.
    pub queue: Option<Queue>,
    /// Where its requests wait.
    pub room: Arc<Room>,
    slow_start_ns: u64,
    host: HostHeader,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// How TLS is spoken to it; `None` when no endpoint wants it.
    pub tls: Option<tls::ClientTls>,
    /// Distinguishes connections that were made under other settings.
    settings: String,
}

impl Upstream {
    /// The endpoints at this moment.
    pub fn fleet(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// Replaces the endpoints; those that stay keep their state. While its plan is built, and once another is in force, that changes
    /// nothing for anybody.
    pub fn set_endpoints(self: &Arc<Self>, endpoints: Vec<Arc<Endpoint>>) {
        self.endpoints.store(Arc::new(endpoints));
        let places: Weak<Upstream> = Arc::downgrade(self);
        if self.room.is_of(&places) {
            self.enforce();
        }
    }

    /// Has its endpoints go by its limit: when its plan is put in force, and not before.
    pub fn enforce(self: &Arc<Self>) {
        let places: Weak<Upstream> = Arc::downgrade(self);
        self.room.set_places(places);
        self.service.set_slow_start(self.slow_start_ns);
        self.room.set_queue(self.queue.as_ref());
        self.fleet().iter().for_each(|endpoint| endpoint.set_limit(self.limit));
        self.leave_out();
    }

    /// How many requests an endpoint works on at a time; 0 while nobody knows.
    pub fn knee(&self) -> u32 {
        let is_known = self.service.answers() >= KNEE_ANSWERS;
        if is_known { self.service.figures().knee as u32 } else { 0 }
    }

    /// The `Host` that the upstream sees.
    pub fn host_for<'a>(&'a self, endpoint: &'a Endpoint, asked: &'a [u8]) -> &'a [u8] {
        match &self.host {
            HostHeader::Keep if !asked.is_empty() => asked,
            HostHeader::Literal(host) => host.as_bytes(),
            _ => endpoint.host.as_bytes(),
        }
    }

    /// The cells of these endpoints, from the registry where they are known.
    pub fn cells(&self, registry: &Registry, found: &[Found]) -> Vec<Arc<Endpoint>> {
        let cell = |found: &Found| {
            let endpoint = registry.endpoint(&self.name, found, &self.settings);
            self.tolls.apply(&found.endpoint, &endpoint);
            endpoint
        };
        found.iter().map(cell).collect()
    }

    /// Gives its endpoints the weights that they were found with.
    pub fn weigh<'a>(&self, found: impl IntoIterator<Item = &'a unlag_config::Endpoint>) {
        for (endpoint, found) in self.fleet().iter().zip(found) {
            endpoint.set_weight(found.weight);
        }
    }

    /// Why there is no endpoint to be had: none was ever found, or none of them may be asked.
    pub fn no_endpoint(&self) -> Error {
        match &self.discovered {
            Some(discovered) if !discovered.is_known() => Error::Undiscovered,
            _ => Error::NoEndpoint,
        }
    }
}

/// What is added to the measured distances of endpoints: what the operator says of their regions, and a little for another zone.
#[derive(Debug)]
struct Tolls {
    own: Option<unlag_config::Region>,
    by_region: Vec<(String, Duration)>,
}

/// What another zone adds: of endpoints that are as near, those of the own zone are asked while they are not busier.
const OTHER_ZONE_MS: f32 = 0.2;

impl Tolls {
    fn apply(&self, config: &unlag_config::Endpoint, endpoint: &Endpoint) {
        let own = self.own.as_ref();
        let toll = self.by_region.iter().find(|(region, _)| Some(region) == config.region.as_ref());
        let toll_ms = toll.map_or(0.0, |(_, toll)| toll.as_secs_f32() * 1e3);
        let zones = (own.and_then(|own| own.zone.as_ref()), config.zone.as_ref());
        // What says no region is taken to be in the own one.
        let is_here = config.region.is_none() || own.map(|own| &own.name) == config.region.as_ref();
        let is_other_zone = is_here && matches!(zones, (Some(own), Some(zone)) if own != zone);
        endpoint.set_toll_ms(toll_ms + if is_other_zone { OTHER_ZONE_MS } else { 0.0 });
        if matches!((own, &config.region), (Some(own), Some(region)) if own.name != *region) {
            endpoint.assume_far();
        }
    }
}

/// Answers after which a knee is one that was learned, and not where learning begins.
const KNEE_ANSWERS: u32 = 1_000;

/// Builds an upstream. Nothing of what serves is changed before it is put in force ([`Upstream::enforce`]).
pub(super) fn build_upstream(
    config: &unlag_config::Upstream,
    own: Option<&unlag_config::Region>,
    registry: &Registry,
) -> Result<Arc<Upstream>, PlanError> {
    let tls = config
        .source
        .may_be_https()
        .then(|| tls::client(&config.tls, config.protocol))
        .transpose()
        .map_err(|message| PlanError { place: format!("upstream.{}.tls", config.name), message })?;
    let list = match &config.source {
        Source::Endpoints(list) => list.clone(),
        Source::File(path) => discover::read(path)
            .map_err(|message| PlanError { place: format!("upstream.{}.discover", config.name), message })?,
        Source::Dns { .. } | Source::Srv { .. } => Vec::new(),
    };
    let discovered = config
        .source
        .name()
        .map(|_| registry.discovered(&format!("{:?} {:?}", config.source, config.resolver)));
    let service = registry.service(&config.name);
    let upstream = Upstream {
        name: config.name.as_str().into(),
        protocol: config.protocol,
        connect_timeout: config.connect_timeout,
        health: config.health.clone(),
        source: config.source.clone(),
        resolver: config.resolver.clone(),
        discovered,
        balance: config.balance.clone(),
        service,
        slow_start_ns: config.slow_start.map_or(0, clock::ns),
        primary: config.primary.as_ref().map(|name| registry.region(name)),
        read_your_writes: config.read_your_writes,
        spill_max: config.spill.max as f32,
        tolls: Tolls { own: own.cloned(), by_region: config.spill.cost.clone() },
        base_path: list.first().map(|endpoint| endpoint.url.path.clone()).unwrap_or_default(),
        limit: config.limit,
        queue: config.queue.clone(),
        room: registry.room(&config.name),
        host: config.host.clone(),
        endpoints: ArcSwap::default(),
        tls,
        settings: format!("{:?} {:?} {:?}", config.protocol, config.tls, config.resolver),
    };
    let listed: Vec<Found> = list.iter().map(Found::listed).collect();
    upstream.endpoints.store(Arc::new(upstream.cells(registry, &listed)));
    Ok(Arc::new(upstream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::endpoint;

    fn limited(registry: &Registry, limit: u32) -> Arc<Upstream> {
        let config = unlag_config::Upstream::new("shop", Source::Endpoints(Vec::new()));
        let config = unlag_config::Upstream { limit: Limit::Fixed(limit), ..config };
        build_upstream(&config, None, registry).unwrap()
    }

    #[test]
    fn a_plan_that_is_built_or_no_longer_in_force_changes_no_limit_of_what_serves() {
        let registry = Registry::new(unlag_record::Registry::new(unlag_record::Bounds::default(), None));
        let shared = endpoint(1);
        let found = || vec![Arc::clone(&shared)];
        let (first, second) = (limited(&registry, 10), limited(&registry, 20));
        first.set_endpoints(found());
        assert_eq!(shared.gauge.limit(), None, "nothing is in force");
        first.enforce();
        second.set_endpoints(found());
        assert_eq!(shared.gauge.limit(), Some(10), "the second was only built");
        second.enforce();
        first.set_endpoints(found());
        assert_eq!(shared.gauge.limit(), Some(20), "the first is over");
    }

    #[test]
    fn another_zone_costs_a_little_in_the_own_region_and_nothing_in_another() {
        let own = unlag_config::Region { name: "eu".into(), zone: Some("a".into()), secret: None };
        let tolls = Tolls { own: Some(own), by_region: Vec::new() };
        let toll_ms = |region: Option<&str>, zone: &str| {
            let there = endpoint(1);
            let (region, zone) = (region.map(str::to_owned), Some(zone.to_owned()));
            let (scheme, host) = (unlag_config::Scheme::Http, "a".to_owned());
            let url = unlag_config::UpstreamUrl { scheme, host, port: 80, path: String::new() };
            let config = unlag_config::Endpoint::new(url);
            tolls.apply(&unlag_config::Endpoint { region, zone, ..config }, &there);
            there.status(0).toll_ms
        };
        assert_eq!((toll_ms(Some("eu"), "a"), toll_ms(Some("eu"), "b")), (0.0, OTHER_ZONE_MS));
        assert_eq!(toll_ms(None, "b"), OTHER_ZONE_MS, "without a region it is taken to be in the own one");
        assert_eq!(toll_ms(Some("us"), "b"), 0.0);
    }
}
