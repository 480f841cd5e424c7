//! A request head means one thing: the same however it arrives, and the same to whoever reads what we make of it.

use crate::cuts;
use unlag_engine::http::h1::parse::{self, HeadError, HeadLimits, ParsedRequest};
use unlag_engine::http::h1::{Framing, encode, framing};
use unlag_engine::http::{Name, RequestHead, Version};

/// Small bounds, so that inputs of any kind reach them.
const LIMITS: HeadLimits = HeadLimits { head: 1024, fields: 16, uri: 256 };

/// A head grows when it is written again: white space is added, and `Host` even when there was none.
const LIMITS_AGAIN: HeadLimits = HeadLimits { head: 4096, fields: 32, uri: 512 };

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    method: String,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    authority: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meaning {
    fn of(head: &RequestHead) -> Meaning {
        Meaning {
            method: head.method.to_string(),
            path: head.path().to_vec(),
            query: head.query().map(<[u8]>::to_vec),
            authority: head.authority().to_vec(),
            fields: head.fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect(),
        }
    }
}

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    let whole = read(bytes, 0);
    for way in cuts::WAYS.skip(1) {
        assert_eq!(verdict(&whole), verdict(&read(bytes, way)), "cut in way {way}: {}", bytes.escape_ascii());
    }
    if let Ok(Some(parsed)) = whole {
        others_read_the_same(bytes.get(..parsed.len).unwrap_or_default(), &parsed.head);
        means_the_same_when_written_again(parsed.head);
    }
}

fn read(bytes: &[u8], way: usize) -> Result<Option<ParsedRequest>, HeadError> {
    let (mut buffer, mut seen) = (Vec::new(), 0);
    for read in cuts::reads(bytes, way) {
        buffer.extend_from_slice(read);
        if let Some(parsed) = parse::request(&buffer, &mut seen, &LIMITS)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

fn verdict(
    result: &Result<Option<ParsedRequest>, HeadError>,
) -> Result<Option<(usize, Version, Meaning)>, HeadError> {
    let parsed = result.as_ref().map_err(|error| *error)?.as_ref();
    Ok(parsed.map(|parsed| (parsed.len, parsed.head.version, Meaning::of(&parsed.head))))
}

/// What we take, a reader that is more lenient takes as well, and finds the same in it.
fn others_read_the_same(bytes: &[u8], head: &RequestHead) {
    let mut table = [httparse::EMPTY_HEADER; 64];
    let mut other = httparse::Request::new(&mut table);
    let status = other.parse(bytes);
    assert_eq!(status, Ok(httparse::Status::Complete(bytes.len())), "{}", bytes.escape_ascii());
    assert_eq!(other.method, Some(head.method.as_str()));
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let theirs = other.headers.iter().filter(|header| !is_host(header.name));
    let theirs: Vec<_> = theirs.map(|header| (header.name.as_bytes(), header.value)).collect();
    let ours: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(ours, theirs, "{}", bytes.escape_ascii());
}

fn means_the_same_when_written_again(mut head: RequestHead) {
    let framing = framing::of_request(&head.fields, head.version).unwrap_or(Framing::None);
    head.fields.retain(|field| !field.known.is_hop_by_hop() && field.known != Name::ContentLength);
    let before = Meaning::of(&head);
    let mut out = Vec::new();
    encode::request(&mut out, &head, head.authority(), framing, None);
    let again = parse::request(&out, &mut 0, &LIMITS_AGAIN);
    let again = again.unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    let again = again.unwrap_or_else(|| panic!("it does not end: {}", out.escape_ascii()));
    assert_eq!(again.len, out.len(), "one head is written: {}", out.escape_ascii());
    let mut head = again.head;
    assert_eq!(framing::of_request(&head.fields, head.version), Ok(framing), "{}", out.escape_ascii());
    head.fields.retain(|field| !matches!(field.known, Name::ContentLength | Name::TransferEncoding));
    assert_eq!(Meaning::of(&head), before, "{}", out.escape_ascii());
}
