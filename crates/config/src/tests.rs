//! The tables, the reader, the schema and the reference know the same keys and the same defaults.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::keys::{Kind, Table};
use crate::reader::{Cursor, Reader};
use crate::reference::tables;
use crate::source::SourceText;
use crate::{Limits, Parsed, keys, parse, read, reference, schema};

/// A file in which every table occurs.
const EVERY_TABLE: &str = r#"
[[listen]]
address = "127.0.0.1:8080"
tls = [{ certificate = "a.pem", key = "a.key", client_ca = "ca.pem" }]
[admin]
[state]
[limits]
[trust]
[region]
name = "eu"
[upstream.a]
endpoints = [{ url = "https://a", weight = 2 }]
limit = 8
queue = {}
health = { path = "/" }
tls = {}
spill = {}
[cache]
[monitor]
[[route]]
match = "/"
upstream = "a"
request_headers = {}
cache = {}
hedge = {}
retry = {}
rate = { limit = "1/h" }
[[route]]
match = "/{x...}"
respond = { status = 404 }
[[route]]
match = "/files/{x...}"
static = { directory = "public" }
"#;

fn valid(text: &str) -> Parsed {
    parse(text, "unlag.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// Every key of this version, with its table.
fn known() -> BTreeSet<(&'static str, &'static str)> {
    let keys = |table: &'static Table| {
        table.keys.iter().filter(|key| key.is_here()).map(|key| (table.header, key.name))
    };
    tables().into_iter().flat_map(keys).collect()
}

#[test]
fn the_reader_asks_for_exactly_the_keys_of_the_tables() {
    valid(EVERY_TABLE);
    let reader = Reader::new(SourceText::new(EVERY_TABLE, "unlag.toml"));
    let root = toml::de::DeTable::parse(EVERY_TABLE).unwrap();
    let mut cursor = Cursor::new(&reader, &keys::ROOT, String::new(), 0..0, root.get_ref());
    read::config(&mut cursor).unwrap();
    assert_eq!(*reader.asked.borrow(), known());
}

#[test]
fn the_schema_has_exactly_the_keys_of_the_tables() {
    fn walk(table: &Table, schema: &Value) {
        let properties =
            schema["properties"].as_object().unwrap_or_else(|| panic!("{}: {schema}", table.header));
        let expected: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(
            properties.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            expected,
            "{}",
            table.header
        );
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        for key in table.keys {
            let property = &properties[key.name];
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", key.name);
            assert_eq!(
                key.default.is_empty(),
                property.get("default").is_none(),
                "{}: {}",
                key.name,
                key.default
            );
            descend(&key.kind, property);
        }
    }
    fn descend(kind: &Kind, schema: &Value) {
        match kind {
            Kind::Table(table) => walk(table, schema),
            Kind::Tables(table) => walk(table, &schema["items"]),
            Kind::Named(table) => walk(table, &schema["additionalProperties"]),
            Kind::List(kind) => descend(kind, &schema["items"]),
            Kind::ByName(kind) => descend(kind, &schema["additionalProperties"]),
            Kind::Any(kinds) => {
                kinds.iter().enumerate().for_each(|(n, kind)| descend(kind, &schema["anyOf"][n]))
            }
            Kind::NotYet => assert_eq!(schema["const"], "off"),
            _ => {}
        }
    }
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    walk(&keys::ROOT, &schema);
}

#[test]
fn the_reference_has_every_key_with_its_default_and_reason() {
    let reference = reference();
    let sections: Vec<&str> = reference.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), tables().len() + 1, "every table and the closing section");
    for (table, section) in tables().into_iter().zip(sections) {
        assert!(section.contains(&table.meaning.replace('|', "\\|")), "{}", table.header);
        let rows: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        let here: Vec<_> = table.keys.iter().filter(|key| key.is_here()).collect();
        assert_eq!(rows.len(), here.len(), "{}", table.header);
        for (key, row) in here.into_iter().zip(rows) {
            assert!(row.starts_with(&format!("{}` |", key.name)), "{row}");
            assert!(row.contains(key.default) && row.contains(key.reason), "{row}");
            assert_eq!(row.matches(" | ").count() - row.matches("\\| ").count(), 3, "{row}");
        }
        for later in table.keys.iter().filter(|key| !key.is_here()) {
            assert!(section.contains(&format!("`{}`", later.name)), "{}", later.name);
        }
    }
}

