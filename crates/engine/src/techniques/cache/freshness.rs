//! How long a response may be used without asking, and how old it is (RFC 9111 §4.2, RFC 5861).

use super::directives::{Directives, Seconds};
use crate::http::{Fields, Name, time};
use unlag_config::KeyedBody;

const SECOND: u64 = 1_000_000_000;
/// Without a declared lifetime: this part of the time since the last change (RFC 9111 §4.2.2).
const HEURISTIC_PART: u64 = 10;
/// And never longer than a day.
const HEURISTIC_MAX_S: u64 = 86_400;

/// What the operator has said about a route, in place of the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The lifetime of what may be stored.
    pub ttl_ns: Option<u64>,
    /// How long it may be served stale while it is fetched again.
    pub stale_while_revalidate_ns: Option<u64>,
    /// How long it may be served stale when the origin fails.
    pub stale_if_error_ns: Option<u64>,
    /// Whether a lifetime is guessed where none is declared.
    pub heuristic: bool,
    /// Whether POSTs only read, and in which form their content is part of the key.
    pub body: Option<KeyedBody>,
    /// Whether an answer that sets a cookie may be stored.
    pub set_cookie: bool,
    /// Whether an answer that is not stored says why.
    pub explains: bool,
    /// Nothing is stored or shared; changes still make wrong what other routes have stored.
    pub is_off: bool,
}

/// When a response was asked for and came, on our clock, and what the wall clock said then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// When the request left.
    pub asked_ns: u64,
    /// When the head of the response was here.
    pub came_ns: u64,
    /// The same moment in seconds of Unix time.
    pub came_unix_s: u64,
}

/// The freshness of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long it is fresh, counted in its age.
    pub lifetime_ns: u64,
    /// When it was new, on our clock; before zero for what is older than this process.
    new_ns: i64,
    /// It is never served without asking.
    pub always_validate: bool,
    /// It is never served stale.
    pub forbids_stale: bool,
    /// How long after its lifetime it may be served while it is fetched again.
    pub stale_while_revalidate_ns: u64,
    /// How long after its lifetime it may be served when the origin fails.
    pub stale_if_error_ns: u64,
    /// It does not change while it is fresh, whatever a reload asks (RFC 8246).
    pub immutable: bool,
}

impl Freshness {
    /// Of a response with this status and these fields.
    pub fn new(
        status: u16,
        fields: &Fields,
        directives: &Directives,
        received: Received,
        overrides: &Overrides,
    ) -> Freshness {
        // The operator counts from the answer on, whatever the origin's clock shows.
        let apparent_ns = if overrides.ttl_ns.is_some() { 0 } else { apparent_age_ns(fields, received) };
        let age_ns = apparent_ns.max(said_age_ns(fields, received));
        Freshness::aged(status, fields, directives, received, overrides, age_ns)
    }

    /// Of one that was so old when it came, whatever its fields say of that.
    pub fn aged(
        status: u16,
        fields: &Fields,
        directives: &Directives,
        received: Received,
        overrides: &Overrides,
        age_ns: u64,
    ) -> Freshness {
        let ttl_ns = overrides.ttl_ns;
        let lifetime_ns = ttl_ns.unwrap_or_else(|| {
            declared_s(fields, directives, received)
                .or_else(|| guessed_s(status, fields, directives, received).filter(|_| overrides.heuristic))
                .unwrap_or(0)
                .saturating_mul(SECOND)
        });
        let forbids_stale = ttl_ns.is_none() && directives.forbids_stale();
        let window = |own: Option<u64>, said: Option<Seconds>| match own {
            Some(ns) => ns,
            None if forbids_stale => 0,
            None => said.and_then(Seconds::valid).unwrap_or(0).saturating_mul(SECOND),
        };
        Freshness {
            lifetime_ns,
            new_ns: signed(received.came_ns).saturating_sub(signed(age_ns)),
            always_validate: ttl_ns.is_none() && directives.no_cache.is_all(),
            forbids_stale,
            stale_while_revalidate_ns: window(
                overrides.stale_while_revalidate_ns,
                directives.stale_while_revalidate,
            ),
            stale_if_error_ns: window(overrides.stale_if_error_ns, directives.stale_if_error),
            immutable: directives.immutable,
        }
    }

