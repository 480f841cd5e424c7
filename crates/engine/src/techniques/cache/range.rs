//! One range of a stored response (RFC 9110 §14).

use super::object::Stored;
use crate::http::{Fields, Name, range};

pub use crate::http::range::Wanted;

/// What a GET wants of `stored`.
pub fn wanted(request: &Fields, stored: &Stored) -> Wanted {
    let mut ranges = request.all(Name::Range);
    let (Some(asked), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    if stored.head.status != 200 || !if_range_holds(request, stored) {
        return Wanted::Whole;
    }
    // A part of what has no known length yet cannot be named; the whole is an answer as well.
    stored.content.length().map_or(Wanted::Whole, |length| range::of(asked, length))
}

/// A strong ETag or the exact date of the stored response; anything else asks for the whole (RFC 9110 §13.1.5).
fn if_range_holds(request: &Fields, stored: &Stored) -> bool {
    let Some(condition) = request.get_named("if-range") else { return true };
    let name = if condition.starts_with(b"\"") { Name::Etag } else { Name::LastModified };
    stored.head.fields.get(name) == Some(condition)
}
