//! Who has just written.

use super::{CHECKS_MAX, Markers};
use crate::http::{Fields, RequestHead, Span, Version};
use http::Method;
use std::time::{Duration, SystemTime};

/// Whether a read with these fields shows that its caller wrote to `orders`.
fn shows(markers: &Markers, list: &[(&str, String)], now: SystemTime) -> bool {
    shows_of(markers, list, "orders", now)
}

fn shows_of(markers: &Markers, list: &[(&str, String)], upstream: &str, now: SystemTime) -> bool {
    let mut fields = Fields::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    let nothing = Span::default();
    let (method, version) = (Method::GET, Version::Http11);
    let head = RequestHead { method, path: nothing, query: None, authority: nothing, version, fields };
    markers.are_shown(&head, upstream, now)
}

/// Markers of so many other upstreams, which hold for a while.
fn others(markers: &Markers, now: SystemTime, count: usize) -> Vec<String> {
    (0..count).map(|n| markers.make(&format!("other-{n}"), now + Duration::from_secs(5))).collect()
}

#[test]
fn a_marker_holds_until_its_time_for_its_upstream_and_under_its_key() {
    let (now, five) = (crate::clock::wall(), Duration::from_secs(5));
    let markers = Markers::with_key(b"a key that nodes share");
    let marker = markers.make("orders", now + five);
    let field = [("x-ryw", marker)];
    let is_fresh = |markers: &Markers, upstream: &str, at| shows_of(markers, &field, upstream, at);
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
        assert!(bad == marker || !shows(&markers, &[("x-ryw", bad.to_owned())], now), "{bad}");
    }
    let for_ever = markers.make("orders", now + Duration::from_secs(100_000));
    assert!(!shows(&markers, &[("x-ryw", for_ever)], now), "longer than any window");
}

#[test]
fn a_marker_counts_in_whatever_field_and_at_whatever_place_of_it_it_stands() {
    let now = crate::clock::wall();
    let markers = Markers::with_random_key();
    let marker = &markers.make("orders", now + Duration::from_secs(5));
    let other = &markers.make("stock", now + Duration::from_secs(5));
    let field = |value: &str| ("X-RYW", value.to_owned());
    let cookie = |value: String| ("Cookie", value);
    assert!(!shows(&markers, &[field(other), cookie(format!("x-ryw-stock={other}"))], now));
    assert!(shows(&markers, &[field(marker)], now));
    assert!(shows(&markers, &[field(other), field(marker)], now), "a second field");
    assert!(shows(&markers, &[field(&format!("{other} , {marker}"))], now), "a second member");
    assert!(shows(&markers, &[field(&format!(",,{marker},"))], now), "empty members");
    assert!(shows(&markers, &[cookie(format!("a=b; x-ryw-orders={marker}; c"))], now));
    assert!(shows(&markers, &[cookie("a=b".into()), cookie(format!("x-ryw-orders={marker}"))], now));
}

#[test]
fn only_the_cookie_of_the_upstream_says_who_wrote_to_it() {
    let now = crate::clock::wall();
    let markers = Markers::with_random_key();
    let marker = markers.make("orders", now + Duration::from_secs(5));
    for name in ["x-ryw", "x-ryw-", "x-ryw-order", "x-ryw-orders-eu", "X-Ryw-Orders", "ax-ryw-orders"] {
        assert!(!shows(&markers, &[("cookie", format!("{name}={marker}"))], now), "{name}");
    }
}

#[test]
fn what_cannot_be_the_marker_does_not_hide_it_however_much_there_is_of_it() {
    let now = crate::clock::wall();
    let markers = Markers::with_random_key();
    let marker = &markers.make("orders", now + Duration::from_secs(5));
    let over = markers.make("orders", now - Duration::from_secs(5));
    let odd =
        [marker.to_uppercase(), format!("{marker}0"), format!("+{marker}"), ".".into(), "x".into(), over];
    let many = |name: &str| -> Vec<String> {
        (0..50).flat_map(|_| odd.iter().map(|odd| format!("{name}{odd}")).collect::<Vec<_>>()).collect()
    };
    let fields = many("").join(",");
    assert!(shows(&markers, &[("x-ryw", fields), ("x-ryw", marker.clone())], now));
    let mut cookies = many("x-ryw-orders=");
    cookies.extend(
        others(&markers, now, 50).iter().enumerate().map(|(n, other)| format!("x-ryw-other-{n}={other}")),
    );
    cookies.push(format!("x-ryw-orders={marker}"));
    assert!(shows(&markers, &[("cookie", cookies.join("; "))], now));
}

#[test]
fn no_more_signatures_are_checked_than_the_bound_and_those_of_fields_leave_cookies_theirs() {
    let now = crate::clock::wall();
    let markers = Markers::with_random_key();
    let marker = &markers.make("orders", now + Duration::from_secs(5));
    let field = |before: usize| {
        let members = [others(&markers, now, before), vec![marker.clone()]].concat();
        ("x-ryw", members.join(","))
    };
    let cookie = |before: usize| {
        let values = [others(&markers, now, before), vec![marker.clone()]].concat();
        ("cookie", values.iter().map(|value| format!("x-ryw-orders={value}")).collect::<Vec<_>>().join("; "))
    };
    assert!(shows(&markers, &[field(CHECKS_MAX - 1)], now));
    assert!(!shows(&markers, &[field(CHECKS_MAX)], now));
    assert!(shows(&markers, &[cookie(CHECKS_MAX - 1)], now));
    assert!(!shows(&markers, &[cookie(CHECKS_MAX)], now));
    assert!(shows(&markers, &[field(CHECKS_MAX), cookie(0)], now), "they do not hide what a cookie says");
}
