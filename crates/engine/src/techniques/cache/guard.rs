//! The guard over what is given to everybody: an origin that declares an answer public although it differs from caller to caller
//! leaks one caller's answer to another through any cache. Now and then, when a caller with credentials is served what somebody
//! else has asked for, the origin is asked beside it with that caller's own. What it says is compared with what was served; if
//! that differs, and is the same when asked again, and is another one without the credentials, it is the caller that it depends
//! on: the key is taken out, passed by for an hour, and it is said so.

use super::object::{Content, Stored};
use super::refresh::beside;
use super::{Cache, same};
use crate::clock;
use crate::exchange::Exchange;
use crate::http::{Chunk, Fields, Name};
use crate::panics;
use crate::pipeline::Next;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// After the first, one check a second of a route at most.
const EVERY_NS: u64 = 1_000_000_000;
/// And of so many hits one.
const SAMPLE: u64 = 64;
/// How long a key is passed by.
pub const BYPASS_S: u64 = 3_600;

/// What an origin answers: status and content.
type Answer = (u16, Bytes);

impl Cache {
    /// Checks, when it is time, what has just been served to a caller with credentials.
    pub(super) fn guard<N: Next>(
        &self,
        exchange: &Exchange,
        url: &[u8],
        stored: &Arc<Stored>,
        next: &Rc<N>,
        now: u64,
    ) {
        let fields = &exchange.head.fields;
        if !same::has_credentials(fields) {
            return;
        }
        let last = self.learned.guarded_ns.load(Relaxed);
        // From the cheap question to the dear one: nearly every hit ends at the first.
        let is_due = last == 0 || now.saturating_sub(last) >= EVERY_NS;
        let is_sampled = || last == 0 || self.store.hash(&now.to_le_bytes()).is_multiple_of(SAMPLE);
        if !is_due || !is_sampled() || same::credentials(fields) == stored.asker || stored.part.is_some() {
            return;
        }
        let Content::Whole(content) = &stored.content else { return };
        if self.learned.guarded_ns.compare_exchange(last, now.max(1), Relaxed, Relaxed).is_err() {
            return;
        }
        let (Some(turn), Some(asked)) = (self.store.begin_refresh(&self.learned), beside(exchange)) else {
            return;
        };
        let served = (stored.head.status, content.clone());
        let (this, url, next) = (self.clone(), url.to_vec(), Rc::clone(next));
        panics::spawn("guard", async move {
            let _turn = turn;
            if depends_on_caller(served, &asked, &next).await {
                this.bypass(&url);
            }
        });
    }

    /// Passes a key by for an hour, and says so.
    fn bypass(&self, url: &[u8]) {
        let now = clock::now();
        self.store.bypassed.set(self.store.hash(url), now);
        self.store.remove(url, now);
        tracing::warn!(
            url = %String::from_utf8_lossy(url),
            bypass_s = BYPASS_S,
            "the origin declares an answer public that differs from caller to caller; it is not cached"
        );
    }
}

/// Whether the origin's answer depends on who asks.
async fn depends_on_caller<N: Next>(served: Answer, asked: &Exchange, next: &Rc<N>) -> bool {
    let Some(own) = answer(asked, true, next).await else { return false };
    // An error is about the credentials, or the moment, and not about what was served.
    if own == served || own.0 != served.0 {
        return false;
    }
    // It may have changed meanwhile, or change with every request: then it says nothing about callers.
    let (Some(again), Some(anonymous)) = (answer(asked, true, next).await, answer(asked, false, next).await)
    else {
        return false;
    };
    own == again && own.0 == anonymous.0 && own != anonymous
}

/// What the origin answers, if it is small enough to be compared.
async fn answer<N: Next>(asked: &Exchange, with_credentials: bool, next: &Rc<N>) -> Option<Answer> {
    let mut exchange = asked.replica()?;
    exchange.comes_back = false;
    let fields: &mut Fields = &mut exchange.head.fields;
    if !with_credentials {
        fields.remove_known(Name::Authorization);
        fields.remove_known(Name::Cookie);
    }
    for condition in [Name::IfNoneMatch, Name::IfModifiedSince, Name::Range] {
        fields.remove_known(condition);
    }
    let mut response = next.run(exchange).await.ok()?;
    let mut content = Vec::new();
    while let Some(chunk) = response.body.chunk().await {
        match chunk.ok()? {
            Chunk::Data(data) => content.extend_from_slice(&data),
            Chunk::Trailers(_) => break,
        }
        if content.len() as u64 > super::arrival::OBJECT_BYTES_MAX {
            return None;
        }
    }
    Some((response.head.status, content.into()))
}
