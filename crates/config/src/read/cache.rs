//! `[cache]` and the `cache` of a route.

use crate::keys;
use crate::model::{Cache, KeyedBody, RouteCache};
use crate::pattern::Pattern;
use crate::problem::{Invalid, quoted};
use crate::reader::{Cursor, Value};
use crate::secret::Secret;
use crate::template::Template;
use crate::tier;

/// What the address of a shared tier may be.
pub(crate) const SHARED_HELP: &str = "allowed: redis://, rediss://, redis-cluster://, rediss-cluster:// or memcached://, each \
     followed by HOST:PORT; or env:NAME or file:PATH";

pub(super) fn cache(table: &mut Cursor<'_>) -> Cache {
    let default = Cache::default();
    let memory = table.take("memory").and_then(|value| value.number());
    let name = table.take("name").and_then(|value| value.parse(|text| cache_name(text, value.help())));
    let heuristic = table.take("heuristic").and_then(|value| value.boolean());
    let set_cookie = table.take("set_cookie").and_then(|value| value.boolean());
    Cache {
        memory: memory.unwrap_or(default.memory),
        name: name.unwrap_or(default.name),
        heuristic: heuristic.unwrap_or(default.heuristic),
        set_cookie: set_cookie.unwrap_or(default.set_cookie),
        shared: table.take("shared").and_then(|value| shared(&value)),
    }
}

/// Where answers are shared: read here as it is when it is used.
fn shared(value: &Value<'_>) -> Option<Secret> {
    let is_reference = value.is_reference();
    if !is_reference && value.as_str().is_some_and(tier::may_hold_password) {
        value.reader.mask(&value.span);
    }
    value.remember();
    value.parse(|text| {
        if !is_reference {
            text.parse::<tier::Address>()
                .map_err(|error| Invalid::new(format!("`cache.shared`: {error}"), SHARED_HELP))?;
        }
        value.as_secret(text)
    })
}

/// A token of Structured Fields (RFC 9651 §3.3.4), less what nobody calls a machine by.
fn cache_name(text: &str, help: String) -> Result<String, Invalid> {
    let is_named = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
    if is_named {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(format!("{} cannot name a cache", quoted(text)), help))
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
    let mut tags = table.take("tags").and_then(|value| value.list()).unwrap_or_default();
    tags.retain(|tag| {
        let is_empty = tag.as_str() == Some("");
        if is_empty {
            tag.reader.warning(
                &tag.span,
                "an empty tag has no effect",
                "a purge names a tag: give it a name",
            );
        }
        !is_empty
    });
    // Without a match that can be read there is nothing to compare them with; that is an error of its own.
    let tags = pattern
        .into_iter()
        .flat_map(|pattern| tags.iter().filter_map(|tag| tag.parse(|text| Template::parse(text, pattern))));
    let rules = RouteCache { ttl, stale_while_revalidate, stale_if_error, body, tags: tags.collect() };
    if let Some(method) = pattern.and_then(|pattern| pattern.method.as_deref()) {
        warn_of_what_a_method_makes_useless(&table, method);
    }
    table.finish();
    Some(Some(rules))
}

/// What is said of answers that are never stored, or of content that is never part of a key.
fn warn_of_what_a_method_makes_useless(table: &Cursor<'_>, method: &str) {
    const RULES: [&str; 4] = ["ttl", "stale_while_revalidate", "stale_if_error", "tags"];
    let warn = |key: &str, help: &str| {
        let message = format!("`{key}` has no effect on a route of {method}");
        table.reader.warning(&table.key_span(key), message, help);
    };
    let keys_content = matches!(method, "POST" | "QUERY");
    if !keys_content && table.has("body") {
        warn("body", "the content of POST and QUERY alone is part of a key; take it out");
    }
    let help = match method {
        "GET" | "HEAD" | "QUERY" => return,
        "POST" if table.has("body") => return,
        "POST" => "POST is a change; if it only reads here, add `body`, such as `body = \"json\"`",
        _ => "its answers are not stored; take it out",
    };
    for key in RULES.into_iter().filter(|key| table.has(key)) {
        warn(key, help);
    }
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
