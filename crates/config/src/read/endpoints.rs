//! Where the endpoints of an upstream come from: a list, lists by region, or a way to discover them.

use std::collections::HashSet;

use super::discover::discover;
use crate::endpoints::{ENDPOINTS_MAX, endpoint_url, region, zone};
use crate::keys;
use crate::model::{Endpoint, Source, UpstreamUrl};
use crate::problem::quoted;
use crate::reader::{Cursor, Value};

/// What says where endpoints are; an upstream has one of them.
const SOURCES: [&str; 3] = ["endpoints", "regions", "discover"];

pub(super) fn source(table: &mut Cursor<'_>) -> Option<Source> {
    let given = SOURCES.map(|key| table.take(key).map(|value| (key, value)));
    let mut given = given.into_iter().flatten();
    let Some((key, value)) = given.next() else {
        let message = format!("{} has no endpoints", table.title());
        let help = "add `endpoints = [\"http://HOST:PORT\"]`, `regions.NAME = [\"http://HOST:PORT\"]` or `discover = \"dns://HOST:PORT\"`";
        table.error(message, help);
        return None;
    };
    if let Some((other, second)) = given.next() {
        second.error(format!("`{key}` and `{other}` exclude each other"), "keep one of them");
        return None;
    }
    match key {
        "endpoints" => endpoints(&value, None, &mut HashSet::new()).map(Source::Endpoints),
        "regions" => regions(&value).map(Source::Endpoints),
        _ => discover(&value),
    }
}

/// Every `regions.NAME`: endpoints that carry its name.
fn regions(value: &Value<'_>) -> Option<Vec<Endpoint>> {
    let entries = value.named()?;
    if entries.is_empty() {
        value.error("there are no regions", "such as `regions.eu-west = [\"http://10.0.0.11:8000\"]`");
    }
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for (name, list) in entries {
        let region = name.parse(region);
        all.extend(endpoints(&list, region.as_deref(), &mut seen).unwrap_or_default());
    }
    if all.len() > ENDPOINTS_MAX {
        value.error("there are too many endpoints", format!("at most {ENDPOINTS_MAX} in all regions"));
    }
    Some(all)
}

/// A list of endpoints, all of them in the region `of` if there is one.
fn endpoints(value: &Value<'_>, of: Option<&str>, seen: &mut HashSet<UpstreamUrl>) -> Option<Vec<Endpoint>> {
    let entries = value.list()?;
    if entries.is_empty() || entries.len() > ENDPOINTS_MAX {
        let message =
            if entries.is_empty() { "there are no endpoints" } else { "there are too many endpoints" };
        value.error(message, format!("from 1 to {ENDPOINTS_MAX}, such as \"http://10.0.0.11:8000\""));
        return None;
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(entries.len());
    for entry in &entries {
        let Some(endpoint) = endpoint(entry, of) else { continue };
        if !seen.insert(endpoint.url.clone()) {
            let help = match of {
                Some(_) => "list it once; an endpoint is in one region",
                None => "give one entry a `weight` instead",
            };
            entry.error(format!("{} is listed twice", endpoint.url), help);
        }
        endpoints.push(endpoint);
    }
    Some(endpoints)
}

fn endpoint(entry: &Value<'_>, of: Option<&str>) -> Option<Endpoint> {
    if entry.as_str().is_some_and(|url| url.contains('@')) {
        entry.reader.mask(&entry.span);
    }
    if !entry.is_table() {
        return Some(Endpoint { region: of.map(str::to_owned), ..Endpoint::new(entry.parse(endpoint_url)?) });
    }
    let mut table = entry.table(&keys::ENDPOINT)?;
    let url = table.need("url").and_then(|value| {
        if value.as_str().is_some_and(|url| url.contains('@')) {
            value.reader.mask(&value.span);
        }
        value.parse(endpoint_url)
    });
    let weight =
        table.take("weight").and_then(|value| value.number()).and_then(|weight| weight.try_into().ok());
    let region = table.take("region").and_then(|value| match of {
        None => value.parse(region),
        Some(of) => {
            value
                .error(format!("the region of this endpoint is {} already", quoted(of)), "take `region` out");
            None
        }
    });
    let zone = table.take("zone").and_then(|value| value.parse(zone));
    table.finish();
    Some(Endpoint {
        weight: weight.unwrap_or(1),
        region: region.or_else(|| of.map(str::to_owned)),
        zone,
        ..Endpoint::new(url?)
    })
}
