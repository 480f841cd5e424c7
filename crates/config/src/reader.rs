//! A cursor over the parsed TOML that knows where it is: typed reads with spans, every problem collected, and
//! what was not asked for reported at the end as unknown or as not in this version.

mod hint;
mod typed;

use std::cell::RefCell;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::keys::{self, Kind, Table};
use crate::problem::{Problem, Severity, nearest, suggestion};
use crate::source::{SourceText, Span};

pub(crate) use typed::Text;

/// Most problems that are kept; whoever has more reads the first ones.
const PROBLEMS_MAX: usize = 200;

/// What is gathered while a file is read.
pub(crate) struct Reader<'a> {
    source: SourceText<'a>,
    problems: RefCell<Vec<Noted>>,
    /// Where secrets are written out: blotted out of every excerpt, hence excerpts are made last.
    masks: RefCell<Vec<Span>>,
    /// Where values stand whose files are looked at later.
    places: RefCell<BTreeMap<String, Span>>,
    /// Every table and key that was asked for, so that a test can compare them with the tables.
    #[cfg(test)]
    pub(crate) asked: RefCell<std::collections::BTreeSet<(&'static str, &'static str)>>,
}

struct Noted {
    severity: Severity,
    span: Span,
    message: String,
    help: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: SourceText<'a>) -> Self {
        Self {
            source,
            problems: RefCell::default(),
            masks: RefCell::default(),
            places: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub(crate) fn error(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, span, message.into(), help.into());
    }

    pub(crate) fn warning(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, span, message.into(), help.into());
    }

    fn note(&self, severity: Severity, span: &Span, message: String, help: String) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(Noted { severity, span: span.clone(), message, help });
        } else if severity == Severity::Error && !problems.iter().any(|noted| noted.severity == severity) {
            // A flood of warnings must not hide that there is an error.
            problems.pop();
            problems.push(Noted { severity, span: span.clone(), message, help });
        }
    }

    /// The line on which a span starts, for messages that point at a second place.
    pub(crate) fn line(&self, span: &Span) -> usize {
        self.source.locate(span.start).0
    }

    pub(crate) fn mask(&self, span: &Span) {
        self.masks.borrow_mut().push(span.clone());
    }

    pub(crate) fn text_at(&self, span: &Span) -> &'a str {
        self.source.text().get(span.clone()).unwrap_or("")
    }

    /// Every problem in the order of the file, and where the values stand that name files.
    pub(crate) fn finish(self) -> (Vec<Problem>, BTreeMap<String, Problem>) {
        let masks = self.masks.into_inner();
        let mut noted = self.problems.into_inner();
        noted.sort_by_key(|noted| noted.span.start);
        let problem = |severity, span: &Span, message: String, help: String, key| {
            let (line, column) = self.source.locate(span.start);
            Problem {
                severity,
                message,
                help: (!help.is_empty()).then_some(help),
                file: self.source.file().to_owned(),
                line,
                column,
                key,
                excerpt: Some(self.source.excerpt(span, &masks)),
            }
        };
        let problems = noted
            .into_iter()
            .map(|noted| problem(noted.severity, &noted.span, noted.message, noted.help, None))
            .collect();
        let places = self.places.into_inner().into_iter().map(|(key, span)| {
            let place = problem(Severity::Error, &span, String::new(), String::new(), Some(key.clone()));
            (key, place)
        });
        (problems, places.collect())
    }
}

/// A table of the file that is being read.
pub(crate) struct Cursor<'a> {
    pub(crate) reader: &'a Reader<'a>,
    /// The way to it, such as `upstream.catalog`; empty for the file itself.
    pub(crate) path: String,
    /// What is blamed when something is missing.
    pub(crate) span: Span,
    table: &'static Table,
    entries: &'a DeTable<'a>,
    taken: Vec<&'static str>,
}

