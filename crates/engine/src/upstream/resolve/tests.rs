//! What becomes of the addresses of a name when its name server changes its mind or falls silent: row U38.

use super::*;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use unlag_testkit::dns::{NameServer, Zone};
use unlag_testkit::wait_until;

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn resolver_of(server: &NameServer) -> Arc<TokioResolver> {
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = server.address().port();
    let servers = vec![NameServerConfig::new(server.address().ip(), true, vec![connection])];
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let builder = TokioResolver::builder_with_config(config, Default::default());
    Arc::new(without_cache(builder).unwrap())
}

/// A name with its addresses kept fresh from a server of the test's own.
struct Bed {
    server: NameServer,
    endpoint: Arc<Endpoint>,
    stop: Arc<tokio::sync::Notify>,
}

impl Bed {
    fn new(zone: Zone) -> Bed {
        let (server, stop) = (NameServer::start(zone), Arc::new(tokio::sync::Notify::new()));
        let endpoint = crate::plan::tests::named("shop.test");
        let bed = Bed { server, endpoint: Arc::clone(&endpoint), stop: Arc::clone(&stop) };
        let resolver = resolver_of(&bed.server);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = keep_fresh(endpoint, Some(resolver)) => {}
                    () = stop.notified() => {}
                }
            });
        });
        wait_until("the first address", || bed.has(&[FIRST]));
        bed
    }

    fn has(&self, expected: &[Ipv4Addr]) -> bool {
        self.endpoint
            .addresses
            .load()
            .iter()
            .map(SocketAddr::ip)
            .eq(expected.iter().map(|ip| IpAddr::V4(*ip)))
    }

    /// The question after the next shows that its answer has been digested.
    fn asked_twice_more(&self) {
        let before = self.server.questions();
        wait_until("two more questions", || self.server.questions() > before + 1);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

#[test]
fn addresses_that_change_are_followed_within_their_time_to_live() {
    let bed = Bed::new(Zone::Addresses(vec![FIRST], 1));
    bed.server.set(Zone::Addresses(vec![SECOND], 1));
    wait_until("the new address", || bed.has(&[SECOND]));
}

#[test]
fn a_time_to_live_of_nothing_is_asked_for_once_a_second() {
    let bed = Bed::new(Zone::Addresses(vec![FIRST], 0));
    let started = crate::clock::now();
    let before = bed.server.questions();
    wait_until("two more questions", || bed.server.questions() >= before + 2);
    let passed = Duration::from_nanos(crate::clock::now() - started);
    assert!(passed >= Duration::from_millis(900), "{passed:?}");
    assert!(bed.has(&[FIRST]));
}

#[test]
fn a_name_that_is_gone_or_has_no_addresses_keeps_its_last_good_ones() {
    for zone in [Zone::NoSuchName, Zone::Empty] {
        let bed = Bed::new(Zone::Addresses(vec![FIRST], 1));
        bed.server.set(zone);
        bed.asked_twice_more();
        assert!(bed.has(&[FIRST]));
        bed.server.set(Zone::Addresses(vec![SECOND], 1));
        wait_until("the new address", || bed.has(&[SECOND]));
    }
}

#[test]
fn a_server_that_falls_silent_keeps_the_last_good_addresses() {
    let bed = Bed::new(Zone::Addresses(vec![FIRST], 1));
    bed.server.set(Zone::Silence);
    let before = bed.server.questions();
    wait_until("a question", || bed.server.questions() > before);
    assert!(bed.has(&[FIRST]));
    bed.server.set(Zone::Addresses(vec![SECOND], 1));
    wait_until("the new address", || bed.has(&[SECOND]));
}

#[test]
fn addresses_are_asked_for_again_at_four_fifths_of_their_time_within_bounds() {
    assert_eq!(refresh_after(Duration::from_secs(100)), Duration::from_secs(80));
    assert_eq!(refresh_after(Duration::ZERO), Duration::from_secs(1));
    assert_eq!(refresh_after(Duration::from_secs(86_400)), Duration::from_secs(300));
}

#[test]
fn failures_are_followed_by_longer_pauses_up_to_five_seconds() {
    let pauses: Vec<u64> = (1..6).map(|failures| retry_after(failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 5, 5]);
}

#[test]
fn addresses_that_could_not_be_confirmed_for_an_hour_are_dropped() {
    let endpoint = crate::plan::tests::named("shop.test");
    endpoint.addresses.store(Arc::new(vec![SocketAddr::from((FIRST, 80))]));
    let confirmed = 7;
    endpoint.note_resolved(confirmed);
    drop_if_stale(&endpoint, confirmed + crate::clock::ns(STALE_MAX) - 1);
    assert_eq!(endpoint.addresses.load().len(), 1);
    drop_if_stale(&endpoint, confirmed + crate::clock::ns(STALE_MAX) + 1);
    assert!(endpoint.addresses.load().is_empty());
}

#[test]
fn sixteen_names_are_asked_for_at_once_and_all_in_the_end() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static TURN: Barrier = Barrier::new(AT_ONCE);
    let endpoints: Vec<_> = (0..3 * AT_ONCE).map(|_| crate::plan::tests::named("shop.test")).collect();
    in_threads(endpoints.clone(), Duration::from_secs(15), |endpoint| {
        MOST.fetch_max(NOW.fetch_add(1, Relaxed) + 1, Relaxed);
        // Fewer than that at once would wait here for ever.
        TURN.wait();
        endpoint.note_resolved(7);
        NOW.fetch_sub(1, Relaxed);
    });
    assert_eq!(MOST.load(Relaxed), AT_ONCE);
    assert!(endpoints.iter().all(|endpoint| endpoint.resolved_ns() == 7));
}

#[test]
fn families_alternate() {
    let found = ["10.0.0.1", "10.0.0.2", "::1"].map(|ip| ip.parse().unwrap());
    let order: Vec<String> = in_turn(found.into_iter(), 80).iter().map(ToString::to_string).collect();
    assert_eq!(order, ["[::1]:80", "10.0.0.1:80", "10.0.0.2:80"]);
}
