//! `static` of a route, and the encodings that a route offers.

use crate::keys;
use crate::model::{Encoding, Files, PathRegex};
use crate::problem::{Invalid, quoted};
use crate::reader::Value;

pub(super) fn files(value: &Value<'_>) -> Option<Files> {
    let mut table = value.table(&keys::STATIC)?;
    let directory = table.need("directory").and_then(|value| value.path());
    let index = table.take("index").and_then(|value| match value.word() {
        Some(_) => Some(None),
        None => value.parse(file_name).map(Some),
    });
    let precompressed = table.take("precompressed").and_then(|value| value.boolean());
    let immutable = table.take("immutable").and_then(|value| value.parse(PathRegex::parse));
    let encodings = table.take("encodings").and_then(|value| encodings(&value, &Encoding::SMALLEST_FIRST));
    if precompressed == Some(true) && encodings.as_ref().is_some_and(Vec::is_empty) {
        let message = "`precompressed` has no effect where `encodings` is \"off\"";
        table.reader.warning(&table.key_span("precompressed"), message, "take one of the two out");
    }
    table.finish();
    let default = Files::new(directory?);
    Some(Files {
        index: index.unwrap_or(default.index),
        precompressed: precompressed.unwrap_or(default.precompressed),
        immutable,
        encodings: encodings.unwrap_or(default.encodings),
        directory: default.directory,
    })
}

/// The encodings of a key; `all` in this order for `"auto"`.
pub(super) fn encodings(value: &Value<'_>, all: &[Encoding]) -> Option<Vec<Encoding>> {
    match value.word() {
        Some("off") => return Some(Vec::new()),
        Some("auto") => return Some(all.to_vec()),
        _ => {}
    }
    if !value.is_list() {
        value.refuse_word(&value.text()?);
        return None;
    }
    let mut list: Vec<Encoding> = Vec::new();
    for entry in value.list()? {
        let word = entry.choice()?;
        let encoding = all.iter().copied().find(|encoding| encoding.name() == word)?;
        if list.contains(&encoding) {
            entry.error(format!("{} is there twice", quoted(word)), "name each encoding once");
            return None;
        }
        list.push(encoding);
    }
    if list.is_empty() {
        value.error(format!("`{}` is empty", value.shown()), "write \"off\" for none");
        return None;
    }
    Some(list)
}

fn file_name(text: &str) -> Result<String, Invalid> {
    let is_name = !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\\', '\0']);
    match is_name {
        true => Ok(text.to_owned()),
        false => {
            Err(Invalid::new(format!("{} is not the name of a file", quoted(text)), "such as \"index.html\""))
        }
    }
}