/// A value that was asked for.
pub(crate) struct Value<'a> {
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) path: String,
    pub(crate) span: Span,
    pub(crate) kind: &'static Kind,
    pub(crate) node: &'a DeValue<'a>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        reader: &'a Reader<'a>,
        table: &'static Table,
        path: String,
        span: Span,
        entries: &'a DeTable<'a>,
    ) -> Self {
        Self { reader, path, span, table, entries, taken: Vec::new() }
    }

    /// The value of a key of this table, when it is there.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value<'a>> {
        let key = self.table.key(name);
        debug_assert!(
            key.is_some_and(crate::keys::Key::is_here),
            "{name} is no key of {}",
            self.table.header
        );
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert((self.table.header, name));
        self.taken.push(name);
        let node = self.entries.get(name)?;
        Some(self.value(name, node, &key?.kind))
    }

    /// The value of a key that has to be there.
    pub(crate) fn need(&mut self, name: &'static str) -> Option<Value<'a>> {
        let value = self.take(name);
        if value.is_none() {
            let allowed = self.table.key(name).map(|key| key.kind.allowed()).unwrap_or_default();
            let message = format!("`{name}` is missing in {}", self.title());
            self.reader.error(&self.span, message, format!("`{name}` is {allowed}"));
        }
        value
    }

    /// Whether a key is there, whether or not this version takes it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The span of a key, or else of the table.
    pub(crate) fn key_span(&self, name: &str) -> Span {
        self.entries.get_key_value(name).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// How messages name this table.
    pub(crate) fn title(&self) -> String {
        match self.path.as_str() {
            "" => "the file".to_owned(),
            _ if self.table.header.starts_with("[[") => format!("`{}`", self.table.header),
            path => format!("`{}`", shown(path)),
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.reader.error(&self.span, message, help);
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, value) in in_order(self.entries) {
            let name: &str = key.get_ref();
            if self.taken.contains(&name) {
                continue;
            }
            match self.table.key(name) {
                // Switching off what does not exist is no mistake: the file may be shared with a later
                // version.
                Some(known) if !known.is_here() && value.get_ref().as_str() == Some("off") => {}
                Some(known) => {
                    let message = format!("`{name}` is not in this version");
                    let help = match self.place_of(name) {
                        Some(place) => format!("take it out; `{name}` is a key of {place}"),
                        None => format!("take it out; nothing in this version does it: {}", known.meaning),
                    };
                    self.reader.error(&key.span(), message, help);
                }
                None => self.unknown(name, &key.span()),
            }
        }
    }

    fn unknown(&self, name: &str, span: &Span) {
        let here = self.table.keys.iter().filter(|key| key.is_here()).map(|key| key.name);
        let shown = crate::problem::quoted(name);
        let message = format!("unknown key `{}` in {}", shown.trim_matches('"'), self.title());
        let help = match self.place_of(name) {
            Some(place) => format!("`{name}` is a key of {place}"),
            None => suggestion(name, "known keys", here),
        };
        self.reader.error(span, message, help);
    }

    /// Where a key belongs that stands in a route and is one of an upstream, or the other way round.
    fn place_of(&self, name: &str) -> Option<&'static str> {
        let is_route = std::ptr::eq(self.table, &raw const keys::ROUTE);
        let is_upstream = std::ptr::eq(self.table, &raw const keys::UPSTREAM);
        let has = |table: &Table| table.key(name).is_some_and(keys::Key::is_here);
        match () {
            () if is_route && has(&keys::UPSTREAM) => Some(keys::UPSTREAM.header),
            // `compress` of an upstream would be another thing than that of a route.
            () if is_upstream && has(&keys::ROUTE) && self.table.key(name).is_none() => {
                Some(keys::ROUTE.header)
            }
            () => None,
        }
    }

    fn value(&self, name: &str, node: &'a Spanned<DeValue<'a>>, kind: &'static Kind) -> Value<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let key = self.entries.get_key_value(name).map(|(key, _)| key.span());
        // A table that was made by dotted keys or by headers of its children has no place of its own.
        let span = match (node.get_ref(), key) {
            (DeValue::Table(_) | DeValue::Array(_), Some(key)) if node.span().is_empty() => key,
            _ => node.span(),
        };
        Value { reader: self.reader, path, span, kind, node: node.get_ref() }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.reader.error(&self.span, message, help);
    }

    /// Remembers where this value stands, so that [`crate::look()`] can point at it.
    pub(crate) fn remember(&self) {
        self.reader.places.borrow_mut().insert(self.path.clone(), self.span.clone());
    }

    /// What is allowed, as a help line.
    pub(crate) fn help(&self) -> String {
        format!("allowed: {}", self.kind.allowed())
    }

    /// The same, and first how it would have to be written, where that can be told.
    fn help_with_hint(&self) -> String {
        let key = self.path.rsplit('.').next().unwrap_or(&self.path);
        match hint::instead(self.kind, self.node) {
            Some(instead) => format!("write `{key} = {instead}`; {}", self.help()),
            None => self.help(),
        }
    }

    /// The way to it as messages show it.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }

    pub(crate) fn is_list(&self) -> bool {
        self.node.is_array()
    }

    pub(crate) fn is_table(&self) -> bool {
        self.node.is_table()
    }

    /// The same value once more, for a key that takes one entry or a list of them.
    pub(crate) fn alike(&self) -> Self {
        Self { path: self.path.clone(), span: self.span.clone(), ..*self }
    }

    /// The value as a table of this form.
    pub(crate) fn table(&self, table: &'static Table) -> Option<Cursor<'a>> {
        match self.node {
            DeValue::Table(entries) => {
                Some(Cursor::new(self.reader, table, self.path.clone(), self.span.clone(), entries))
            }
            _ => self.wrong_type(),
        }
    }

    /// The entries of a list.
    pub(crate) fn list(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(entries) = self.node else { return self.wrong_type() };
        let kind = self.kind.entry();
        let entries = entries.iter().enumerate().map(|(index, node)| Value {
            reader: self.reader,
            path: format!("{}[{index}]", self.path),
            span: node.span(),
            kind,
            node: node.get_ref(),
        });
        Some(entries.collect())
    }

    /// The entries of a table whose keys are names of one's own, in the order of the file.
    pub(crate) fn named(&self) -> Option<Vec<(Text<'a>, Value<'a>)>> {
        let DeValue::Table(entries) = self.node else { return self.wrong_type() };
        let entries = in_order(entries).into_iter().map(|(key, node)| {
            let name = Text::new(self.reader, key.get_ref(), key.span());
            let path = format!("{}.{}", self.path, name.value);
            let span = if node.get_ref().is_table() { name.span.clone() } else { node.span() };
            let kind = match self.kind {
                Kind::ByName(kind) => kind,
                kind => kind,
            };
            let value = Value { reader: self.reader, path, span, kind, node: node.get_ref() };
            (name, value)
        });
        Some(entries.collect())
    }

    /// Says that the value is of the wrong type.
    pub(crate) fn wrong_type<T>(&self) -> Option<T> {
        let found = match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let near = self.as_str().and_then(|text| nearest(text, self.kind.words()));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let help = format!("{near}{}", self.help_with_hint());
        self.error(format!("`{}` cannot be {found}", self.shown()), help);
        None
    }
}

/// A way as messages show it: which `[[route]]` it is tells the line.
fn shown(path: &str) -> String {
    match path.split_once('[').zip(path.split_once("].")) {
        Some(((table @ ("listen" | "route"), _), (_, rest))) => format!("{table}.{rest}"),
        _ => path.to_owned(),
    }
}

fn in_order<'a>(entries: &'a DeTable<'a>) -> Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
