//! Second copies as the research has them: for all requests of a replica that went silent, and for those beyond a quantile
//! that tunes itself; both from one purse of upstream work.

use super::agenda::{Agenda, Event};
use super::balancer::{Ended, Ending};

/// Latencies and gaps remembered.
const REMEMBERED: usize = 4_000;
/// Answers between two looks at them.
const LOOK_EVERY: u64 = 500;
/// Quantiles beyond which a request is copied, from eager to never.
const LADDER: [f64; 8] = [0.90, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1.0];
/// Work that a completion grants to copies.
const WORK_SHARE: f64 = 0.05;
/// A replica is silent from so many usual gaps on.
const SILENT_GAPS: f64 = 2.0;
/// Share of copies that win below which fewer are made, and above which more are.
const WON_FEW: f64 = 0.25;
const WON_MANY: f64 = 0.40;
/// Copies for silence go to no replica with more in flight than so many knees.
const CROWDED_KNEES: f64 = 2.0;
/// Stands for a time that is not known; far from overflow when multiplied.
const UNKNOWN: u64 = u64::MAX / 8;

#[derive(Debug, Clone, Default)]
struct Seen {
    outstanding: Vec<(u32, u64)>,
    progress_at: u64,
    watched: bool,
    failing: f64,
}

/// One proxy's hedging.
#[derive(Debug)]
pub(crate) struct Hedge {
    rtts: Vec<u64>,
    seen: Vec<Seen>,
    latencies: Vec<u64>,
    gaps: Vec<u64>,
    answers: u64,
    gaps_seen: u64,
    usual_gap: u64,
    median: u64,
    rung: usize,
    beyond: u64,
    work: f64,
    purse: f64,
    purse_max: f64,
    inflow_at: u64,
    inflow: f64,
    copies: u32,
    won: f64,
}

fn remember(ring: &mut Vec<u64>, at: u64, value: u64) {
    match ring.get_mut((at % REMEMBERED as u64) as usize) {
        Some(old) => *old = value,
        None => ring.push(value),
    }
}

fn quantile(ring: &[u64], q: f64) -> u64 {
    let mut sorted = ring.to_vec();
    let at = ((ring.len() as f64 * q) as usize).min(ring.len() - 1);
    *sorted.select_nth_unstable(at).1
}

impl Hedge {
    pub(crate) fn new(rtts: &[u64]) -> Self {
        Self {
            rtts: rtts.to_vec(),
            seen: vec![Seen::default(); rtts.len()],
            latencies: Vec::new(),
            gaps: Vec::new(),
            answers: 0,
            gaps_seen: 0,
            usual_gap: UNKNOWN,
            median: UNKNOWN,
            rung: 3,
            beyond: UNKNOWN,
            work: 0.0,
            purse: 0.0,
            purse_max: 0.0,
            inflow_at: 0,
            inflow: 0.0,
            copies: 0,
            won: 0.3,
        }
    }

    fn silent_after(&self, replica: usize) -> u64 {
        // Where many are in flight, gaps are tiny: a silence shorter than an answer takes is not worth a copy.
        ((SILENT_GAPS * self.usual_gap as f64) as u64).max(self.median) + self.rtts[replica]
    }

    /// An attempt goes to `replica`; a watch over its silence is set unless there is one.
    pub(crate) fn sent(&mut self, replica: usize, request: u32, now: u64, proxy: u32, agenda: &mut Agenda) {
        let wait = self.silent_after(replica);
        let known = self.usual_gap < UNKNOWN;
        let seen = &mut self.seen[replica];
        if seen.outstanding.is_empty() {
            seen.progress_at = now;
        }
        seen.outstanding.push((request, now));
        if known && !std::mem::replace(&mut seen.watched, true) {
            agenda.at(seen.progress_at.max(now) + wait, Event::Silence { proxy, replica: replica as u32 });
        }
    }

