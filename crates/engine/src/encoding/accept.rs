//! `Accept-Encoding` (RFC 9110 §12.5.3): which encodings a caller takes, and which of them to use.

use crate::http::Fields;
use crate::http::fields::members;
use unlag_config::Encoding;

/// What a caller takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Encodings that are better than none, the best first.
    best: [Option<Encoding>; 3],
    /// Whether content may come as it is.
    pub identity: bool,
}

impl Wanted {
    /// Of what is `offered`, in the order of preference where the caller has none.
    pub fn of(request: &Fields, offered: &[Encoding]) -> Wanted {
        let mut weights = Weights::default();
        let lines = request.iter().filter(|field| field.name.eq_ignore_ascii_case(b"accept-encoding"));
        for member in lines.flat_map(|field| members(field.value)) {
            weights.read(member);
        }
        let identity = weights.identity.or(weights.any);
        let mut ranked: Vec<(u16, Encoding)> =
            offered.iter().map(|&encoding| (weights.of(encoding), encoding)).collect();
        ranked.retain(|(weight, _)| *weight > 0 && *weight >= identity.unwrap_or(0));
        // Stable: the order of the offer stays where the weights are equal.
        ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let mut best = [None; 3];
        for (place, (_, encoding)) in best.iter_mut().zip(ranked) {
            *place = Some(encoding);
        }
        Wanted { best, identity: identity != Some(0) }
    }

    /// The encodings, the best first.
    pub fn encodings(&self) -> impl Iterator<Item = Encoding> {
        self.best.into_iter().flatten()
    }

    /// The best.
    pub fn first(&self) -> Option<Encoding> {
        self.encodings().next()
    }
}

/// Weights in thousandths, where they were given.
#[derive(Default)]
struct Weights {
    zstd: Option<u16>,
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn read(&mut self, member: &[u8]) {
        let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let q = |part: &[u8]| part.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"q="));
        let weight = match parts.find(|part| q(part)) {
            None => 1000,
            Some(part) => thousandths(part.get(2..).unwrap_or_default().trim_ascii()),
        };
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let place = match () {
            () if is("zstd") => &mut self.zstd,
            () if is("br") => &mut self.brotli,
            () if is("gzip") || is("x-gzip") => &mut self.gzip,
            () if is("identity") => &mut self.identity,
            () if is("*") => &mut self.any,
            () => return,
        };
        *place = Some(weight);
    }

    fn of(&self, encoding: Encoding) -> u16 {
        let own = match encoding {
            Encoding::Zstd => self.zstd,
            Encoding::Brotli => self.brotli,
            Encoding::Gzip => self.gzip,
        };
        own.or(self.any).unwrap_or(0)
    }
}

/// A weight from 0 to 1 with up to three digits; what is none weighs nothing, because it asks for nothing that can be told.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, digits) = match text {
        [b'0'] => return 0,
        [b'1'] => return 1000,
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return 0,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let scaled = [100, 10, 1].iter().zip(digits).map(|(scale, digit)| scale * u16::from(digit - b'0')).sum();
    if whole == b'1' { 1000 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::*;

    fn wanted(value: &str, offered: &[Encoding]) -> (Vec<Encoding>, bool) {
        let mut fields = Fields::default();
        fields.push(b"Accept-Encoding", value.as_bytes());
        let wanted = Wanted::of(&fields, offered);
        (wanted.encodings().collect(), wanted.identity)
    }

    #[test]
    fn the_callers_weights_decide_and_then_the_order_of_the_offer() {
        let all = &Encoding::CHEAPEST_FIRST[..];
        for (value, best, identity) in [
            ("gzip", &[Gzip][..], true),
            ("gzip, deflate, br, zstd", &[Zstd, Brotli, Gzip], true),
            ("br;q=0.9, gzip", &[Gzip, Brotli], true),
            ("GZIP;Q=0.5 , zstd ; q=0.5", &[Zstd, Gzip], true),
            ("x-gzip", &[Gzip], true),
            ("gzip;q=0", &[], true),
            ("gzip;q=0.000", &[], true),
            ("gzip;q=0.001", &[Gzip], true),
            ("*", &[Zstd, Brotli, Gzip], true),
            ("*;q=0", &[], false),
            ("gzip, *;q=0", &[Gzip], false),
            ("*, zstd;q=0", &[Brotli, Gzip], true),
            ("gzip, identity;q=0", &[Gzip], false),
            ("identity", &[], true),
            ("identity, gzip;q=0.5", &[], true),
            ("identity;q=0.5, gzip;q=0.5", &[Gzip], true),
            ("gzip;q=nonsense", &[], true),
            ("gzip;q=1.000", &[Gzip], true),
            ("gzip;q=2", &[], true),
            ("deflate, compress", &[], true),
            ("", &[], true),
        ] {
            assert_eq!(wanted(value, all), (best.to_vec(), identity), "{value}");
        }
        assert_eq!(wanted("br, gzip, zstd", &[Gzip]).0, [Gzip]);
        assert_eq!(wanted("br, gzip, zstd", &[]).0, []);
    }

    #[test]
    fn a_caller_who_says_nothing_gets_content_as_it_is() {
        let wanted = Wanted::of(&Fields::default(), &Encoding::CHEAPEST_FIRST);
        assert_eq!((wanted.first(), wanted.identity), (None, true));
    }
}
