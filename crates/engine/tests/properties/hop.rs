//! What a caller says to this hop ends here: no field of it goes further, nothing else is lost by it, and it asks for a
//! protocol only where that cannot carry a request past us.

use unlag_engine::http::h1::parse::{self, HeadLimits};
use unlag_engine::http::{Name, RequestHead, Version};
use unlag_engine::server::prepare::{Wishes, prepare};

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 64, uri: 256 };

/// Panics when the law does not hold for `bytes`: a request head.
pub(crate) fn holds(bytes: &[u8]) {
    let Ok(Some(parsed)) = parse::request(bytes, &mut 0, &LIMITS) else { return };
    let mut as_http2 = parsed.head.clone();
    as_http2.version = Version::Http2;
    for before in [parsed.head, as_http2] {
        let mut head = before.clone();
        // A head that is refused goes nowhere.
        let Ok(wishes) = prepare(&mut head) else { continue };
        let shown = bytes.escape_ascii().to_string();
        nothing_of_this_hop_is_left(&before, &head, &wishes, &shown);
        the_upgrade_is_harmless(&before, &wishes, &shown);
        let fields = lines(&head);
        let again =
            prepare(&mut head).unwrap_or_else(|error| panic!("refused at the next hop: {error}: {shown}"));
        assert_eq!(again, Wishes { trailers: wishes.trailers, ..Wishes::default() }, "{shown}");
        assert_eq!(lines(&head), fields, "the next hop has nothing to take out: {shown}");
    }
}

fn nothing_of_this_hop_is_left(before: &RequestHead, head: &RequestHead, wishes: &Wishes, shown: &str) {
    let named = members(before, b"connection");
    let of_hop = |name: &[u8]| {
        let known = Name::of(name);
        known.is_hop_by_hop() || matches!(known, Name::ContentLength | Name::Expect)
    };
    let stays = |name: &[u8]| !of_hop(name) && !named.contains(&name.to_ascii_lowercase());
    let mut expected: Vec<_> = lines(before).into_iter().filter(|(name, _)| stays(name)).collect();
    if wishes.trailers {
        expected.push((b"te".to_vec(), b"trailers".to_vec()));
    }
    assert_eq!(lines(head), expected, "{shown}");
    let protected = |head: &RequestHead| {
        let kept = head.fields.iter().filter(|field| field.known.is_protected());
        kept.filter(|field| field.known != Name::ContentLength).count()
    };
    assert_eq!(protected(head), protected(before), "a caller cannot have them stripped: {shown}");
    assert_eq!(wishes.trailers, members(before, b"te").contains(&b"trailers".to_vec()), "{shown}");
    assert_eq!(wishes.close, named.contains(&b"close".to_vec()), "{shown}");
    assert!(!wishes.expects_continue || before.fields.all(Name::Expect).count() == 1, "{shown}");
}

fn the_upgrade_is_harmless(before: &RequestHead, wishes: &Wishes, shown: &str) {
    let Some(protocol) = &wishes.upgrade else { return };
    let protocol = protocol.to_ascii_lowercase();
    assert_eq!(before.version, Version::Http11, "{shown}");
    assert!(!before.fields.has(Name::ContentLength) && !before.fields.has(Name::TransferEncoding), "{shown}");
    assert!(members(before, b"connection").contains(&b"upgrade".to_vec()), "{shown}");
    let offers = members(before, b"upgrade");
    assert!(offers.len() == 1 && offers.contains(&protocol), "one offer, passed on as it is: {shown}");
    assert!(!protocol.starts_with(b"h2") && !protocol.starts_with(b"http"), "no HTTP inside HTTP: {shown}");
    assert!(protocol.iter().all(u8::is_ascii_graphic), "{shown}");
}

fn lines(head: &RequestHead) -> Vec<(Vec<u8>, Vec<u8>)> {
    head.fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

/// The members of a list field in lower case, over all its lines.
fn members(head: &RequestHead, name: &[u8]) -> Vec<Vec<u8>> {
    let lines = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let members = lines.flat_map(|field| field.value.split(|&byte| byte == b','));
    members
        .map(|member| member.trim_ascii().to_ascii_lowercase())
        .filter(|member| !member.is_empty())
        .collect()
}