#[test]
fn every_default_has_a_reason() {
    for table in tables() {
        for key in table.keys {
            assert_eq!(key.default.is_empty(), key.reason.is_empty(), "{}", key.name);
            assert!(!key.meaning.is_empty());
        }
    }
}

#[test]
fn writing_every_default_out_changes_nothing() {
    /// The lines of a table with every documented default.
    fn defaults(table: &Table) -> String {
        let lines = table.keys.iter().filter(|key| !key.default.is_empty());
        lines.map(|key| format!("{} = {}\n", key.name, key.default)).collect()
    }
    let skeleton = |filled: bool| {
        let fill = |table: &Table| if filled { defaults(table) } else { String::new() };
        format!(
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[admin]\n{}[state]\n{}[limits]\n{}[trust]\n{}[monitor]\n{}\
             [upstream.a]\nendpoints = [\"https://a\"]\n{}[upstream.a.health]\npath = \"/\"\n{}[upstream.a.spill]\n{}\
             [upstream.b]\nlimit = 9\n[upstream.b.queue]\n{}[[upstream.b.endpoints]]\nurl = \"http://b\"\n{}\
             [[route]]\nmatch = \"/\"\nupstream = \"a\"\n{}\
             [[route]]\nmatch = \"/b\"\nupstream = \"b\"\n[route.hedge]\n{}[route.retry]\n{}[route.rate]\nlimit = \"9/s\"\n{}\
             [[route]]\nmatch = \"/c\"\n[route.respond]\nstatus = 404\n{}\
             [[route]]\nmatch = \"/d\"\n[route.static]\ndirectory = \"d\"\n{}",
            fill(&keys::ADMIN),
            fill(&keys::STATE),
            fill(&keys::LIMITS),
            fill(&keys::TRUST),
            fill(&keys::MONITOR),
            fill(&keys::UPSTREAM),
            fill(&keys::HEALTH),
            fill(&keys::SPILL),
            fill(&keys::QUEUE),
            fill(&keys::ENDPOINT),
            fill(&keys::ROUTE),
            fill(&keys::HEDGE),
            fill(&keys::RETRY),
            fill(&keys::RATE),
            fill(&keys::RESPOND),
            fill(&keys::STATIC),
        )
    };
    let bare = valid(&skeleton(false)).config;
    assert_eq!(valid(&skeleton(true)).config, bare);
    assert_eq!(bare.limits, Limits::default());
}

#[test]
fn each_limit_is_read_into_its_own_field() {
    for key in keys::LIMITS.keys {
        let other = match &key.kind {
            Kind::Duration { .. } => "\"7s\"",
            _ if key.name == "uri" => "\"4KiB\"",
            Kind::Size { .. } => "\"128KiB\"",
            _ => "77",
        };
        let text = format!("[[listen]]\naddress = \"127.0.0.1:1\"\n[limits]\n{} = {other}\n", key.name);
        let limits = format!("{:#?}", valid(&text).config.limits);
        let default = format!("{:#?}", Limits::default());
        let changed: Vec<&str> = limits
            .lines()
            .zip(default.lines())
            .filter(|(one, two)| one != two)
            .map(|(one, _)| one.trim())
            .collect();
        assert_eq!(changed.len(), 1, "{}: {changed:?}", key.name);
        assert!(changed[0].starts_with(&format!("{}:", key.name)), "{changed:?}");
    }
}

/// What is said of a route that is valid.
fn warnings(route: &str) -> Vec<String> {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:1\"\n[upstream.a]\nendpoints = [\"http://a\", \"http://b\"]\n[[route]]\nupstream = \"a\"\n{route}\n"
    );
    valid(&text).warnings.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn what_is_said_of_sending_twice_to_no_effect_is_warned_of() {
    for (route, message) in [
        ("match = \"GET /\"\nidempotent = true", "`idempotent` has no effect on a route of GET"),
        (
            "match = \"QUERY /\"\nidempotency_key = \"1h\"",
            "`idempotency_key` has no effect on a route of QUERY",
        ),
        ("match = \"POST /\"\nhedge = {}", "`hedge` has no effect on a route of POST"),
        ("match = \"QUERY /\"\nhedge = {}", "`hedge` has no effect on a route of QUERY"),
        (
            "match = \"POST /\"\nhedge = {}\nidempotency_key = \"1h\"",
            "`hedge` has no effect on a route of POST",
        ),
    ] {
        assert_eq!(warnings(route), [message], "{route}");
    }
    for route in [
        "match = \"/\"\nhedge = {}\nidempotency_key = \"1h\"",
        "match = \"POST /\"\nhedge = {}\nidempotent = true",
        "match = \"QUERY /\"\nhedge = {}\nidempotent = true",
        "match = \"PUT /\"\nhedge = \"off\"\nidempotent = true",
        "match = \"GET /\"\nhedge = {}\nidempotent = false\nidempotency_key = \"off\"",
    ] {
        assert_eq!(warnings(route), [""; 0], "{route}");
    }
}

#[test]
fn name_servers_of_endpoints_that_have_no_names_are_warned_of() {
    let warnings = |source: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[upstream.a]\n{source}\nresolver = \"10.0.0.2\"\n\
             [[route]]\nupstream = \"a\"\nmatch = \"/\"\n"
        );
        valid(&text).warnings.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    let addresses = "endpoints = [\"http://10.0.0.1\", \"http://[::1]\", \"unix:/run/a\"]";
    assert_eq!(warnings(addresses), ["`resolver` has no effect: there is no name to look up"]);
    for source in [
        "endpoints = [\"http://10.0.0.1\", \"http://a\"]",
        "regions.eu = [\"http://a\"]",
        "discover = \"dns://a:80\"",
        "discover = \"file:///run/a\"",
    ] {
        assert_eq!(warnings(source), [""; 0], "{source}");
    }
}

