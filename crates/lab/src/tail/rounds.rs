//! Interleaved rounds of one variant: every arm is asked the same in a round, in an order that alternates.

use anyhow::Result;

use super::arm::Arm;
use super::paired::ratio;
use super::report::{Row, VariantReport};
use super::sample::{Sample, at_share};
use super::scenario::Variant;
use super::stack::{Place, Stack, refusal};
use crate::peers::Skipped;
use crate::peers::install::Installed;
use crate::peers::measure::STEAL_MAX;
use crate::peers::rounds::order;
use crate::stats::paired_ratios;

/// A stolen round is run once more, and then left out.
const TRIES: usize = 2;
/// Requests of a round, at most: ids of different rounds never meet.
const IDS_PER_ROUND: u64 = 10_000_000;
/// Seconds that an arm takes beside its load: processes, the warm-up, what is left when the last was sent.
pub(super) const BESIDE_S: f64 = 4.0;

/// One arm on its way.
struct Contestant<'a> {
    arm: Arm,
    installed: &'a Installed,
    samples: Vec<Sample>,
}

/// Runs a variant over the arms that can be had.
pub(super) fn run(
    place: &Place<'_>,
    variant: &Variant,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<VariantReport>> {
    let mut contestants = Vec::new();
    for arm in &variant.arms {
        let Some(found) = installed.iter().find(|installed| installed.peer == arm.peer) else { continue };
        match refusal(place, variant, arm, found)? {
            None => contestants.push(Contestant { arm: *arm, installed: found, samples: Vec::new() }),
            Some(reason) => {
                let reason = format!("unlag check refuses its config: {reason}");
                say(&format!("  {} is skipped: {reason}", arm.name));
                skipped.push(Skipped { peer: arm.name.into(), scenario: Some(variant.name.into()), reason });
            }
        }
    }
    if contestants.is_empty() || (variant.paired && contestants.len() < 2) {
        return Ok(None);
    }
    if variant.paired {
        paired_rounds(place, variant, &mut contestants, skipped, say)?;
    } else {
        separate_rounds(place, variant, &mut contestants, skipped, say)?;
    }
    Ok(Some(report(variant, &contestants)))
}

/// Every arm is started anew for each round.
fn separate_rounds(
    place: &Place<'_>,
    variant: &Variant,
    contestants: &mut [Contestant<'_>],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    for round in 0..variant.rounds {
        for index in order(round, contestants.len()) {
            let Some(contestant) = contestants.get_mut(index) else { continue };
            let arm = contestant.arm;
            for attempt in 1..=TRIES {
                let measured =
                    Stack::start(place, variant, &arm, contestant.installed, round).and_then(|stack| {
                        stack.warm_up()?;
                        stack.measure(calls(variant, round))
                    });
                let sample = match measured {
                    Ok(sample) => sample,
                    Err(error) => {
                        skipped.push(Skipped::said(arm.name, variant.name, &error, say));
                        break;
                    }
                };
                let stolen = sample.steal > STEAL_MAX;
                say(&line(round, &arm, &sample));
                contestant.samples.push(sample);
                if !stolen {
                    break;
                }
                let then = if attempt < TRIES { "once more" } else { "left out" };
                say(&format!("  {}: more than {:.0} % was stolen: {then}", arm.name, STEAL_MAX * 100.0));
            }
        }
    }
    Ok(())
}

/// All arms run all the time, and are asked in turn.
fn paired_rounds(
    place: &Place<'_>,
    variant: &Variant,
    contestants: &mut [Contestant<'_>],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut stacks = Vec::new();
    for contestant in contestants.iter() {
        match Stack::start(place, variant, &contestant.arm, contestant.installed, 0) {
            Ok(stack) => stacks.push(stack),
            Err(error) => {
                skipped.push(Skipped::said(contestant.arm.name, variant.name, &error, say));
                return Ok(());
            }
        }
    }
    stacks.iter().try_for_each(Stack::warm_up)?;
    for round in 0..variant.rounds {
        for index in order(round, contestants.len()) {
            let (Some(contestant), Some(stack)) = (contestants.get_mut(index), stacks.get(index)) else {
                continue;
            };
            let sample = stack.measure(calls(variant, round))?;
            say(&line(round, &contestant.arm, &sample));
            contestant.samples.push(sample);
        }
    }
    Ok(())
}

fn calls(variant: &Variant, round: usize) -> Vec<super::plan::Call> {
    let round = round as u64;
    variant.load.calls(variant.replicas.seed ^ (round + 1).wrapping_mul(0x9e37_79b9), round * IDS_PER_ROUND)
}

fn line(round: usize, arm: &Arm, sample: &Sample) -> String {
    let ms = |share| at_share(&sample.latencies_us, share).map_or(f64::NAN, |us| us / 1e3);
    format!(
        "  round {}: {} p50 {:.1} p99 {:.1} p99.9 {:.1} ms, {} of {} failed, extra {:.2} %, steal {:.1} %, others {:.0} %",
        round + 1,
        arm.name,
        ms(0.5),
        ms(0.99),
        ms(0.999),
        sample.failed(),
        sample.offered,
        sample.replicas.extra() * 100.0,
        sample.steal * 100.0,
        sample.foreign * 100.0
    )
}

fn report(variant: &Variant, contestants: &[Contestant<'_>]) -> VariantReport {
    let rows = contestants.iter().map(|contestant| Row::of(&contestant.arm, variant, &contestant.samples));
    let mut report = VariantReport {
        scenario: variant.scenario.name(),
        name: variant.name.into(),
        meaning: variant.meaning.into(),
        goal: variant.goal.text(),
        reference: variant.arms.iter().find(|arm| arm.is_own()).map_or("", |arm| arm.name).to_owned(),
        requests: variant.load.requests(),
        rounds: variant.rounds,
        rows: rows.collect(),
        paired_p50: None,
        paired_p99: None,
    };
    if let ([first, second], true) = (contestants, variant.paired) {
        let paired = |share: f64| {
            let of = |contestant: &Contestant<'_>| {
                let kept = |sample: &Sample| {
                    (sample.steal <= STEAL_MAX)
                        .then_some(())
                        .and_then(|()| at_share(&sample.latencies_us, share))
                };
                contestant.samples.iter().map(kept).collect::<Vec<_>>()
            };
            ratio(&paired_ratios(&of(second), &of(first)), variant.replicas.seed)
        };
        (report.paired_p50, report.paired_p99) = (paired(0.5), paired(0.99));
    }
    report
}
