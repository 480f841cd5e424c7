//! What is wrong with a configuration, where, and what would be allowed instead.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration works, though perhaps not as meant.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is wrong. Its `Display` is several lines: `file:line:column: error: message`, the line of
/// the file, carets under the span, and a `help:` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// What is allowed, or what was perhaps meant.
    pub help: Option<String>,
    /// The file, or the command line argument, as it was named.
    pub file: String,
    /// Line in `file`, from 1; 0 when the problem has no place.
    pub line: usize,
    /// Column in characters, from 1; 0 when the problem has no place.
    pub column: usize,
    /// The key that it is about, such as `upstream.catalog.tls.ca`, where one is.
    pub key: Option<String>,
    /// The line of the file, ready to be shown.
    pub excerpt: Option<Excerpt>,
}

/// A line of the file with a part of it marked. Secrets and control characters are masked, long lines cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line.
    pub text: String,
    /// Characters before the marked part.
    pub start: usize,
    /// Characters in the marked part; at least 1.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}: {}", self.severity, self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let number = if self.line > 0 { self.line.to_string() } else { String::new() };
            let margin = number.len().max(4);
            write!(f, "\n{number:>margin$} | {}", excerpt.text)?;
            write!(f, "\n{:margin$} | {:2$}", "", "", excerpt.start)?;
            for _ in 0..excerpt.width {
                f.write_str("^")?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl Error for Problem {}

/// Everything that is wrong with one configuration, at least one error among it, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many errors there are, warnings left out.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        let errors = self.errors();
        let warnings = self.0.len().saturating_sub(errors);
        write!(f, "{errors} error{}", if errors == 1 { "" } else { "s" })?;
        match warnings {
            0 => Ok(()),
            1 => f.write_str(", 1 warning"),
            many => write!(f, ", {many} warnings"),
        }
    }
}

impl Error for Problems {}

/// Why a single value was refused, before it is known where in which file it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// What is allowed; may be empty.
    pub help: String,
    /// The bytes of the value that are to blame; `None` blames all of it.
    pub at: Option<Range<usize>>,
}

impl Invalid {
    /// Blames the whole value.
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), at: None }
    }

    /// Blames a part of the value.
    pub(crate) fn at(mut self, at: Range<usize>) -> Self {
        self.at = Some(at);
        self
    }

    /// Moves the blame by `bytes`, for a value that is part of a longer one.
    pub(crate) fn shifted(mut self, bytes: usize) -> Self {
        self.at = self.at.map(|at| at.start.saturating_add(bytes)..at.end.saturating_add(bytes));
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " ({})", self.help) }
    }
}

impl Error for Invalid {}

/// A value as it is shown within a message: quoted, escaped, and cut after 60 characters.
pub(crate) fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for (index, character) in value.chars().enumerate() {
        if index == 60 {
            out.push('…');
            break;
        }
        match character {
            '\'' => out.push('\''),
            other => out.extend(other.escape_debug()),
        }
    }
    out.push('"');
    out
}

/// The candidate nearest to `word`, when it is near enough to be a slip of the finger.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.get(..word.len().min(64)).unwrap_or(word).to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word, &candidate.to_lowercase().replace('-', "_")), candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or else the whole list, which is cut after 40 entries.
pub(crate) fn suggestion<'c>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'c str, IntoIter: Clone>,
) -> String {
    let candidates = candidates.into_iter();
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut list: Vec<String> = candidates.clone().take(40).map(|name| format!("`{name}`")).collect();
    if candidates.count() > 40 {
        list.push("…".to_owned());
    }
    if list.is_empty() { format!("there are no {what}") } else { format!("{what}: {}", list.join(", ")) }
}
