//! `Cache-Control` of a request or a response (RFC 9111 §5.2), and the targeted form that is meant for a CDN alone (RFC 9213).
//!
//! The two are read differently on purpose: `Cache-Control` is read leniently, because fields in the wild are full of slips and
//! a cache that forgot all of it over one of them would store what must not be stored; a targeted field is a Structured Field, and
//! one that is not well formed is as good as absent.

use crate::http::fields::{self, is_token_byte};
use crate::http::{Fields, Name, quoted};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use std::borrow::Cow;

/// The largest number of seconds that is told apart from longer ones (RFC 9111 §1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// Longer names are no directive that means something here.
const NAME_BYTES_MAX: usize = 24;

/// What a directive with a number of seconds says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seconds {
    /// So many, at most 2^31.
    Of(u64),
    /// Something else than a number.
    Invalid,
}

impl Seconds {
    fn parse(text: &[u8]) -> Seconds {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return Seconds::Invalid;
        }
        let sum = text.iter().fold(0u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(SECONDS_MAX));
        Seconds::Of(sum)
    }

    /// The number, if it is one.
    pub fn valid(self) -> Option<u64> {
        match self {
            Seconds::Of(seconds) => Some(seconds),
            Seconds::Invalid => None,
        }
    }
}

/// What `no-cache` or `private` is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// It is not there.
    #[default]
    Nothing,
    /// The whole response.
    All,
    /// These fields only: names, comma-separated.
    Fields(Box<[u8]>),
}

impl Scope {
    /// Whether it covers the response as a whole.
    pub fn is_all(&self) -> bool {
        *self == Scope::All
    }

    /// Widens it. An argument that does not name fields is a slip, and whoever made it meant to restrict something: it covers all.
    fn add(&mut self, argument: Option<&[u8]>) {
        let argument = argument.unwrap_or_default();
        let is_name = |name: &[u8]| name.iter().all(|&byte| is_token_byte(byte));
        let names_fields =
            fields::members(argument).next().is_some() && fields::members(argument).all(is_name);
        *self = match std::mem::take(self) {
            Scope::Nothing if names_fields => Scope::Fields(argument.into()),
            Scope::Fields(known) if names_fields => Scope::Fields([&known, argument].join(&b", "[..]).into()),
            _ => Scope::All,
        };
    }
}

/// The directives of one message that a cache acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is named like its directive")]
pub struct Directives {
    pub no_store: bool,
    pub no_cache: Scope,
    pub private: Scope,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub immutable: bool,
    pub only_if_cached: bool,
    pub max_age: Option<Seconds>,
    pub s_maxage: Option<Seconds>,
    pub stale_while_revalidate: Option<Seconds>,
    pub stale_if_error: Option<Seconds>,
    pub min_fresh: Option<Seconds>,
    /// Without a number: however stale.
    pub max_stale: Option<Option<Seconds>>,
    /// It came in a field for caches like this one, which replaces `Cache-Control` and `Expires` (RFC 9213 §2.2).
    pub is_targeted: bool,
}

impl Directives {
    /// Whether a request wants the origin's word in person, not what others have just got.
    pub fn insists(&self) -> bool {
        let only_new = self.max_age.is_some_and(|age| age.valid().unwrap_or(0) == 0);
        self.no_cache.is_all() || only_new || self.min_fresh.is_some()
    }

