//! What becomes of the addresses of a name when its name server changes its mind or falls silent: row U38.

use super::super::names::Answer;
use super::*;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Barrier;
use unlag_testkit::dns::{NameServer, Zone};
use unlag_testkit::wait_until;

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

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
        let names = Names::at(&[bed.server.address()]);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = keep_fresh(endpoint, names) => {}
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
fn addresses_are_asked_for_again_before_their_time_is_over_within_bounds_and_not_by_all_nodes_at_once() {
    let after = |lifetime, random| refresh_after(Duration::from_secs(lifetime), random).as_secs();
    assert_eq!([after(100, 0), after(100, u64::MAX)], [70, 80]);
    assert_eq!([after(0, 0), after(1, u64::MAX)], [1, 1]);
    assert_eq!([after(86_400, 0), after(86_400, u64::MAX)], [210, 240]);
}

#[test]
fn failures_are_followed_by_longer_pauses_up_to_five_seconds() {
    let pauses: Vec<u64> = (1..6).map(|failures| retry_after(failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 5, 5]);
}

fn answer(addresses: &[&str]) -> Looked<IpAddr> {
    let records = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    Ok(Answer { records, lifetime: Duration::from_secs(60) })
}

fn all(known: &Known) -> Vec<String> {
    known.in_turn(80).iter().map(|address| address.ip().to_string()).collect()
}

#[test]
fn addresses_that_could_not_be_confirmed_for_an_hour_are_dropped() {
    let (confirmed, mut known) = (7, Known::default());
    let failed = || [Err("no".to_owned()), Err("no".to_owned())];
    assert!(known.take([answer(&[]), answer(&["127.0.0.1"])], confirmed).is_ok());
    let hour = clock::ns(STALE_MAX);
    assert_eq!(known.take(failed(), confirmed + hour), Err("no".to_owned()));
    assert_eq!(all(&known), ["127.0.0.1"]);
    assert!(known.take(failed(), confirmed + hour + 1).is_err());
    assert!(all(&known).is_empty());
}

#[test]
fn a_family_that_fails_keeps_its_addresses_and_one_that_has_none_any_more_does_not() {
    let mut known = Known::default();
    assert!(known.take([answer(&["::1"]), answer(&["10.0.0.1"])], 1).is_ok());
    assert!(known.take([Err("late".to_owned()), answer(&["10.0.0.2"])], 2).is_ok());
    assert_eq!(all(&known), ["::1", "10.0.0.2"]);
    assert!(known.take([answer(&[]), answer(&["10.0.0.2"])], 3).is_ok());
    assert_eq!(all(&known), ["10.0.0.2"]);
    assert_eq!(known.take([answer(&[]), answer(&[])], 4), Err("no addresses".to_owned()));
    assert_eq!(all(&known), ["10.0.0.2"], "nobody means to have no address");
}

#[tokio::test]
async fn sixteen_names_are_asked_for_at_once_and_all_in_the_end() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let turn = Arc::new(Barrier::new(AT_ONCE));
    let work = (0..3 * AT_ONCE).map(|number| {
        let turn = Arc::clone(&turn);
        async move {
            MOST.fetch_max(NOW.fetch_add(1, Relaxed) + 1, Relaxed);
            // Fewer than that at once would wait here for ever.
            turn.wait().await;
            NOW.fetch_sub(1, Relaxed);
            number
        }
    });
    let mut done = some_at_once(work.collect::<Vec<_>>()).await;
    done.sort_unstable();
    assert_eq!(done, (0..3 * AT_ONCE).collect::<Vec<_>>());
    assert_eq!(MOST.load(Relaxed), AT_ONCE);
}

#[test]
fn families_alternate() {
    let found = ["10.0.0.1", "10.0.0.2", "::1"].map(|ip| ip.parse().unwrap());
    let order: Vec<String> = in_turn(found.into_iter(), 80).iter().map(ToString::to_string).collect();
    assert_eq!(order, ["[::1]:80", "10.0.0.1:80", "10.0.0.2:80"]);
}
