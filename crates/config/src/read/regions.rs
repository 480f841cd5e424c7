//! `[region]`, and what an upstream says of its regions.

use std::time::Duration;

use crate::endpoints::{region, zone};
use crate::keys;
use crate::model::{Region, Source, Spill};
use crate::problem::{quoted, suggestion};
use crate::reader::{Cursor, Text, Value};
use crate::secret::Secret;

/// Shorter ones can be guessed from what they signed.
const SECRET_BYTES_MIN: usize = 16;

/// `[region]`
pub(super) fn own(root: &mut Cursor<'_>) -> Option<Region> {
    let mut table = root.take("region")?.table(&keys::REGION)?;
    let name = table.need("name").and_then(|value| value.parse(region));
    let zone = table.take("zone").and_then(|value| value.parse(zone));
    let secret = table.take("secret").and_then(|value| secret(&value));
    table.finish();
    Some(Region { name: name?, zone, secret })
}

fn secret(value: &Value<'_>) -> Option<Secret> {
    let secret = value.secret()?;
    if secret.is_resolved() && secret.expose().len() < SECRET_BYTES_MIN {
        let help = "such as the output of `openssl rand -hex 32`, the same on all nodes";
        value.error(format!("a secret of less than {SECRET_BYTES_MIN} characters can be guessed"), help);
        return None;
    }
    Some(secret)
}

/// The region that takes what changes something; one of those that there are.
pub(super) fn primary(table: &mut Cursor<'_>, source: Option<&Source>) -> Option<String> {
    let text = table.take("primary")?.text()?;
    let primary = text.parse(region)?;
    if let Some(Source::Dns { .. } | Source::Srv { .. }) = source {
        let help = "list the endpoints by `regions.NAME`, or in a file (`file://`) with their regions";
        text.error(
            "names do not say in which region an endpoint is: nothing would ever be sent to the primary",
            help,
        );
        return None;
    }
    is_known(&text, source).then_some(primary)
}

/// How long who wrote reads from the primary.
pub(super) fn read_your_writes(table: &mut Cursor<'_>) -> Option<Duration> {
    let duration = table.take("read_your_writes")?.unless_word(Value::duration)??;
    if !table.has("primary") {
        let help = "add `primary` with the region that takes writes, or take it out";
        let span = table.key_span("read_your_writes");
        table.reader.error(&span, "`read_your_writes` has no effect without `primary`", help);
    }
    Some(duration)
}

pub(super) fn spill(table: &mut Cursor<'_>, source: Option<&Source>) -> Option<Spill> {
    let value = table.take("spill")?;
    if let Some(Source::Endpoints(list)) = source
        && !list.is_empty()
        && list.iter().all(|endpoint| endpoint.region.is_none())
    {
        let help = "say where endpoints are, by `regions.NAME` or by `region`, or take `spill` out";
        table.reader.warning(
            &table.key_span("spill"),
            "`spill` has no effect: no endpoint has a region",
            help,
        );
    }
    if value.word().is_some() {
        return Some(Spill { max: 0.0, ..Spill::default() });
    }
    let mut table = value.table(&keys::SPILL)?;
    let max = table.take("max").and_then(|value| value.share());
    let entries = table.take("cost").and_then(|value| value.named()).unwrap_or_default();
    table.finish();
    let cost = entries.iter().filter_map(|(name, value)| {
        let region = name.parse(region)?;
        let cost = value.duration()?;
        is_known(name, source).then_some((region, cost))
    });
    Some(Spill { cost: cost.collect(), max: max.unwrap_or(Spill::default().max) })
}

/// Whether some endpoint may be in the region that `name` names; says so when none is. Of endpoints that are found while unlag
/// runs nothing is known yet.
fn is_known(name: &Text<'_>, source: Option<&Source>) -> bool {
    let Some(Source::Endpoints(list)) = source else { return true };
    let mut regions: Vec<&str> = list.iter().filter_map(|endpoint| endpoint.region.as_deref()).collect();
    regions.sort_unstable();
    regions.dedup();
    if regions.contains(&name.value) {
        return true;
    }
    let help = match regions.is_empty() {
        true => "no endpoint has a region; list them by `regions.NAME`, or give each its `region`".to_owned(),
        false => suggestion(name.value, "regions", regions),
    };
    name.error(format!("no endpoint is in the region {}", quoted(name.value)), help);
    false
}
