//! `[cache]` and the `cache` of a route.

use crate::keys;
use crate::model::{Cache, KeyedBody, RouteCache};
use crate::pattern::Pattern;
use crate::reader::{Cursor, Value};
use crate::template::Template;

pub(super) fn cache(table: &mut Cursor<'_>) -> Cache {
    let default = Cache::default();
    let memory = table.take("memory").and_then(|value| value.number());
    let heuristic = table.take("heuristic").and_then(|value| value.boolean());
    let set_cookie = table.take("set_cookie").and_then(|value| value.boolean());
    Cache {
        memory: memory.unwrap_or(default.memory),
        heuristic: heuristic.unwrap_or(default.heuristic),
        set_cookie: set_cookie.unwrap_or(default.set_cookie),
    }
}

/// `None` within for `"off"`.
pub(super) fn of_route(value: &Value<'_>, pattern: Option<&Pattern>) -> Option<Option<RouteCache>> {
    if value.word().is_some() {
        return Some(None);
    }
    let mut table = value.table(&keys::ROUTE_CACHE)?;
    let mut duration = |key| table.take(key).and_then(|value| value.duration());
    let ttl = duration("ttl");
    let stale_while_revalidate = duration("stale_while_revalidate");
    let stale_if_error = duration("stale_if_error");
    let body = table.take("body").and_then(|value| value.choice()).and_then(keyed_body);
    let tags = table.take("tags").and_then(|value| value.list()).unwrap_or_default();
    // Without a match that can be read there is nothing to compare them with; that is an error of its own.
    let tags = pattern
        .into_iter()
        .flat_map(|pattern| tags.iter().filter_map(|tag| tag.parse(|text| Template::parse(text, pattern))));
    let rules = RouteCache { ttl, stale_while_revalidate, stale_if_error, body, tags: tags.collect() };
    table.finish();
    Some(Some(rules))
}

fn keyed_body(word: &str) -> Option<KeyedBody> {
    match word {
        "exact" => Some(KeyedBody::Exact),
        "json" => Some(KeyedBody::Json),
        "graphql" => Some(KeyedBody::GraphQl),
        "grpc" => Some(KeyedBody::Grpc),
        _ => None,
    }
}
