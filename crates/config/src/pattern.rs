//! Patterns of routes: `METHOD host/path` with `{name}` for one segment and `{name...}` for the rest.
//!
//! A path is what is between the first slash and the query, split at slashes: `/a/b` is `a`, `b`; `/a/` is
//! `a` and an empty segment; `/` is one empty segment. A literal matches byte for byte, `{name}` one segment
//! that is not empty, `{name...}` everything that is left, also nothing: `/old/{rest...}` matches `/old`,
//! `/old/` and `/old/a/b`. GET also matches HEAD.
//!
//! Of the patterns that match, the most specific wins; see [`Pattern::specificity`].

use std::fmt;
use std::str::FromStr;

use crate::problem::{Invalid, quoted};
use crate::url::{host_and_port, literal_segment};

/// Longest pattern, bytes; a path that needs more does not fit into a request either.
const PATTERN_BYTES_MAX: usize = 2_048;
/// Most segments of a pattern: bounds what a router keeps per request.
const SEGMENTS_MAX: usize = 64;
const FORM_HELP: &str = r#"a match is "METHOD host/path", method and host optional: "GET /products/{id}""#;

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The method; none matches any.
    pub method: Option<String>,
    /// The host in lower case, without port, an IPv6 address in brackets; none matches any.
    pub host: Option<String>,
    /// The path; never empty.
    pub segments: Vec<Segment>,
}

/// What stands between two slashes of a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Matches itself, byte for byte; hex digits of percent escapes are in upper case. Empty only as the last
    /// one.
    Literal(String),
    /// Matches one segment that is not empty.
    One(String),
    /// Matches everything that is left, also nothing; only the last one.
    Rest(String),
}

/// How specific a pattern is; compare with `>`, the greater wins. In this order: it names a host; its number
/// of literal segments; its method (none, GET, any other: an explicit HEAD beats the HEAD that GET includes);
/// its number of header conditions; it has no `{name...}`.
pub type Specificity = (bool, usize, u8, usize, bool);

impl Pattern {
    /// How specific the pattern is together with this number of header conditions.
    #[must_use]
    pub fn specificity(&self, headers: usize) -> Specificity {
        let literals = self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        let method = match self.method.as_deref() {
            None => 0,
            Some("GET") => 1,
            Some(_) => 2,
        };
        let closed = !matches!(self.segments.last(), Some(Segment::Rest(_)));
        (self.host.is_some(), literals, method, headers, closed)
    }

    /// Whether some request matches both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let methods = match (self.method.as_deref(), other.method.as_deref()) {
            (Some("GET"), Some("HEAD")) | (Some("HEAD"), Some("GET")) | (None, _) | (_, None) => true,
            (Some(one), Some(two)) => one == two,
        };
        let hosts = match (&self.host, &other.host) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        methods && hosts && paths_overlap(&self.segments, &other.segments)
    }

    /// The names of the parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }

    /// What the parameters stand for in `path` (no query), or none when it does not match. This is the
    /// definition that a faster router has to agree with.
    #[must_use]
    pub fn captures<'p>(&'p self, path: &'p str) -> Option<Vec<(&'p str, &'p str)>> {
        let mut rest = Some(path.strip_prefix('/')?);
        let mut captures = Vec::new();
        for segment in &self.segments {
            if let Segment::Rest(name) = segment {
                captures.push((name.as_str(), rest.unwrap_or("")));
                return Some(captures);
            }
            let (here, behind) = match rest?.split_once('/') {
                Some((here, behind)) => (here, Some(behind)),
                None => (rest?, None),
            };
            match segment {
                Segment::Literal(literal) if literal == here => {}
                Segment::One(name) if !here.is_empty() => captures.push((name.as_str(), here)),
                _ => return None,
            }
            rest = behind;
        }
        rest.is_none().then_some(captures)
    }
}

