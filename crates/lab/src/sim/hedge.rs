//! Second copies, decided by the code that runs in production: when one is due, who may have it, what may be spent. The race
//! of the two is the simulated world's.

use std::sync::Arc;

use unlag_engine::fleet::{Endpoint, Service};
use unlag_engine::techniques::attempt::fleet::{distance_ns, suspect};
use unlag_engine::techniques::attempt::hedge::{Sight, again_ns, may_have};
use unlag_engine::techniques::attempt::learned::Learned;
use unlag_engine::techniques::attempt::purse::{Lost, Paid};
use unlag_engine::tempo::Ending;
use unlag_record::Trigger;

/// What a look at a request that is under way comes to.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// A second copy goes out.
    Copy(Paid),
    /// None is due before then.
    Due(u64),
    /// One was due and could not be sent; it is looked at again then.
    Again(u64),
}

/// One proxy's hedging, for the one route that there is.
pub(super) struct Hedge(Learned);

impl Hedge {
    pub(super) fn new(now: u64) -> Self {
        Self(Learned::new(now))
    }

    fn sight(&self, endpoint: &Endpoint, service: &Service, sent_ns: u64) -> Sight {
        Sight {
            sent_ns,
            p50_ns: self.0.tempo.p50_ns(),
            rung_ns: self.0.rung_ns(sent_ns),
            progress_ns: Some(endpoint.progress_ns()),
            gap_ns: (f64::from(service.figures().gap_ms) * 1e6) as u64,
            distance_ns: distance_ns(endpoint),
        }
    }

    /// Looks at a request that `endpoint` has, one of `fleet`, after so many looks in vain.
    pub(super) fn look(
        &self,
        endpoint: &Endpoint,
        (fleet, service): (&[Arc<Endpoint>], &Service),
        sent_ns: u64,
        looks: u32,
        now: u64,
    ) -> Look {
        let sight = self.sight(endpoint, service, sent_ns);
        let Some(trigger) = sight.trigger(now) else { return Look::Due(sight.due_ns().max(now + 1)) };
        if trigger == Trigger::Stall {
            suspect(endpoint, now);
        }
        let knee = service.figures().knee;
        let may = |other: &Endpoint| {
            let is_out = other.is_ejected(now) || other.is_suspect(now);
            other.index != endpoint.index
                && !is_out
                && may_have(trigger, other.in_flight(), other.failing(), knee)
        };
        let share = unlag_config::Hedge::default().budget;
        let (unit_ns, age_ns) = (sight.p50_ns.unwrap_or_default(), now - sent_ns);
        let has_alternative = fleet.iter().any(|other| may(other));
        let paid = has_alternative.then(|| self.0.pay(trigger, share, unit_ns, age_ns, now)).flatten();
        paid.map_or_else(|| Look::Again(now + again_ns(looks, sight.p50_ns)), Look::Copy)
    }

    /// One of two has lost.
    pub(super) fn settle(&self, paid: Paid, lost: Lost, now: u64) {
        self.0.settle(paid, lost, now);
    }

    /// A request came to its end, with or without a copy.
    pub(super) fn over(&self, took_ns: u64, ending: Ending, now: u64) {
        self.0.tempo.note(took_ns, ending, now);
    }
}
