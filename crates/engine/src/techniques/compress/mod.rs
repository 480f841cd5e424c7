//! Compress: answers leave in an encoding that the caller takes. The upstream is asked for them as they are, so that one stored
//! answer serves every encoding.
//!
//! Idea: what is stored is encoded once and kept, what passes is encoded as it passes, a little at a time, and a stream that
//! pauses has all of it brought out first. When not to: between services on a fast network, where encoding takes longer than
//! sending; where an answer has secrets beside what a caller chose (BREACH). Knobs: `compress` of a route. Seen in
//! `Content-Encoding`.

pub mod policy;
pub mod stream;
#[cfg(test)]
mod tests;

use crate::encoding::{Asked, Effort, Key, Variants, encoder};
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::{Body, Name, Size, media};
use crate::pipeline::{Next, Stage};
use bytes::Bytes;
use policy::{Verdict, Wish};
use std::rc::Rc;
use std::sync::Arc;
use stream::Encoded;
use unlag_config::Encoding;
use unlag_record::Technique;

/// Content at hand up to this size is encoded on the spot, which tells its length beforehand.
const ON_THE_SPOT_BYTES_MAX: usize = 8 * 1024;

/// The stage, for one route on one core.
pub struct Compress {
    offered: Vec<Encoding>,
    variants: Arc<Variants>,
}

impl Compress {
    /// Offers these encodings.
    pub fn new(offered: Vec<Encoding>, variants: Arc<Variants>) -> Compress {
        Compress { offered, variants }
    }

    /// Whether this stage has anything to do with a request. gRPC has encodings of its own, and another protocol has none.
    pub fn takes(&self, exchange: &Exchange) -> bool {
        exchange.upgrade.is_none()
            && !exchange.head.fields.get(Name::ContentType).is_some_and(media::is_grpc)
            && !self.is_held_out(exchange)
    }

    /// Whether this request is answered as the origin does although it takes something shorter.
    fn is_held_out(&self, exchange: &Exchange) -> bool {
        exchange.head.fields.get_named("accept-encoding").is_some()
            && exchange.trace.is_held_out(Technique::Compress, exchange.route.config.holdout)
    }

    /// Encodes an answer, if it may be and that is worth it.
    fn encode(&self, mut response: Box<Response>, wish: &Wish) -> Box<Response> {
        let size = match wish.is_head {
            true => policy::told_size(&response.head.fields),
            false => response.body.size(),
        };
        match policy::judge(&response.head, size, wish) {
            Verdict::Pass => {}
            Verdict::Plain => policy::say_varies(&mut response.head.fields),
            Verdict::NotModified => policy::describe_not_modified(&mut response.head.fields, wish),
            Verdict::Encode(encoding) if wish.is_head => self.encode_head(&mut response, encoding, wish),
            Verdict::Encode(encoding) => {
                // What no upstream is at work on came from what is stored, and is asked for again.
                let is_stored = response.in_flight.is_none();
                match self.body(std::mem::take(&mut response.body), encoding, is_stored, wish) {
                    Ok(body) => {
                        response.body = body;
                        policy::describe_encoded(&mut response.head.fields, encoding);
                    }
                    Err(plain) => {
                        response.body = plain;
                        policy::say_varies(&mut response.head.fields);
                    }
                }
            }
        }
        response
    }

    /// Says what a GET would: of content at hand that is known, of other content it is supposed to become smaller.
    fn encode_head(&self, response: &mut Response, encoding: Encoding, wish: &Wish) {
        let content =
            response.unsent.take().map(|content| self.body(Body::Bytes(content), encoding, true, wish));
        let fields = &mut response.head.fields;
        if let Some(Err(_)) = content {
            return policy::say_varies(fields);
        }
        policy::describe_encoded(fields, encoding);
        if let Some(Ok(Body::Bytes(encoded))) = content {
            let length = encoded.len();
            fields.push_known(Name::ContentLength, itoa::Buffer::new().format(length).as_bytes());
        }
    }

    /// The encoded form of a body, or the body if it had better stay as it is.
    fn body(&self, body: Body, encoding: Encoding, is_stored: bool, wish: &Wish) -> Result<Body, Body> {
        let length = match body.size() {
            Size::Exact(length) => Some(length),
            Size::Unknown => None,
        };
        if let (Body::Bytes(content), true) = (&body, is_stored) {
            let bring = || -> crate::encoding::variants::Bring {
                let content = content.clone();
                Box::new(move || Some(content))
            };
            match self.variants.ask(Key::of_place(content, encoding), content.len() as u64, bring) {
                Asked::Made(variant) => return Ok(Body::Bytes(variant.content)),
                Asked::Futile if wish.identity => return Err(body),
                Asked::Futile | Asked::Coming => {}
            }
        }
        match body {
            Body::Bytes(content) if content.len() <= ON_THE_SPOT_BYTES_MAX => {
                on_the_spot(content, encoding, wish)
            }
            body => Encoded::through(body, encoding, length),
        }
    }
}

fn on_the_spot(content: Bytes, encoding: Encoding, wish: &Wish) -> Result<Body, Body> {
    match encoder::whole(encoding, Effort::Quick, &content) {
        Ok(encoded) if encoded.len() < content.len() || !wish.identity => Ok(Body::Bytes(encoded)),
        _ => Err(Body::Bytes(content)),
    }
}

impl Stage for Compress {
    async fn serve<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let wish = Wish::of(&exchange.head, &self.offered);
        policy::ask_plainly(&mut exchange.head.fields, &wish);
        let response = next.run(exchange).await?;
        Ok(self.encode(response, &wish))
    }
}