    /// An attempt came back, or nobody waits for it: `first` of its request, which has a copy when `hedged`.
    pub(crate) fn ended(&mut self, ended: &Ended, request: u32, first: bool, by_age: bool) {
        let rtt = self.rtts[ended.replica];
        let seen = &mut self.seen[ended.replica];
        seen.outstanding.retain(|(id, _)| *id != request);
        let age = ended.at - ended.sent_at;
        if first {
            remember(&mut self.latencies, self.answers, age);
        }
        if matches!(ended.ending, Ending::Good | Ending::Failed) {
            let failed = f64::from(u8::from(ended.ending == Ending::Failed));
            seen.failing += 0.05 * (failed - seen.failing);
            let gap = (ended.at - seen.progress_at).saturating_sub(rtt);
            remember(&mut self.gaps, self.gaps_seen, gap);
            self.gaps_seen += 1;
            seen.progress_at = ended.at;
        }
        if ended.ending == Ending::Good {
            let own = age.saturating_sub(rtt) as f64;
            self.work += 0.01 * (own - self.work);
            self.earn(own * WORK_SHARE, ended.at);
            if by_age && !first {
                self.won += 0.02;
            }
        }
        if first {
            self.answers += 1;
            if self.answers.is_multiple_of(LOOK_EVERY) {
                self.look();
            }
        }
    }

    /// The purse holds at most what came in within a second, and at least four copies.
    fn earn(&mut self, work: f64, now: u64) {
        let since = (now - self.inflow_at) as f64 / 1e9;
        self.inflow_at = now;
        self.inflow = self.inflow * (-since).exp() + work;
        self.purse_max = self.inflow.max(4.0 * self.work);
        self.purse = (self.purse + work).min(self.purse_max);
    }

    fn look(&mut self) {
        if self.gaps.len() > 100 {
            self.usual_gap = quantile(&self.gaps, 0.995);
        }
        self.median = quantile(&self.latencies, 0.5);
        self.set_rung(self.rung);
    }

    fn set_rung(&mut self, rung: usize) {
        self.rung = rung;
        let q = LADDER[rung];
        self.beyond = if q < 1.0 { quantile(&self.latencies, q) } else { UNKNOWN };
    }

    /// When a request that is sent now should be looked at again.
    pub(crate) fn linger_until(&self, now: u64) -> Option<u64> {
        (self.beyond < UNKNOWN).then(|| now + self.beyond)
    }

    /// Whether a request of this age may be copied to `other`, for its age alone; takes the work.
    pub(crate) fn copy_for_age(&mut self, age: u64, other: usize, knee: f64) -> bool {
        let there = &self.seen[other];
        let busy = there.outstanding.len() as f64 >= (knee / 2.0).max(0.5);
        let cost = self.work.max(age as f64);
        if busy || there.failing >= 0.1 || self.purse < 0.5 * self.purse_max || self.purse < cost {
            return false;
        }
        self.purse -= cost;
        self.copies += 1;
        self.won *= 0.98;
        if self.copies.is_multiple_of(50) && self.won < WON_FEW {
            self.set_rung((self.rung + 1).min(LADDER.len() - 1));
        } else if self.copies.is_multiple_of(50) && self.won > WON_MANY {
            self.set_rung(self.rung.saturating_sub(1));
        }
        true
    }

    /// Takes the work of a copy to `other` for silence, unless that is crowded: at the slack that copies for age want, most
    /// of those in a frozen replica would be lost at 70 % load.
    pub(crate) fn copy_for_silence(&mut self, other: usize, knee: f64) -> bool {
        let crowded = self.seen[other].outstanding.len() as f64 >= (CROWDED_KNEES * knee).max(1.0);
        let pays = !crowded && self.purse >= self.work;
        if pays {
            self.purse -= self.work;
        }
        pays
    }

    /// A watch rings: the requests to copy if the replica is silent, and when to look again.
    pub(crate) fn silence(&mut self, replica: usize, now: u64) -> (Option<Vec<u32>>, Option<u64>) {
        let wait = self.silent_after(replica);
        let median = self.median;
        let seen = &mut self.seen[replica];
        if seen.outstanding.is_empty() {
            seen.watched = false;
            return (None, None);
        }
        if now < seen.progress_at + wait {
            return (None, Some(seen.progress_at + wait));
        }
        let old = |(_, sent): &&(u32, u64)| now - sent > median;
        let requests = seen.outstanding.iter().filter(old).map(|(id, _)| *id).collect();
        (Some(requests), Some(now + median.clamp(1_000_000, 1_000_000_000) / 2))
    }
}
