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
    /// It asks for the rest of what had a certain date.
    goes_on_by_date: bool,
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
        // Encoded or not, it has the same date: only what is never encoded for this caller can be gone on with by it.
        let is_date = |condition: &[u8]| !condition.ends_with(b"\"");
        let has_range = head.method == Method::GET && head.fields.has(Name::Range);
        let goes_on_by_date =
            has_range && wanted.first().is_some() && head.fields.get_named("if-range").is_some_and(is_date);
        Wish {
            encoding: wanted.first(),
            identity: wanted.identity,
            is_head: head.method == Method::HEAD,
            has_range: head.fields.has(Name::Range) && !goes_on_by_date,
            goes_on_by_date,
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

/// At the end of the tag of what was encoded here. The tag is weak, for the bytes of the same content differ from effort to effort,
/// and it stands for a strong one: the mark tells it from a weak one of the upstream's own, which stands for less.
const MARK: &[u8] = b"--encoded\"";

/// The tag of the encoded form of what has a strong tag.
fn marked(etag: &[u8]) -> Option<Vec<u8>> {
    let begin = etag.strip_suffix(b"\"").filter(|begin| begin.starts_with(b"\""))?;
    Some([b"W/", begin, MARK].concat())
}

/// The strong tag that a marked one was made of.
fn unmarked(tag: &[u8]) -> Option<Vec<u8>> {
    let begin = tag.strip_prefix(b"W/")?.strip_suffix(MARK)?;
    begin.starts_with(b"\"").then(|| [begin, b"\""].concat())
}

/// Makes a request into one for the answer as it is, by the tags that it has there.
pub fn ask_plainly(request: &mut Fields, wish: &Wish) {
    request.set("accept-encoding", b"identity");
    for name in ["if-none-match", "if-match"] {
        let tags = || listed(request, name);
        if tags().any(|tag| unmarked(tag).is_some()) {
            let plain: Vec<_> = tags().map(|tag| unmarked(tag).unwrap_or_else(|| tag.into())).collect();
            request.set(name, &plain.join(&b", "[..]));
        }
    }
    if wish.goes_on_by_date {
        request.remove_known(Name::Range);
        request.retain(|field| !field.name.eq_ignore_ascii_case(b"if-range"));
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
    let etag = fields.get(Name::Etag).unwrap_or_default();
    let encoded = marked(etag);
    let is_it = |tag: &[u8]| encoded.as_deref() == Some(tag) || tag.starts_with(b"W/") && is_same(tag, etag);
    if !wish.has.iter().any(|tag| **tag == *etag)
        && let Some(tag) = wish.has.iter().find(|tag| is_it(tag))
    {
        fields.set_known(Name::Etag, tag);
    }
    say_varies(fields);
}

/// The same content in another form is equal in meaning, not byte for byte (RFC 9110 §8.8.1).
fn weaken(fields: &mut Fields) {
    if let Some(weak) = fields.get(Name::Etag).and_then(marked) {
        fields.set_known(Name::Etag, &weak);
    }
}
