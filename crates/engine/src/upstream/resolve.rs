//! Names of endpoints, resolved beside the request path and kept for a while when they cannot be resolved any more (RFC 8767).

use crate::fleet::Endpoint;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Builder = ResolverBuilder<TokioRuntimeProvider>;

/// A name is asked for again at 80 % of its time to live, within these bounds.
const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(300);
/// After a failure, twice as long after each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Addresses that could not be confirmed for so long are dropped: longer than an outage of a name server usually takes, and no
/// more than that, because by then they may be somebody else's. RFC 8767 §5 allows days, for caches that serve everybody.
const STALE_MAX: Duration = Duration::from_secs(3600);

/// The system's resolver; none when the system has no configuration for one, then the C library is asked.
pub fn resolver() -> Option<TokioResolver> {
    TokioResolver::builder_tokio().and_then(without_cache).ok()
}

/// Answers are kept in the endpoints; a cache in between would give the old one again until its time is over, and say no for as
/// long as the zone wishes.
fn without_cache(mut builder: Builder) -> Result<TokioResolver, NetError> {
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// Keeps the addresses of an endpoint fresh for as long as the task lives.
pub async fn keep_fresh(endpoint: Arc<Endpoint>, resolver: Option<Arc<TokioResolver>>) {
    let mut failures = 0;
    loop {
        let found = look_up(&endpoint, resolver.as_deref()).await;
        let now = crate::clock::now();
        let wait = match found {
            Ok((addresses, lifetime)) if !addresses.is_empty() => {
                failures = 0;
                endpoint.note_resolved(now);
                if **endpoint.addresses.load() != addresses {
                    tracing::info!(upstream = %endpoint.upstream, endpoint = %endpoint.authority(), ?addresses, "resolved");
                    endpoint.addresses.store(Arc::new(addresses));
                }
                refresh_after(lifetime)
            }
            failed => {
                let error = failed.err().unwrap_or_else(|| "no addresses".to_owned());
                tracing::warn!(upstream = %endpoint.upstream, endpoint = %endpoint.authority(), %error, "cannot resolve");
                drop_if_stale(&endpoint, now);
                failures += 1;
                retry_after(failures)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn refresh_after(lifetime: Duration) -> Duration {
    (lifetime * 4 / 5).clamp(REFRESH_MIN, REFRESH_MAX)
}

fn retry_after(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(RETRY_MAX)
}

/// Forgets addresses that were confirmed too long ago.
fn drop_if_stale(endpoint: &Endpoint, now: u64) {
    let is_stale = now.saturating_sub(endpoint.resolved_ns()) > crate::clock::ns(STALE_MAX);
    if is_stale && !endpoint.addresses.load().is_empty() {
        tracing::warn!(upstream = %endpoint.upstream, endpoint = %endpoint.authority(), "its last addresses are too old");
        endpoint.addresses.store(Arc::default());
    }
}

async fn look_up(
    endpoint: &Endpoint,
    resolver: Option<&TokioResolver>,
) -> Result<(Vec<SocketAddr>, Duration), String> {
    let (host, port) = (endpoint.url.host.as_str(), endpoint.url.port);
    match resolver {
        // Names without a dot are the system's business: files, search lists, containers.
        Some(resolver) if host.contains('.') => {
            let found = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
            let lifetime = found.valid_until().saturating_duration_since(crate::clock::instant().into_std());
            Ok((in_turn(found.iter(), port), lifetime))
        }
        _ => {
            let found = tokio::net::lookup_host((host, port)).await.map_err(|error| error.to_string())?;
            Ok((in_turn(found.map(|address| address.ip()), port), Duration::from_secs(30)))
        }
    }
}

/// How long a start or a reload waits for names that are not known yet.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How many names are asked for at once: a list of hundreds is through in a few turns, and a silent name server holds no more
/// threads than this until the C library gives up.
const AT_ONCE: usize = 16;

/// Asks once for the addresses of endpoints that have none, so that the first request finds them. What does not resolve in
/// time is left to [`keep_fresh`].
pub fn first(endpoints: &[Arc<Endpoint>]) {
    let unresolved = endpoints.iter().filter(|endpoint| endpoint.status(0).unresolved).cloned().collect();
    in_threads(unresolved, FIRST_WAIT, |endpoint| {
        let found =
            std::net::ToSocketAddrs::to_socket_addrs(&(endpoint.url.host.as_str(), endpoint.url.port));
        if let Ok(found) = found {
            let addresses = in_turn(found.map(|address| address.ip()), endpoint.url.port);
            endpoint.note_resolved(crate::clock::now());
            endpoint.addresses.store(Arc::new(addresses));
        }
    });
}

/// Does the same for each endpoint, for some at once, and waits for it so long. What has not begun by then is left out, as is
/// what there is no thread for.
fn in_threads(
    endpoints: Vec<Arc<Endpoint>>,
    wait: Duration,
    ask: impl Fn(&Endpoint) + Copy + Send + 'static,
) {
    let until = crate::clock::now() + crate::clock::ns(wait);
    let threads = endpoints.len().min(AT_ONCE);
    let left = Arc::new(Mutex::new(endpoints));
    // Nobody sends: what is waited for is that the last thread drops its end.
    let (working, all_done) = std::sync::mpsc::channel::<Infallible>();
    for _ in 0..threads {
        let (left, working) = (Arc::clone(&left), working.clone());
        let next = move || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = move || {
            let _working = working;
            while let Some(endpoint) = next().filter(|_| crate::clock::now() < until) {
                ask(&endpoint);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("unlag-names".into()).spawn(work) {
            tracing::warn!(%error, "no thread to look up names at the start");
            break;
        }
    }
    drop(working);
    let _ = all_done.recv_timeout(wait);
}

/// Families alternate, IPv6 first (RFC 8305 §4).
fn in_turn(found: impl Iterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = found.partition(IpAddr::is_ipv6);
    let mut addresses = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            return addresses;
        }
        addresses.extend(pair.into_iter().flatten().map(|ip| SocketAddr::new(ip, port)));
    }
}

#[cfg(test)]
mod tests;
