//! What happens when, in the simulated world: events in order of time, those of one time in order of entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next request.
    Arrive,
    /// An attempt reaches its server.
    Reach { attempt: u32 },
    /// A server in order may be done with an attempt.
    Finish { attempt: u32 },
    /// A sharing server is done with its next request.
    FinishSharing { replica: u32, generation: u32 },
    /// An answer reaches the proxy.
    Answer { attempt: u32 },
    /// A replica freezes.
    Freeze { replica: u32 },
    /// It goes on.
    Thaw { replica: u32 },
    /// Its speed changes.
    ChangeSpeed { replica: u32 },
    /// It is offered from now on.
    Join { replica: u32 },
    /// A request has been out for long: is a second copy due?
    Look { request: u32 },
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    entries: u64,
}

impl Agenda {
    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.entries += 1;
        self.events.push(Reverse((time, self.entries, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        self.events.pop().map(|Reverse((time, _, event))| (time, event))
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((time, ..))| *time)
    }
}
