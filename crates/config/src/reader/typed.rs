//! Reads of single values: strings, durations, numbers, choices.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::{Reader, Value};
use crate::keys::Kind;
use crate::problem::{Invalid, nearest, quoted};
use crate::secret::Secret;
use crate::source::Span;
use crate::value;

/// A string of the file.
pub(crate) struct Text<'a> {
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) value: &'a str,
    pub(crate) span: Span,
}

impl<'a> Text<'a> {
    pub(crate) fn new(reader: &'a Reader<'a>, value: &'a str, span: Span) -> Self {
        Self { reader, value, span }
    }

    pub(crate) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.reader.error(&self.span, message, help);
    }

    /// Reports what is wrong, at the very bytes when the string is written without escapes.
    pub(crate) fn invalid(&self, invalid: Invalid) {
        let span = invalid.at.as_ref().and_then(|at| self.part(at)).unwrap_or_else(|| self.span.clone());
        self.reader.error(&span, invalid.message, invalid.help);
    }

    fn part(&self, at: &Range<usize>) -> Option<Span> {
        let written = self.reader.text_at(&self.span);
        let quotes = written.len().checked_sub(self.value.len())? / 2;
        let plain = written.get(quotes..quotes + self.value.len())? == self.value && quotes <= 1;
        (plain && !at.is_empty() && at.end <= self.value.len())
            .then(|| self.span.start + quotes + at.start..self.span.start + quotes + at.end)
    }

    /// Runs a parser over the string and reports what it refuses.
    pub(crate) fn parse<T>(&self, parser: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        parser(self.value).map_err(|invalid| self.invalid(invalid)).ok()
    }
}

