//! Memory of unlag after it has stored a million small answers: what they cost, and whether the bound is kept.
//!
//! How many are held is asked from outside: `only-if-cached` is answered with 504 for what is not there.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{StoredOptions, Storing};
use crate::load::{Sweep, Swept};
use crate::peers::caches::{Cache, Found, Purpose, Stage};
use crate::peers::goal::{Goal, Measured};
use crate::peers::report::{Row, ScenarioReport, Skipped};

const CONNECTIONS: usize = 8;
/// A tenth of a per cent, which says how many are held to a few in a thousand.
const LOOKED_AT: u64 = 1_000;
/// Stored before memory is read for the first time: code and buffers that the first answers bring in.
const FIRST: u64 = 500;
const WITHIN: Duration = Duration::from_secs(300);
const SETTLE: Duration = Duration::from_millis(1_500);
const BYTES: u64 = 100;

struct Memory {
    before_bytes: u64,
    after_bytes: u64,
    held: f64,
    seconds: f64,
}

pub(super) fn run(
    stage: &Stage<'_>,
    scenario: Storing,
    bound_mib: u64,
    options: &StoredOptions,
    found: &mut Found,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let Some(unlag) = found.caches.iter().find(|(cache, _)| *cache == Cache::Unlag) else { return Ok(None) };
    let purpose = Purpose { routes: Vec::new(), memory: Some(format!("{bound_mib}MiB")) };
    let measured = stage.start(unlag, 1, &purpose).and_then(|process| {
        let sweep = |end, step, fields| sweep(process.http1, end, step, fields);
        stored(&sweep(FIRST, 1, "")?, FIRST)?;
        stage.interrupt.pause(SETTLE);
        let before_bytes = process.memory_bytes();
        let began = std::time::Instant::now();
        stored(&sweep(options.objects, 1, "")?, options.objects)?;
        let seconds = began.elapsed().as_secs_f64();
        stage.interrupt.pause(SETTLE);
        let after_bytes = process.memory_bytes();
        let step = (options.objects / LOOKED_AT).max(1);
        let looked = sweep(options.objects, step, "cache-control: only-if-cached\r\n")?;
        Ok(Memory { before_bytes, after_bytes, held: share_held(&looked)? * options.objects as f64, seconds })
    });
    match measured {
        Ok(measured) => {
            say(&format!("  {} stored in {:.0} s", options.objects, measured.seconds));
            Ok(Some(report(scenario, bound_mib, options.objects, &measured)))
        }
        Err(error) => {
            found.skipped.push(Skipped::said("unlag", scenario.name(), &error, say));
            Ok(None)
        }
    }
}

fn sweep(address: std::net::SocketAddr, end: u64, step: u64, fields: &'static str) -> Result<Swept> {
    let path = |number: u64| format!("/fill/fresh/0/{BYTES}/{number:08}");
    Sweep { address, connections: CONNECTIONS, end, step, fields, path, within: WITHIN }.run()
}

/// Every answer came, and was whole.
fn stored(swept: &Swept, objects: u64) -> Result<()> {
    let ok = swept.statuses.get(&200).copied().unwrap_or(0);
    ensure!(ok == objects, "of {objects} requests {ok} were answered with 200: {:?}", swept.statuses);
    ensure!(swept.content_bytes == objects * BYTES, "{} bytes of content came", swept.content_bytes);
    Ok(())
}

fn share_held(looked: &Swept) -> Result<f64> {
    let of = |status| looked.statuses.get(&status).copied().unwrap_or(0) as f64;
    let all = looked.statuses.values().sum::<u64>() as f64;
    ensure!(all > 0.0 && of(200) + of(504) == all, "only-if-cached is answered with {:?}", looked.statuses);
    Ok(of(200) / all)
}

fn report(scenario: Storing, bound_mib: u64, objects: u64, found: &Memory) -> ScenarioReport {
    let grown = found.after_bytes as f64 - found.before_bytes as f64;
    let mib = 1_048_576.0;
    let growth = grown / mib / bound_mib as f64;
    let held_share = found.held / objects as f64;
    let goal = if scenario == Storing::MillionFits { Goal::AllHeld(0.05) } else { Goal::Within(0.05) };
    let mut row = Row::new("unlag");
    row.add("growth", &[growth]);
    row.add("bound_mib", &[bound_mib as f64]);
    row.add("grown_mib", &[grown / mib]);
    row.add("held", &[found.held]);
    row.add("bytes_per_object", &[grown / found.held.max(1.0)]);
    row.add("rate", &[objects as f64 / found.seconds]);
    let measured = Measured { growth: Some(growth), held_share: Some(held_share), ..Measured::default() };
    row.met = Some(goal.is_met(&measured));
    ScenarioReport {
        name: scenario.name().into(),
        meaning: scenario.meaning().into(),
        headline: "growth".into(),
        goal: Some(goal.text()),
        rows: vec![row],
        dropped: 0,
        steal_max: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(grown_mib: u64, held: f64) -> Memory {
        Memory { before_bytes: 7 << 20, after_bytes: (7 + grown_mib) << 20, held, seconds: 2.0 }
    }

    #[test]
    fn growth_is_told_in_the_bound_and_a_full_cache_is_to_keep_to_it() {
        let full = report(Storing::MillionBounded, 256, 1_000_000, &found(260, 500_000.0));
        let row = &full.rows[0];
        assert_eq!((row.figures["grown_mib"].median, row.figures["rate"].median), (260.0, 500_000.0));
        assert_eq!(row.met, Some(true), "{row:?}");
        let over = report(Storing::MillionBounded, 256, 1_000_000, &found(300, 500_000.0));
        assert_eq!(over.rows[0].met, Some(false));
        let fits = report(Storing::MillionFits, 1_024, 1_000_000, &found(600, 1_000_000.0));
        assert_eq!(fits.rows[0].met, Some(true));
        let lost = report(Storing::MillionFits, 1_024, 1_000_000, &found(600, 900_000.0));
        assert_eq!(lost.rows[0].met, Some(false));
    }

    #[test]
    fn what_is_held_is_what_is_answered_without_asking_the_origin() {
        let looked = |statuses: &[(u16, u64)]| Swept {
            statuses: statuses.iter().copied().collect(),
            content_bytes: 0,
        };
        assert_eq!(share_held(&looked(&[(200, 30), (504, 10)])).expect("known"), 0.75);
        assert!(share_held(&looked(&[(200, 30), (502, 10)])).is_err());
        assert!(stored(&looked(&[(200, 9), (502, 1)]), 10).is_err());
    }
}
