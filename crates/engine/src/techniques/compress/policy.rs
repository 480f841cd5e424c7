//! Which answers are encoded, and what that makes of the fields of request and answer.

use crate::encoding::{Wanted, variants};
use crate::http::conditions::{is_same, listed};
use crate::http::fields::members;
use crate::http::{Fields, Name, RequestHead, ResponseHead, Size, media};
use http::Method;
use unlag_config::Encoding;

/// What of a request decides how its answer leaves.
#[derive(Clone, Debug)]
pub struct Wish {
    encoding: Option<Encoding>,
    /// Whether it may leave as it came.
    pub identity: bool,
    /// Whether nothing but the head is sent.
    pub is_head: bool,
    has_range: bool,
    /// The tags of what the caller has, weak ones among them.
    has: Vec<Box<[u8]>>,
}

impl Wish {
    /// Of a request, where these encodings are offered.
    pub fn of(head: &RequestHead, offered: &[Encoding]) -> Wish {
        let offered = if forbids_transforming(&head.fields) { &[] } else { offered };
        let wanted = Wanted::of(&head.fields, offered);
        let has = match head.fields.has(Name::IfNoneMatch) {
            true => listed(&head.fields, "if-none-match").map(Into::into).collect(),
            false => Vec::new(),
        };
        Wish {
            encoding: wanted.first(),
            identity: wanted.identity,
            is_head: head.method == Method::HEAD,
            has_range: head.fields.has(Name::Range),
            has,
        }
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it would leave like this in any case.
    Pass,
    /// It leaves as it is, and another caller might have got it encoded.
    Plain,
    /// The caller has it, perhaps encoded.
    NotModified,
    /// It is encoded.
    Encode(Encoding),
}

/// Decides. `size` is that of the content that a GET gets.
pub fn judge(head: &ResponseHead, size: Size, wish: &Wish) -> Verdict {
    let fields = &head.fields;
    match head.status {
        304 => return Verdict::NotModified,
        ..200 | 204 | 205 => return Verdict::Pass,
        _ => {}
    }
    let is_compressible = fields.get(Name::ContentType).is_some_and(media::is_compressible);
    if !is_compressible || fields.get_named("content-encoding").is_some() || forbids_transforming(fields) {
        return Verdict::Pass;
    }
    let is_part = head.status == 206 || fields.has(Name::ContentRange) || wish.has_range;
    let (is_nothing, is_small) = match size {
        Size::Exact(length) => (length == 0, length < variants::CONTENT_BYTES_MIN),
        Size::Unknown => (false, false),
    };
    let stays = is_part || is_nothing || is_small && wish.identity;
    wish.encoding.filter(|_| !stays).map_or(Verdict::Plain, Verdict::Encode)
}

fn forbids_transforming(fields: &Fields) -> bool {
    let mut directives = fields.all(Name::CacheControl).flat_map(members);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// The size that an answer to HEAD tells.
pub fn told_size(fields: &Fields) -> Size {
    let length = fields.get(Name::ContentLength).and_then(crate::http::h1::framing::parse_length);
    length.map_or(Size::Unknown, Size::Exact)
}

/// Makes a request into one for the answer as it is. The tags of what was encoded here are weak; whoever gave them out strong,
/// and compares them strongly or as text, must find his own among them.
pub fn ask_plainly(request: &mut Fields) {
    request.set("accept-encoding", b"identity");
    for name in ["if-none-match", "if-match"] {
        let tags: Vec<&[u8]> = listed(request, name).collect();
        let strong = tags.iter().filter_map(|tag| tag.strip_prefix(b"W/"));
        let missing: Vec<&[u8]> = strong.filter(|strong| !tags.contains(strong)).collect();
        if !missing.is_empty() {
            let all = [tags.as_slice(), missing.as_slice()].concat().join(&b", "[..]);
            request.set(name, &all);
        }
    }
}

/// Says that another caller might get another form of this.
pub fn say_varies(fields: &mut Fields) {
    let says = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    let is_said = fields.all(Name::Vary).flat_map(members).any(says);
    if !is_said {
        fields.push_known(Name::Vary, b"Accept-Encoding");
    }
}

/// What is true of the content as it was and no longer of its encoded form: its length, its digests, that parts of it can be had.
const OF_PLAIN_CONTENT: [&str; 5] =
    ["accept-ranges", "content-digest", "repr-digest", "digest", "content-md5"];

/// Makes the fields of an answer into those of its encoded form.
pub fn describe_encoded(fields: &mut Fields, encoding: Encoding) {
    fields.remove_known(Name::ContentLength);
    fields.retain(|field| {
        !OF_PLAIN_CONTENT.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()))
    });
    fields.push(b"content-encoding", encoding.name().as_bytes());
    weaken(fields);
    say_varies(fields);
}

/// Makes the fields of a 304 into those of the form that the caller has.
pub fn describe_not_modified(fields: &mut Fields, wish: &Wish) {
    let has = |etag: &[u8]| wish.has.iter().any(|tag| **tag == *etag);
    let has_weak = |etag: &[u8]| wish.has.iter().any(|tag| tag.starts_with(b"W/") && is_same(tag, etag));
    if fields.get(Name::Etag).is_some_and(|etag| !has(etag) && has_weak(etag)) {
        weaken(fields);
    }
    say_varies(fields);
}

/// The same content in another form is equal in meaning, not byte for byte (RFC 9110 §8.8.1).
fn weaken(fields: &mut Fields) {
    let strong = fields.get(Name::Etag).filter(|etag| !etag.starts_with(b"W/"));
    if let Some(weak) = strong.map(|etag| [b"W/", etag].concat()) {
        fields.set_known(Name::Etag, &weak);
    }
}