    /// Those of a request; `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 §5.4).
    pub fn of_request(fields: &Fields) -> Directives {
        if fields.has(Name::CacheControl) {
            return Directives::read(fields);
        }
        let mut directives = Directives::default();
        let says = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"no-cache");
        if fields.all(Name::Pragma).flat_map(members).any(says) {
            directives.no_cache = Scope::All;
        }
        directives
    }

    /// Those of a response.
    pub fn of_response(fields: &Fields) -> Directives {
        targeted(fields).unwrap_or_else(|| Directives::read(fields))
    }

    fn read(fields: &Fields) -> Directives {
        let mut directives = Directives::default();
        for member in fields.all(Name::CacheControl).flat_map(members) {
            let (name, argument) = match member.iter().position(|&byte| byte == b'=') {
                Some(at) => (member.get(..at), member.get(at + 1..).map(unquoted)),
                None => (Some(member), None),
            };
            directives.add(name.unwrap_or_default(), argument.as_deref());
        }
        directives
    }

    /// Adds a directive. Of two numbers the first counts, of two scopes both (RFC 9111 §4.2.1).
    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let seconds = || argument.map_or(Seconds::Invalid, Seconds::parse);
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        match &*lower {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.add(argument),
            b"private" => self.private.add(argument),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = self.max_age.or_else(|| Some(seconds())),
            b"s-maxage" => self.s_maxage = self.s_maxage.or_else(|| Some(seconds())),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or_else(|| Some(seconds()));
            }
            b"stale-if-error" => self.stale_if_error = self.stale_if_error.or_else(|| Some(seconds())),
            b"min-fresh" => self.min_fresh = self.min_fresh.or_else(|| Some(seconds())),
            b"max-stale" => {
                self.max_stale = self.max_stale.or_else(|| Some(argument.map(Seconds::parse)));
            }
            _ => {}
        }
    }

    /// Whether a stale response may not be served without asking the origin, whatever else is said (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache.is_all()
    }
}

/// `CDN-Cache-Control`, if it is there and a well-formed dictionary.
fn targeted(fields: &Fields) -> Option<Directives> {
    let joined = fields.all(Name::CdnCacheControl).collect::<Vec<_>>().join(&b", "[..]);
    if joined.trim_ascii().is_empty() {
        return None;
    }
    let dictionary = Parser::new(&joined).parse::<Dictionary>().ok()?;
    let mut directives = Directives { is_targeted: true, ..Directives::default() };
    for (name, entry) in &dictionary {
        let ListEntry::Item(item) = entry else { return None };
        match &item.bare_item {
            BareItem::Boolean(true) => directives.add(name.as_str().as_bytes(), None),
            BareItem::Boolean(false) => {}
            BareItem::Integer(seconds) => {
                directives.add(name.as_str().as_bytes(), Some(i64::from(*seconds).to_string().as_bytes()));
            }
            BareItem::String(fields) if matches!(name.as_str(), "no-cache" | "private") => {
                directives.add(name.as_str().as_bytes(), Some(fields.as_str().as_bytes()));
            }
            // Of another type than the directive wants: it is not there (RFC 9213 §2.1).
            _ => {}
        }
    }
    Some(directives)
}

/// The members of a list, with commas inside quoted strings left alone. Where a quote is not closed, every comma and quote parts, so
/// that it hides nothing that restricts.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (sound, broken) = if quoted::is_closed(value) { (value, &[][..]) } else { (&[][..], value) };
    let pieces = broken.split(|byte| matches!(byte, b',' | b'"')).map(<[u8]>::trim_ascii);
    quoted::parts(sound, b',').chain(pieces.filter(|piece| !piece.is_empty()))
}

