//! Edge: answers from a directory without asking anybody.
//!
//! Idea: what is a file needs no service. Small files are kept in memory and looked at once a second, large ones pass in pieces;
//! both leave in the best encoding that the caller takes, from a sibling on disk or encoded once and kept. Nothing leads out of
//! the directory, and a file that changes while it is sent is cut, not patched. When not to: files that differ per caller. Knobs:
//! `static` of a route.

pub mod file;
pub mod files;
pub mod flights;
pub mod open;
pub mod policy;
pub mod readers;
pub mod stream;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::encoding::{Asked, Key, Variants, Wanted as WantedEncodings};
use crate::error::Error;
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::conditions::{self, Judgement, Validators};
use crate::http::range::Wanted;
use crate::http::{Body, Fields, Name, ResponseHead, date, media};
use crate::pipeline::Next;
use bytes::Bytes;
use file::{Content, File};
use files::{Directory, Files, Found, Known};
use http::Method;
use policy::Named;
use std::sync::Arc;
use stream::FileStream;
use unlag_config::{Encoding, Pattern};

/// For content whose name changes with it: nobody needs to ask again within a year (RFC 8246).
const IMMUTABLE: &[u8] = b"public, max-age=31536000, immutable";
/// For all else: kept by whoever likes, and asked about each time, which costs a 304. A lifetime would show callers a mixture of
/// old and new files after each change.
const REVALIDATED: &[u8] = b"public, no-cache";

/// How often a file is looked up that is being replaced all the time.
const ATTEMPTS_MAX: usize = 3;

/// The innermost stage of a route that serves files.
pub struct Edge {
    directory: Arc<Directory>,
    pattern: Pattern,
    files: Arc<Files>,
    variants: Arc<Variants>,
}

/// What is sent of a file.
struct Chosen<'a> {
    content: Whole<'a>,
    encoding: Option<Encoding>,
    etag: Box<[u8]>,
}

/// All of it.
enum Whole<'a> {
    File(&'a File),
    Made(Bytes),
}

impl Edge {
    /// Serves a directory at the paths of a pattern.
    pub fn new(
        directory: Arc<Directory>,
        pattern: Pattern,
        files: Arc<Files>,
        variants: Arc<Variants>,
    ) -> Edge {
        Edge { directory, pattern, files, variants }
    }

    async fn serve(&self, exchange: Box<Exchange>) -> Outcome {
        if !matches!(exchange.head.method, Method::GET | Method::HEAD) {
            let _ = exchange.trace.allow.set("GET, HEAD".into());
            return Err(Error::Method.into());
        }
        let path = exchange.head.fields.read(exchange.asked_path);
        let Some(named) = policy::named(&self.pattern, path) else { return Err(Error::NoFile.into()) };
        for _ in 0..ATTEMPTS_MAX {
            match self.answer_named(&exchange, path, &named).await {
                // It was another file by the time it was opened.
                Err(Error::FileChanged) => {}
                answered => return answered.map_err(Into::into),
            }
        }
        Err(Error::FileChanged.into())
    }

    async fn answer_named(
        &self,
        exchange: &Exchange,
        path: &[u8],
        named: &Named,
    ) -> Result<Box<Response>, Error> {
        let found = match (named.is_directory, &self.directory.index) {
            (false, _) => self.files.find(&self.directory, &named.path).await?,
            (true, None) => return Err(Error::NoFile),
            (true, Some(index)) => match self.files.find(&self.directory, &named.with(index)).await? {
                Found::Directory => return Err(Error::NoFile),
                found => found,
            },
        };
        match found {
            Found::File(known) => self.answer(exchange, path, &known).await,
            Found::Directory if self.directory.index.is_some() => Ok(to_slash(path, exchange.head.query())),
            Found::Directory => Err(Error::NoFile),
        }
    }

    async fn answer(&self, exchange: &Exchange, path: &[u8], known: &Known) -> Result<Box<Response>, Error> {
        let request = &exchange.head.fields;
        let chosen = self.choose(known, request);
        let validators = Validators {
            etag: Some(&chosen.etag),
            modified_s: Some(known.file.modified_s),
            // It may have been another one in the same second; whoever has got it has its ETag.
            date_s: None,
            now_s: date::unix_ms(clock::now()) / 1_000,
        };
        let mut head = ResponseHead::new(200);
        self.describe(&mut head.fields, known, path, &chosen.etag);
        match conditions::judge(request, validators) {
            Judgement::Go => {}
            Judgement::NotModified => {
                head.status = 304;
                return Ok(Response::new(head, Body::Empty));
            }
            Judgement::Failed => return Ok(Response::new(ResponseHead::new(412), Body::Bytes(Bytes::new()))),
        }
        head.fields.push_known(Name::ContentType, known.file.content_type.as_bytes());
        if let Some(encoding) = chosen.encoding {
            head.fields.push(b"content-encoding", encoding.name().as_bytes());
        }
        let length = match &chosen.content {
            Whole::Made(content) => content.len() as u64,
            Whole::File(file) => {
                head.fields.push(b"accept-ranges", b"bytes");
                file.stamp.length
            }
        };
        if exchange.head.method == Method::HEAD {
            head.fields.push_known(Name::ContentLength, itoa::Buffer::new().format(length).as_bytes());
            return Ok(Response::new(head, Body::Empty));
        }
        let file = match chosen.content {
            Whole::Made(content) => return Ok(Response::new(head, Body::Bytes(content))),
            Whole::File(file) => file,
        };
        let (first, last) = match conditions::wanted(request, validators, length) {
            Wanted::Nothing => return Ok(unsatisfiable(length)),
            Wanted::Whole => (0, length),
            Wanted::Part(first, last) => {
                head.status = 206;
                head.fields
                    .push_known(Name::ContentRange, format!("bytes {first}-{last}/{length}").as_bytes());
                (first, last + 1)
            }
        };
        let body = self.content(file, chosen.encoding, known, first..last).await?;
        Ok(Response::new(head, body))
    }