    /// Its age at `now` (RFC 9111 §4.2.3).
    pub fn age_ns(&self, now: u64) -> u64 {
        signed(now).saturating_sub(self.new_ns).max(0).unsigned_abs()
    }

    /// Whether it may be served without asking.
    pub fn is_fresh(&self, now: u64) -> bool {
        !self.always_validate && self.age_ns(now) < self.lifetime_ns
    }

    /// How long it has been stale at `now`, 0 while it is fresh.
    pub fn stale_ns(&self, now: u64) -> u64 {
        self.age_ns(now).saturating_sub(self.lifetime_ns)
    }

    /// The same, as if its lifetime had ended at `now`.
    pub fn ended(&self, now: u64) -> Freshness {
        Freshness { lifetime_ns: self.lifetime_ns.min(self.age_ns(now)), immutable: false, ..self.clone() }
    }

    /// The same, as something that is never served without asking, whatever else is allowed.
    pub fn unsure(&self, now: u64) -> Freshness {
        Freshness {
            always_validate: true,
            forbids_stale: true,
            stale_while_revalidate_ns: 0,
            stale_if_error_ns: 0,
            ..self.ended(now)
        }
    }

    /// Whole seconds until it is stale, below zero after that: the `ttl` of `Cache-Status`.
    pub fn ttl_s(&self, now: u64) -> i64 {
        let (lifetime, age) = ((self.lifetime_ns / SECOND) as i64, (self.age_ns(now) / SECOND) as i64);
        lifetime - age
    }
}

/// Times of this clock end long after all hardware.
fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// The lifetime that the origin has declared. What is declared and cannot be read is none: such a response is stale at once.
pub fn declared_s(fields: &Fields, directives: &Directives, received: Received) -> Option<u64> {
    let of = |seconds: Seconds| seconds.valid().unwrap_or(0);
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(of(seconds));
    }
    if directives.is_targeted || !fields.has(Name::Expires) {
        return None;
    }
    let mut lines = fields.all(Name::Expires);
    let (Some(expires), None) = (lines.next(), lines.next()) else { return Some(0) };
    let expires = time::parse(expires, received.came_unix_s);
    Some(expires.map_or(0, |expires| expires.saturating_sub(date_s(fields, received))))
}

/// A lifetime for what declares none: a part of the time for which it has not changed.
fn guessed_s(status: u16, fields: &Fields, directives: &Directives, received: Received) -> Option<u64> {
    if !is_cacheable_by_default(status) && !directives.public {
        return None;
    }
    let changed = time::parse(fields.get(Name::LastModified)?, received.came_unix_s)?;
    let unchanged = date_s(fields, received).saturating_sub(changed);
    Some((unchanged / HEURISTIC_PART).min(HEURISTIC_MAX_S))
}

