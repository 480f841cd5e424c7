//! Getting what is not stored: from a fetch that is under way, or by one of its own.

use super::fetch::{Asking, Missing};
use super::figures::{Counts, Miss};
use super::flight::{For, Landing, Surviving, Turn};
use super::status::Status;
use super::{Cache, Found, same, vary};
use crate::clock;
use crate::exchange::{Exchange, Outcome};
use crate::http::Name;
use crate::pipeline::Next;
use http::Method;
use std::rc::Rc;
use unlag_record::Phase;

/// How often one request waits for others' fetches before it goes on its own: once for the URL, once for its own variant of it,
/// and once more if a leader gives up.
const ROUNDS_MAX: usize = 3;

/// What follows from another's fetch.
enum Then {
    Answer(Outcome),
    LookAgain,
    GoAlone,
}

impl Cache {
    /// Gets what is missing.
    pub(super) async fn obtain<N: Next>(
        &self,
        exchange: Box<Exchange>,
        url: Vec<u8>,
        mut missing: Missing,
        next: &Rc<N>,
    ) -> Outcome {
        for _ in 0..ROUNDS_MAX {
            let waiting = match self.turn(&exchange, &url, &missing) {
                Turn::Alone => break,
                Turn::Wait(waiting) => waiting,
                Turn::Lead(leading) => {
                    let watch = leading.watch();
                    let asking = Asking::leading(self, url, leading, &exchange);
                    let fetch = self.clone().go(exchange, missing, asking, Rc::clone(next));
                    return Surviving::new(fetch, watch).await;
                }
            };
            exchange.trace.enter(Phase::Cache);
            let landed = waiting.landed(self.learned.wait_cap()).await;
            exchange.trace.enter(Phase::Overhead);
            match self.landed(landed, &exchange, &url, &missing) {
                Then::Answer(outcome) => return outcome,
                Then::GoAlone => break,
                Then::LookAgain => {}
            }
            match self.find(&exchange, &url, next) {
                Found::Answer(response) => return Ok(response),
                Found::Missing(now) => missing = now,
            }
        }
        let asking = Asking::alone(self, url);
        self.clone().go(exchange, missing, asking, Rc::clone(next)).await
    }

    /// Whether it waits, leads, or has nothing to do with others.
    fn turn(&self, exchange: &Exchange, url: &[u8], missing: &Missing) -> Turn {
        let is_worth_it = missing.stored.is_some() || self.learned.is_shareable();
        if !missing.joins || !is_worth_it || !same::may_share(exchange) {
            return Turn::Alone;
        }
        let key = self.key(exchange, url, missing);
        let now = clock::now();
        if self.store.marks.has(self.store.hash(&key), now / 1_000_000_000) {
            return Turn::Alone;
        }
        // What answers a condition or is a part is not for others; an answer for others is good for those who ask so.
        let is_plain = exchange.head.method != Method::HEAD && !exchange.head.fields.has_any(CONDITIONAL);
        self.store.board(url, &key, now, is_plain)
    }

    /// Under what others look for the same: the URL, the route, and what is known to select among variants.
    pub(super) fn key(&self, exchange: &Exchange, url: &[u8], missing: &Missing) -> Vec<u8> {
        let mut key = Vec::with_capacity(url.len() + 8);
        key.extend_from_slice(url);
        key.push(0);
        key.extend_from_slice(&self.learned.route.to_le_bytes());
        let fields = &exchange.head.fields;
        if same::has_credentials(fields) {
            // Nobody waits for what may turn out to be another's.
            key.extend_from_slice(&same::identity(fields).to_le_bytes());
        }
        let known = missing.stored.as_ref().map(|(stored, _)| stored);
        let known = known.or_else(|| missing.variants.as_ref()?.of(self.learned.route).next());
        if let Some(stored) = known {
            vary::write_selection(&stored.head.fields, fields, &mut key);
        }
        key
    }

    /// What another's fetch has come to for this request.
    fn landed(&self, landing: Option<Landing>, exchange: &Exchange, url: &[u8], missing: &Missing) -> Then {
        let or_serve = missing.stored.as_ref().filter(|(_, or_serve)| *or_serve).map(|(stored, _)| stored);
        match landing {
            None | Some(Landing::Refused) => Then::GoAlone,
            Some(Landing::Abandoned) => Then::LookAgain,
            Some(Landing::Failed(error)) => match or_serve {
                Some(stored) => Then::Answer(Ok(self.hit(stored, exchange, Status::stale()))),
                None => Then::Answer(Err(error.into())),
            },
            Some(Landing::Shared(stored, whose)) => {
                let Some(_hold) = stored.content.hold() else { return Then::GoAlone };
                let request = &exchange.head.fields;
                let is_good = match whose {
                    For::TheSame(identity) if identity != same::identity(request) => return Then::GoAlone,
                    For::TheSame(_) => true,
                    For::Everybody => vary::matches(&stored.selected, &stored.head.fields, request),
                };
                // Whoever came after a purge must not get what was asked for before it, stored or not.
                if !is_good || self.store.is_of_before(url, &stored) {
                    return Then::LookAgain;
                }
                let reason = if missing.stored.is_some() { Miss::Stale } else { Miss::UriMiss };
                Counts::one(&self.counts.collapsed);
                Then::Answer(Ok(self.serve(&stored, exchange, Status::forwarded(reason).collapsed())))
            }
        }
    }
}

/// Fields that make an answer one to this request alone.
const CONDITIONAL: u64 = Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit() | Name::Range.bit();