/// An argument without the quotes that it may stand in.
fn unquoted(argument: &[u8]) -> Cow<'_, [u8]> {
    let inner = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner else { return argument.into() };
    let mut escaped = false;
    let plain = inner.iter().filter(|&&byte| {
        let is_escape = byte == b'\\' && !escaped;
        escaped = is_escape;
        !is_escape
    });
    plain.copied().collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> Directives {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        Directives::of_response(&fields)
    }

    #[test]
    fn the_first_of_two_contradicting_directives_counts_wherever_they_stand() {
        let read = of(&[("Cache-Control", "Max-Age=5, max-age=7"), ("cache-control", "no-STORE,max-age=9")]);
        assert_eq!((read.max_age, read.no_store), (Some(Seconds::Of(5)), true));
    }

    #[test]
    fn a_number_is_digits_and_nothing_else_and_has_a_bound() {
        for (text, expected) in [
            ("max-age=0", Seconds::Of(0)),
            ("max-age=\"60\"", Seconds::Of(60)),
            ("max-age=99999999999999999999999", Seconds::Of(1 << 31)),
            ("max-age=-1", Seconds::Invalid),
            ("max-age=1.5", Seconds::Invalid),
            ("max-age=60;x", Seconds::Invalid),
            ("max-age=", Seconds::Invalid),
            ("max-age", Seconds::Invalid),
        ] {
            assert_eq!(of(&[("cache-control", text)]).max_age, Some(expected), "{text}");
        }
        assert_eq!(of(&[("cache-control", "x-max-age=1, \"max-age=2\", max-age =3")]).max_age, None);
    }

    #[test]
    fn what_stands_in_a_quoted_string_is_no_directive() {
        let read =
            of(&[("cache-control", r#"ext="a, no-store, \", private", private="set-cookie, x", public"#)]);
        assert!(!read.no_store && read.public);
        assert_eq!(read.private, Scope::Fields(b"set-cookie, x"[..].into()));
    }

    #[test]
    fn what_restricts_all_is_not_lost_beside_what_restricts_a_part() {
        for all in [
            r#"private="x-a", private"#,
            r#"private, private="x-a""#,
            r#"private="""#,
            "private=",
            r#"private=" , ""#,
            r#"private="x a""#,
            r#"private="x-a"#,
            r#"PRIVATE="x-a" , Private"#,
        ] {
            assert_eq!(of(&[("cache-control", all)]).private, Scope::All, "{all}");
            assert!(
                of(&[("cache-control", &all.to_lowercase().replace("private", "no-cache"))])
                    .no_cache
                    .is_all()
            );
        }
        let both = of(&[("cache-control", r#"private="a, b""#), ("cache-control", "private=c")]);
        assert_eq!(both.private, Scope::Fields(b"a, b, c"[..].into()));
        let targeted = of(&[("cdn-cache-control", r#"private="a", no-cache="""#)]);
        assert_eq!((targeted.private, targeted.no_cache), (Scope::Fields(b"a"[..].into()), Scope::All));
    }

    #[test]
    fn a_quote_that_is_not_closed_hides_nothing() {
        for (text, no_store, private) in [
            (r#"x="a, no-store"#, true, Scope::Nothing),
            (r#"x="a, private"#, false, Scope::All),
            (r#"x="a, no-store, y="b""#, true, Scope::Nothing),
            (r#"x="a\", private, y="b, no-store""#, true, Scope::All),
        ] {
            let read = of(&[("cache-control", text)]);
            assert_eq!((read.no_store, read.private), (no_store, private), "{text}");
        }
        assert!(of(&[("cache-control", r#"x="a"#), ("cache-control", r#"b", no-store"#)]).no_store);
    }

    #[test]
    fn a_targeted_field_replaces_cache_control_unless_it_is_malformed() {
        let both = |targeted: &str| of(&[("Cache-Control", "max-age=1"), ("CDN-Cache-Control", targeted)]);
        assert_eq!(both("max-age=60").max_age, Some(Seconds::Of(60)));
        assert_eq!(both("no-store").max_age, None);
        assert!(both("no-store").no_store && both("no-store").is_targeted);
        assert!(!both("no-store=?0").no_store);
        for malformed in ["max-age=60,", "max-age =60", "MAX-AGE=60", "max-age=\"60", "max-age=(60)", ""] {
            assert_eq!(both(malformed).max_age, Some(Seconds::Of(1)), "{malformed}");
        }
        for mistyped in ["max-age=\"60\"", "max-age=60.5", "max-age=sixty"] {
            assert_eq!(both(mistyped).max_age, None, "{mistyped}");
        }
    }

    #[test]
    fn pragma_counts_where_there_is_no_cache_control() {
        let mut fields = Fields::default();
        fields.push(b"Pragma", b"x, No-Cache");
        assert!(Directives::of_request(&fields).no_cache.is_all());
        fields.push(b"Cache-Control", b"max-age=1");
        assert!(!Directives::of_request(&fields).no_cache.is_all());
    }
}