    /// A part of a file.
    async fn content(
        &self,
        file: &File,
        encoding: Option<Encoding>,
        known: &Known,
        part: std::ops::Range<u64>,
    ) -> Result<Body, Error> {
        if let Content::Small(content) = &file.content {
            return Ok(Body::Bytes(content.slice(part.start as usize..part.end as usize)));
        }
        let path = known.path_in(encoding);
        match self.files.open(&self.directory, &path, file.stamp).await? {
            Some(opened) => Ok(FileStream::body(opened, file.stamp, part, self.files.readers())),
            // It is another file by now: the next who asks gets that one.
            None => {
                self.files.forget(&self.directory, known);
                Err(Error::FileChanged)
            }
        }
    }

    /// The best form of a file that there is for a caller.
    fn choose<'a>(&self, known: &'a Known, request: &Fields) -> Chosen<'a> {
        let file = &known.file;
        let plain = || Chosen { content: Whole::File(file), encoding: None, etag: file.etag.clone() };
        if !known.varies {
            return plain();
        }
        let wanted = WantedEncodings::of(request, &self.directory.encodings);
        let siblings =
            || wanted.encodings().filter_map(|encoding| Some((encoding, known.sibling(encoding)?)));
        if let Some((encoding, sibling)) = siblings().next() {
            let etag = sibling.etag.clone();
            return Chosen { content: Whole::File(sibling), encoding: Some(encoding), etag };
        }
        // A part is one of what lies there: what was made here is another thing tomorrow.
        if policy::wants_part(request) || !media::is_compressible(file.content_type.as_bytes()) {
            return plain();
        }
        // Who has it in a form that it can use has the file, made here by now or not: it is not sent again to be shorter.
        if let Some((encoding, etag)) = policy::known_form(file, &wanted, request) {
            return Chosen { content: Whole::File(file), encoding, etag };
        }
        for encoding in wanted.encodings() {
            let key = Key::of_hash(file.hash, encoding);
            let bring = || self.files.bring(&self.directory, known);
            if let Asked::Made(made) = self.variants.ask(key, file.stamp.length, bring) {
                let etag = policy::etag_of_made(file, encoding, made.effort);
                return Chosen { content: Whole::Made(made.content), encoding: Some(encoding), etag };
            }
            // The best one is being made now, or does not pay.
            if wanted.identity {
                break;
            }
        }
        plain()
    }

    /// What is said of a file whether or not it is sent.
    fn describe(&self, fields: &mut Fields, known: &Known, path: &[u8], etag: &[u8]) {
        let is_immutable = self.directory.immutable.as_ref().is_some_and(|regex| regex.is_match(path));
        fields.push_known(Name::Etag, etag);
        fields.push_known(Name::LastModified, known.file.last_modified.as_bytes());
        fields.push_known(Name::CacheControl, if is_immutable { IMMUTABLE } else { REVALIDATED });
        if known.varies {
            fields.push_known(Name::Vary, b"Accept-Encoding");
        }
    }
}

/// To the form of a directory's path in which the names in its index lead to its files.
fn to_slash(path: &[u8], query: Option<&[u8]>) -> Box<Response> {
    let mut location = [path, b"/"].concat();
    if let Some(query) = query {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    let mut head = ResponseHead::new(308);
    head.fields.push_known(Name::Location, &location);
    head.fields.push_known(Name::CacheControl, REVALIDATED);
    Response::new(head, Body::Bytes(Bytes::new()))
}

fn unsatisfiable(length: u64) -> Box<Response> {
    let mut head = ResponseHead::new(416);
    head.fields.push_known(Name::ContentRange, format!("bytes */{length}").as_bytes());
    Response::new(head, Body::Bytes(Bytes::new()))
}

impl Next for Edge {
    async fn run(&self, exchange: Box<Exchange>) -> Outcome {
        self.serve(exchange).await
    }
}
