//! What callers say that they have, and what they get of what is stored.

use super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const A_SECOND_LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const A_MINUTE_LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

#[tokio::test(start_paused = true)]
async fn a_hit_that_is_not_what_the_caller_thinks_is_refused() {
    let bed = Bed::new(Overrides { ttl_ns: Some(1 << 40), ..Overrides::default() });
    bed.answers(200, &[("etag", "\"v\""), ("last-modified", MODIFIED)], "abcdef");
    bed.get("/x", &[]).await;
    for (name, value, status) in [
        ("if-match", "\"v\"", 200),
        ("if-match", "\"w\", *", 200),
        ("if-match", "\"w\"", 412),
        ("if-match", "W/\"v\"", 412),
        ("if-unmodified-since", MODIFIED, 200),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 412),
        ("if-none-match", "\"w\", W/\"v\"", 304),
        ("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT", 304),
    ] {
        let got = bed.get("/x", &[(name, value)]).await;
        assert_eq!((got.0, bed.asked()), (status, 1), "{name}: {value}");
        let part = bed.get("/x", &[(name, value), ("range", "bytes=1-2")]).await;
        assert_eq!(part.0, if status == 200 { 206 } else { status }, "{name}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_gets_a_part_only_where_it_cannot_be_that_of_something_else() {
    for (date, status) in [(MODIFIED, 200), (A_SECOND_LATER, 200), (A_MINUTE_LATER, 206)] {
        let bed = Bed::new(Overrides { ttl_ns: Some(1 << 40), ..Overrides::default() });
        let list: &'static _ = vec![("last-modified", MODIFIED), ("date", date)].leak();
        bed.answers(200, list, "abcdef");
        bed.get("/x", &[]).await;
        let got = bed.get("/x", &[("range", "bytes=1-2"), ("if-range", MODIFIED)]).await;
        assert_eq!((got.0, bed.asked()), (status, 1), "made {date}");
    }
}
