//! Asks name servers: for the addresses of a name, and for the places of a service. Those that the system is configured with,
//! or those that an upstream names. What they say is noted as it is; what becomes of it is for others to decide.

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// What a name server said: no records if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records.
    pub records: Vec<T>,
    /// How long they hold.
    pub lifetime: Duration,
}

/// What came of a question, or why nothing did.
pub type Looked<T> = Result<Answer<T>, String>;

/// A place of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Lower is asked first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Its name, in lower case without the dot of the root.
    pub target: String,
    /// Its port.
    pub port: u16,
}

/// How long a name server of an upstream's own may take: it is near, and a recursive one seldom takes longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one family of addresses is waited for once the other has come: some name servers never answer for IPv6, and a first
/// start waits a second in all.
const OTHER_FAMILY: Duration = Duration::from_millis(500);
/// How long a name holds that the C library has looked up, which does not say.
const UNSAID_LIFETIME: Duration = Duration::from_secs(30);

/// Whom to ask.
#[derive(Clone)]
pub struct Names {
    /// None where the system has no configuration: then the C library is asked.
    resolver: Option<TokioResolver>,
    is_own: bool,
}

impl Names {
    /// These name servers, or those of the system if there are none here.
    pub fn at(servers: &[SocketAddr]) -> Names {
        let resolver = match servers {
            [] => TokioResolver::builder_tokio().and_then(without_cache),
            servers => without_cache(of_servers(servers)),
        };
        Names { resolver: resolver.ok(), is_own: !servers.is_empty() }
    }

    /// The addresses of a name, IPv6 and IPv4.
    pub async fn addresses(&self, host: &str) -> [Looked<IpAddr>; 2] {
        match &self.resolver {
            // Names without a dot are the system's business: files, search lists, containers.
            Some(resolver) if self.is_own || host.contains('.') => {
                let family = |kind| async move {
                    let found = self.records(resolver, host, kind, |record| match record {
                        RData::A(v4) => Some(IpAddr::V4(v4.0)),
                        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
                        _ => None,
                    });
                    found.await.map(reachable)
                };
                both(family(RecordType::AAAA), family(RecordType::A)).await
            }
            _ => match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => {
                    let (v6, v4) = found.map(|address| address.ip()).partition(IpAddr::is_ipv6);
                    [v6, v4].map(|records| Ok(reachable(Answer { records, lifetime: UNSAID_LIFETIME })))
                }
                Err(error) => [Err(error.to_string()), Err(error.to_string())],
            },
        }
    }

    /// The places of a service.
    pub async fn places(&self, service: &str) -> Looked<Place> {
        let Some(resolver) = &self.resolver else {
            return Err("the system has no name server configured; name one with `resolver`".to_owned());
        };
        let found = self.records(resolver, service, RecordType::SRV, |record| match record {
            RData::SRV(srv) => {
                let target = srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                let place = Place { priority: srv.priority, weight: srv.weight, target, port: srv.port };
                Some(place).filter(is_usable)
            }
            _ => None,
        });
        found.await
    }

    async fn records<T>(
        &self,
        resolver: &TokioResolver,
        name: &str,
        kind: RecordType,
        of: impl Fn(&RData) -> Option<T>,
    ) -> Looked<T> {
        // With the dot it is meant as it stands: no search list of the system's.
        let name = if self.is_own { format!("{name}.") } else { name.to_owned() };
        match resolver.lookup(name, kind).await {
            Ok(found) => {
                let lifetime =
                    found.valid_until().saturating_duration_since(crate::clock::instant().into_std());
                let records = found.answers().iter().filter_map(|record| of(&record.data)).collect();
                Ok(Answer { records, lifetime })
            }
            Err(error) if error.is_no_records_found() => {
                Ok(Answer { records: Vec::new(), lifetime: Duration::ZERO })
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn of_servers(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let server = |address: &SocketAddr| {
        // TCP for answers that do not fit into a datagram.
        let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.to_vec())
    };
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
    let mut builder = TokioResolver::builder_with_config(config, Default::default());
    let options = builder.options_mut();
    options.timeout = SERVER_TIMEOUT;
    options.use_hosts_file = ResolveHosts::Never;
    builder
}

/// Answers are kept in the endpoints; a cache in between would give the old one again until its time is over, and say no for as
/// long as the zone wishes.
fn without_cache(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// Both of two answers; where one has brought something, the other is not waited for much longer.
async fn both<T>(
    first: impl Future<Output = Looked<T>>,
    second: impl Future<Output = Looked<T>>,
) -> [Looked<T>; 2] {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let late = |_| Err("no answer in time".to_owned());
    let is_something = |looked: &Looked<T>| looked.as_ref().is_ok_and(|answer| !answer.records.is_empty());
    tokio::select! {
        one = &mut first => match is_something(&one) {
            true => [one, timeout(OTHER_FAMILY, second).await.unwrap_or_else(late)],
            false => [one, second.await],
        },
        other = &mut second => match is_something(&other) {
            true => [timeout(OTHER_FAMILY, first).await.unwrap_or_else(late), other],
            false => [first.await, other],
        },
    }
}

/// Leaves out what is nobody's address: connecting to it would reach this machine, or many.
fn reachable(mut answer: Answer<IpAddr>) -> Answer<IpAddr> {
    answer.records.retain(|ip| !ip.is_unspecified() && !ip.is_multicast());
    answer
}

/// Whether requests can be sent there: not to the root, which stands for none (RFC 2782), nor to what is no host name.
fn is_usable(place: &Place) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let target = &place.target;
    place.port != 0
        && (1..=253).contains(&target.len())
        && target.bytes().all(allowed)
        && target.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_name_or_a_port_is_none() {
        let place = |target: &str, port| Place { priority: 0, weight: 0, target: target.to_owned(), port };
        assert!(is_usable(&place("a-1.shop.test", 80)));
        for bad in [place("", 80), place("a.test", 0), place("10.0.0.1", 80), place("a\\032b.test", 80)] {
            assert!(!is_usable(&bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_nobodys_address_is_left_out() {
        let records = ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "10.0.0.1"].map(|ip| ip.parse().unwrap());
        let left = reachable(Answer { records: records.to_vec(), lifetime: Duration::ZERO }).records;
        assert_eq!(left, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_is_never_answered_for_holds_the_other_up_for_half_a_second() {
        let answer = Answer { records: vec![1], lifetime: Duration::ZERO };
        let (found, started) = (answer.clone(), crate::clock::now());
        let [late, there] = both(std::future::pending(), async { Ok(found) }).await;
        assert_eq!((late.is_err(), there), (true, Ok(answer)));
        assert_eq!(crate::clock::now() - started, crate::clock::ns(OTHER_FAMILY));
    }
}
