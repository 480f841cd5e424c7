//! The text of a config file: byte offsets become lines and columns, spans become excerpts.

use std::ops::Range;

use crate::problem::Excerpt;

/// Most characters of a line that are shown.
const EXCERPT_CHARS_MAX: usize = 160;

/// A place in the text, in bytes.
pub(crate) type Span = Range<usize>;

/// A named text.
pub(crate) struct SourceText<'a> {
    text: &'a str,
    file: &'a str,
    /// Where each line starts; the first entry is 0.
    line_starts: Vec<usize>,
}

impl<'a> SourceText<'a> {
    pub(crate) fn new(text: &'a str, file: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, file, line_starts }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(crate) fn locate(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// The line on which `span` starts, with what of the span lies on it marked and `masks` blotted out.
    pub(crate) fn excerpt(&self, span: &Span, masks: &[Span]) -> Excerpt {
        let (line, column) = self.locate(span.start);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let whole = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let end = span.end.min(start + whole.len()).max(span.start);
        let marked = self.text.get(span.start..end).unwrap_or("").chars().count().max(1);

        // A long line is shown around its marked part.
        let skip = (column - 1).saturating_sub(EXCERPT_CHARS_MAX / 2);
        let skip = if whole.chars().nth(EXCERPT_CHARS_MAX).is_none() { 0 } else { skip };
        let text: String = whole
            .char_indices()
            .skip(skip)
            .take(EXCERPT_CHARS_MAX)
            .map(|(at, character)| {
                let masked = masks.iter().any(|mask| mask.contains(&(start + at)));
                match character {
                    _ if masked => '*',
                    '\t' => ' ',
                    control if control.is_control() => '\u{fffd}',
                    other => other,
                }
            })
            .collect();
        let start = (column - 1).saturating_sub(skip);
        let room = text.chars().count().saturating_sub(start).max(1);
        Excerpt { text, start, width: marked.min(room) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let source = SourceText::new("a\nöx = 1\n", "f");
        assert_eq!(source.locate(0), (1, 1));
        assert_eq!(source.locate(4), (2, 2));
        assert_eq!(source.locate(1_000), (3, 1));
    }

    #[test]
    fn a_long_line_is_cut_around_what_is_marked() {
        let text = format!("{}bad{}", "x".repeat(1_000), "y".repeat(1_000));
        let excerpt = SourceText::new(&text, "f").excerpt(&(1_000..1_003), &[]);
        assert_eq!(excerpt.text.chars().count(), EXCERPT_CHARS_MAX);
        let marked: String = excerpt.text.chars().skip(excerpt.start).take(excerpt.width).collect();
        assert_eq!(marked, "bad");
    }

    #[test]
    fn a_span_over_several_lines_is_marked_to_the_end_of_the_first() {
        let excerpt = SourceText::new("k = [1,\n2]\n", "f").excerpt(&(4..10), &[]);
        assert_eq!((excerpt.start, excerpt.width), (4, 3));
    }

    #[test]
    fn a_masked_part_is_not_shown() {
        let excerpt =
            SourceText::new("token = \"hunter2\"", "f").excerpt(&(0..5), std::slice::from_ref(&(9..16)));
        assert_eq!(excerpt.text, "token = \"*******\"");
    }
}
