//! What a route says of time-outs, hedging, retries and requests that may be sent twice.

use crate::keys;
use crate::model::{Attempts, Hedge, Retry, Timeout};
use crate::pattern::Pattern;
use crate::reader::{Cursor, Value};

/// What of a route's table is about attempts; what is refused keeps its default.
pub(super) fn attempts(table: &mut Cursor<'_>, pattern: Option<&Pattern>) -> Attempts {
    let default = Attempts::default();
    let timeout = table.take("timeout").and_then(|value| value.unless_word(Value::duration));
    let hedge = table.take("hedge").and_then(|value| value.unless_word(hedge));
    let retry = table.take("retry").and_then(|value| value.unless_word(retry));
    let idempotent = table.take("idempotent").and_then(|value| value.boolean());
    let idempotency_key = table.take("idempotency_key").and_then(|value| value.unless_word(Value::duration));
    let read = Attempts {
        timeout: timeout.flatten().map_or(Timeout::Learned, Timeout::Fixed),
        hedge: hedge.unwrap_or(default.hedge),
        retry: retry.unwrap_or(default.retry),
        idempotent: idempotent.unwrap_or(default.idempotent),
        idempotency_key: idempotency_key.flatten(),
    };
    if let Some(method) = pattern.and_then(|pattern| pattern.method.as_deref()) {
        warn_of_what_a_method_makes_useless(table, method, &read);
    }
    read
}

fn hedge(value: &Value<'_>) -> Option<Hedge> {
    let mut table = value.table(&keys::HEDGE)?;
    let budget = table.take("budget").and_then(|value| value.share());
    table.finish();
    Some(Hedge { budget: budget.unwrap_or(Hedge::default().budget) })
}

fn retry(value: &Value<'_>) -> Option<Retry> {
    let default = Retry::default();
    let mut table = value.table(&keys::RETRY)?;
    let budget = table.take("budget").and_then(|value| value.share());
    let attempts = table.take("attempts").and_then(|value| value.number());
    table.finish();
    Some(Retry {
        budget: budget.unwrap_or(default.budget),
        attempts: attempts.and_then(|attempts| attempts.try_into().ok()).unwrap_or(default.attempts),
    })
}

/// What is said of requests that are never sent twice, or always may be.
fn warn_of_what_a_method_makes_useless(table: &Cursor<'_>, method: &str, read: &Attempts) {
    let warn = |key: &str, help: &str| {
        let message = format!("`{key}` has no effect on a route of {method}");
        table.reader.warning(&table.key_span(key), message, help);
    };
    let is_copied = matches!(method, "GET" | "HEAD" | "OPTIONS");
    if is_copied && read.idempotent {
        warn("idempotent", "requests that read may be sent twice anyway; take it out");
    }
    if (is_copied || matches!(method, "TRACE" | "QUERY")) && read.idempotency_key.is_some() {
        warn("idempotency_key", "it is for requests that change something; take it out");
    }
    if !is_copied && read.hedge.is_some() && !read.idempotent {
        let help = "only GET, HEAD and OPTIONS are sent to two at once; if it does no harm here, add `idempotent = true`";
        warn("hedge", help);
    }
}
