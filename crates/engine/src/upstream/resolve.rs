//! Names of endpoints, resolved beside the request path and kept for a while when they cannot be resolved any more (RFC 8767).
//!
//! ```text
//! records                 taken, asked again before their time is over
//! none, or an error       the last good ones stay, for an hour; asked again in 1, 2, 4, 5, 5 … s
//! one family of the two   taken; of the other the last good ones stay
//! ```

use super::names::{Looked, Names};
use crate::clock;
use crate::fleet::Endpoint;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::JoinSet;

/// A name is asked for again within these bounds, whatever its time to live is.
const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(300);
/// The share of its time to live after which a name is asked for again, and by how much nodes differ in that: they do not ask
/// all at once because they started at once.
const REFRESH_SHARE: f64 = 0.7;
const REFRESH_SPREAD: f64 = 0.1;
/// After a failure, twice as long after each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What could not be confirmed for so long is dropped: longer than an outage of a name server usually takes, and no more than
/// that, because by then addresses may be somebody else's. RFC 8767 §5 allows days, for caches that serve everybody.
pub(super) const STALE_MAX: Duration = Duration::from_secs(3600);

/// What is known of the addresses of a name, by family: IPv6, IPv4.
#[derive(Clone, Debug, Default)]
pub(super) struct Known([Family; 2]);

#[derive(Clone, Debug, Default)]
struct Family {
    addresses: Vec<IpAddr>,
    confirmed_ns: u64,
}

impl Known {
    /// These addresses, confirmed at `confirmed_ns`.
    pub(super) fn of(addresses: impl Iterator<Item = IpAddr>, confirmed_ns: u64) -> Known {
        let (v6, v4): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv6);
        Known([v6, v4].map(|addresses| Family { addresses, confirmed_ns }))
    }

    /// Takes what came of asking. Returns how long it holds, or why nothing was learned.
    pub(super) fn take(&mut self, looked: [Looked<IpAddr>; 2], now: u64) -> Result<Duration, String> {
        let found = looked.iter().flatten().filter(|answer| !answer.records.is_empty());
        let lifetime = found.map(|answer| answer.lifetime).min();
        let mut error = None;
        for (family, looked) in self.0.iter_mut().zip(looked) {
            match looked {
                Ok(answer) if lifetime.is_some() => {
                    *family = Family { addresses: answer.records, confirmed_ns: now };
                    continue;
                }
                Ok(_) => {}
                Err(why) => error = Some(why),
            }
            if is_stale(family.confirmed_ns, now) {
                family.addresses.clear();
            }
        }
        lifetime.ok_or_else(|| error.unwrap_or_else(|| "no addresses".to_owned()))
    }

    /// All of them, families in turn.
    pub(super) fn in_turn(&self, port: u16) -> Vec<SocketAddr> {
        in_turn(self.0.iter().flat_map(|family| family.addresses.iter().copied()), port)
    }
}

/// Whether what was last confirmed then is too old to be used.
pub(super) fn is_stale(confirmed_ns: u64, now: u64) -> bool {
    now.saturating_sub(confirmed_ns) > clock::ns(STALE_MAX)
}

/// How a name has been faring, for the log and for the pause to the next question.
#[derive(Debug, Default)]
pub(super) struct Fortune {
    failures: u32,
}

impl Fortune {
    /// Notes what came of a question; how long to wait with the next one. A failure is said once, and so is its end.
    pub(super) fn next(&mut self, outcome: Result<Duration, String>, upstream: &str, name: &str) -> Duration {
        match outcome {
            Ok(lifetime) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(upstream, name, "resolves again");
                }
                refresh_after(lifetime, RandomState::new().hash_one(name))
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    let kept_s = STALE_MAX.as_secs();
                    tracing::warn!(upstream, name, %error, kept_s, "cannot resolve, what is known stays for a while");
                }
                retry_after(self.failures)
            }
        }
    }
}

/// `random` is any number.
fn refresh_after(lifetime: Duration, random: u64) -> Duration {
    let share = REFRESH_SHARE + REFRESH_SPREAD * random as f64 / u64::MAX as f64;
    lifetime.min(REFRESH_MAX).mul_f64(share).max(REFRESH_MIN)
}

fn retry_after(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(RETRY_MAX)
}

/// Keeps the addresses of an endpoint fresh for as long as the task lives.
pub async fn keep_fresh(endpoint: Arc<Endpoint>, names: Names) {
    let known = endpoint.addresses.load().iter().map(SocketAddr::ip).collect::<Vec<_>>();
    let mut known = Known::of(known.into_iter(), endpoint.resolved_ns());
    let mut fortune = Fortune::default();
    loop {
        let looked = names.addresses(&endpoint.url.host).await;
        let outcome = known.take(looked, clock::now());
        set_addresses(&endpoint, known.in_turn(endpoint.url.port), outcome.is_ok());
        tokio::time::sleep(fortune.next(outcome, &endpoint.upstream, &endpoint.url.host)).await;
    }
}

/// Gives an endpoint its addresses.
pub(super) fn set_addresses(endpoint: &Endpoint, addresses: Vec<SocketAddr>, confirmed: bool) {
    if confirmed {
        endpoint.note_resolved(clock::now());
    }
    if **endpoint.addresses.load() == addresses {
        return;
    }
    let (upstream, endpoint_name) = (&endpoint.upstream, endpoint.authority());
    if addresses.is_empty() {
        tracing::warn!(%upstream, endpoint = endpoint_name, "its last addresses are too old");
    } else {
        tracing::info!(%upstream, endpoint = endpoint_name, ?addresses, "resolved");
    }
    // Before: nobody takes the new ones for older than they are. After: nobody takes the old ones for confirmed.
    endpoint.moved_ns.store(clock::now(), Relaxed);
    endpoint.addresses.store(Arc::new(addresses));
    endpoint.moved_ns.store(clock::now(), Relaxed);
}

/// How long a start or a reload waits for names that are not known yet.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How many names are asked for at once: a list of hundreds is through in a few turns, and a silent name server holds no more
/// threads than this until the C library gives up.
pub(super) const AT_ONCE: usize = 16;

/// Asks once for the addresses of an endpoint that has none.
pub(super) async fn first(endpoint: Arc<Endpoint>, names: Names) {
    let mut known = Known::default();
    if known.take(names.addresses(&endpoint.url.host).await, clock::now()).is_ok() {
        set_addresses(&endpoint, known.in_turn(endpoint.url.port), true);
    }
}

/// Does all of it, some at once.
pub(super) async fn some_at_once<T: Send + 'static>(
    work: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for one in work {
        if running.len() >= AT_ONCE {
            done.extend(running.join_next().await.and_then(Result::ok));
        }
        running.spawn(one);
    }
    while let Some(ended) = running.join_next().await {
        done.extend(ended.ok());
    }
    done
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
