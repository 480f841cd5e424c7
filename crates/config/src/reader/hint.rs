//! What was probably meant by a value of the wrong form, as it would have to be written: `retry = 3` is `retry = { attempts = 3 }`.
//! Pure: what stands there and what may stand there in, text out.

use std::time::Duration;

use toml::de::DeValue;

use crate::keys::{Key, Kind, Table};
use crate::problem::quoted;
use crate::value;

/// How long something is kept, where nothing says for how long.
const EXAMPLE: Duration = Duration::from_secs(3_600);

/// What to write after the equals sign instead of `node`, where that can be told.
pub(super) fn instead(kind: &'static Kind, node: &DeValue<'_>) -> Option<String> {
    let kinds: &[Kind] = match kind {
        Kind::Any(kinds) => kinds,
        kind => std::slice::from_ref(kind),
    };
    if let Some(is_on) = switched(node) {
        return switch(kind, kinds, is_on);
    }
    kinds.iter().find_map(|kind| if let Kind::Table(table) = kind { within(table, node) } else { None })
}

/// What is meant to be on or off as such, in whatever word.
fn switched(node: &DeValue<'_>) -> Option<bool> {
    match node {
        DeValue::Boolean(is_on) => Some(*is_on),
        DeValue::String(text) => match text.as_ref() {
            "on" | "true" | "yes" | "auto" => Some(true),
            "off" | "false" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn switch(kind: &'static Kind, kinds: &'static [Kind], is_on: bool) -> Option<String> {
    if kinds.iter().any(|kind| matches!(kind, Kind::Boolean)) {
        return Some(is_on.to_string());
    }
    if !is_on {
        return kind.words().contains(&"off").then(|| "\"off\"".to_owned());
    }
    kinds.iter().find_map(|kind| match kind {
        Kind::Table(table) => with_defaults(table),
        Kind::Duration { min, max } => {
            Some(format!("\"{}\"", value::duration_text(EXAMPLE.clamp(*min, *max))))
        }
        _ => None,
    })
}

/// The table with nothing in it but what has to be.
fn with_defaults(table: &Table) -> Option<String> {
    let mut required = table.keys.iter().filter(|key| key.required);
    match (required.next(), required.next()) {
        (None, _) => Some("{}".to_owned()),
        (Some(key), None) if key.name == "path" => Some("{ path = \"/healthz\" }".to_owned()),
        _ => None,
    }
}

/// The table with the value at the first of its keys that takes such a one, if no other has to be there.
fn within(table: &Table, node: &DeValue<'_>) -> Option<String> {
    let key = table.keys.iter().find(|key| takes(key, node))?;
    let others = table.keys.iter().any(|other| other.required && other.name != key.name);
    let written = match node {
        DeValue::Integer(number) => number.as_str().to_owned(),
        node => quoted(node.as_str()?),
    };
    (!others).then(|| format!("{{ {} = {written} }}", key.name))
}

fn takes(key: &Key, node: &DeValue<'_>) -> bool {
    match (&key.kind, node) {
        (Kind::Count { min, max }, DeValue::Integer(number)) => {
            number.as_str().parse().is_ok_and(|number: u64| (*min..=*max).contains(&number))
        }
        (Kind::Share { max_percent, .. }, DeValue::String(text)) => {
            value::share(text).is_ok_and(|share| share <= f64::from(*max_percent) / 100.0)
        }
        (Kind::Duration { min, max }, DeValue::String(text)) => {
            value::duration(text).is_ok_and(|duration| (*min..=*max).contains(&duration))
        }
        (Kind::Text(_), DeValue::String(text)) => key.name == "path" && text.starts_with('/'),
        (Kind::Path, DeValue::String(text)) => text.contains('/'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    fn meant(key: &str, table: &'static Table, written: &str) -> Option<String> {
        let text = format!("key = {written}");
        let parsed = toml::de::DeTable::parse(&text).unwrap();
        instead(&table.key(key).unwrap().kind, parsed.get_ref().get("key").unwrap().get_ref())
    }

    #[test]
    fn a_value_stands_at_the_key_that_takes_it() {
        for (key, written, expected) in [
            ("hedge", "true", "{}"),
            ("hedge", "\"on\"", "{}"),
            ("hedge", "\"5%\"", "{ budget = \"5%\" }"),
            ("hedge", "false", "\"off\""),
            ("retry", "3", "{ attempts = 3 }"),
            ("retry", "\"20%\"", "{ budget = \"20%\" }"),
            ("idempotency_key", "true", "\"1h\""),
            ("idempotent", "\"yes\"", "true"),
            ("cache", "\"5m\"", "{ ttl = \"5m\" }"),
            ("respond", "404", "{ status = 404 }"),
            ("static", "\"./public\"", "{ directory = \"./public\" }"),
        ] {
            assert_eq!(meant(key, &keys::ROUTE, written).as_deref(), Some(expected), "{key} = {written}");
        }
        for (key, written, expected) in [
            ("health", "\"/healthz\"", "{ path = \"/healthz\" }"),
            ("health", "true", "{ path = \"/healthz\" }"),
            ("queue", "\"500ms\"", "{ wait_max = \"500ms\" }"),
            ("spill", "\"30%\"", "{ max = \"30%\" }"),
        ] {
            assert_eq!(meant(key, &keys::UPSTREAM, written).as_deref(), Some(expected), "{key} = {written}");
        }
    }

    #[test]
    fn what_fits_nowhere_is_not_guessed() {
        for (key, written) in
            [("retry", "4"), ("hedge", "\"50%\""), ("hedge", "\"soon\""), ("respond", "true")]
        {
            assert_eq!(meant(key, &keys::ROUTE, written), None, "{key} = {written}");
        }
    }
}
