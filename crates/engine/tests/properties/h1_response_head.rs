//! A response head means one thing: the same however it arrives, and the same to whoever reads what we make of it.

use crate::cuts;
use unlag_engine::http::h1::encode::{self, Connection};
use unlag_engine::http::h1::parse::{self, HeadError, HeadLimits};
use unlag_engine::http::h1::{Framing, framing};
use unlag_engine::http::{Name, ResponseHead, Version};

/// Small bounds, so that inputs of any kind reach them.
const LIMITS: HeadLimits = HeadLimits { head: 1024, fields: 16, uri: 256 };

/// A head grows when it is written again: reason and white space are added.
const LIMITS_AGAIN: HeadLimits = HeadLimits { head: 4096, fields: 32, uri: 512 };

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Parsed = Option<(ResponseHead, Version, usize)>;

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    let whole = read(bytes, 0);
    for way in cuts::WAYS.skip(1) {
        assert_eq!(verdict(&whole), verdict(&read(bytes, way)), "cut in way {way}: {}", bytes.escape_ascii());
    }
    if let Ok(Some((head, version, len))) = whole {
        others_read_the_same(bytes.get(..len).unwrap_or_default(), &head);
        assert!((100..=999).contains(&head.status), "{}", head.status);
        means_the_same_when_written_again(head, version);
    }
}

fn read(bytes: &[u8], way: usize) -> Result<Parsed, HeadError> {
    let (mut buffer, mut seen) = (Vec::new(), 0);
    for read in cuts::reads(bytes, way) {
        buffer.extend_from_slice(read);
        if let Some(parsed) = parse::response(&buffer, &mut seen, &LIMITS)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

fn verdict(result: &Result<Parsed, HeadError>) -> Result<Option<(u16, Fields, Version, usize)>, HeadError> {
    let parsed = result.as_ref().map_err(|error| *error)?.as_ref();
    Ok(parsed.map(|(head, version, len)| (head.status, fields(head), *version, *len)))
}

fn fields(head: &ResponseHead) -> Fields {
    head.fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

/// What we take, a reader that is more lenient takes as well, and finds the same in it.
fn others_read_the_same(bytes: &[u8], head: &ResponseHead) {
    let mut table = [httparse::EMPTY_HEADER; 64];
    let mut other = httparse::Response::new(&mut table);
    let status = other.parse(bytes);
    assert_eq!(status, Ok(httparse::Status::Complete(bytes.len())), "{}", bytes.escape_ascii());
    assert_eq!(other.code, Some(head.status));
    let theirs = other.headers.iter().map(|header| (header.name.as_bytes().to_vec(), header.value.to_vec()));
    assert_eq!(fields(head), theirs.collect::<Vec<_>>(), "{}", bytes.escape_ascii());
}

fn means_the_same_when_written_again(mut head: ResponseHead, version: Version) {
    let framing = framing::of_response(&head.fields, version, false).unwrap_or(Framing::UntilClose);
    head.fields.retain(|field| !field.known.is_hop_by_hop() && field.known != Name::ContentLength);
    let mut out = Vec::new();
    encode::response(&mut out, &head, Some(framing), Connection::Default);
    let again = parse::response(&out, &mut 0, &LIMITS_AGAIN);
    let again = again.unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    let (mut again, version, len) =
        again.unwrap_or_else(|| panic!("it does not end: {}", out.escape_ascii()));
    assert_eq!(len, out.len(), "one head is written: {}", out.escape_ascii());
    let framed = framing::of_response(&again.fields, version, false);
    assert_eq!(framed, Ok(framing), "{}", out.escape_ascii());
    again.fields.retain(|field| !matches!(field.known, Name::ContentLength | Name::TransferEncoding));
    assert_eq!((again.status, fields(&again)), (head.status, fields(&head)), "{}", out.escape_ascii());
}
