//! When replicas freeze and how slow they are: each replica has its own seeded sequence, so that a policy cannot change it.

use super::agenda::{Agenda, Event};
use super::scenario::{MS, Replica, Slowness};
use crate::random::Random;

/// How often a steady change of speed is followed, ns.
const CREEP_STEP: u64 = 100 * MS;

#[derive(Debug)]
struct Fault {
    replica: Replica,
    random: Random,
    slow_now: bool,
    froze_before: bool,
}

/// The faults of all replicas.
#[derive(Debug)]
pub(crate) struct Faults {
    of: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(replicas: &[Replica], seed: u64) -> Self {
        let fault = |(i, replica): (usize, &Replica)| Fault {
            replica: *replica,
            random: Random::new(seed.wrapping_mul(0x9e37_79b9) ^ ((i as u64 + 1) << 32)),
            slow_now: true,
            froze_before: false,
        };
        Self { of: replicas.iter().enumerate().map(fault).collect() }
    }

    /// Enters the next freeze; the first comes anywhere within a gap.
    pub(crate) fn plan_freeze(&mut self, index: usize, now: u64, agenda: &mut Agenda) {
        let fault = &mut self.of[index];
        let Some(freezes) = fault.replica.freezes else { return };
        let gap = freezes.gap as f64;
        let wait = if !std::mem::replace(&mut fault.froze_before, true) {
            gap * fault.random.unit()
        } else if freezes.spread >= 100 {
            fault.random.exponential(gap)
        } else {
            gap * (1.0 + freezes.spread as f64 / 100.0 * (2.0 * fault.random.unit() - 1.0))
        };
        agenda.at(now + wait as u64, Event::Freeze { replica: index as u32 });
    }

    /// Length of the freeze that begins.
    pub(crate) fn freeze_lasts(&mut self, index: usize) -> u64 {
        let fault = &mut self.of[index];
        let Some(freezes) = fault.replica.freezes else { return 0 };
        freezes.shortest + fault.random.below(freezes.longest - freezes.shortest + 1)
    }

    /// How many times slower than nominal the replica is from `now` on, and until when.
    pub(crate) fn slowness(&mut self, index: usize, now: u64) -> (f64, Option<u64>) {
        let fault = &mut self.of[index];
        match fault.replica.slowness {
            Slowness::Always(factor) => (factor, None),
            Slowness::Spells { factor, every, lasting } => {
                let into = now % every;
                if into < lasting {
                    (factor, Some(now - into + lasting))
                } else {
                    (1.0, Some(now - into + every))
                }
            }
            Slowness::Modes { factor, fast, slow } => {
                fault.slow_now = !fault.slow_now;
                let (mean, factor) = if fault.slow_now { (slow, factor) } else { (fast, 1.0) };
                (factor, Some(now + 1 + fault.random.exponential(mean as f64) as u64))
            }
            Slowness::Creeping { to, over } => {
                let grown = (now as f64 / over as f64).min(1.0);
                (1.0 + (to - 1.0) * grown, (grown < 1.0).then_some(now + CREEP_STEP))
            }
            Slowness::Cold { factor, lasting } => {
                let warm = fault.replica.joins + lasting;
                if now < warm { (factor, Some(warm)) } else { (1.0, None) }
            }
        }
    }
}
