//! The plan: the configuration in the form in which it serves, immutable, one per load. An exchange keeps the plan that it
//! began with; what is learned lives in the [`Registry`] of endpoints, which outlives plans.

mod registry;
mod upstream;

pub use registry::Registry;
pub use upstream::Upstream;

use crate::clock;
use crate::limits::Bounds;
use crate::marker::Markers;
use crate::router::Router;
use crate::techniques::admit::allowance::Allowance;
use crate::techniques::cache::Overrides;
use crate::techniques::edge::files::Directory;
use crate::upstream::discover;
use std::net::IpAddr;
use std::sync::Arc;
use unlag_config::{Config, HeaderEdits, Network, Template};
use unlag_record::RouteId;
use upstream::build_upstream;

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
    Ok(Some(Arc::new(Markers::with_key(resolved(secret, "region.secret")?.as_bytes()))))
}

fn shared_address(secret: &unlag_config::Secret) -> Result<unlag_tier::Address, PlanError> {
    let place = "cache.shared";
    let refused =
        |error: unlag_tier::AddressError| PlanError { place: place.into(), message: error.to_string() };
    resolved(secret, place)?.parse().map_err(refused)
}

/// A secret's own text.
fn resolved<'a>(secret: &'a unlag_config::Secret, place: &str) -> Result<&'a str, PlanError> {
    let message = "the variable or file that it names is not there".into();
    secret.is_resolved().then(|| secret.expose()).ok_or(PlanError { place: place.into(), message })
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

#[cfg(test)]
pub mod tests {
    //! Endpoints for the tests of techniques.
    use super::registry::new_endpoint;
    use crate::fleet::Endpoint;
    use crate::upstream::discover_names::Found;
    use std::sync::Arc;
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
