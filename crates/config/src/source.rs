//! The text of a config file: byte offsets become lines and columns, spans become excerpts.

use std::ops::Range;

use crate::problem::Excerpt;

/// Most characters of a line that are shown.
const EXCERPT_CHARS_MAX: usize = 160;
/// What is shown in place of a secret, however long it is.
const MASK: &str = "***";

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
        let (line, _) = self.locate(span.start);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let whole = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let end = span.end.max(span.start + 1);

        // What is shown, and whether it is marked.
        let mut cells: Vec<(char, bool)> = Vec::with_capacity(whole.len() + 1);
        let mut masked: Option<&Span> = None;
        for (at, character) in whole.char_indices() {
            let at = start + at;
            let is_marked = (span.start..end).contains(&at);
            let mask = masks.iter().find(|mask| mask.contains(&at));
            match (character, mask) {
                (_, Some(mask)) if masked == Some(mask) => {
                    let of_mask = cells.iter_mut().rev().take(MASK.len());
                    of_mask.for_each(|cell| cell.1 |= is_marked);
                }
                (_, Some(_)) => cells.extend(MASK.chars().map(|star| (star, is_marked))),
                ('\t', None) => cells.push((' ', is_marked)),
                (control, None) if control.is_control() => cells.push(('\u{fffd}', is_marked)),
                (other, None) => cells.push((other, is_marked)),
            }
            masked = mask;
        }
        let first = cells.iter().position(|cell| cell.1).unwrap_or(cells.len());

        // A long line is shown around its marked part.
        let skip =
            if cells.len() > EXCERPT_CHARS_MAX { first.saturating_sub(EXCERPT_CHARS_MAX / 2) } else { 0 };
        let shown: Vec<(char, bool)> = cells.into_iter().skip(skip).take(EXCERPT_CHARS_MAX).collect();
        let width = shown.iter().filter(|cell| cell.1).count().max(1);
        Excerpt { text: shown.into_iter().map(|cell| cell.0).collect(), start: first - skip, width }
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
        assert_eq!(excerpt.text, "token = \"***\"");
    }

    #[test]
    fn neither_the_mask_nor_what_is_marked_tells_how_long_a_secret_is() {
        for secret in ["x", "a secret of some length"] {
            let text = format!("{{ token = \"{secret}\", b = 1 }}");
            let secret = 11..11 + secret.len();
            let source = SourceText::new(&text, "f");
            let excerpt = source.excerpt(&secret, std::slice::from_ref(&secret));
            assert_eq!(
                (excerpt.text.as_str(), excerpt.start, excerpt.width),
                ("{ token = \"***\", b = 1 }", 11, 3)
            );
            let behind = source.excerpt(&(secret.end + 3..secret.end + 4), std::slice::from_ref(&secret));
            assert_eq!((behind.start, behind.width), (17, 1));
        }
    }
}
