//! Header names and values: conditions of routes, and edits.

use crate::keys;
use crate::model::HeaderEdits;
use crate::pattern::is_token;
use crate::problem::{Invalid, quoted};
use crate::reader::{Text, Value};

/// Most headers of one table: bounds the work that one route adds to a request.
const HEADERS_MAX: usize = 64;
/// Longest value, bytes; together with [`HEADERS_MAX`] still far from anybody's bound on a head.
const VALUE_BYTES_MAX: usize = 4_096;
/// They frame a message or belong to one connection; a changed one makes two parties disagree about where a
/// message ends.
const NOT_EDITABLE: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `headers` of a route.
pub(super) fn conditions(value: &Value<'_>) -> Vec<(String, String)> {
    pairs(value, |name| match name {
        // The host is part of the match, and HTTP/2 has no such header.
        "host" => {
            Err(Invalid::new("the host is no condition", "write it in `match`: \"shop.example/{path...}\""))
        }
        _ => Ok(()),
    })
}

/// `request_headers` and `response_headers` of a route.
pub(super) fn edits(value: &Value<'_>) -> HeaderEdits {
    let Some(mut table) = value.table(&keys::HEADER_EDITS) else { return HeaderEdits::default() };
    let set = table.take("set").map(|value| pairs(&value, editable)).unwrap_or_default();
    let mut remove: Vec<String> = Vec::new();
    let entries = table.take("remove").and_then(|value| value.list()).unwrap_or_default();
    for text in entries.iter().filter_map(Value::text) {
        let Some(name) = header_name(&text) else { continue };
        if name == "host" {
            let help = "a request cannot be without one; `host` of the upstream says what it is";
            text.error("`host` cannot be removed", help);
        } else if set.iter().any(|(other, _)| *other == name) {
            text.error(
                format!("`{name}` is both set and removed"),
                "`set` replaces what is there; take it out of `remove`",
            );
        } else if remove.contains(&name) {
            text.error(format!("`{name}` is there twice"), "header names are alike in upper and lower case");
        } else if text.parse(|_| editable(&name)).is_some() {
            remove.push(name);
        }
    }
    if entries.len() > HEADERS_MAX {
        value.error("there are too many headers", format!("at most {HEADERS_MAX}"));
    }
    table.finish();
    HeaderEdits { set, remove }
}

fn editable(name: &str) -> Result<(), Invalid> {
    if NOT_EDITABLE.contains(&name) {
        let help = "it frames the message or belongs to one connection, and unlag sets it";
        return Err(Invalid::new(format!("`{name}` cannot be changed"), help));
    }
    Ok(())
}

/// Names in lower case and values, in the order of the file.
fn pairs(value: &Value<'_>, allowed: impl Fn(&str) -> Result<(), Invalid>) -> Vec<(String, String)> {
    let entries = value.named().unwrap_or_default();
    if entries.len() > HEADERS_MAX {
        value.error("there are too many headers", format!("at most {HEADERS_MAX}"));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (key, entry) in entries.into_iter().take(HEADERS_MAX) {
        let name = header_name(&key);
        let text = if entry.as_str().is_some() {
            entry.parse(header_value)
        } else {
            let shown = quoted(key.value);
            entry.error(format!("the value of the header {shown} is not a string"), "write it in quotes");
            None
        };
        let (Some(name), Some(text)) = (name, text) else { continue };
        if key.parse(|_| allowed(&name)).is_none() {
            continue;
        }
        if pairs.iter().any(|(other, _)| *other == name) {
            key.error(format!("`{name}` is there twice"), "header names are alike in upper and lower case");
        }
        pairs.push((name, text));
    }
    pairs
}

/// A header name in lower case.
fn header_name(text: &Text<'_>) -> Option<String> {
    text.parse(|name| {
        if is_token(name) && name.len() <= 256 {
            return Ok(name.to_ascii_lowercase());
        }
        let help = match name.starts_with(':') {
            true => "names with a colon belong to HTTP/2 itself",
            false => "a name is made of letters, digits and !#$%&'*+-.^_`|~",
        };
        Err(Invalid::new(format!("{} cannot name a header", quoted(name)), help))
    })
}

/// A header value that every peer reads alike.
pub(super) fn header_value(text: &str) -> Result<String, Invalid> {
    let refuse =
        |why: &str| Err(Invalid::new(format!("{} cannot be the value of a header", quoted(text)), why));
    if text.len() > VALUE_BYTES_MAX {
        return refuse("at most 4096 bytes");
    }
    if !text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
        return refuse("only printable ASCII");
    }
    if text.trim() != text {
        return refuse("no white space at either end; it is not part of a value");
    }
    Ok(text.to_owned())
}
