//! Laws that hold for any bytes a server may send: they are refused or understood, within bounds, and nothing panics.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test reports by panicking")]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use unlag_tier::Address;
use unlag_tier::envelope::{self, PLAIN_MAX};
use unlag_tier::meta::{self, Malformed, Reply};

/// Pieces of answers, whole, cut and wrong.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let codes = [
        "HD",
        "VA",
        "EN",
        "NF",
        "NS",
        "EX",
        "MN",
        "ERROR",
        "SERVER_ERROR x",
        "VA 3",
        "VA 99999999",
        "va",
        "",
    ];
    let word =
        prop_oneof![Just(" f30".to_owned()), Just(" 5".to_owned()), Just("  ".to_owned()), "[ -~]{0,9}"];
    let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("")];
    let line = (proptest::sample::select(codes.to_vec()), word, end)
        .prop_map(|(code, word, end)| format!("{code}{word}{end}").into_bytes());
    let value = vec(any::<u8>(), 0..40).prop_map(|value| {
        let mut bytes = format!("VA {}\r\n", value.len()).into_bytes();
        bytes.extend(value);
        bytes.extend(b"\r\n");
        bytes
    });
    prop_oneof![3 => line, 3 => value, 1 => vec(any::<u8>(), 0..30)]
}

fn all(buffer: &mut BytesMut) -> (Vec<Reply>, Option<Malformed>) {
    let mut replies = Vec::new();
    loop {
        match meta::parse(buffer) {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => return (replies, None),
            Err(malformed) => return (replies, Some(malformed)),
        }
    }
}

proptest! {
    /// However the bytes are cut into packets, the answers are the same.
    #[test]
    fn answers_do_not_depend_on_how_bytes_arrive(parts in vec(answer(), 0..12), cuts in vec(1usize..20, 1..20)) {
        let bytes = parts.concat();
        let mut whole = BytesMut::from(&bytes[..]);
        let expected = all(&mut whole);
        let (mut buffer, mut replies, mut malformed) = (BytesMut::new(), Vec::new(), None);
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || malformed.is_some() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            let (more, wrong) = all(&mut buffer);
            replies.extend(more);
            malformed = wrong;
        }
        prop_assert_eq!((replies, malformed), expected);
    }

    /// What is sealed can be opened with its key in its epoch, and nothing else opens it.
    #[test]
    fn what_is_sealed_comes_back_whole(
        epoch in any::<u64>(), key in vec(any::<u8>(), 0..300), value in vec(0u8..4, 0..9000),
    ) {
        let sealed = Bytes::from(envelope::seal(epoch, &key, &value).unwrap());
        prop_assert_eq!(envelope::open(epoch, &key, &sealed), Ok(Bytes::from(value)));
        prop_assert!(envelope::open(epoch ^ 1, &key, &sealed).is_err());
        prop_assert!(envelope::open(epoch, &[&key[..], b"x"].concat(), &sealed).is_err());
    }

    /// One flipped bit or a cut anywhere is noticed.
    #[test]
    fn damage_is_noticed(value in vec(0u8..4, 0..5000), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let sealed = envelope::seal(3, b"key", &value).unwrap();
        let at = at.index(sealed.len());
        let mut flipped = sealed.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(envelope::open(3, b"key", &flipped.into()).is_err());
        prop_assert!(envelope::open(3, b"key", &Bytes::from(sealed).slice(..at)).is_err());
    }

    /// Any bytes at all, also with a head that looks right, are opened within bounds or not at all.
    #[test]
    fn any_bytes_are_opened_within_bounds(bytes in vec(any::<u8>(), 0..200), flags in 0u8..3, length in any::<u32>()) {
        let mut body = vec![1, flags];
        body.extend(length.to_le_bytes());
        body.extend(&bytes);
        let mut sealed = b"uT".to_vec();
        sealed.extend(xxhash_rust::xxh3::xxh3_64_with_seed(&body, 3).to_le_bytes());
        sealed.extend(&body);
        for sealed in [sealed, bytes] {
            if let Ok(value) = envelope::open(3, b"", &sealed.into()) {
                prop_assert!(value.len() <= PLAIN_MAX);
            }
        }
    }

    /// An address that is accepted is shown as one that is accepted and means the same, but for the login.
    #[test]
    fn an_address_is_shown_as_it_is_read(text in "(redis|rediss|redis-cluster|memcached)://[a-z@:.\\[\\],/0-9%]{0,30}") {
        if let Ok(address) = text.parse::<Address>() {
            let shown = address.to_string();
            prop_assert_eq!(shown.parse::<Address>().unwrap().to_string(), shown);
        }
    }
}
