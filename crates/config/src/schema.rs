//! The form of the file as JSON Schema (draft 2020-12), for editors that complete and check while one writes.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::keys::{self, Choice, Key, Kind, Table};

/// The schema of a config file, made from the same tables as the reader. Keys of techniques that this version
/// does not have are in it with `"off"` as their only value. Bounds of values with units are in their
/// descriptions.
#[must_use]
pub fn schema() -> Value {
    let mut root = table(&keys::ROOT);
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("title".into(), json!("unlag.toml"));
    }
    root
}

fn table(table: &Table) -> Value {
    let properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut required: Vec<&str> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    required.sort_unstable();
    let mut schema = json!({
        "type": "object",
        "description": table.meaning,
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(object) = schema.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
        // What can be written in one of several ways needs exactly one of them.
        let either: &[&str] = match table.header {
            "[[route]]" => &["upstream", "respond", "static"],
            "[upstream.NAME]" => &["endpoints", "regions", "discover"],
            _ => &[],
        };
        if !either.is_empty() {
            let either: Vec<Value> = either.iter().map(|key| json!({ "required": [key] })).collect();
            object.insert("oneOf".into(), json!(either));
        }
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind);
    let Some(object) = schema.as_object_mut() else { return schema };
    let mut description = match key.kind {
        Kind::NotYet => format!("Not in this version. {}", key.meaning),
        _ => key.meaning.to_owned(),
    };
    let form = key.kind.allowed();
    if key.is_here() && !matches!(key.kind, Kind::Table(_) | Kind::Tables(_) | Kind::Named(_) | Kind::Boolean)
    {
        description.push_str(&format!(" Allowed: {form}."));
    }
    if !key.reason.is_empty() {
        description.push_str(&format!(" Default {}: {}.", key.default, key.reason));
    }
    object.insert("description".into(), json!(description));
    if let Some(default) = default_value(key) {
        object.insert("default".into(), default);
    }
    schema
}

/// The default of a key as JSON; it is written as TOML, and single values look alike in both.
pub(crate) fn default_value(key: &Key) -> Option<Value> {
    (!key.default.is_empty()).then(|| serde_json::from_str(key.default).ok()).flatten()
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Text(form) => json!({ "type": "string", "description": form }),
        Kind::Path | Kind::Secret => json!({ "type": "string", "minLength": 1 }),
        Kind::Duration { min, .. } => {
            let zero = *min > Duration::ZERO;
            json!({ "type": "string", "pattern": if zero { "^0*[1-9][0-9]*(ms|s|m|h|d)$" } else { "^[0-9]+(ms|s|m|h|d)$" } })
        }
        Kind::Size { min, max } => json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" },
            { "type": "integer", "minimum": min, "maximum": max },
        ] }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Share { .. } => json!({ "type": "string", "pattern": "^[0-9.]+%$" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Choice(choices) => words(choices),
        Kind::List(entry) => json!({ "type": "array", "items": kind(entry) }),
        Kind::Headers => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table(of) => table(of),
        Kind::Tables(of) => json!({ "type": "array", "items": table(of) }),
        Kind::Named(of) => json!({ "type": "object", "additionalProperties": table(of) }),
        Kind::ByName(entry) => json!({ "type": "object", "additionalProperties": kind(entry) }),
        Kind::Any(kinds) => json!({ "anyOf": kinds.iter().map(kind).collect::<Vec<_>>() }),
        Kind::NotYet => json!({ "const": "off" }),
    }
}

fn words(choices: &[Choice]) -> Value {
    let here: Vec<Value> =
        choices.iter().map(|choice| json!({ "const": choice.word, "description": choice.meaning })).collect();
    let enumerated: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
    json!({ "type": "string", "enum": enumerated, "oneOf": here })
}
