//! `respond` of a route: a fixed answer.

use super::headers::header_value;
use crate::keys;
use crate::model::Respond;
use crate::pattern::Pattern;
use crate::problem::Invalid;
use crate::reader::Value;
use crate::template::{Part, Template};

/// Longest body, bytes: a fixed answer is held in memory for as long as the configuration.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The answer; `pattern` is that of its route, when it is valid.
/// A parameter is the caller's: it may say where on a site to go on, but not on which.
fn stays_on_its_site(template: Template) -> Result<Template, Invalid> {
    let beginning = template.beginning();
    let path = match beginning.split_once("://") {
        Some((_, rest)) => rest.contains('/'),
        None => beginning.starts_with('/'),
    };
    let has_parameter = template.0.iter().any(|part| matches!(part, Part::Param(_)));
    if path || !has_parameter {
        return Ok(template);
    }
    let help = "begin with `/`, or with `https://host/`, and let parameters come after it";
    Err(Invalid::new("a caller could choose the site that this leads to", help))
}

pub(super) fn respond(value: &Value<'_>, pattern: Option<&Pattern>) -> Option<Respond> {
    let mut table = value.table(&keys::RESPOND)?;
    let status_value = table.need("status");
    let status =
        status_value.as_ref().and_then(|value| value.number()).and_then(|status| u16::try_from(status).ok());

    let location_value = table.take("location");
    let location = location_value.as_ref().zip(pattern).and_then(|(value, pattern)| {
        value.parse(|text| match text {
            "" => Err(Invalid::new("the location is empty", value.help())),
            text => Template::parse(text, pattern).and_then(stays_on_its_site),
        })
    });
    let redirects = matches!(status, Some(301 | 302 | 303 | 307 | 308));
    match (&status_value, &location_value, status) {
        (Some(status), None, Some(code)) if redirects => {
            status.error(format!("{code} needs a `location`"), "add `location = \"/new/{name}\"`");
        }
        (_, Some(location), Some(code)) if !redirects && code != 201 => {
            location
                .error(format!("{code} has no `location`"), "it belongs to 201, 301, 302, 303, 307 and 308");
        }
        _ => {}
    }

    let body_value = table.take("body");
    let body = body_value.as_ref().and_then(|value| {
        value.parse(|text| match text.len() {
            0..=BODY_BYTES_MAX => Ok(text.to_owned()),
            _ => Err(Invalid::new("`body` is too long", "at most 64KiB")),
        })
    });
    if let (Some(value), Some(code @ (204 | 205 | 304))) = (&body_value, status)
        && body.as_ref().is_some_and(|body| !body.is_empty())
    {
        value.error(format!("{code} has no body"), "take `body` out, or answer 200");
    }
    let content_type = table.take("content_type").and_then(|value| {
        value.parse(|text| match text.split_once('/') {
            Some((main, sub)) if !main.is_empty() && !sub.is_empty() => header_value(text),
            _ => Err(Invalid::new("`content_type` is not a media type", "such as \"application/json\"")),
        })
    });
    table.finish();
    Some(Respond {
        status: status?,
        location,
        body: body.unwrap_or_default(),
        content_type: content_type.unwrap_or_else(|| Respond::CONTENT_TYPE.to_owned()),
    })
}