#[test]
fn what_caching_has_no_use_for_is_warned_of() {
    for (route, message) in [
        (
            "match = \"/\"\ncache = \"off\"\ncoalesce = true",
            "`coalesce` has no effect beside `cache = \"off\"`",
        ),
        ("match = \"/\"\ncache = { tags = [\"\"] }", "an empty tag has no effect"),
        ("match = \"GET /\"\ncache = { body = \"json\" }", "`body` has no effect on a route of GET"),
        (
            "match = \"POST /\"\ncache = { stale_while_revalidate = \"1m\" }",
            "`stale_while_revalidate` has no effect on a route of POST",
        ),
        ("match = \"PUT /\"\ncache = { ttl = \"1m\" }", "`ttl` has no effect on a route of PUT"),
    ] {
        assert_eq!(warnings(route), [message], "{route}");
    }
    for route in [
        "match = \"/\"\ncoalesce = true\ncache = { ttl = \"1m\", body = \"json\", tags = [\"a\"] }",
        "match = \"POST /\"\ncache = { ttl = \"1m\", body = \"json\" }",
        "match = \"QUERY /\"\ncache = { ttl = \"1m\", body = \"json\" }",
        "match = \"/\"\ncache = \"off\"\ncoalesce = \"off\"",
    ] {
        assert_eq!(warnings(route), [""; 0], "{route}");
    }
}
