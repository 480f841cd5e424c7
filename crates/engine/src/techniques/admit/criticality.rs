//! How much it matters that a request is answered while not all can be: what trusted peers say, what the route says, and how
//! urgent the caller itself calls it.

use crate::http::{Fields, Name};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use unlag_config::Criticality;

/// All classes, the least first (the SRE book has four of them as well).
pub const ALL: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Default, Criticality::Critical, Criticality::CriticalPlus];

/// As `x-criticality` has it.
fn name(class: Criticality) -> &'static str {
    match class {
        Criticality::Sheddable => "sheddable",
        Criticality::Default => "default",
        Criticality::Critical => "critical",
        Criticality::CriticalPlus => "critical_plus",
    }
}

/// Settles what a request carries on to the next hop: what a trusted peer said (what others claim is gone from the fields by
/// now), else what the route says. What cannot be read, or is said twice, goes no further.
pub fn settle(fields: &mut Fields, of_route: Criticality) {
    if fields.has(Name::XCriticality) && said(fields).is_none() {
        fields.remove_known(Name::XCriticality);
    }
    if of_route != Criticality::Default && !fields.has(Name::XCriticality) {
        fields.set_known(Name::XCriticality, name(of_route).as_bytes());
    }
}

/// The class of a request whose fields are settled. Anybody may call a request of his own less urgent (RFC 9218), nobody more.
pub fn of(fields: &Fields) -> Criticality {
    if let Some(class) = said(fields) {
        return class;
    }
    let is_background = fields.get_named("priority").and_then(urgency).is_some_and(|urgency| urgency > 4);
    if is_background { Criticality::Sheddable } else { Criticality::Default }
}

fn said(fields: &Fields) -> Option<Criticality> {
    let mut all = fields.all(Name::XCriticality);
    let (first, None) = (all.next()?, all.next()) else { return None };
    // As configurations spell it, too.
    let first = first.to_ascii_lowercase();
    let said = std::str::from_utf8(&first).ok()?.replace('-', "_");
    ALL.into_iter().find(|&class| said == name(class))
}

/// `u=` of `priority`, a dictionary of structured fields: 0 to 7, and the last one counts (RFC 9218 §4.1, RFC 9651 §3.2).
fn urgency(value: &[u8]) -> Option<u8> {
    let members = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let mut urgencies = members.rev().filter_map(|member| member.strip_prefix(b"u="));
    match urgencies.next()? {
        [digit @ b'0'..=b'7'] | [digit @ b'0'..=b'7', b';', ..] => Some(digit - b'0'),
        _ => None,
    }
}

/// Which of the [`SHARES`](super::shed::SHARES) of its class a caller belongs to: for an hour the same, so that a page of forty
/// requests is answered whole or not at all; and then another, so that it is not always the same callers who are refused.
/// Nobody finds out which by computing it.
pub fn share(caller: Option<IpAddr>, now: u64) -> u8 {
    const HOUR_NS: u64 = 3_600_000_000_000;
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    (SECRET.hash_one((caller, now / HOUR_NS)) % u64::from(super::shed::SHARES)) as u8
}
