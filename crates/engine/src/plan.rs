//! The plan: the configuration in the form in which it serves, immutable, one per load. An exchange keeps the plan that it
//! began with; what is learned lives in the [`Registry`] of endpoints, which outlives plans.

use crate::clock;
use crate::error::Error;
use crate::fleet::{Cell, Endpoint, RegionId, Service};
use crate::limits::Bounds;
use crate::router::Router;
use crate::techniques::admit::allowance::{Allowance, Used};
use crate::techniques::admit::gauge::Gauge;
use crate::techniques::admit::room::Room;
use crate::techniques::balance::hash;
use crate::techniques::cache::Overrides;
use crate::techniques::edge::files::Directory;
use crate::techniques::region::marker::Markers;
use crate::upstream::discover_names::{Discovered, Found};
use crate::upstream::{discover, tls};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use unlag_config::{
    Balance, Config, HeaderEdits, Health, HostHeader, Limit, Network, Protocol, Queue, Source, Template,
};
use unlag_record::RouteId;

/// Everything that an exchange needs to know of the configuration.
#[derive(Debug)]
pub struct Plan {
    /// Which load this is, from 1.
    pub generation: u64,
    /// Finds the route.
    pub router: Router,
    /// The routes, in the order of the file.
    pub routes: Vec<Arc<Route>>,
    /// The upstreams, in the order of the file.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Peers whose word on the caller is believed.
    pub trusted: Vec<Network>,
    /// The bounds.
    pub bounds: Bounds,
    /// Room for stored answers.
    pub cache_bytes: u64,
    /// Where they are shared with other nodes.
    pub cache_shared: Option<unlag_tier::Address>,
    /// What markers of writes are signed with, where nodes share that.
    pub markers: Option<Arc<Markers>>,
    /// How the cache calls itself.
    pub cache_name: String,
    /// The region of this node, if that is said.
    pub region: Option<String>,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name in metrics.
    pub record: RouteId,
    /// As configured.
    pub config: unlag_config::Route,
    /// What answers it.
    pub action: Action,
    /// How long an upstream may take to the head of its answer.
    pub head_timeout_ns: u64,
    /// How long an exchange may take in all; without a limit, every step of it has its own.
    pub total_timeout_ns: u64,
    /// How long a body may stand still.
    pub idle_timeout_ns: u64,
    /// How often it may be asked.
    pub allowance: Option<Allowance>,
    /// By which rules it is cached, if it is.
    pub cache: Option<Overrides>,
}

/// What answers a route.
#[derive(Debug)]
pub enum Action {
    /// An upstream, by its position in the plan.
    Proxy(usize),
    /// A fixed answer.
    Respond {
        /// The status.
        status: u16,
        /// The `Location`, with the route's parameters put in.
        location: Option<Template>,
        /// The content.
        body: bytes::Bytes,
        /// Its type.
        content_type: String,
    },
    /// Files.
    Static(Arc<Directory>),
}

impl Route {
    /// Changes to the request's fields.
    pub fn request_edits(&self) -> &HeaderEdits {
        &self.config.request_headers
    }

    /// Changes to the answer's fields.
    pub fn response_edits(&self) -> &HeaderEdits {
        &self.config.response_headers
    }
}

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

    /// Replaces the endpoints; those that stay keep their state.
    pub fn set_endpoints(self: &Arc<Self>, endpoints: Vec<Arc<Endpoint>>) {
        self.endpoints.store(Arc::new(endpoints));
        self.enforce();
    }

    /// Has its endpoints go by its limit: when its plan is put in force, and not before.
    pub fn enforce(self: &Arc<Self>) {
        let places: Weak<Upstream> = Arc::downgrade(self);
        self.room.set_places(places);
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
        let is_other_zone = matches!(zones, (Some(own), Some(zone)) if own != zone);
        endpoint.set_toll_ms(toll_ms + if is_other_zone { OTHER_ZONE_MS } else { 0.0 });
        if matches!((own, &config.region), (Some(own), Some(region)) if own.name != *region) {
            endpoint.assume_far();
        }
    }
}

/// Answers after which a knee is one that was learned, and not where learning begins.
const KNEE_ANSWERS: u32 = 1_000;

