//! What endpoints name servers make, and what becomes of them when those change their mind.

use super::*;
use unlag_testkit::dns::{NameServer, Record, Zone};

const HTTP: &str = "_http._tcp.shop.test";

fn address(name: &'static str, last: u8) -> Record {
    Record::Address(name, IpAddr::from([127, 0, 0, last]))
}

struct Bed {
    server: NameServer,
    source: Source,
    discovered: Discovered,
}

impl Bed {
    fn new(source: Source, records: Vec<Record>) -> Bed {
        let server = NameServer::start(Zone::Records(records, 60));
        Bed { server, source, discovered: Discovered::default() }
    }

    fn service(records: Vec<Record>) -> Bed {
        Bed::new(Source::Srv { scheme: Scheme::Https, name: HTTP.to_owned() }, records)
    }

    /// Asks once; what there is then, with weights.
    async fn ask(&self) -> Vec<String> {
        let names = Names::at(&[self.server.address()]);
        let _ = self.discovered.ask(&self.source, &names).await;
        self.known()
    }

    fn known(&self) -> Vec<String> {
        let found = self.discovered.endpoints();
        found.iter().map(|found| format!("{} {}", found.endpoint.url, found.endpoint.weight)).collect()
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_an_endpoint_that_goes_by_the_name() {
    let source = Source::Dns { scheme: Scheme::Https, name: "shop.test".to_owned(), port: 8443 };
    let v6 = Record::Address("shop.test", IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
    let bed =
        Bed::new(source, vec![address("shop.test", 2), v6, address("shop.test", 1), address("other", 3)]);
    let urls = ["https://127.0.0.1:8443 1", "https://127.0.0.2:8443 1", "https://[::1]:8443 1"];
    assert_eq!(bed.ask().await, urls);
    for found in bed.discovered.endpoints().iter() {
        assert_eq!(
            (found.called.authority(), found.server_name.as_str()),
            ("shop.test:8443".into(), "shop.test")
        );
    }
}

#[tokio::test]
async fn what_was_found_stays_when_a_name_server_has_nothing_to_say() {
    let source = Source::Dns { scheme: Scheme::Http, name: "shop.test".to_owned(), port: 80 };
    let bed = Bed::new(source, vec![address("shop.test", 1)]);
    let before = bed.ask().await;
    assert_eq!(before, ["http://127.0.0.1 1"]);
    for zone in [Zone::NoSuchName, Zone::Empty, Zone::Failure] {
        bed.server.set(zone);
        assert_eq!(bed.ask().await, before);
    }
    assert!(bed.discovered.is_known());
}

#[tokio::test]
async fn places_of_the_lowest_priority_are_endpoints_with_their_ports_and_weights() {
    let bed = Bed::service(vec![
        Record::Place(HTTP, 10, 60, 8001, "a.shop.test"),
        Record::Place(HTTP, 10, 0, 8002, "a.shop.test"),
        Record::Place(HTTP, 20, 1, 8003, "b.shop.test"),
        address("a.shop.test", 1),
        address("b.shop.test", 2),
    ]);
    assert_eq!(bed.ask().await, ["https://a.shop.test:8001 60", "https://a.shop.test:8002 1"]);
    let found = bed.discovered.endpoints();
    assert_eq!(found[0].addresses, ["127.0.0.1:8001".parse().unwrap()]);
    assert_eq!(
        (found[0].called.authority().as_str(), found[0].server_name.as_str()),
        ("a.shop.test:8001", "shop.test")
    );
}

#[tokio::test]
async fn places_of_the_next_priority_stand_in_while_none_of_the_first_resolves() {
    let places = || {
        vec![
            Record::Place(HTTP, 1, 1, 8001, "a.shop.test"),
            Record::Place(HTTP, 2, 1, 8002, "b.shop.test"),
            address("b.shop.test", 2),
        ]
    };
    let bed = Bed::service(places());
    assert_eq!(bed.ask().await, ["https://b.shop.test:8002 1"]);
    let mut all = places();
    all.push(address("a.shop.test", 1));
    bed.server.set(Zone::Records(all, 60));
    assert_eq!(bed.ask().await, ["https://a.shop.test:8001 1"]);
    // One that resolved a moment ago has its last addresses.
    bed.server.set(Zone::Records(places(), 60));
    assert_eq!(bed.ask().await, ["https://a.shop.test:8001 1"]);
}

#[tokio::test]
async fn an_answer_that_fits_into_no_datagram_is_fetched_over_tcp_and_what_is_above_the_bound_is_known() {
    let source = Source::Dns { scheme: Scheme::Http, name: "shop.test".to_owned(), port: 80 };
    let many = (0..1200u32).map(|n| Record::Address("shop.test", IpAddr::V4((0x7f00_0001 + n).into())));
    let bed = Bed::new(source, many.collect());
    assert_eq!(bed.ask().await.len(), 1200);
    assert!(bed.server.over_tcp() > 0);
}

#[test]
fn weights_keep_their_ratios_and_are_as_small_as_they_can_be() {
    assert_eq!(weights(&[30_000, 10_000]), [3, 1]);
    assert_eq!(weights(&[0, 0]), [1, 1]);
    assert_eq!(weights(&[0, 60, 30]), [1, 60, 30]);
    assert_eq!(weights(&[65_535, 32_768, 1, 0]), [1000, 500, 1, 1]);
    assert_eq!(weights(&[7]), [1]);
    assert!(weights(&[]).is_empty());
}
