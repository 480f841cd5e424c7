//! Where the time of one request goes: a state machine with exactly one current phase, so that the phases add
//! up to the total by construction and nothing can be counted twice or lost.

use std::fmt;

/// One part of a request's life. The order is the order in which a plain request passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// From the first byte of the caller's request to its complete head.
    Receive,
    /// Waiting for admission: rate limits, concurrency limits, priority queues.
    Queue,
    /// Waiting for a connection of the pool to become free.
    PoolWait,
    /// Resolving the upstream's name.
    Dns,
    /// Opening the transport connection to the endpoint.
    Connect,
    /// The TLS handshake with the endpoint.
    Tls,
    /// Writing the request, its body included, to the endpoint.
    Send,
    /// From the last byte of the request to the first byte of the endpoint's answer.
    Wait,
    /// Passing the answer's body on to the caller.
    Transfer,
    /// Looking up, filling or validating a cache entry.
    Cache,
    /// Everything else that happens inside unlag. Never hidden.
    Overhead,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = 11;

    /// Every phase, in the order of a plain request.
    pub const ALL: [Phase; Self::COUNT] = [
        Phase::Receive,
        Phase::Queue,
        Phase::PoolWait,
        Phase::Dns,
        Phase::Connect,
        Phase::Tls,
        Phase::Send,
        Phase::Wait,
        Phase::Transfer,
        Phase::Cache,
        Phase::Overhead,
    ];

    /// The name used in metrics labels, logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Receive => "receive",
            Phase::Queue => "queue",
            Phase::PoolWait => "pool_wait",
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Send => "request_write",
            Phase::Wait => "upstream_ttfb",
            Phase::Transfer => "transfer",
            Phase::Cache => "cache",
            Phase::Overhead => "overhead",
        }
    }

    /// The position in [`Phase::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Offset that means "this phase was never entered".
const NEVER: u64 = u64::MAX;

/// The phases of one request with the nanoseconds spent in each. Times are readings of one monotonic clock.
#[derive(Clone)]
pub struct Timeline {
    started: u64,
    /// When the current phase began to count; the latest reading seen, so a clock that steps back adds nothing.
    last: u64,
    spent: [u64; Phase::COUNT],
    first: [u64; Phase::COUNT],
    current: Phase,
    finished: bool,
}

impl Timeline {
    /// Starts in [`Phase::Receive`] at `now`.
    pub const fn start(now: u64) -> Timeline {
        let mut first = [NEVER; Phase::COUNT];
        let [receive, ..] = &mut first;
        *receive = 0;
        Timeline {
            started: now,
            last: now,
            spent: [0; Phase::COUNT],
            first,
            current: Phase::Receive,
            finished: false,
        }
    }

    /// Closes the current phase and makes `phase` the current one. Entering a phase again adds to what it has.
    /// A clock that steps back counts as no time. Ignored once finished.
    #[inline]
    pub fn enter(&mut self, phase: Phase, now: u64) {
        if self.finished {
            return;
        }
        self.charge(now);
        self.current = phase;
        let offset = self.last - self.started;
        if let Some(first) = self.first.get_mut(phase.index())
            && *first == NEVER
        {
            *first = offset;
        }
    }

    /// Closes the last phase. Calling it again, or entering a phase later, changes nothing.
    #[inline]
    pub fn finish(&mut self, now: u64) {
        if !self.finished {
            self.charge(now);
            self.finished = true;
        }
    }

    #[inline]
    fn charge(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.last);
        if let Some(spent) = self.spent.get_mut(self.current.index()) {
            *spent += elapsed;
        }
        self.last += elapsed;
    }

    /// Nanoseconds from the start to the latest change of phase, or to the finish.
    #[inline]
    pub const fn total_ns(&self) -> u64 {
        self.last - self.started
    }

    /// Nanoseconds spent in `phase` so far, over all its visits; 0 if it was never entered.
    #[inline]
    pub fn spent_ns(&self, phase: Phase) -> u64 {
        self.spent.get(phase.index()).copied().unwrap_or(0)
    }

    /// Nanoseconds from the start to the first entry into `phase`; `None` if it was never entered.
    #[inline]
    pub fn first_ns(&self, phase: Phase) -> Option<u64> {
        self.first.get(phase.index()).copied().filter(|&offset| offset != NEVER)
    }

    /// The phase that time is being charged to; after the finish, the last one.
    #[inline]
    pub const fn current(&self) -> Phase {
        self.current
    }

    /// Whether [`Timeline::finish`] was called.
    #[inline]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// The reading of the clock that it was started with.
    #[inline]
    pub const fn started_ns(&self) -> u64 {
        self.started
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_map();
        out.entry(&"total_ns", &self.total_ns());
        for phase in Phase::ALL.into_iter().filter(|&phase| self.first_ns(phase).is_some()) {
            out.entry(&phase.name(), &self.spent_ns(phase));
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(timeline: &Timeline) -> u64 {
        Phase::ALL.into_iter().map(|phase| timeline.spent_ns(phase)).sum()
    }

    proptest! {
        #[test]
        fn phases_add_up_to_the_total_for_any_sequence_even_if_the_clock_steps_back(
            start in 0u64..1 << 50,
            steps in prop::collection::vec((0usize..Phase::COUNT, 0u64..1 << 50), 0..60),
            end in 0u64..1 << 50,
        ) {
            let mut timeline = Timeline::start(start);
            let mut latest = start;
            for (index, now) in steps {
                timeline.enter(Phase::ALL[index], now);
                latest = latest.max(now);
                prop_assert_eq!(sum(&timeline), timeline.total_ns());
            }
            timeline.finish(end);
            prop_assert_eq!(timeline.total_ns(), latest.max(end) - start);
            prop_assert_eq!(sum(&timeline), timeline.total_ns());
            for phase in Phase::ALL {
                prop_assert!(timeline.first_ns(phase).is_some() || timeline.spent_ns(phase) == 0);
                prop_assert!(timeline.first_ns(phase).unwrap_or(0) + timeline.spent_ns(phase) <= timeline.total_ns());
            }
        }
    }

    #[test]
    fn each_phase_gets_exactly_the_time_between_its_entry_and_the_next() {
        let mut timeline = Timeline::start(1_000);
        timeline.enter(Phase::Wait, 1_010);
        timeline.enter(Phase::Transfer, 1_310);
        timeline.enter(Phase::Wait, 1_320);
        timeline.finish(1_400);
        assert_eq!(timeline.spent_ns(Phase::Receive), 10);
        assert_eq!(timeline.spent_ns(Phase::Wait), 380);
        assert_eq!(timeline.spent_ns(Phase::Transfer), 10);
        assert_eq!(timeline.first_ns(Phase::Wait), Some(10));
        assert_eq!(timeline.first_ns(Phase::Dns), None);
        assert_eq!(timeline.total_ns(), 400);
    }

    #[test]
    fn nothing_changes_after_the_finish() {
        let mut timeline = Timeline::start(0);
        timeline.finish(5);
        timeline.enter(Phase::Cache, 9);
        timeline.finish(20);
        assert_eq!(timeline.total_ns(), 5);
        assert_eq!(timeline.first_ns(Phase::Cache), None);
        assert_eq!(timeline.current(), Phase::Receive);
    }

    #[test]
    fn a_timeline_stays_within_208_bytes() {
        assert!(size_of::<Timeline>() <= 208, "{} bytes", size_of::<Timeline>());
    }

    #[test]
    fn names_are_distinct_and_positions_match() {
        for (position, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase.index(), position);
            assert_eq!(Phase::ALL.iter().filter(|other| other.name() == phase.name()).count(), 1);
        }
    }
}
