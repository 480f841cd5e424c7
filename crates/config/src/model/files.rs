//! Files that are served from a directory, and the encodings in which answers leave.

use std::path::PathBuf;

use regex::bytes::Regex;

use crate::problem::{Invalid, quoted};

/// A directory whose files are served.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// Where they are.
    pub directory: PathBuf,
    /// The file that stands for a directory. Default `index.html`; none means that a directory has no answer.
    pub index: Option<String>,
    /// Whether `file.br`, `file.zst` and `file.gz` are served in place of `file` to callers who take them.
    pub precompressed: bool,
    /// Paths whose content never changes.
    pub immutable: Option<PathRegex>,
    /// In which encodings they may leave, the preferred first. Default all.
    pub encodings: Vec<Encoding>,
}

impl Files {
    /// Default of [`Files::index`].
    pub const INDEX: &'static str = "index.html";

    /// A directory with every default.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            index: Some(Self::INDEX.to_owned()),
            precompressed: false,
            immutable: None,
            encodings: Encoding::SMALLEST_FIRST.to_vec(),
        }
    }
}

/// A content coding that is offered to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Encoding {
    /// For content that is encoded while it passes: the most for the least work first.
    pub const CHEAPEST_FIRST: [Encoding; 3] = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];
    /// For content that is encoded once and kept.
    pub const SMALLEST_FIRST: [Encoding; 3] = [Encoding::Brotli, Encoding::Zstd, Encoding::Gzip];

    /// Its name on the wire and in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// A regular expression on the path of a request, valid as it stands. Linear in the length of the path.
#[derive(Debug, Clone)]
pub struct PathRegex(Regex);

/// Most bytes of a compiled expression: far more than one that a person can read needs.
const COMPILED_BYTES_MAX: usize = 256 << 10;

impl PathRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// On one that is not valid, or too large.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let builder =
            regex::bytes::RegexBuilder::new(text).unicode(false).size_limit(COMPILED_BYTES_MAX).build();
        builder.map(Self).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let help =
                "a regular expression in single quotes, so that backslashes stay: '\\.[0-9a-f]{8,}\\.'";
            Invalid::new(format!("{} is not a regular expression: {why}", quoted(text)), help)
        })
    }

    /// Whether it matches somewhere in a path.
    #[must_use]
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.0.is_match(path)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
