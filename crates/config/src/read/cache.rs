//! `[cache]` and the `cache` of a route.

use crate::keys;
use crate::model::{Cache, RouteCache};
use crate::reader::{Cursor, Value};

pub(super) fn cache(table: &mut Cursor<'_>) -> Cache {
    let default = Cache::default();
    let memory = table.take("memory").and_then(|value| value.number());
    let heuristic = table.take("heuristic").and_then(|value| value.boolean());
    Cache { memory: memory.unwrap_or(default.memory), heuristic: heuristic.unwrap_or(default.heuristic) }
}

/// `None` within for `"off"`.
pub(super) fn of_route(value: &Value<'_>) -> Option<Option<RouteCache>> {
    if value.word().is_some() {
        return Some(None);
    }
    let mut table = value.table(&keys::ROUTE_CACHE)?;
    let mut duration = |key| table.take(key).and_then(|value| value.duration());
    let rules = RouteCache {
        ttl: duration("ttl"),
        stale_while_revalidate: duration("stale_while_revalidate"),
        stale_if_error: duration("stale_if_error"),
    };
    table.finish();
    Some(Some(rules))
}
