//! The configuration of unlag: from the text of `unlag.toml` to a [`Config`] that nothing can be wrong with
//! any more.
//!
//! ```text
//! text ── toml ──▶ spanned tables ── read ──▶ Config ──▶ explain, look, resolve_secret
//!                        ▲
//!          keys: every table and key as data ──▶ schema, reference, suggestions
//! ```
//!
//! [`parse`] does no I/O and is total: any text gives a [`Parsed`] or the list of all its [`Problems`], each
//! with its place, its line and what is allowed. [`look()`] then looks at the files that the configuration
//! names. What a technique that this version does not have would need is known by name and refused as such;
//! nothing is ignored.

mod conflicts;
mod endpoints;
mod explain;
mod keys;
mod limits;
mod look;
mod model;
mod pattern;
mod problem;
mod read;
mod reader;
mod reference;
mod schema;
mod secret;
mod source;
mod starter;
mod template;
pub mod tier;
mod to_upstream;
mod url;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

pub use endpoints::{ENDPOINTS_MAX, endpoints};
pub use explain::explain;
pub use limits::Limits;
pub use look::look;
pub use model::*;
pub use pattern::{Pattern, Segment, Specificity};
pub use problem::{Excerpt, Invalid, Problem, Problems, Severity};
pub use reference::reference;
pub use schema::schema;
pub use secret::{Secret, SecretError, resolve_secret};
pub use starter::starter;

use reader::{Cursor, Reader};
use source::SourceText;

/// Largest config file, bytes: room for far more routes than [`Limits::routes`] allows by default.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// What a valid text says.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it says.
    pub config: Config,
    /// What is allowed and perhaps not meant.
    pub warnings: Vec<Problem>,
    /// A problem without a message at the place of every value that names a file, by key.
    places: BTreeMap<String, Problem>,
}

impl Parsed {
    /// What [`look()`] finds, with the lines of the file that it is about.
    #[must_use]
    pub fn look(&self, base: &Path) -> Vec<Problem> {
        self.located(look(&self.config, base))
    }

    /// Files that are not there and without which nothing runs, as errors: for whoever is about to run.
    #[must_use]
    pub fn absent(&self, base: &Path) -> Vec<Problem> {
        self.located(look::absent(&self.config, base))
    }

    fn located(&self, found: Vec<Problem>) -> Vec<Problem> {
        let located = found.into_iter().map(|found| {
            match found.key.as_ref().and_then(|key| look::place(&self.places, key)) {
                Some(place) => Problem {
                    severity: found.severity,
                    message: found.message,
                    help: found.help,
                    ..place.clone()
                },
                None => found,
            }
        });
        let mut problems: Vec<Problem> = located.collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// Reads a whole config file. `file` is its name in messages. Does no I/O.
///
/// # Errors
/// Everything that is wrong with the text, at least one error among it; of errors in the TOML itself only the first.
pub fn parse(text: &str, file: &str) -> Result<Parsed, Problems> {
    let reader = Reader::new(SourceText::new(text, file));
    let config = read_text(text, &reader);
    let (problems, places) = reader.finish();
    match config {
        Some(config) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            Ok(Parsed { config, warnings: problems, places })
        }
        _ => Err(Problems(problems)),
    }
}

/// The text of a file that is to be UTF-8.
///
/// # Errors
/// Where it stops being that.
pub fn text(bytes: Vec<u8>, file: &str) -> Result<String, Problems> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let shown = String::from_utf8_lossy(error.as_bytes());
        let reader = Reader::new(SourceText::new(&shown, file));
        let help = "save it as UTF-8, which is what TOML is written in";
        reader.error(&(at..at + char::REPLACEMENT_CHARACTER.len_utf8()), "this is not UTF-8", help);
        Problems(reader.finish().0)
    })
}

fn read_text(text: &str, reader: &Reader<'_>) -> Option<Config> {
    if text.len() > FILE_BYTES_MAX {
        reader.error(&(0..0), "the file is too large", "at most 16MiB");
        return None;
    }
    match toml::de::DeTable::parse(text) {
        Ok(root) => {
            let span = 0..text.lines().next().unwrap_or("").len();
            let mut cursor = Cursor::new(reader, &keys::ROOT, String::new(), span, root.get_ref());
            let config = read::config(&mut cursor);
            cursor.finish();
            config
        }
        Err(error) => {
            syntax_error(text, reader, &error);
            None
        }
    }
}

/// Reports where the text stops being TOML. Whatever looks like a secret on that line is not shown.
fn syntax_error(text: &str, reader: &Reader<'_>, error: &toml::de::Error) {
    let mut span = error.span().unwrap_or(0..0);
    // The end of the text is often to blame; an empty last line shows nothing.
    let end = text.trim_end().len();
    if span.start > end {
        span = end..end;
    }
    while !text.is_char_boundary(span.start) {
        span.start -= 1;
    }
    let start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let secret = ["token", "shared"].into_iter().find_map(|key| line.find(key));
    if let Some(at) = secret {
        let value = line.get(at..).and_then(|rest| rest.find('=')).map_or(at, |equals| at + equals + 1);
        let mask = start + value..start + line.len();
        // Where in a secret it stops being TOML would tell how long it is.
        if mask.contains(&span.start) || span.start == mask.end {
            span = mask.start..mask.start + 1;
        }
        reader.mask(&mask);
    }
    let message = error.message().lines().next().unwrap_or("").trim();
    if let Some(value) = bare_value(line).filter(|value| value.contains(&(span.start - start))) {
        let written = line.get(value.clone()).unwrap_or("");
        let help = match secret.is_some() {
            true => "strings stand in quotes".to_owned(),
            false => format!("strings stand in quotes: {}", problem::quoted(written)),
        };
        let span = start + value.start..start + value.end;
        reader.error(&span, "this is neither a string nor a number", help);
        return;
    }
    let help = match message {
        message if message.contains("duplicate") => "a key or table can be written once only",
        message if message.contains("string") => {
            "strings stand in double quotes, or in single quotes without escapes"
        }
        _ => "the file is TOML: `key = value` lines below `[table]` headers; strings stand in quotes",
    };
    reader.error(&span, format!("this is not TOML: {message}"), help);
}

/// The value of a `key = value` line whose value starts like a string without quotes, the commonest slip of
/// all.
fn bare_value(line: &str) -> Option<std::ops::Range<usize>> {
    let (key, value) = line.split_once('=')?;
    let value = value.split(" #").next()?;
    let start = key.len() + 1 + value.len() - value.trim_start().len();
    let value = value.trim();
    let bare =
        value.starts_with(|c: char| c.is_ascii_alphanumeric() || "/.:".contains(c)) && !value.contains('"');
    (bare && !key.contains('"')).then_some(start..start + value.len())
}

#[cfg(test)]
mod tests;
