//! A stored response as nodes share it: fields and content as they are, the age that it had and for how long it was written down,
//! what selected it, and the number of the last purge that its writer knew of before it asked. Whoever reads it judges its freshness by its own rules. Anything odd
//! is nothing.
//!
//! ```text
//! version u8 | kind u8 | seq u64 | written_unix_ms u64 | age_ms u64 | kept_ms u64 | status u16 | fields | trailers | selected | content
//! ```
//! Numbers are big-endian; a list is its length (u16) and its members, a text its length (u32) and its bytes.

use super::arrival::Whole;
use super::object::{Content, Stored};
use super::vary::Selected;
use crate::http::{Fields, ResponseHead};
use bytes::Bytes;
use std::time::Duration;

const VERSION: u8 = 2;
/// What a head usually takes.
const HEAD_BYTES: usize = 1_024;
/// More fields are not read; a head has fewer (`limits.fields`).
const FIELDS_MAX: usize = 1_000;

/// What nodes hold under a key.
#[derive(Debug)]
pub enum Shared {
    /// A response.
    Response(Box<Letter>),
    /// The key goes on with the values of these fields of the request.
    Varies(Vec<Vec<u8>>),
}

/// A response as another node wrote it down.
#[derive(Debug)]
pub struct Letter {
    /// The last purge that its writer knew of when it asked.
    pub seq: u64,
    /// When it was written, by the writer's clock.
    pub written_unix_ms: u64,
    /// Its age then.
    pub age_ms: u64,
    /// For how long it was to be kept.
    pub kept_ms: u64,
    /// Status and fields.
    pub head: ResponseHead,
    /// Content and trailers.
    pub whole: Whole,
    /// The request fields that chose it.
    pub selected: Selected,
}

impl Letter {
    /// How long ago it was written, with so much left of the time for which it is kept. By the writer's clock and the reader's, and
    /// no less than by that of the server between them: those two may differ by any time, and what is old must not pass for new.
    pub fn since_ms(&self, now_unix_ms: u64, left: Duration) -> u64 {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        now_unix_ms.saturating_sub(self.written_unix_ms).max(self.kept_ms.saturating_sub(left_ms))
    }
}

/// Writes down that a key goes on with the values of these fields.
pub fn varies(selected: &Selected) -> Bytes {
    let mut out = vec![VERSION, b'v'];
    put_list(&mut out, selected.iter().map(|(name, _)| &**name));
    out.into()
}

/// Writes down a response whose content is whole.
pub fn response(stored: &Stored, seq: u64, now_unix_ms: u64, age_ms: u64, kept_ms: u64) -> Option<Bytes> {
    let Content::Whole(content) = &stored.content else { return None };
    let mut out = Vec::with_capacity(content.len() + HEAD_BYTES);
    out.extend_from_slice(&[VERSION, b'r']);
    for number in [seq, now_unix_ms, age_ms, kept_ms] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&stored.head.status.to_be_bytes());
    put_fields(&mut out, &stored.head.fields);
    match &stored.trailers {
        None => out.push(0),
        Some(trailers) => {
            out.push(1);
            put_fields(&mut out, trailers);
        }
    }
    put_list(&mut out, stored.selected.iter().map(|(name, _)| &**name));
    for (_, value) in &stored.selected {
        out.push(u8::from(value.is_some()));
        put_text(&mut out, value.as_deref().unwrap_or_default());
    }
    put_text(&mut out, content);
    Some(out.into())
}

/// Reads what another node has written down.
pub fn read(bytes: &Bytes) -> Option<Shared> {
    let mut reader = Reader { bytes, at: 0 };
    let [version, kind] = reader.array()?;
    let shared = match (version, kind) {
        (VERSION, b'v') => Shared::Varies(reader.list()?),
        (VERSION, b'r') => Shared::Response(Box::new(reader.letter()?)),
        _ => return None,
    };
    (reader.at == bytes.len()).then_some(shared)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

fn put_list<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a [u8]>) {
    out.extend_from_slice(&(texts.len() as u16).to_be_bytes());
    texts.for_each(|text| put_text(out, text));
}

