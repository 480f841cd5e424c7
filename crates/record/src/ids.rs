//! What identifies a request, a route and an endpoint in everything that is recorded.

use std::fmt;
use std::str::FromStr;

/// The trace id of a request: 128 bits, written as 32 lower-case hex digits. Packed, as the alignment of 16 bytes that it would ask
/// of every record takes the allocator longer than all that is done with the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(8))]
pub struct RequestId(pub u128);

impl RequestId {
    /// Reads exactly 32 hex digits of either case.
    pub fn parse(text: &str) -> Option<RequestId> {
        // from_str_radix alone would let a leading sign through.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(RequestId)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

/// The text was not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRequestId;

impl fmt::Display for InvalidRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request id is 32 hex digits")
    }
}

impl std::error::Error for InvalidRequestId {}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        RequestId::parse(text).ok_or(InvalidRequestId)
    }
}

/// A route's name as interned by [`Registry::route`](crate::Registry::route); stable across reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub(crate) u32);

impl RouteId {
    /// Stands for every route past the bound, and for requests that matched none. Named `other`.
    pub const OTHER: RouteId = RouteId(0);
}

/// An endpoint as interned by [`Registry::endpoint`](crate::Registry::endpoint); stable across reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(crate) u32);

impl EndpointId {
    /// Stands for every endpoint past the bound. Named `other`.
    pub const OTHER: EndpointId = EndpointId(0);
}

/// The name of what is past a bound.
pub const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_survives_being_written_and_read() {
        for id in [0, 1, u128::MAX, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736] {
            let text = RequestId(id).to_string();
            assert_eq!(text.len(), 32);
            assert_eq!(text.parse(), Ok(RequestId(id)));
        }
    }

    #[test]
    fn anything_but_32_hex_digits_is_refused() {
        let sign = "+bf92f3577b34da6a3ce929d0e0e4736";
        for text in
            ["", "4bf9", sign, "4bf92f3577b34da6a3ce929d0e0e473g", "4bf92f3577b34da6a3ce929d0e0e47361"]
        {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }
}
