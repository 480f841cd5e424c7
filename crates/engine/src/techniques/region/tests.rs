//! Where requests belong.

use super::marker::Markers;
use super::policy::{Place, place};
use http::Method;
use std::time::Duration;

#[test]
fn what_changes_something_goes_to_the_primary_and_what_reads_goes_anywhere_unless_its_caller_wrote() {
    assert_eq!(place(&Method::POST, None, false), Place::Primary);
    assert_eq!(place(&Method::DELETE, None, true), Place::Primary);
    assert_eq!(place(&Method::GET, None, false), Place::Anywhere);
    assert_eq!(place(&Method::GET, None, true), Place::PrimaryForWriter);
    // A search by POST; a report that only the primary has.
    assert_eq!(place(&Method::POST, Some(false), false), Place::Anywhere);
    assert_eq!(place(&Method::GET, Some(true), false), Place::Primary);
}

#[test]
fn a_marker_holds_until_its_time_for_its_upstream_and_under_its_key() {
    let (now, five) = (crate::clock::wall(), Duration::from_secs(5));
    let markers = Markers::with_key(b"a key that nodes share");
    let marker = markers.make("orders", now + five);
    let is_fresh = |markers: &Markers, upstream, at| markers.are_fresh(marker.as_bytes(), upstream, at);
    assert!(is_fresh(&markers, "orders", now));
    assert!(is_fresh(&Markers::with_key(b"a key that nodes share"), "orders", now), "another node");
    assert!(!is_fresh(&markers, "orders", now + 2 * five), "it is over");
    assert!(!is_fresh(&markers, "stock", now), "of another upstream");
    assert!(!is_fresh(&Markers::with_random_key(), "orders", now), "another key");
}

#[test]
fn a_marker_that_somebody_changed_is_none() {
    let now = crate::clock::wall();
    let markers = Markers::with_random_key();
    let marker = markers.make("orders", now + Duration::from_secs(5));
    let longer = marker.replacen('1', "2", 1);
    let cut = &marker[..marker.len() - 1];
    for bad in [longer.as_str(), cut, "", ".", "zz.00", "ffffffffffffffffff.00", &marker.to_uppercase()] {
        assert!(bad == marker || !markers.are_fresh(bad.as_bytes(), "orders", now), "{bad}");
    }
    let for_ever = markers.make("orders", now + Duration::from_secs(100_000));
    assert!(!markers.are_fresh(for_ever.as_bytes(), "orders", now), "longer than any window");
}