/// Statuses for which a lifetime may be guessed (RFC 9110 §15.1).
pub fn is_cacheable_by_default(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// When the origin made it: its `Date`, or the moment it came.
fn date_s(fields: &Fields, received: Received) -> u64 {
    let date = fields.get(Name::Date);
    date.and_then(|date| time::parse(date, received.came_unix_s)).unwrap_or(received.came_unix_s)
}

/// How old a response is by its `Date`. Clocks differ, so it is what nobody else knows better.
fn apparent_age_ns(fields: &Fields, received: Received) -> u64 {
    received.came_unix_s.saturating_sub(date_s(fields, received)).saturating_mul(SECOND)
}

/// How old a response is by what caches before us say, and the way that it took.
fn said_age_ns(fields: &Fields, received: Received) -> u64 {
    let said = declared_age_s(fields).saturating_mul(SECOND);
    said.saturating_add(received.came_ns.saturating_sub(received.asked_ns))
}

/// The first member of `Age`; anything but a number is none (RFC 9111 §5.1).
pub fn declared_age_s(fields: &Fields) -> u64 {
    let Some(age) = fields.get(Name::Age) else { return 0 };
    let first = age.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    first.iter().fold(0u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(1 << 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const CAME: Received = Received { asked_ns: 0, came_ns: 0, came_unix_s: 784_111_777 };
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AN_HOUR_LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";
    const AN_HOUR_BEFORE: &str = "Sun, 06 Nov 1994 07:49:37 GMT";

    fn freshness(list: &[(&str, &str)], overrides: &Overrides) -> Freshness {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        Freshness::new(200, &fields, &Directives::of_response(&fields), CAME, overrides)
    }

    fn lifetime_s(list: &[(&str, &str)]) -> u64 {
        freshness(list, &Overrides::default()).lifetime_ns / SECOND
    }

    #[test]
    fn the_most_specific_declaration_of_a_lifetime_counts() {
        let (later, date) = (("expires", AN_HOUR_LATER), ("date", DATE));
        assert_eq!(lifetime_s(&[date, later]), 3_600);
        assert_eq!(lifetime_s(&[date, later, ("cache-control", "max-age=60")]), 60);
        assert_eq!(lifetime_s(&[later, ("cache-control", "max-age=60, s-maxage=5")]), 5);
        assert_eq!(lifetime_s(&[later, ("cdn-cache-control", "public")]), 0, "it replaces Expires too");
    }

    #[test]
    fn what_is_declared_and_unreadable_is_stale_and_never_falls_through() {
        let later = ("expires", AN_HOUR_LATER);
        assert_eq!(lifetime_s(&[later, ("cache-control", "max-age=x")]), 0);
        assert_eq!(lifetime_s(&[later, later]), 0, "two lines");
        assert_eq!(lifetime_s(&[("expires", "0")]), 0);
        assert_eq!(lifetime_s(&[("date", AN_HOUR_LATER), ("expires", DATE)]), 0);
    }

    #[test]
    fn a_lifetime_is_guessed_only_when_the_operator_wants_it() {
        let list = [("last-modified", AN_HOUR_BEFORE), ("date", DATE)];
        assert_eq!(lifetime_s(&list), 0);
        let overrides = Overrides { heuristic: true, ..Overrides::default() };
        assert_eq!(freshness(&list, &overrides).lifetime_ns, 360 * SECOND);
    }

    #[test]
    fn the_age_is_the_greater_of_what_others_said_and_what_the_date_says() {
        let age_s =
            |list: &[(&str, &str)]| freshness(list, &Overrides::default()).age_ns(5 * SECOND) / SECOND;
        assert_eq!(age_s(&[("date", AN_HOUR_BEFORE), ("age", "10")]), 3_605);
        assert_eq!(age_s(&[("date", DATE), ("age", "10, 20")]), 15);
        for none in ["-1", "1.5", "x", "", "9a"] {
            assert_eq!(age_s(&[("date", DATE), ("age", none)]), 5, "{none}");
        }
        assert_eq!(age_s(&[("age", "99999999999999999999")]), (1 << 31) + 5);
    }

    #[test]
    fn a_lifetime_of_the_operator_counts_from_the_answer_on_whatever_the_clock_of_the_origin_shows() {
        let own = Overrides { ttl_ns: Some(30 * SECOND), ..Overrides::default() };
        let slow = freshness(&[("date", AN_HOUR_BEFORE)], &own);
        assert!(slow.is_fresh(29 * SECOND) && !slow.is_fresh(30 * SECOND));
        let aged = freshness(&[("date", AN_HOUR_BEFORE), ("age", "20")], &own);
        assert!(aged.is_fresh(9 * SECOND) && !aged.is_fresh(10 * SECOND));
    }

    #[test]
    fn what_came_from_another_node_is_as_old_as_that_says_also_if_it_is_older_than_this_process() {
        let mut fields = Fields::default();
        [("date", AN_HOUR_BEFORE), ("age", "10"), ("cache-control", "max-age=90")]
            .iter()
            .for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let directives = Directives::of_response(&fields);
        let freshness = Freshness::aged(200, &fields, &directives, CAME, &Overrides::default(), 60 * SECOND);
        assert_eq!(freshness.age_ns(5 * SECOND), 65 * SECOND);
        assert!(freshness.is_fresh(29 * SECOND) && !freshness.is_fresh(30 * SECOND));
    }

    #[test]
    fn stale_windows_are_closed_by_what_forbids_stale_unless_the_operator_opens_them() {
        let said =
            ("cache-control", "max-age=1, must-revalidate, stale-while-revalidate=9, stale-if-error=9");
        let closed = freshness(&[said], &Overrides::default());
        assert_eq!((closed.stale_while_revalidate_ns, closed.stale_if_error_ns), (0, 0));
        let own = Overrides { stale_if_error_ns: Some(SECOND), ..Overrides::default() };
        assert_eq!(freshness(&[said], &own).stale_if_error_ns, SECOND);
    }
}
