//! No request is understood differently by unlag and by the origin behind it: row D1. Each payload is refused, or
//! forwarded so that five third-party readers find the same single request in what the origin received.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod parsers;
mod suite_tools;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parsers::{Reading, Readings, read_all};
use unlag_testkit::client::find;
use unlag_testkit::smuggle::{Expect, Payload, SMUGGLED, payloads};
use unlag_testkit::wait::holds_within;
use unlag_testkit::{RawOrigin, ReadError, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// One unlag with its origin each, so that what an origin sees belongs to one payload.
const LANES: usize = 6;

/// What became of one payload.
struct Fate {
    payload: Payload,
    /// The status of the first response; none when the connection ended without one.
    status: Option<u16>,
    /// Why there is no status, or that the connection stayed open.
    complaint: Option<String>,
    /// What each connection to the origin received.
    received: Vec<Vec<u8>>,
}

fn lane() -> (Unlag, RawOrigin) {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine";
    let origin = RawOrigin::always(Script::new().request().send(answer).silence());
    let setup = Setup::of(UNLAG).to([origin.url()]).workers(1);
    let setup = setup.limit("header_timeout", "\"250ms\"").limit("idle_timeout", "\"250ms\"");
    let setup = setup.limit("body_rate_grace", "\"250ms\"").limit("body_rate_min", "\"64KiB\"");
    let setup = setup.limit("response_head_timeout", "\"1s\"").toml("[monitor]\naccess_log = \"off\"");
    (setup.start(), origin)
}

fn fate_of(payload: Payload, unlag: &Unlag, origin: &RawOrigin) -> Fate {
    let before = origin.connections();
    let mut client = unlag.connect().with_deadline(Duration::from_secs(6));
    client.send(&payload.bytes);
    let (mut status, mut complaint) = (None, None);
    match client.try_read_response("GET") {
        Ok(response) => status = Some(response.status()),
        Err(ReadError::Closed) => {}
        Err(error) => complaint = Some(error.to_string()),
    }
    if let Err(error) = client.read_to_end() {
        complaint = Some(format!("the connection stays open: {error}"));
    }
    let all_closed = || (before..origin.connections()).all(|number| origin.is_closed(number));
    if !holds_within(Duration::from_secs(6), all_closed) {
        complaint = Some("a connection to the origin stays open".to_owned());
    }
    let received = (before..origin.connections()).map(|number| origin.connection(number).received);
    Fate { payload, status, complaint, received: received.collect() }
}

fn fates(seed: u64) -> Vec<Fate> {
    let (all, next) = (payloads(seed), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|_| {
                scope.spawn(|| {
                    let ((unlag, origin), mut fates) = (lane(), Vec::new());
                    while let Some(payload) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        fates.push(fate_of(payload.clone(), &unlag, &origin));
                    }
                    fates
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect()
    })
}

/// Whether a reader that finds nothing only refuses what it does not know, while the others agree: llhttp has a fixed
/// list of methods, and not all readers take bytes in a target that RFC 3986 leaves out.
fn may_refuse(reader: &str, bytes: &[u8]) -> bool {
    const KNOWN: [&[u8]; 7] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH "];
    let unknown_method = !KNOWN.iter().any(|method| bytes.starts_with(method));
    let line = &bytes[..find(bytes, b"\r\n").unwrap_or(bytes.len())];
    let odd_target = line.iter().any(|byte| *byte >= 0x80 || b"\"<>\\^`{|}#".contains(byte));
    odd_target || (unknown_method && matches!(reader, "node" | "httptools"))
}

/// `http.server` folds leading slashes and reads no body: its reading in the form that it can be compared in.
fn comparable(reader: &str, reading: &Reading) -> Reading {
    let mut reading = reading.clone();
    if reader == "http.server" {
        reading.3 = None;
        reading.1 = format!("/{}", reading.1.trim_start_matches('/'));
    }
    reading
}

/// What is wrong with one recording of a connection to the origin.
fn faults_of(id: &str, bytes: &[u8], readings: &Readings, whole_allowed: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let with_bodies = readings.iter().filter(|(reader, _)| *reader != "http.server");
    let mut found = with_bodies.filter_map(|(_, all)| all.get(id)).cloned();
    let reference = found.find(|requests| !requests.is_empty()).unwrap_or_default();
    for (reader, all) in readings {
        let found = all.get(id).cloned().unwrap_or_default();
        if found.iter().any(|request| request.1 == SMUGGLED) {
            faults.push(format!("{reader} finds a smuggled request"));
        }
        if found.len() > 1 {
            faults.push(format!("{reader} finds {} requests", found.len()));
        }
        if reader == "http.server" && reference.is_empty() {
            continue;
        }
        if !found.is_empty() && !whole_allowed {
            faults.push(format!("{reader} finds a whole request"));
        }
        let expected: Vec<Reading> = reference.iter().map(|request| comparable(reader, request)).collect();
        let found: Vec<Reading> = found.iter().map(|request| comparable(reader, request)).collect();
        if found != expected && !(found.is_empty() && may_refuse(reader, bytes)) {
            faults.push(format!("{reader} finds {found:?}, others {expected:?}"));
        }
    }
    faults
}

fn verdict(fate: &Fate, readings: &Readings) -> Vec<String> {
    let refused = matches!(fate.status, None | Some(400..=499 | 501 | 505));
    let must = fate.payload.expect == Expect::Refused;
    let mut faults: Vec<String> = fate.complaint.clone().into_iter().collect();
    match fate.status {
        Some(200 | 101) if !must => {}
        _ if refused => {}
        status => faults.push(format!("answered {status:?}")),
    }
    for (number, bytes) in fate.received.iter().enumerate() {
        let recording = format!("{}#{number}", fate.payload.id);
        faults.extend(faults_of(&recording, bytes, readings, !must));
        let head = &bytes[..find(bytes, b"\r\n\r\n").unwrap_or(bytes.len())];
        if head.iter().any(|byte| matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127)) {
            faults.push("control bytes in a forwarded head".to_owned());
        }
    }
    faults
}

#[test]
fn d1_every_payload_is_refused_or_understood_alike_by_five_readers() {
    let seed = std::env::var("UNLAG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let fates = fates(seed);
    let mut recordings = BTreeMap::new();
    for fate in &fates {
        for (number, bytes) in fate.received.iter().enumerate() {
            recordings.insert(format!("{}#{number}", fate.payload.id), bytes.clone());
        }
    }
    let (readings, missing) = read_all(&recordings);
    if !missing.is_empty() {
        let reason = format!("without {}, which `cargo xtask setup` gets", missing.join(", "));
        suite_tools::skip("smuggling payloads", &reason);
    }
    let forwarded = fates.iter().filter(|fate| !fate.received.is_empty()).count();
    eprintln!(
        "seed {seed}: {} payloads, {forwarded} reached the origin, {} recordings",
        fates.len(),
        recordings.len()
    );
    let mut failed = 0;
    for fate in &fates {
        let faults = verdict(fate, &readings);
        if !faults.is_empty() {
            failed += 1;
            let shown = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
            eprintln!("{} ({:?}): {}", fate.payload.id, fate.payload.expect, faults.join("; "));
            eprintln!("    sent {}", shown(&fate.payload.bytes));
            fate.received.iter().for_each(|bytes| eprintln!("    origin {}", shown(bytes)));
        }
    }
    assert_eq!(failed, 0, "{failed} of {} payloads failed, seed {seed}", fates.len());
}

#[test]
fn the_readers_find_what_is_there() {
    let recordings = BTreeMap::from([
        ("one".to_owned(), b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("two".to_owned(), b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("half".to_owned(), b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".to_vec()),
    ]);
    let (readings, _missing) = read_all(&recordings);
    for (reader, all) in &readings {
        assert_eq!(all["one"].len(), 1, "{reader}");
        assert_eq!(all["one"][0].1, "/a", "{reader}");
    }
    assert_eq!(faults_of("one", &recordings["one"], &readings, true), Vec::<String>::new());
    assert!(!faults_of("two", &recordings["two"], &readings, true).is_empty());
    assert_eq!(faults_of("half", &recordings["half"], &readings, false), Vec::<String>::new());
}
