//! Endpoints from DNS: every address of a name is one, or every place of a service (RFC 2782) is.
//!
//! What was found outlives plans, so that a reload goes on with what is known, and a name server that is away, slow or wrong
//! takes no endpoint from anybody: see [`super::resolve`]. Of a service the places of the lowest priority that has an address
//! are endpoints; those behind them are asked for only while it has none.
//!
//! Idea: the STRICT_DNS clusters of Envoy. When not to: a name server that gives a few of many addresses at random, as each
//! answer counts as the whole.

use super::names::{Names, Place};
use super::resolve::{Fortune, Known, is_stale, some_at_once};
use crate::clock;
use crate::plan::{Registry, Upstream};
use crate::shared::Shared;
use arc_swap::ArcSwap;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Mutex;
use unlag_config::{ENDPOINTS_MAX, Endpoint, Scheme, Source, UpstreamUrl};

/// What was found of a name or a service.
#[derive(Debug, Default)]
pub struct Discovered {
    endpoints: ArcSwap<Vec<Found>>,
    is_known: AtomicBool,
    /// Held while name servers are asked, which one task does at a time.
    memory: Mutex<Memory>,
}

/// An endpoint, and what it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is, and its weight.
    pub endpoint: Endpoint,
    /// What it is called in `Host`: a name also where its URL has the address.
    pub called: UpstreamUrl,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// What its name resolves to; nothing where others look after that.
    pub addresses: Vec<SocketAddr>,
}

impl Found {
    /// An endpoint that was listed.
    pub fn listed(endpoint: &Endpoint) -> Found {
        let (called, server_name) = (endpoint.url.clone(), endpoint.url.host.clone());
        Found { endpoint: endpoint.clone(), called, server_name, addresses: Vec::new() }
    }
}

/// What name servers said, as long as it may be used.
#[derive(Debug, Default)]
struct Memory {
    places: Vec<Place>,
    confirmed_ns: u64,
    hosts: HashMap<String, Known>,
}

impl Discovered {
    /// The endpoints as they were last found.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<Vec<Found>>> {
        self.endpoints.load()
    }

    /// Whether anything was ever found.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Relaxed)
    }

    /// Asks once. Returns how long the answer holds, or why there is none.
    pub(super) async fn ask(&self, source: &Source, names: &Names) -> Result<Duration, String> {
        let mut memory = self.memory.lock().await;
        let (outcome, found) = match source {
            Source::Dns { scheme, name, port } => {
                let known = memory.hosts.entry(name.clone()).or_default();
                let outcome = known.take(names.addresses(name).await, clock::now());
                (outcome, addresses_of(known, *scheme, name, *port))
            }
            Source::Srv { scheme, name } => memory.ask_service(*scheme, name, names).await,
            Source::Endpoints(_) | Source::File(_) => return Err("nothing is looked up".to_owned()),
        };
        if **self.endpoints.load() != found {
            self.endpoints.store(Arc::new(found));
        }
        if outcome.is_ok() {
            self.is_known.store(true, Relaxed);
        }
        outcome
    }
}

fn addresses_of(known: &Known, scheme: Scheme, name: &str, port: u16) -> Vec<Found> {
    let url = |host: String| UpstreamUrl { scheme, host, port, path: String::new() };
    // In order: name servers turn theirs, which means nothing to who balances.
    let addresses: BTreeSet<IpAddr> = known.in_turn(port).iter().map(SocketAddr::ip).collect();
    let found = |ip: IpAddr| Found {
        endpoint: Endpoint::new(url(ip.to_string())),
        called: url(name.to_owned()),
        server_name: name.to_owned(),
        addresses: vec![SocketAddr::new(ip, port)],
    };
    addresses.into_iter().map(found).collect()
}

impl Memory {
    async fn ask_service(
        &mut self,
        scheme: Scheme,
        service: &str,
        names: &Names,
    ) -> (Result<Duration, String>, Vec<Found>) {
        let looked = names.places(service).await;
        let now = clock::now();
        let mut outcome = match looked {
            Ok(answer) if !answer.records.is_empty() => {
                (self.places, self.confirmed_ns) = (distinct(answer.records), now);
                Ok(answer.lifetime)
            }
            Ok(_) => Err("no places".to_owned()),
            Err(error) => Err(error),
        };
        if is_stale(self.confirmed_ns, now) {
            self.places.clear();
        }
        // Its domain vouches for a service, not the targets, which whoever answers for it may choose (RFC 6125 §6.2.1).
        let domain = service.splitn(3, '.').nth(2).unwrap_or(service);
        // A copy: whoever asks may be stopped in the middle, and what is known must not go with it.
        let places = self.places.clone();
        let mut found = Vec::new();
        for group in places.chunk_by(|a, b| a.priority == b.priority) {
            let lifetime = self.resolve(group, names).await;
            found = self.endpoints_of(group, scheme, domain);
            if !found.is_empty() {
                outcome = outcome.map(|own| lifetime.map_or(own, |theirs| own.min(theirs)));
                break;
            }
        }
        self.hosts.retain(|host, _| places.iter().any(|place| place.target == *host));
        if found.is_empty() && outcome.is_ok() {
            outcome = Err("none of its names has an address".to_owned());
        }
        (outcome, found)
    }

