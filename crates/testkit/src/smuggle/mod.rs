//! Requests that two readers may understand differently, each with an id: written for this project from the classes
//! that the literature names. [`payloads`] returns them in an order that a seed decides and repeats.

mod bodies;
mod fields;
mod framing;
mod lines;

/// What must become of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A 4xx (or 501, 505) and the end of the connection; no whole request reaches the origin.
    Refused,
    /// Refused, or forwarded so that every reader understands the same requests.
    Either,
}

/// One payload.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The class and a number within it, such as `te-spelling-17`.
    pub id: String,
    /// What the caller sends.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub expect: Expect,
}

/// The target that no payload may get to an origin as a request of its own.
pub const SMUGGLED: &str = "/smuggled";

/// A request that hides in the body or the fields of another.
pub(crate) const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: unlag.test\r\n\r\n";

/// Collects the payloads of one class.
pub(crate) struct Class<'a> {
    name: &'static str,
    count: usize,
    all: &'a mut Vec<Payload>,
}

impl<'a> Class<'a> {
    pub(crate) fn new(name: &'static str, all: &'a mut Vec<Payload>) -> Class<'a> {
        Class { name, count: 0, all }
    }

    fn add(&mut self, expect: Expect, bytes: impl AsRef<[u8]>) {
        let id = format!("{}-{}", self.name, self.count);
        self.count += 1;
        self.all.push(Payload { id, bytes: bytes.as_ref().to_vec(), expect });
    }

    pub(crate) fn refused(&mut self, bytes: impl AsRef<[u8]>) {
        self.add(Expect::Refused, bytes);
    }

    pub(crate) fn either(&mut self, bytes: impl AsRef<[u8]>) {
        self.add(Expect::Either, bytes);
    }
}

/// A POST with these fields and this body, each as it stands.
pub(crate) fn post(fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST /outer HTTP/1.1\r\nHost: unlag.test\r\n", fields.as_ref(), b"\r\n\r\n", body.as_ref()].concat()
}

/// A GET with these fields.
pub(crate) fn get(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /outer HTTP/1.1\r\nHost: unlag.test\r\n", fields.as_ref(), b"\r\n\r\n"].concat()
}

/// Every payload, in the order that `seed` decides.
pub fn payloads(seed: u64) -> Vec<Payload> {
    let mut all = Vec::new();
    framing::add(&mut all);
    bodies::add(&mut all);
    fields::add(&mut all);
    lines::add(&mut all);
    shuffle(&mut all, seed);
    all
}

/// Fisher and Yates over a SplitMix64 sequence.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(last + 1).expect("fewer than 2^64 items");
        items.swap(last, usize::try_from((mixed ^ (mixed >> 31)) % bound).expect("below the length"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_more_than_five_hundred_and_no_two_are_the_same() {
        let all = payloads(1);
        let (ids, bytes): (HashSet<_>, HashSet<_>) =
            all.iter().map(|payload| (payload.id.clone(), payload.bytes.clone())).unzip();
        assert!(all.len() > 500, "{}", all.len());
        assert_eq!(ids.len(), all.len(), "ids repeat");
        assert!(bytes.len() + 5 > all.len(), "{} of {} differ", bytes.len(), all.len());
    }

    #[test]
    fn a_seed_repeats_its_order_and_another_one_changes_it() {
        let order = |seed| payloads(seed).into_iter().map(|payload| payload.id).collect::<Vec<_>>();
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }
}
