//! The form of the file as data: every table and key, what it means, what it may hold and why its default is
//! what it is.
//!
//! The reader, the suggestions for unknown keys, the JSON Schema and the reference are all made from here, so
//! none of them can know a key that another does not.

mod route;
mod tables;
mod upstream;

use std::time::Duration;

pub(crate) use route::*;
pub(crate) use tables::*;
pub(crate) use upstream::*;

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// How it is written: `[admin]`, `[[route]]`, `tls = { … }`.
    pub(crate) header: &'static str,
    /// What it is for, in a sentence or two.
    pub(crate) meaning: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Table {
    /// The keys of this version, for messages.
    fn key_list(&self) -> String {
        let names: Vec<String> =
            self.keys.iter().filter(|key| key.is_here()).map(|key| format!("`{}`", key.name)).collect();
        names.join(", ")
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) meaning: &'static str,
    /// As it would be written, or empty when nothing is there by default.
    pub(crate) default: &'static str,
    /// Why the default is what it is.
    pub(crate) reason: &'static str,
    pub(crate) required: bool,
}

impl Key {
    pub(crate) const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { name, kind, meaning, default: "", reason: "", required: false }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn default(mut self, value: &'static str, reason: &'static str) -> Self {
        self.default = value;
        self.reason = reason;
        self
    }

    /// Known, and refused by name: it belongs to a technique that does not exist yet.
    pub(crate) const fn not_yet(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::NotYet, meaning)
    }

    pub(crate) fn is_here(&self) -> bool {
        !matches!(self.kind, Kind::NotYet)
    }
}

/// What a key may hold.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A string; the text says which.
    Text(&'static str),
    /// The path of a file or directory, relative to the config file's directory.
    Path,
    /// A secret, or `env:NAME`, or `file:PATH`.
    Secret,
    /// A duration within these bounds.
    Duration { min: Duration, max: Duration },
    /// A size in bytes within these bounds.
    Size { min: u64, max: u64 },
    /// A whole number within these bounds.
    Count { min: u64, max: u64 },
    /// A share up to this many percent; whether it can be nothing at all is said.
    Share { zero: bool, max_percent: u32 },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [Choice]),
    /// Any number of these.
    List(&'static Kind),
    /// A table whose keys are header names and whose values are strings.
    Headers,
    /// A table written as `[x]` or inline.
    Table(&'static Table),
    /// A table that is there any number of times: `[[x]]`.
    Tables(&'static Table),
    /// A table of tables with names of one's own: `[x.NAME]`.
    Named(&'static Table),
    /// A table with names of one's own, each of which holds this.
    ByName(&'static Kind),
    /// One of these forms.
    Any(&'static [Kind]),
    /// Not in this version.
    NotYet,
}

/// A word that a key may hold.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) word: &'static str,
    pub(crate) meaning: &'static str,
}

impl Choice {
    pub(crate) const fn new(word: &'static str, meaning: &'static str) -> Self {
        Self { word, meaning }
    }
}

impl Kind {
    /// The words that are taken, of this kind or of any of its forms.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        match self {
            Self::Choice(choices) => choices.iter().map(|choice| choice.word).collect(),
            Self::Any(kinds) => kinds.iter().flat_map(Self::words).collect(),
            _ => Vec::new(),
        }
    }

    /// What is allowed, in words, for help lines and for the reference.
    pub(crate) fn allowed(&self) -> String {
        use crate::value::{duration_text, size_text};
        match self {
            Self::Text(form) => (*form).to_owned(),
            Self::Path => "a path, relative to the directory of this file".to_owned(),
            Self::Secret => r#"a secret: "env:NAME", "file:PATH", or the secret itself"#.to_owned(),
            Self::Duration { min, max } => {
                format!("a duration from \"{}\" to \"{}\"", duration_text(*min), duration_text(*max))
            }
            Self::Size { min, max } => {
                format!("a size from \"{}\" to \"{}\"", size_text(*min), size_text(*max))
            }
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Share { zero: true, max_percent } => format!("a share from \"0%\" to \"{max_percent}%\""),
            Self::Share { max_percent, .. } => format!("a share above \"0%\", up to \"{max_percent}%\""),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Choice(_) => {
                self.words().iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
            }
            Self::List(kind) => format!("a list; each entry is {}", kind.allowed()),
            Self::Headers => r#"a table of header names and values: { x-name = "value" }"#.to_owned(),
            Self::Table(table) => format!("a table with {}", table.key_list()),
            Self::Named(table) => format!("a table {} with {}", table.header, table.key_list()),
            Self::ByName(kind) => format!("a table of names; each is {}", kind.allowed()),
            Self::Tables(table) => {
                format!("`{}` in two pairs of brackets, since there can be several", table.header)
            }
            Self::Any(kinds) => kinds.iter().map(Self::allowed).collect::<Vec<_>>().join(", or "),
            Self::NotYet => "not in this version".to_owned(),
        }
    }
}
