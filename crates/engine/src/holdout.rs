//! Requests that pass one technique by, so that what it saves is measured all the time against those that it did not help.
//!
//! Each technique draws for itself, by a keyed hash of the request's id: so the draws are independent, a request is held out of the
//! same on every attempt, and no caller chooses. Default: nobody is held out.
//!
//! Idea: the hold-outs of marketing and of feature flags, for techniques of a proxy. When not to: where a technique's effect on
//! those it does not help is most of it; a cache that is passed by still spares the origin the others.

use crate::exchange::Trace;
use std::cell::Cell;
use std::sync::OnceLock;
use unlag_record::{RequestId, Technique};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The key of this process.
fn key() -> u64 {
    static KEY: OnceLock<u64> = OnceLock::new();
    *KEY.get_or_init(crate::worker::seed)
}

/// Whether this request is held out of a technique.
pub fn draws(key: u64, id: RequestId, technique: Technique, share: f64) -> bool {
    let drawn = xxh3_64_with_seed(&id.0.to_le_bytes(), key ^ ((technique as u64 + 1) << 56));
    // 53 bits are what the fraction of a double holds.
    ((drawn >> 11) as f64) < share * (1u64 << 53) as f64
}

impl Trace {
    /// Whether this request passes `technique` by, which would act on it now, where so many of its route's do. It is noted either
    /// way: what the technique does is measured against those that it did not help.
    #[inline]
    pub fn is_held_out(&self, technique: Technique, share: f64) -> bool {
        share > 0.0 && self.draw(technique, share, || true)
    }

    /// The same; who is drawn is held out only if `may` says so, and takes part in nothing otherwise.
    #[cold]
    pub fn draw(&self, technique: Technique, share: f64, may: impl FnOnce() -> bool) -> bool {
        let is_held = draws(key(), self.id.get(), technique, share);
        if is_held && !may() {
            return false;
        }
        let mut trials = self.trials.get();
        trials.note(technique, is_held);
        self.trials.set(trials);
        is_held
    }
}

/// What hold-outs of a cache may cost: at most one more request to the upstream for each hundred that it gets anyway.
#[derive(Debug, Default)]
pub struct Extra(Cell<f64>);

/// The share of an upstream's requests.
const SHARE: f64 = 0.01;
/// Unspent, it is kept up to this many.
const KEPT_MAX: f64 = 10.0;

impl Extra {
    /// The upstream got a request.
    pub fn earn(&self) {
        self.0.set((self.0.get() + SHARE).min(KEPT_MAX));
    }

    /// Takes one more, if there is one.
    pub fn spend(&self) -> bool {
        let enough = self.0.get() >= 1.0;
        if enough {
            self.0.set(self.0.get() - 1.0);
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(technique: Technique, share: f64) -> Vec<bool> {
        (0..20_000u128).map(|id| draws(7, RequestId(id), technique, share)).collect()
    }

    #[test]
    fn the_share_that_was_asked_for_is_held_out_and_the_same_request_every_time() {
        let one = held(Technique::Hedge, 0.05);
        let count = one.iter().filter(|held| **held).count();
        assert!((850..1_150).contains(&count), "{count} of 20,000");
        assert_eq!(one, held(Technique::Hedge, 0.05));
        assert!(!held(Technique::Cache, 0.0).contains(&true));
    }

    #[test]
    fn techniques_draw_independently() {
        let (hedge, cache) = (held(Technique::Hedge, 0.2), held(Technique::Cache, 0.2));
        let both = hedge.iter().zip(&cache).filter(|(a, b)| **a && **b).count();
        assert!((650..950).contains(&both), "{both}: a fifth of a fifth");
    }

    #[test]
    fn hold_outs_of_a_cache_cost_one_request_in_a_hundred() {
        let extra = Extra::default();
        let spent = (0..10_000).filter(|_| {
            extra.earn();
            extra.spend()
        });
        assert!((99..=100).contains(&spent.count()));
    }
}
