//! The reference of the config file, `docs/config.md`, as Markdown.

use std::fmt::Write;

use crate::keys::{self, Choice, Key, Kind, Table};

const OPENING: &str = "# The config file

One TOML file, `unlag.toml`. This page is made from the tables that the reader of the file uses; it is never edited by hand.

- An unknown key is an error that names the nearest known one; nothing is ignored.
- A key of a technique that this version does not have is refused by name, except with the value `\"off\"`.
- Durations are a whole number and `ms`, `s`, `m`, `h` or `d`: `\"250ms\"`, `\"5s\"`, at most `\"365d\"`.
- Sizes are a whole number and `B`, `KiB`, `MiB` or `GiB`, or a plain number of bytes: `\"64KiB\"`, `65536`.
- Shares are a number up to 100 with a percent sign: `\"5%\"`, `\"0.5%\"`.
- A secret is `\"env:NAME\"`, `\"file:PATH\"`, or the secret itself; it is never shown.
- Paths are relative to the directory of the file.
- `unlag check` needs no environment: a file or variable that is absent is a warning, one that is there and useless an error.
";

const CLOSING: &str = "
## What else is refused

- Two routes that can match the same request and are equally specific; the error names both.
- Two routes with one name; without `name`, that is the match as written.
- A route with none of `upstream`, `respond` and `static`, or with more than one; an upstream with none of `endpoints`, `regions` and `discover`, or with more than one.
- Paths with two spellings: dot segments, empty segments, and percent escapes of `/`, `.`, control bytes or characters that \
  need none. A match has no query, no fragment and no port.
- Edits of `connection`, `content-length`, `keep-alive`, `proxy-connection`, `te`, `trailer`, `transfer-encoding` and \
  `upgrade`, removal of `host`, and header values with control bytes.
- A `primary` or a `spill.cost` of a region that none of the listed endpoints is in, and `read_your_writes` without `primary`.
- A `queue` without a `limit` that makes requests wait, and a `certificate` of an upstream without its `key`.
- A parameter in `location` that the match does not have; a redirect without `location`; a body with 204, 205 or 304.
- The same endpoint twice, the same listening address twice, a check that takes longer than its interval.

Warnings do not keep unlag from running; `unlag check --strict` turns them into errors. There is one for an upstream that no \
route uses, for keys without effect, for an admin listener that can be reached from elsewhere, and for files that are absent.
";

/// The whole page.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(OPENING);
    for table in tables() {
        section(table, &mut out);
    }
    out.push_str(CLOSING);
    out
}

/// Every table, each once, in the order in which they are reached from the top.
pub(crate) fn tables() -> Vec<&'static Table> {
    let mut found: Vec<&'static Table> = vec![&keys::ROOT];
    let mut next = 0;
    while let Some(table) = found.get(next).copied() {
        let mut at = next + 1;
        for inner in table.keys.iter().flat_map(|key| inner(&key.kind)) {
            if !found.iter().any(|known| known.header == inner.header) {
                found.insert(at.min(found.len()), inner);
                at += 1;
            }
        }
        next += 1;
    }
    found
}

fn inner(kind: &'static Kind) -> Vec<&'static Table> {
    match kind {
        Kind::Table(table) | Kind::Tables(table) | Kind::Named(table) => vec![table],
        Kind::List(kind) | Kind::ByName(kind) => inner(kind),
        Kind::Any(kinds) => kinds.iter().flat_map(inner).collect(),
        _ => Vec::new(),
    }
}

fn section(table: &Table, out: &mut String) {
    let title = if table.header.contains(' ') && !table.header.contains(',') {
        "The top level".to_owned()
    } else {
        table.header.split(", ").map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ")
    };
    let _ = write!(
        out,
        "\n## {title}\n\n{}\n\n| key | meaning | allowed | default |\n|---|---|---|---|\n",
        table.meaning
    );
    for key in table.keys.iter().filter(|key| key.is_here()) {
        row(key, out);
    }
    let later: Vec<String> =
        table.keys.iter().filter(|key| !key.is_here()).map(|key| format!("`{}`", key.name)).collect();
    if !later.is_empty() {
        let _ = writeln!(out, "\nNot in this version: {}.", later.join(", "));
    }
}

fn row(key: &Key, out: &mut String) {
    let default = match (key.required, key.default) {
        (true, _) => "**required**".to_owned(),
        (false, "") => "none".to_owned(),
        (false, value) => format!("`{value}`: {}", key.reason),
    };
    let allowed = allowed(&key.kind);
    let cells = [key.meaning, &allowed, &default].map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(out, "| `{}` | {} |", key.name, cells.join(" | "));
}

/// What is allowed, with the meaning of each word.
fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Choice(choices) => choices.iter().map(word).collect::<Vec<_>>().join("; "),
        Kind::Any(kinds) => kinds.iter().map(allowed).collect::<Vec<_>>().join("; or "),
        other => other.allowed(),
    }
}

fn word(choice: &Choice) -> String {
    format!("`\"{}\"`: {}", choice.word, choice.meaning)
}