    /// Asks for the addresses of these places; how long those hold that came.
    async fn resolve(&mut self, group: &[Place], names: &Names) -> Option<Duration> {
        let targets: BTreeSet<&String> = group.iter().map(|place| &place.target).collect();
        let ask = targets.into_iter().cloned().map(|target| {
            let names = names.clone();
            async move { (names.addresses(&target).await, target) }
        });
        let answers = some_at_once(ask).await;
        let now = clock::now();
        let taken = answers
            .into_iter()
            .map(|(looked, target)| self.hosts.entry(target).or_default().take(looked, now));
        // All of them: each has taken its answer.
        taken.collect::<Vec<_>>().into_iter().flatten().min()
    }

    fn endpoints_of(&self, group: &[Place], scheme: Scheme, domain: &str) -> Vec<Found> {
        let weights = weights(&group.iter().map(|place| place.weight).collect::<Vec<_>>());
        let found = group.iter().zip(weights).filter_map(|(place, weight)| {
            let addresses = self.hosts.get(&place.target)?.in_turn(place.port);
            let (host, port) = (place.target.clone(), place.port);
            let url = UpstreamUrl { scheme, host, port, path: String::new() };
            let endpoint = Endpoint { weight, ..Endpoint::new(url.clone()) };
            let found = Found { endpoint, called: url, server_name: domain.to_owned(), addresses };
            (!found.addresses.is_empty()).then_some(found)
        });
        found.collect()
    }
}

/// The places in the order of their priorities, each once.
fn distinct(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by(|a, b| (a.priority, &a.target, a.port).cmp(&(b.priority, &b.target, b.port)));
    places.dedup_by(|a, b| (a.priority, &a.target, a.port) == (b.priority, &b.target, b.port));
    places
}

/// Most that a weight of ours can be.
const WEIGHT_MAX: u32 = 1_000;

/// Weights of RFC 2782 as ours, in the same ratios, as small as they can be: who takes turns by them comes round soon. 0 is a very
/// small one, or none at all.
fn weights(of: &[u16]) -> Vec<u32> {
    let heaviest = u32::from(of.iter().copied().max().unwrap_or_default());
    let shared = of.iter().fold(0, |shared, &weight| divisor(shared, weight.into()));
    let ours = |weight: u32| match of.contains(&0) {
        false if heaviest / shared <= WEIGHT_MAX => weight / shared,
        _ if heaviest > WEIGHT_MAX => weight * WEIGHT_MAX / heaviest,
        _ => weight,
    };
    of.iter().map(|&weight| ours(weight.into()).max(1)).collect()
}

/// The greatest common one.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Keeps the endpoints of an upstream as name servers have them, for as long as the task lives.
pub async fn keep_fresh(upstream: Arc<Upstream>, names: Names, shared: Arc<Shared>) {
    let (Some(discovered), Some(name)) = (&upstream.discovered, upstream.source.name()) else { return };
    let (mut fortune, mut told) = (Fortune::default(), false);
    loop {
        let outcome = discovered.ask(&upstream.source, &names).await;
        let count = discovered.endpoints().len();
        let too_many = count > ENDPOINTS_MAX;
        if too_many && !told {
            tracing::warn!(upstream = %upstream.name, name, count, "there are more endpoints than {ENDPOINTS_MAX}, the others are left out");
        }
        told = too_many;
        if take(&upstream, &shared.endpoints) {
            let endpoints = upstream.fleet().len();
            tracing::info!(upstream = %upstream.name, name, endpoints, "endpoints found");
            shared.fleet_changed();
        }
        tokio::time::sleep(fortune.next(outcome, &upstream.name, name)).await;
    }
}

/// Gives an upstream the endpoints that were found. Whether they are others than before.
pub(super) fn take(upstream: &Arc<Upstream>, registry: &Registry) -> bool {
    let Some(discovered) = &upstream.discovered else { return false };
    let found = discovered.endpoints();
    let found = found.get(..ENDPOINTS_MAX).unwrap_or(&found);
    let fleet = upstream.cells(registry, found);
    for (endpoint, found) in fleet.iter().zip(found) {
        super::resolve::set_addresses(endpoint, found.addresses.clone(), true);
    }
    let is_same = upstream.fleet().iter().map(|endpoint| endpoint.index).eq(fleet.iter().map(|it| it.index));
    if !is_same {
        upstream.set_endpoints(fleet);
    }
    upstream.weigh(found.iter().map(|found| &found.endpoint));
    !is_same
}

#[cfg(test)]
mod tests;