/// Why a valid configuration cannot be put to work.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct PlanError {
    /// The part of the configuration.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Plan {
    /// Builds the plan of a configuration. Nothing running is changed.
    pub fn build(config: &Config, registry: &Registry, generation: u64) -> Result<Plan, PlanError> {
        let upstreams: Vec<Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|upstream| build_upstream(upstream, config.region.as_ref(), registry))
            .collect::<Result<_, _>>()?;
        discover::first(&upstreams, registry);
        let bounds = Bounds::new(&config.limits);
        let mut router = Router::default();
        let mut routes = Vec::with_capacity(config.routes.len());
        for (index, route) in config.routes.iter().enumerate() {
            router.add(index, &route.pattern, &route.headers);
            routes.push(Arc::new(build_route(route, config, registry, &bounds)));
        }
        let (trusted, cache_bytes) = (config.trust.proxies.clone(), config.cache.memory);
        let markers = config.region.as_ref().map(markers).transpose()?.flatten();
        let cache_shared = config.cache.shared.as_ref().map(shared_address).transpose()?;
        let cache_name = config.cache.name.clone();
        Ok(Plan {
            generation,
            router,
            routes,
            upstreams,
            trusted,
            bounds,
            cache_bytes,
            cache_shared,
            markers,
            cache_name,
            region: config.region.as_ref().map(|region| region.name.clone()),
        })
    }

    /// Whether this peer's word on the caller is believed.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(peer)))
    }
}

fn markers(region: &unlag_config::Region) -> Result<Option<Arc<Markers>>, PlanError> {
    let Some(secret) = &region.secret else { return Ok(None) };
    if !secret.is_resolved() {
        let message = "the variable or file that it names is not there".into();
        return Err(PlanError { place: "region.secret".into(), message });
    }
    Ok(Some(Arc::new(Markers::with_key(secret.expose().as_bytes()))))
}

fn shared_address(secret: &unlag_config::Secret) -> Result<unlag_tier::Address, PlanError> {
    let refused = |message: String| PlanError { place: "cache.shared".into(), message };
    if !secret.is_resolved() {
        return Err(refused("the variable or file that it names is not there".into()));
    }
    secret.expose().parse().map_err(|error: unlag_tier::AddressError| refused(error.to_string()))
}

fn build_upstream(
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
    service.set_slow_start(config.slow_start.map_or(0, clock::ns));
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

fn build_route(config: &unlag_config::Route, whole: &Config, registry: &Registry, bounds: &Bounds) -> Route {
    let action = match &config.action {
        unlag_config::Action::Proxy(index) => Action::Proxy(*index),
        unlag_config::Action::Respond(respond) => Action::Respond {
            status: respond.status,
            location: respond.location.clone(),
            body: bytes::Bytes::copy_from_slice(respond.body.as_bytes()),
            content_type: respond.content_type.clone(),
        },
        unlag_config::Action::Static(files) => Action::Static(Arc::new(Directory::new(files, &config.name))),
    };
    Route {
        record: registry.record.route(&config.name),
        action,
        head_timeout_ns: config.attempts.timeout.fixed().map_or(bounds.response_head_timeout_ns, clock::ns),
        total_timeout_ns: config.attempts.timeout.fixed().map_or(u64::MAX, clock::ns),
        idle_timeout_ns: clock::ns(config.idle_timeout),
        allowance: config
            .rate
            .as_ref()
            .map(|rate| Allowance::new(rate, registry.used(&config.name, rate), &whole.trust.proxies)),
        cache: config.cache.as_ref().map(|rules| Overrides {
            ttl_ns: rules.ttl.map(clock::ns),
            stale_while_revalidate_ns: rules.stale_while_revalidate.map(clock::ns),
            stale_if_error_ns: rules.stale_if_error.map(clock::ns),
            heuristic: whole.cache.heuristic,
            set_cookie: whole.cache.set_cookie,
            body: rules.body,
            explains: *rules != unlag_config::RouteCache::default(),
            is_off: false,
        }),
        config: config.clone(),
    }
}

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

fn new_endpoint(
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
        won: Mutex::default(),
        last_error: Mutex::default(),
    }
}

#[cfg(test)]
pub mod tests {
    //! Endpoints for the tests of techniques.
    use super::*;
    use unlag_config::{Scheme, UpstreamUrl};

    /// An endpoint that nobody listens on.
    pub fn endpoint(index: u32) -> Arc<Endpoint> {
        at("127.0.0.1", index, 1)
    }

    /// An endpoint whose name is not resolved yet.
    pub fn named(host: &str) -> Arc<Endpoint> {
        at(host, 0, 1)
    }

    /// An endpoint of this weight.
    pub fn weighing(index: u32, weight: u32) -> Arc<Endpoint> {
        at("127.0.0.1", index, weight)
    }

    fn at(host: &str, index: u32, weight: u32) -> Arc<Endpoint> {
        let registry = unlag_record::Registry::new(unlag_record::Bounds::default(), None);
        let port = 1000 + index as u16;
        let url = UpstreamUrl { scheme: Scheme::Http, host: host.into(), port, path: String::new() };
        let record = registry.endpoint("test", &url.authority());
        let config = unlag_config::Endpoint { weight, ..unlag_config::Endpoint::new(url) };
        Arc::new(new_endpoint(index, record, &"test".into(), &Found::listed(&config), None, Arc::default()))
    }
}
