//! From tables to the model: one file for each kind of table. Everything wrong is reported; what is returned
//! is complete only when nothing was.

mod admission;
mod attempts;
mod cache;
mod discover;
mod effect;
mod endpoints;
mod files;
mod headers;
mod listen;
mod regions;
mod respond;
mod route;
mod upstream;

use std::path::PathBuf;

pub(crate) use cache::SHARED_HELP;

use crate::keys;
use crate::limits;
use crate::model::{AccessLog, Config, Monitor, Sample, State, Trust};
use crate::problem::{Invalid, quoted};
use crate::reader::Cursor;
use crate::value;

/// The whole file. The keys of `root` that nobody asks for are reported by the caller.
pub(crate) fn config(root: &mut Cursor<'_>) -> Option<Config> {
    let limits = section(root, "limits", &keys::LIMITS, limits_read).unwrap_or_default();
    let listen = listen::listeners(root);
    let admin = section(root, "admin", &keys::ADMIN, listen::admin).unwrap_or_default();
    let state = section(root, "state", &keys::STATE, state).unwrap_or_default();
    let trust = section(root, "trust", &keys::TRUST, trust).unwrap_or_default();
    let region = regions::own(root);
    let cache = section(root, "cache", &keys::CACHE, cache::cache).unwrap_or_default();
    let monitor = section(root, "monitor", &keys::MONITOR, monitor).unwrap_or_default();
    let names = upstream::upstreams(root);
    let routes = route::routes(root, &names, limits.routes);
    let upstreams = names.finish(root.reader, routes.is_some())?;
    listen::distinct(root.reader, &listen, &admin);
    let listen = listen.into_iter().map(|(listen, _)| listen).collect();
    Some(Config { listen, admin, state, limits, trust, region, upstreams, cache, monitor, routes: routes? })
}

/// A table of which there is at most one.
fn section<'a, T>(
    root: &mut Cursor<'a>,
    name: &'static str,
    table: &'static keys::Table,
    read: impl FnOnce(&mut Cursor<'a>) -> T,
) -> Option<T> {
    let mut cursor = root.take(name)?.table(table)?;
    let value = read(&mut cursor);
    cursor.finish();
    Some(value)
}

fn limits_read(table: &mut Cursor<'_>) -> limits::Limits {
    let limits = limits::read(table);
    if limits.uri > limits.head {
        let span = table.key_span(if table.has("uri") { "uri" } else { "head" });
        let help = format!(
            "`uri` is {}, `head` is {}",
            value::size_text(limits.uri as u64),
            value::size_text(limits.head as u64)
        );
        table.reader.error(&span, "`limits.uri` is above `limits.head`, which it is part of", help);
    }
    limits
}

fn state(table: &mut Cursor<'_>) -> State {
    let directory = table.take("directory").and_then(|value| {
        let text = value.text()?;
        text.parse(|text| match text {
            "" => Err(Invalid::new("the directory is missing", value.help())),
            text if text.contains('\0') => Err(Invalid::new("a path holds no NUL", value.help())),
            text => Ok(PathBuf::from(text)),
        })
    });
    directory.map_or_else(State::default, |directory| State { directory })
}

fn trust(table: &mut Cursor<'_>) -> Trust {
    let entries = table.take("proxies").and_then(|value| value.list()).unwrap_or_default();
    Trust { proxies: entries.iter().filter_map(|entry| entry.parse(value::network)).collect() }
}

fn monitor(table: &mut Cursor<'_>) -> Monitor {
    let default = Monitor::default();
    let access_log = table.take("access_log").and_then(|value| match value.word() {
        Some("off") => Some(AccessLog::Off),
        Some(_) => Some(AccessLog::Stderr),
        None => {
            let text = value.text()?;
            // A bare word is a misspelt one, or one that other programs have, far more often than a file.
            if text.value.contains(['/', '.']) && !text.value.contains('\0') {
                Some(AccessLog::File(PathBuf::from(text.value)))
            } else {
                value.refuse_word(&text);
                None
            }
        }
    });
    let access_log_sample = table.take("access_log_sample").and_then(|value| match value.word() {
        Some("all") => Some(Sample::All),
        Some(_) => Some(Sample::Slow),
        None => {
            let help = value.help();
            let share = |text: &str| {
                let share = value::share(text).ok().filter(|share| *share > 0.0);
                share.ok_or_else(|| Invalid::new(format!("{} is no sample of requests", quoted(text)), help))
            };
            value.parse(share).map(Sample::Share)
        }
    });
    Monitor {
        access_log: access_log.unwrap_or(default.access_log),
        access_log_sample: access_log_sample.unwrap_or(default.access_log_sample),
    }
}
