//! Asking whether a stored response still holds, and answering callers that ask us (RFC 9110 §13, RFC 9111 §4.3).

use super::object::Stored;
use crate::http::conditions::{self, Judgement, Validators, is_same};
use crate::http::{Fields, Name, time};
use std::sync::Arc;

/// Preconditions of a caller; they are about its own copy and do not go to the origin in our own question.
const CONDITIONS: [&str; 5] =
    ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"];

/// Makes a request into the question whether `stored` still holds.
pub fn ask(request: &mut Fields, stored: &Stored) {
    CONDITIONS.iter().for_each(|name| request.remove(name));
    request.remove_known(Name::Range);
    if let Some(etag) = stored.head.fields.get(Name::Etag) {
        request.push_known(Name::IfNoneMatch, etag);
    }
    if let Some(changed) = stored.head.fields.get(Name::LastModified) {
        request.push_known(Name::IfModifiedSince, changed);
    }
}

/// Takes the question out again.
pub fn unask(request: &mut Fields) {
    CONDITIONS.iter().for_each(|name| request.remove(name));
}

/// Whether a 304 is about what is stored: one that names another ETag must not freshen it (RFC 9111 §4.3.4).
pub fn is_about(stored: &Stored, answer: &Fields) -> bool {
    match (stored.head.fields.get(Name::Etag), answer.get(Name::Etag)) {
        (Some(known), Some(said)) => is_same(known, said),
        (None, Some(said)) => said.starts_with(b"W/"),
        (_, None) => true,
    }
}

/// Tags that are offered at one time: a head of an origin has its bound.
const OFFERED_BYTES_MAX: usize = 2_048;

/// Offers the origin what is stored for other selections: it may say that one of them is right.
pub fn offer<'a>(request: &mut Fields, others: impl Iterator<Item = &'a Stored>) -> bool {
    let has_own = request.has_any(Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit() | Name::Range.bit());
    let mut room = OFFERED_BYTES_MAX;
    let etags = others.filter_map(|stored| stored.head.fields.get(Name::Etag));
    let etags: Vec<&[u8]> = etags
        .take_while(|etag| {
            let fits = etag.len() + 2 <= room;
            room = room.saturating_sub(etag.len() + 2);
            fits
        })
        .collect();
    if has_own || etags.is_empty() {
        return false;
    }
    request.push_known(Name::IfNoneMatch, &etags.join(&b", "[..]));
    true
}

/// Which of those that were offered a 304 means. One that says nothing of it can only mean the only one (RFC 9111 §4.3.3).
pub fn meant<'a>(offered: &[&'a Arc<Stored>], answer: &Fields) -> Option<&'a Arc<Stored>> {
    let etag_of = |stored: &&'a Arc<Stored>| stored.head.fields.get(Name::Etag);
    let mut with_etag = offered.iter().copied().filter(|stored| etag_of(stored).is_some());
    match answer.get(Name::Etag) {
        Some(etag) => with_etag.find(|stored| etag_of(stored).is_some_and(|known| is_same(known, etag))),
        None => with_etag.next().filter(|_| with_etag.next().is_none()),
    }
}

/// What the preconditions of a caller make of what is stored. `If-Match` a cache might leave to the origin (RFC 9110 §13.1.1); but a
/// caller who has a part of something else would put the two together.
pub fn judge(request: &Fields, stored: &Stored) -> Judgement {
    if !conditions::has_any(request) {
        return Judgement::Go;
    }
    conditions::judge(request, validators(stored))
}

/// Whether a caller has the answer with these fields already, which came then.
pub fn is_known(request: &Fields, fields: &Fields, came_unix_s: u64) -> bool {
    conditions::judge(request, of(fields, came_unix_s)) == Judgement::NotModified
}

/// What identifies what is stored.
pub fn validators(stored: &Stored) -> Validators<'_> {
    of(&stored.head.fields, stored.received.came_unix_s)
}

fn of(fields: &Fields, came_unix_s: u64) -> Validators<'_> {
    let date = |name| fields.get(name).and_then(|date| time::parse(date, came_unix_s));
    Validators {
        etag: fields.get(Name::Etag),
        modified_s: date(Name::LastModified),
        date_s: Some(date(Name::Date).unwrap_or(came_unix_s)),
        now_s: came_unix_s,
    }
}

/// Whether a fresh answer to HEAD is about the same representation as the stored one (RFC 9111 §4.3.5).
pub fn agrees(stored: &Stored, answer: &Fields) -> bool {
    let same = |name| match (stored.head.fields.get(name), answer.get(name)) {
        (Some(stored), Some(answer)) => stored == answer,
        _ => true,
    };
    let length = match (stored.content.length(), answer.get(Name::ContentLength)) {
        (Some(stored), Some(answer)) => itoa::Buffer::new().format(stored).as_bytes() == answer,
        _ => true,
    };
    same(Name::Etag) && same(Name::LastModified) && length
}

/// Puts the fields of a 304 over the stored ones (RFC 9111 §3.2). What it leaves out stays; the age is counted anew.
pub fn update(stored: &mut Fields, answer: &Fields) {
    stored.remove_known(Name::Age);
    let taken = |name: &[u8]| !name.eq_ignore_ascii_case(b"content-length");
    for field in answer.iter().filter(|field| taken(field.name)) {
        stored.retain(|old| !old.name.eq_ignore_ascii_case(field.name));
    }
    answer.iter().filter(|field| taken(field.name)).for_each(|field| stored.push(field.name, field.value));
}

/// Whether a field of a stored response goes into a 304 (RFC 9110 §15.4.5).
pub fn belongs_in_304(name: Name) -> bool {
    matches!(
        name,
        Name::CacheControl
            | Name::CdnCacheControl
            | Name::Date
            | Name::Etag
            | Name::Expires
            | Name::LastModified
            | Name::Vary
    )
}
