//! `[cache] memory` is what the process takes for what is stored: by its resident memory, with the allocator of the binary. Each
//! case has a process of its own, so that none finds what another has given back.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]
#![expect(clippy::print_stdout, reason = "a process of a test tells the other one what it has measured")]

use bytes::Bytes;
use http::Method;
use std::process::Command;
use std::sync::Arc;
use unlag_engine::http::{Fields, Name, ResponseHead};
use unlag_engine::techniques::cache::Overrides;
use unlag_engine::techniques::cache::arrival::OBJECT_BYTES_MAX;
use unlag_engine::techniques::cache::directives::Directives;
use unlag_engine::techniques::cache::freshness::{Freshness, Received};
use unlag_engine::techniques::cache::object::{Content, Notes, Stored};
use unlag_engine::techniques::cache::store::Store;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MIB: u64 = 1_048_576;
/// So large that the few MiB which any process takes in whole huge pages are little beside it. Where the system has none, memory
/// that is held and never written does not count, which is up to 7 % less.
const BOUND: u64 = 256 * MIB;
/// Names the case that a process of its own measures.
const CASE: &str = "UNLAG_TEST_CACHE_MEMORY";

fn stored(content: usize) -> Arc<Stored> {
    let mut fields = Fields::default();
    fields.push_known(Name::Date, b"Thu, 26 Nov 2026 04:00:00 GMT");
    fields.push(b"server", b"lab");
    fields.push_known(Name::ContentType, b"text/plain");
    fields.push_known(Name::CacheControl, b"public, max-age=3600");
    fields.push_known(Name::Etag, b"\"1\"");
    let directives = Directives::of_response(&fields);
    let received = Received { asked_ns: 1, ..Received::default() };
    let freshness = Freshness::new(200, &fields, &directives, received, &Overrides::default());
    Arc::new(Stored {
        route: 1,
        head: ResponseHead { status: 200, fields: fields.compact() },
        content: Content::Whole(Bytes::from(vec![b'x'; content])),
        part: None,
        trailers: None,
        freshness,
        received,
        asker: 0,
        selected: Box::default(),
        tags: Box::new([7]),
        notes: Notes::default(),
    })
}

/// As a caller is served it.
fn serve(store: &Store, url: &[u8]) {
    let variants = store.get(url).unwrap();
    let served = variants.all().iter().map(|stored| stored.answer(&Method::GET, &Fields::default(), 2));
    assert_eq!(served.filter(|response| !response.body.is_empty()).count(), 1);
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Stores half as much again as there is room for, and says how much memory that took, in that room.
fn growth(content: usize, is_hit: bool) -> f64 {
    let store = Store::new(BOUND);
    let count = BOUND / (content as u64 + 500) * 3 / 2;
    store.put(b"http://127.0.0.1:18080/first", stored(content));
    let before = resident_bytes();
    for number in 0..count {
        let url = format!("http://127.0.0.1:18080/fill/fresh/0/{content}/{number:08}").into_bytes();
        store.put(&url, stored(content));
        if is_hit {
            serve(&store, &url);
        }
    }
    assert!(store.bytes() > BOUND * 9 / 10, "it is full: {}", store.bytes());
    (resident_bytes() - before) as f64 / BOUND as f64
}

/// The name of the first test below.
const THIS: &str = "memory_grows_by_the_bound_and_not_by_more_whatever_the_size_of_what_is_stored";

#[test]
fn memory_grows_by_the_bound_and_not_by_more_whatever_the_size_of_what_is_stored() {
    if let Ok(case) = std::env::var(CASE) {
        let (content, is_hit) = case.split_once(' ').unwrap();
        println!("growth {}", growth(content.parse().unwrap(), is_hit == "hit"));
        return;
    }
    for case in ["100 missed", "100 hit", "700 hit", "3000 missed", "10240 missed"] {
        let own = std::env::current_exe().unwrap();
        let run = Command::new(own).args(["--exact", THIS, "--nocapture"]).env(CASE, case).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let growth = said.split("growth ").nth(1).and_then(|rest| rest.lines().next()?.parse::<f64>().ok());
        let growth = growth.unwrap_or_else(|| panic!("{case}: {said}"));
        assert!((0.93..=1.05).contains(&growth), "{case}: memory grew by {growth:.3} of the bound");
    }
}

#[test]
fn the_largest_object_is_kept_in_a_memory_of_a_few_times_its_size() {
    for mib in [16, 64, 256] {
        let store = Store::new(mib * MIB);
        store.put(b"http://a/", stored(OBJECT_BYTES_MAX as usize));
        assert_eq!(store.len(), 1, "{mib} MiB");
    }
}