fn put_fields(out: &mut Vec<u8>, fields: &Fields) {
    out.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    for field in fields.iter() {
        put_text(out, field.name);
        put_text(out, field.value);
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn short(&mut self) -> Option<usize> {
        self.array().map(|array| usize::from(u16::from_be_bytes(array)))
    }

    fn text(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let text = self.bytes.slice(self.at..end);
        self.at = end;
        Some(text)
    }

    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        let length = self.short().filter(|length| *length <= FIELDS_MAX)?;
        (0..length).map(|_| self.text().map(|text| text.to_vec())).collect()
    }

    fn fields(&mut self) -> Option<Fields> {
        let length = self.short().filter(|length| *length <= FIELDS_MAX)?;
        let mut fields = Fields::default();
        for _ in 0..length {
            let (name, value) = (self.text()?, self.text()?);
            // What is served as a head must be one.
            let is_name =
                !name.is_empty() && name.iter().all(|&byte| crate::http::fields::is_token_byte(byte));
            if !is_name || !crate::http::fields::is_field_value(&value) {
                return None;
            }
            fields.push(&name, &value);
        }
        Some(fields)
    }

    fn letter(&mut self) -> Option<Letter> {
        let (seq, written_unix_ms) = (self.number()?, self.number()?);
        let (age_ms, kept_ms) = (self.number()?, self.number()?);
        let status = u16::from_be_bytes(self.array()?);
        let head = ResponseHead { status, fields: self.fields()? };
        let trailers = match self.array()? {
            [0] => None,
            [1] => Some(self.fields()?),
            _ => return None,
        };
        let mut selected = Vec::new();
        for name in self.list()? {
            let [is_there] = self.array()?;
            let value = self.text()?;
            selected.push((name.into(), (is_there == 1).then(|| value.as_ref().into())));
        }
        // Of its own: a piece would hold on to all of what was read.
        let content = Bytes::copy_from_slice(&self.text()?);
        (200..600).contains(&status).then_some(Letter {
            seq,
            written_unix_ms,
            age_ms,
            kept_ms,
            head,
            whole: Whole { content, trailers },
            selected: selected.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::freshness::{Freshness, Overrides, Received};
    use super::super::object::Notes;
    use super::*;
    use proptest::prelude::*;

    fn stored() -> Stored {
        let mut fields = Fields::default();
        fields.push(b"Etag", b"\"a\"");
        fields.push(b"vary", b"accept, x");
        let directives = super::super::directives::Directives::of_response(&fields);
        let freshness = Freshness::new(200, &fields, &directives, Received::default(), &Overrides::default());
        let mut trailers = Fields::default();
        trailers.push(b"grpc-status", b"0");
        Stored {
            route: 1,
            head: ResponseHead { status: 200, fields },
            content: Content::Whole(Bytes::from_static(b"content")),
            part: None,
            trailers: Some(Box::new(trailers)),
            freshness,
            received: Received::default(),
            asker: 0,
            selected: [(b"accept"[..].into(), Some(b"b"[..].into())), (b"x"[..].into(), None)].into(),
            tags: Box::default(),
            notes: Notes::default(),
        }
    }

    #[test]
    fn what_one_node_writes_down_another_reads() {
        let written = response(&stored(), 7, 1_000, 20, 600_000).unwrap();
        let Some(Shared::Response(letter)) = read(&written) else { panic!("a response") };
        assert_eq!((letter.seq, letter.written_unix_ms, letter.age_ms), (7, 1_000, 20));
        assert_eq!((letter.head.status, letter.head.fields.len()), (200, 2));
        assert_eq!(&letter.whole.content[..], b"content");
        assert_eq!(letter.whole.trailers.unwrap().get_named("grpc-status"), Some(&b"0"[..]));
        assert_eq!(letter.selected, stored().selected);
        let Some(Shared::Varies(names)) = read(&varies(&stored().selected)) else { panic!("names") };
        assert_eq!(names, [b"accept".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn a_letter_is_no_younger_than_the_server_says_whatever_the_clocks_of_the_nodes() {
        let written = response(&stored(), 7, 100_000, 20, 60_000).unwrap();
        let Some(Shared::Response(letter)) = read(&written) else { panic!("a response") };
        let since = |now_ms, left_s| letter.since_ms(now_ms, Duration::from_secs(left_s));
        assert_eq!(since(115_000, 45), 15_000);
        assert_eq!(since(55_000, 45), 15_000, "the reader's clock is a minute behind");
        assert_eq!(since(115_000, 61), 15_000, "the server rounds up");
        assert_eq!(since(115_000, 0), 60_000, "it cannot say");
    }

    #[test]
    fn a_head_that_would_not_be_one_is_nothing() {
        for (name, value) in [("a b", "c"), ("", "c"), ("a", "b\r\nc"), ("a", " b")] {
            let mut odd = stored();
            odd.head.fields.push(name.as_bytes(), value.as_bytes());
            assert!(read(&response(&odd, 0, 0, 0, 0).unwrap()).is_none(), "{name:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_or_is_nothing(at in 0usize..150, byte: u8, cut in 0usize..150) {
            let mut bytes = response(&stored(), 7, 1_000, 20, 600_000).unwrap().to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            read(&bytes.clone().into());
            bytes.truncate(cut % length);
            prop_assert!(read(&bytes.into()).is_none());
        }
    }
}