impl<'a> Value<'a> {
    /// A string.
    pub(crate) fn text(&self) -> Option<Text<'a>> {
        match self.node {
            DeValue::String(text) => Some(Text::new(self.reader, text, self.span.clone())),
            _ => self.wrong_type(),
        }
    }

    /// A string that is parsed.
    pub(crate) fn parse<T>(&self, parser: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        self.text()?.parse(parser)
    }

    /// The string itself, when the value is one; says nothing otherwise.
    pub(crate) fn as_str(&self) -> Option<&'a str> {
        self.node.as_str()
    }

    /// The number as it is written, when the value is one; says nothing otherwise.
    pub(crate) fn as_integer(&self) -> Option<&'a str> {
        match self.node {
            DeValue::Integer(number) => Some(number.as_str()),
            _ => None,
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.node {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type(),
        }
    }

    /// The path of a file, remembered so that it can be looked at later.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        if text.value.is_empty() || text.value.contains('\0') {
            text.error(format!("`{}` is not a path", self.shown()), self.help());
            return None;
        }
        self.remember();
        Some(PathBuf::from(text.value))
    }

    /// A secret, or where it is: what is written here is never shown.
    pub(crate) fn secret(&self) -> Option<Secret> {
        if !self.is_reference() {
            self.reader.mask(&self.span);
        }
        self.remember();
        self.parse(|text| self.as_secret(text))
    }

    /// Whether it says where a secret is; what is no string does not.
    pub(crate) fn is_reference(&self) -> bool {
        self.as_str().is_some_and(|text| text.starts_with("env:") || text.starts_with("file:"))
    }

    /// What was written, as a secret.
    pub(crate) fn as_secret(&self, text: &str) -> Result<Secret, Invalid> {
        Secret::new(text).map_err(|error| Invalid::new(error.to_string(), self.help()))
    }

    /// A duration within the bounds that the key has.
    pub(crate) fn duration(&self) -> Option<Duration> {
        if let DeValue::Integer(number) = self.node {
            let help = format!("write \"{number}s\" or \"{number}ms\"; it is {}", self.kind.allowed());
            self.error(format!("`{}` has no unit", self.shown()), help);
            return None;
        }
        if self.is_misspelt_word() {
            return self.choice().and(None);
        }
        let duration = self.parse(value::duration)?;
        match self.kind.find(&|kind| matches!(kind, Kind::Duration { .. })) {
            Some(Kind::Duration { min, .. }) if duration < *min => self.out_of_bounds("too short"),
            Some(Kind::Duration { max, .. }) if duration > *max => self.out_of_bounds("too long"),
            _ => Some(duration),
        }
    }

    /// A share within the bounds that the key has, as a fraction.
    pub(crate) fn share(&self) -> Option<f64> {
        if let DeValue::Integer(number) = self.node {
            let help = format!("write \"{number}%\"; it is {}", self.kind.allowed());
            self.error(format!("`{}` has no percent sign", self.shown()), help);
            return None;
        }
        if self.is_misspelt_word() {
            return self.choice().and(None);
        }
        let share = self.parse(value::share)?;
        match self.kind.find(&|kind| matches!(kind, Kind::Share { .. })) {
            Some(Kind::Share { zero: false, .. }) if share <= 0.0 => self.out_of_bounds("too small"),
            Some(Kind::Share { max_percent, .. }) if share > f64::from(*max_percent) / 100.0 => {
                self.out_of_bounds("too large")
            }
            _ => Some(share),
        }
    }

    /// A size or a count, whichever the key is, within its bounds.
    pub(crate) fn number(&self) -> Option<u64> {
        let bounded = self.kind.find(&|kind| matches!(kind, Kind::Size { .. } | Kind::Count { .. }));
        let is_sized = matches!(bounded, Some(Kind::Size { .. }));
        if self.is_misspelt_word() {
            return self.choice().and(None);
        }
        let number = match self.node {
            DeValue::Integer(number) => match unsigned(number) {
                Some(number) => number,
                None if number.as_str().starts_with('-') => {
                    self.error(format!("`{}` cannot be negative", self.shown()), self.help());
                    return None;
                }
                None => return self.out_of_bounds("too large"),
            },
            DeValue::String(_) if is_sized => self.parse(value::size)?,
            DeValue::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                self.error(format!("`{}` is a number", self.shown()), "write it without quotes");
                return None;
            }
            _ => return self.wrong_type(),
        };
        match bounded {
            Some(Kind::Size { min, .. } | Kind::Count { min, .. }) if number < *min => {
                self.out_of_bounds("too small")
            }
            Some(Kind::Size { max, .. } | Kind::Count { max, .. }) if number > *max => {
                self.out_of_bounds("too large")
            }
            _ => Some(number),
        }
    }

    fn out_of_bounds<T>(&self, how: &str) -> Option<T> {
        self.error(format!("`{}` is {how}", self.shown()), self.help());
        None
    }

    /// One of the words of the key; says which there are when it is none of them.
    pub(crate) fn choice(&self) -> Option<&'static str> {
        let text = self.text()?;
        if let Some(word) = self.word() {
            return Some(word);
        }
        self.refuse_word(&text);
        None
    }

    /// One of the words of the key, if the value is one.
    pub(crate) fn word(&self) -> Option<&'static str> {
        let value = self.as_str()?;
        self.kind.words().into_iter().find(|word| *word == value)
    }

    /// What is read of the value when it is none of the words of the key, or `None` within.
    pub(crate) fn unless_word<T>(&self, read: impl FnOnce(&Self) -> Option<T>) -> Option<Option<T>> {
        match self.word() {
            Some(_) => Some(None),
            None => read(self).map(Some),
        }
    }

    /// Whether the value looks like a word, and the key takes words besides its other forms.
    fn is_misspelt_word(&self) -> bool {
        let looks_like_one = |text: &str| text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        self.word().is_none() && !self.kind.words().is_empty() && self.as_str().is_some_and(looks_like_one)
    }

    /// Says that a string is not one of the words of the key.
    pub(crate) fn refuse_word(&self, text: &Text<'_>) {
        let near = nearest(text.value, self.kind.words());
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let help = format!("{near}{}", self.help_with_hint());
        text.error(format!("`{}` cannot be {}", self.shown(), quoted(text.value)), help);
    }
}

impl Kind {
    /// The first of the forms that `wanted` accepts.
    fn find(&'static self, wanted: &dyn Fn(&Kind) -> bool) -> Option<&'static Kind> {
        match self {
            Self::Any(kinds) => kinds.iter().find_map(|kind| kind.find(wanted)),
            kind => wanted(kind).then_some(kind),
        }
    }

    /// What the entries of a list are.
    pub(super) fn entry(&'static self) -> &'static Kind {
        match self {
            Self::List(kind) => kind,
            Self::Any(kinds) => kinds
                .iter()
                .find_map(|kind| if let Self::List(entry) = kind { Some(*entry) } else { None })
                .unwrap_or(self),
            kind => kind,
        }
    }
}

/// The number, whatever base it is written in.
fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok()
}
