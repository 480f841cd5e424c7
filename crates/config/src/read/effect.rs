//! Keys of a route that have no effect, or not the one that was meant, because of what its upstream or the route itself says.

use super::upstream::Upstreams;
use crate::model::{Attempts, Queue, Source, Timeout, Upstream};
use crate::reader::Cursor;
use crate::value::duration_text;

/// What a route says, as far as it was not refused.
pub(super) struct Said<'s> {
    pub(super) attempts: &'s Attempts,
    pub(super) primary: Option<bool>,
}

/// Warns of them. `index` is that of the upstream; of one that was refused nothing is known.
pub(super) fn warn(table: &Cursor<'_>, said: &Said<'_>, upstreams: &Upstreams, index: usize) {
    let warn =
        |key: &str, message: &str, help: &str| table.reader.warning(&table.key_span(key), message, help);
    let attempts = said.attempts;
    if attempts.idempotent && attempts.idempotency_key.is_some() {
        let message =
            "with `idempotent = true`, a request with a key may be sent to the service twice all the same";
        let help = "take `idempotent` out if the key is to have it executed once, or `idempotency_key` if twice does no harm";
        warn("idempotency_key", message, help);
    }
    let Some(upstream) = upstreams.known(index) else { return };
    if said.primary.is_some() && upstream.primary.is_none() {
        let help = "add `primary` with the name of a region to the upstream, or take it out here";
        warn("primary", "`primary` has no effect: the upstream has none", help);
    }
    if attempts.hedge.is_some() && has_one_endpoint(upstream) {
        let help = "a second copy goes to another endpoint: list one, or take `hedge` out";
        warn("hedge", "`hedge` has no effect: the upstream has one endpoint", help);
    }
    if let (Timeout::Fixed(timeout), Some(queue)) = (attempts.timeout, &upstream.queue)
        && queue.wait_max > timeout
        && queue.wait_max != Queue::default().wait_max
    {
        let message = format!(
            "the upstream's `queue.wait_max` of \"{}\" has no effect here: this ends the wait sooner",
            duration_text(queue.wait_max)
        );
        warn(
            "timeout",
            &message,
            "what has waited so long has no time left for an answer: make `wait_max` shorter than this",
        );
    }
}

fn has_one_endpoint(upstream: &Upstream) -> bool {
    matches!(&upstream.source, Source::Endpoints(list) if list.len() == 1)
}
