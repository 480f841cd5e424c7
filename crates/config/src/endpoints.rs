//! Endpoints as they are listed in a file of their own: one a line, `URL [weight=N] [region=NAME] [zone=NAME]`, `#` starts
//! a comment.

use std::collections::HashSet;

use crate::model::{Endpoint, UpstreamUrl};
use crate::problem::{Invalid, Problem, Problems, quoted, suggestion};
use crate::reader::Reader;
use crate::source::SourceText;
use crate::url::upstream_url;

/// Most endpoints of one upstream: each has a pool, a probe and its own series of metrics.
pub const ENDPOINTS_MAX: usize = 1_000;

/// Reads the file that `discover = "file://…"` names; `file` is its name in messages. An empty list is valid:
/// a service can be scaled to nothing.
///
/// # Errors
/// Everything that is wrong with the text, each with its line.
pub fn endpoints(text: &str, file: &str) -> Result<Vec<Endpoint>, Problems> {
    let reader = Reader::new(SourceText::new(text, file));
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut seen = HashSet::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let said = line.split('#').next().unwrap_or("").trim_end();
        let indent = said.len() - said.trim_start().len();
        let span = start + indent..start + said.len();
        start += line.len();
        if span.is_empty() {
            continue;
        }
        if endpoints.len() == ENDPOINTS_MAX {
            reader.error(&span, "there are too many endpoints", format!("at most {ENDPOINTS_MAX}"));
            break;
        }
        if said.contains('@') {
            reader.mask(&span);
        }
        match endpoint(said.trim_start()) {
            Ok(endpoint) if !seen.insert(endpoint.url.clone()) => {
                reader.error(
                    &span,
                    format!("{} is listed twice", endpoint.url),
                    "give one line a `weight=` instead",
                );
            }
            Ok(endpoint) => endpoints.push(endpoint),
            Err(invalid) => reader.error(&span, invalid.message, invalid.help),
        }
    }
    let (problems, _): (Vec<Problem>, _) = reader.finish();
    if problems.is_empty() { Ok(endpoints) } else { Err(Problems(problems)) }
}

fn endpoint(line: &str) -> Result<Endpoint, Invalid> {
    let mut words = line.split_ascii_whitespace();
    let url = endpoint_url(words.next().unwrap_or(""))?;
    let mut endpoint = Endpoint::new(url);
    for word in words {
        if word.contains('@') {
            // The message does not repeat what may hold a password.
            let help = "behind a URL there can be `weight=`, `region=` and `zone=`";
            return Err(Invalid::new("an endpoint cannot carry a user name or password", help));
        }
        match word.split_once('=') {
            Some(("weight", value)) => endpoint.weight = weight(value)?,
            Some(("region", value)) => endpoint.region = Some(region(value)?),
            Some(("zone", value)) => endpoint.zone = Some(zone(value)?),
            _ => {
                let name = word.split('=').next().unwrap_or("");
                let help = suggestion(name, "behind a URL there can be", ["weight", "region", "zone"]);
                return Err(Invalid::new(format!("{} is not known here", quoted(word)), help));
            }
        }
    }
    Ok(endpoint)
}

/// A URL without a path.
pub(crate) fn endpoint_url(text: &str) -> Result<UpstreamUrl, Invalid> {
    let url = upstream_url(text)?;
    if url.path.is_empty() {
        return Ok(url);
    }
    let prefix = url.path.clone();
    let bare = UpstreamUrl { path: String::new(), ..url };
    let help = format!("write \"{bare}\", and `add_prefix = \"{prefix}\"` in the route");
    Err(Invalid::new("an endpoint has no path", help))
}

fn weight(text: &str) -> Result<u32, Invalid> {
    match text.parse::<u32>() {
        Ok(weight) if (1..=1_000).contains(&weight) => Ok(weight),
        _ => Err(Invalid::new(format!("{} is not a weight", quoted(text)), "a whole number from 1 to 1000")),
    }
}

/// The name of a region.
pub(crate) fn region(text: &str) -> Result<String, Invalid> {
    place(text, "region")
}

/// The name of a zone.
pub(crate) fn zone(text: &str) -> Result<String, Invalid> {
    place(text, "zone")
}

fn place(text: &str, what: &str) -> Result<String, Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    let help = format!("a {what} is made of letters, digits, `-`, `_` and dots, at most 64");
    Err(Invalid::new(format!("{} cannot name a {what}", quoted(text)), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_a_line_with_comments_weights_and_zones() {
        let text =
            "# the shop\nhttp://10.0.0.1:80 weight=3 region=eu zone=b  # old\n\n  unix:/run/a.sock\r\n";
        let read = endpoints(text, "shop").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].weight, read[0].region.as_deref()), (3, Some("eu")));
        assert_eq!((read[0].zone.as_deref(), &read[1].region), (Some("b"), &None));
        assert_eq!(read[1].url.to_string(), "unix:/run/a.sock");
        assert!(endpoints("", "shop").unwrap().is_empty());
    }

    #[test]
    fn every_bad_line_is_named_with_its_number() {
        let text = "http://a\nftp://b\nhttp://a\nhttp://c wieght=2\nhttp://d/x\nhttp://e weight=0\n";
        let problems = endpoints(text, "shop").unwrap_err().0;
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert_eq!(problems[2].help.as_deref(), Some("did you mean `weight`?"));
    }

    #[test]
    fn a_list_without_end_is_cut_off() {
        let text: String = (0..2 * ENDPOINTS_MAX).map(|n| format!("http://h{n}\n")).collect();
        let problems = endpoints(&text, "shop").unwrap_err().0;
        assert_eq!((problems.len(), problems[0].line), (1, ENDPOINTS_MAX + 1));
    }
}
