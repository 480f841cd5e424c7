//! A file as the rules see it: its lines, and for Rust the same lines with comments and literals blanked out, so that
//! a brace in a string or a word in a comment is not taken for code.

/// One file.
pub(crate) struct Source<'a> {
    /// Relative to the root, with `/` between its parts.
    pub(crate) path: &'a str,
    /// The text as it stands.
    pub(crate) text: String,
    /// The text with comments, strings and characters replaced by spaces; line for line as long as `text`.
    pub(crate) code: String,
}

/// A function and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, counted from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace.
    pub(crate) lines: usize,
}

impl<'a> Source<'a> {
    /// Prepares a file for the rules.
    pub(crate) fn new(path: &'a str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        Self { path, text: text.to_owned(), code }
    }

    /// Whether this is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the line belongs to tests: by the file's place, or behind the first `#[cfg(test)]` of the file.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        let place = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        place || self.code.lines().take(line).any(|line| line.trim() == "#[cfg(test)]")
    }

    /// All functions that have a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.code.lines().collect();
        let begins = lines.iter().enumerate().filter_map(|(at, line)| Some((at, function_name(line)?)));
        begins
            .filter_map(|(at, name)| {
                let lines = body_lines(lines.get(at..)?)?;
                Some(Function { name: name.to_owned(), line: at + 1, lines })
            })
            .collect()
    }
}

/// The name when the line begins a function.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("pub(") {
        rest = after.split_once(')')?.1.trim_start();
    }
    loop {
        let (word, after) = rest.split_once(' ')?;
        rest = after.trim_start();
        match word {
            "fn" => break,
            "pub" | "async" | "const" | "unsafe" | "extern" | "default" => {}
            _ => return None,
        }
    }
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    rest.get(..end)
}

/// Lines up to the brace that closes the first one; nothing for a declaration without a body.
fn body_lines(lines: &[&str]) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, line) in lines.iter().enumerate() {
        for letter in line.chars() {
            match letter {
                '{' => braces += 1,
                '}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 {
                        return Some(at + 1);
                    }
                }
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// Replaces comments and literals by spaces and keeps every line break.
fn blank(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let rest = letters.get(at..).unwrap_or_default();
        let length = literal_length(rest, at.checked_sub(1).and_then(|before| letters.get(before)));
        if length == 0 {
            out.push(letter);
            at += 1;
            continue;
        }
        let skipped = letters.get(at..at + length).unwrap_or(rest);
        out.extend(skipped.iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
        at += skipped.len();
    }
    out
}

/// How many letters the comment or literal at the beginning of `rest` takes; 0 when there is none.
fn literal_length(rest: &[char], before: Option<&char>) -> usize {
    match rest {
        ['/', '/', ..] => position(rest, |tail| tail.first() == Some(&'\n')).unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment_length(rest),
        ['"', ..] => string_length(rest),
        ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..]
            if !before.is_some_and(|b| b.is_alphanumeric() || *b == '_') =>
        {
            raw_string_length(rest)
        }
        ['\'', '\\', ..] => {
            2 + position(rest.get(3..).unwrap_or_default(), |t| t.first() == Some(&'\'')).unwrap_or(0) + 2
        }
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn position(letters: &[char], found: impl Fn(&[char]) -> bool) -> Option<usize> {
    (0..letters.len()).find(|at| letters.get(*at..).is_some_and(&found))
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.get(at..) {
            Some(['/', '*', ..]) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/', ..]) if depth == 1 => return at + 2,
            Some(['*', '/', ..]) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while let Some(letter) = rest.get(at) {
        match letter {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_length(rest: &[char]) -> usize {
    let prefix = rest.iter().take_while(|letter| matches!(letter, 'b' | 'r')).count();
    let after = rest.get(prefix..).unwrap_or_default();
    let hashes = after.iter().take_while(|letter| **letter == '#').count();
    if after.get(hashes) != Some(&'"') {
        // `r#type` is a name.
        return 0;
    }
    let begin = prefix + hashes + 1;
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = rest.get(begin..).unwrap_or_default();
    position(body, |tail| tail.starts_with(&closing)).map_or(rest.len(), |end| begin + end + closing.len())
}