fn paths_overlap(one: &[Segment], two: &[Segment]) -> bool {
    let mut pairs = (one.iter(), two.iter());
    loop {
        match (pairs.0.next(), pairs.1.next()) {
            (Some(Segment::Rest(_)), _) | (_, Some(Segment::Rest(_))) | (None, None) => return true,
            (Some(Segment::Literal(one)), Some(Segment::Literal(two))) if one == two => {}
            (Some(Segment::One(_)), Some(Segment::One(_))) => {}
            (Some(Segment::Literal(literal)), Some(Segment::One(_)))
            | (Some(Segment::One(_)), Some(Segment::Literal(literal)))
                if !literal.is_empty() => {}
            _ => return false,
        }
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(Invalid::new("the match is too long", format!("at most {PATTERN_BYTES_MAX} bytes")));
        }
        if text.is_empty() {
            return Err(Invalid::new("the match is empty", FORM_HELP));
        }
        let (method, target) = match text.split_once(' ') {
            Some((word, rest)) if !word.contains('/') => {
                let target = rest.trim_start_matches(' ');
                (Some(method(word)?), target)
            }
            _ => (None, text),
        };
        let offset = text.len() - target.len();
        let Some(slash) = target.find('/') else {
            let help = match target {
                "" => FORM_HELP.to_owned(),
                host => format!(
                    "a path starts with a slash: \"/{host}\", or \"{host}/{{path...}}\" for a whole host"
                ),
            };
            return Err(Invalid::new(format!("{} has no path", quoted(text)), help));
        };
        let (host, path) = target.split_at(slash);
        let host = match host {
            "" => None,
            host => Some(pattern_host(host).map_err(|invalid| invalid.at(offset..offset + slash))?),
        };
        let segments = segments(path).map_err(|invalid| invalid.shifted(offset + slash))?;
        Ok(Self { method, host, segments })
    }
}

fn method(word: &str) -> Result<String, Invalid> {
    let refuse = |help: &str| {
        Err(Invalid::new(format!("{} is not a method", quoted(word)), help.to_owned()).at(0..word.len()))
    };
    if word.bytes().any(|b| b.is_ascii_lowercase()) {
        return refuse(&format!("methods are written in upper case: {}", word.to_ascii_uppercase()));
    }
    if word == "CONNECT" {
        return refuse("CONNECT asks for a tunnel, which has no path to match");
    }
    if word == "*" || word == "ANY" || word == "ALL" {
        return refuse("leave the method out to match every method");
    }
    if word.is_empty() || word.len() > 32 || !is_token(word) {
        return refuse(FORM_HELP);
    }
    Ok(word.to_owned())
}

fn pattern_host(text: &str) -> Result<String, Invalid> {
    match host_and_port(text)? {
        (host, None) if host.contains(':') => Ok(format!("[{host}]")),
        (host, None) => Ok(host),
        (host, Some(_)) => Err(Invalid::new(
            "a match names no port",
            format!("the port of a request does not count; write `{host}`"),
        )),
    }
}

/// The segments of a path that starts with a slash. Blame counts from that slash.
fn segments(path: &str) -> Result<Vec<Segment>, Invalid> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut start = 1;
    for text in path.split('/').skip(1) {
        let here = start..start + text.len();
        if matches!(segments.last(), Some(Segment::Rest(_))) {
            let help = "nothing can follow `{name...}`; write `{name}` for one segment";
            return Err(Invalid::new("the rest of a path comes last", help).at(here));
        }
        if matches!(segments.last(), Some(Segment::Literal(last)) if last.is_empty()) {
            return Err(Invalid::new("two slashes in a row", "write one").at(start - 2..start));
        }
        let segment = match text.strip_prefix('{').and_then(|inside| inside.strip_suffix('}')) {
            Some(inside) => parameter(inside, &mut names).map_err(|invalid| invalid.at(here))?,
            None if text == "*" || text == "**" => {
                let help = "write `{name}` for one segment, `{name...}` for the rest";
                return Err(Invalid::new("there are no wildcards", help).at(here));
            }
            None => Segment::Literal(literal_segment(text).map_err(|invalid| invalid.shifted(start))?),
        };
        segments.push(segment);
        if segments.len() > SEGMENTS_MAX {
            return Err(Invalid::new("the path has too many segments", format!("at most {SEGMENTS_MAX}")));
        }
        start += text.len() + 1;
    }
    Ok(segments)
}

fn parameter<'t>(inside: &'t str, names: &mut Vec<&'t str>) -> Result<Segment, Invalid> {
    let (name, rest) = match inside.strip_suffix("...") {
        Some(name) => (name, true),
        None => (inside, false),
    };
    if name.is_empty() {
        return Err(Invalid::new("a parameter needs a name", "write `{id}`, or `{path...}` for the rest"));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let help = "a name is a letter, then letters, digits and `_`, at most 64";
        return Err(Invalid::new(format!("{} cannot name a parameter", quoted(name)), help));
    }
    if names.contains(&name) {
        return Err(Invalid::new(
            format!("the parameter `{name}` is there twice"),
            "give one of them another name",
        ));
    }
    names.push(name);
    Ok(if rest { Segment::Rest(name.to_owned()) } else { Segment::One(name.to_owned()) })
}

/// Whether `text` is a token of RFC 9110: what methods and header names are made of.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method} ")?;
        }
        f.write_str(self.host.as_deref().unwrap_or(""))?;
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::One(name) => write!(f, "/{{{name}}}")?,
                Segment::Rest(name) => write!(f, "/{{{name}...}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
