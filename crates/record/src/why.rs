//! Why a request went where it went, was sent twice or not, or was not sent at all: the figures on which it was decided, of fixed
//! size, kept beside the request. Text is made of them by whoever shows them.
//!
//! Endpoints and regions are numbers while a request is under way (`E`, `R`), and names for those who read.

use crate::EndpointId;
use crate::names::Names;

/// Everything that is known of the decisions about one request. What was not decided is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Why<E = EndpointId, R = u16> {
    /// Why this endpoint.
    pub choice: Option<Choice<E, R>>,
    /// The attempt before the last.
    pub before: Option<Before<E>>,
    /// Why only one region might answer.
    pub placed: Option<Placed>,
    /// Who was late when a second copy was considered.
    pub late: Option<Late<E>>,
    /// On which figures it was refused.
    pub refusal: Option<Refusal>,
    /// After how many seconds its caller was told to come again.
    pub retry_after_s: Option<u16>,
}

/// The choice of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice<E = EndpointId, R = u16> {
    /// By which rule.
    pub how: How,
    /// What speaks against the chosen one all the same; then against everybody who might have been asked something at least as
    /// grave did.
    pub despite: Option<Against>,
    /// How many endpoints the upstream had.
    pub endpoints: u16,
    /// With how many of them the chosen one was compared, itself included.
    pub compared: u16,
    /// The chosen one.
    pub chosen: Candidate<E>,
    /// The next best; of a request that left the nearest region, the best one in it; of one that was kept there, the one that
    /// would have been asked.
    pub other: Option<Candidate<E>>,
    /// Who had something against it.
    pub left_out: LeftOut,
    /// The region of the chosen one.
    pub region: Option<R>,
    /// The nearest region that was well, where there are several.
    pub home: Option<R>,
}

/// The rule by which an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum How {
    /// The least cost.
    Adaptive,
    /// The least cost, outside the nearest region.
    Spilled,
    /// The least cost in the nearest region, because too many had left it.
    KeptAtHome,
    /// The fewest requests in flight.
    LeastRequest,
    /// Its turn.
    RoundRobin,
    /// The request's like goes there.
    Hash,
    /// Its turn, as the request is held out of the adaptive choice to measure that.
    HeldOut,
    /// There is no other.
    OnlyOne,
    /// To look whether anybody of the upstream can be reached again.
    Look,
}

impl How {
    /// The name used in logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            How::Adaptive => "adaptive",
            How::Spilled => "spilled",
            How::KeptAtHome => "kept_at_home",
            How::LeastRequest => "least_request",
            How::RoundRobin => "round_robin",
            How::Hash => "hash",
            How::HeldOut => "held_out",
            How::OnlyOne => "only_one",
            How::Look => "look",
        }
    }
}

/// An endpoint as it was compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate<E = EndpointId> {
    /// Which one.
    pub endpoint: E,
    /// What it would have cost; nothing where costs were not compared.
    pub cost: Cost,
    /// Requests in flight to it from this process, before this one.
    pub in_flight: u32,
    /// Share of its last answers that were failures.
    pub failing: f32,
    /// How many times slower than its peers it was, where that was certain; else 1.
    pub slower: f32,
}

/// The parts of a cost, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The way, and what the operator adds to it.
    pub distance_ms: f32,
    /// The work, with those that are in the way.
    pub work_ms: f32,
    /// The chance of a failure.
    pub failure_ms: f32,
    /// The time without a sign of life.
    pub silence_ms: f32,
}

impl Cost {
    /// All of it.
    #[inline]
    pub fn total_ms(&self) -> f32 {
        self.distance_ms + self.work_ms + self.failure_ms + self.silence_ms
    }

    /// Its parts with their names.
    pub fn terms(&self) -> [(&'static str, f32); 4] {
        [
            ("distance", self.distance_ms),
            ("work", self.work_ms),
            ("failures", self.failure_ms),
            ("silence", self.silence_ms),
        ]
    }
}

/// What speaks against asking an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Against {
    /// The request has to stay in another region.
    Elsewhere,
    /// An operator took it out.
    Drained,
    /// An operator pinned the upstream to others.
    NotPinned,
    /// It has failed this very request.
    FailedIt,
    /// Others of its region have failed this very request.
    RegionFailed,
    /// It does not pass its health check.
    Unhealthy,
    /// It failed too often in a row.
    Ejected,
    /// It has as much as its limit allows.
    Full,
    /// It is new, and has as much as it gets so soon.
    Joining,
    /// It gives no sign of life.
    Suspect,
}

impl Against {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// Each.
    pub const ALL: [Against; Self::COUNT] = [
        Against::Elsewhere,
        Against::Drained,
        Against::NotPinned,
        Against::FailedIt,
        Against::RegionFailed,
        Against::Unhealthy,
        Against::Ejected,
        Against::Full,
        Against::Joining,
        Against::Suspect,
    ];

    /// The name used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Against::Elsewhere => "elsewhere",
            Against::Drained => "drained",
            Against::NotPinned => "not_pinned",
            Against::FailedIt => "failed_it",
            Against::RegionFailed => "region_failed",
            Against::Unhealthy => "unhealthy",
            Against::Ejected => "ejected",
            Against::Full => "full",
            Against::Joining => "joining",
            Against::Suspect => "suspect",
        }
    }
}

/// How many of those that were looked at had what against them, each counted for the gravest; 255 stands for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut([u8; Against::COUNT]);

impl LeftOut {
    /// One more.
    #[inline]
    pub fn count(&mut self, against: Against) {
        if let Some(count) = self.0.get_mut(against as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// How many had this against them.
    pub fn of(&self, against: Against) -> u8 {
        self.0.get(against as usize).copied().unwrap_or(0)
    }

    /// What anybody had against them, and how many.
    pub fn each(&self) -> impl Iterator<Item = (Against, u8)> + '_ {
        Against::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// An attempt that was followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before<E = EndpointId> {
    /// Where it went.
    pub endpoint: E,
    /// What became of it, as a fixed word.
    pub cause: &'static str,
}

/// Why a request had to stay in the primary region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Placed {
    /// It may change something, or its route says so.
    Primary,
    /// Its caller has just written.
    Writer,
    /// A replica asked for it.
    Replica,
}

impl Placed {
    /// The name used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Placed::Primary => "primary",
            Placed::Writer => "writer",
            Placed::Replica => "replica",
        }
    }
}

/// What made a second copy worth considering.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late<E = EndpointId> {
    /// Who had the request; nobody while it waited for admission.
    pub first: Option<E>,
    /// Who had the copy, once it was sent.
    pub copy: Option<E>,
    /// For how long the endpoint had been silent, or the request on its way.
    pub after_ms: f32,
    /// What is usual: the longest silence, or what nearly all requests take.
    pub usual_ms: f32,
}

/// What stood against the waiting of a request that found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// More came than was served, and callers of its criticality and share were refused before they waited.
    Class,
    /// The line was as long as it may be, or its place went to somebody more critical.
    Length,
    /// It waited as long as it may, or as helps.
    Wait,
}

impl Bound {
    /// Its word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Bound::Class => "class",
            Bound::Length => "length",
            Bound::Wait => "wait",
        }
    }
}

/// Why a request was refused before it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// There was no room at any endpoint, and no place in line, or not in time.
    Overloaded {
        /// What stood against its waiting.
        bound: Bound,
        /// Requests that the endpoints take at a time, all together.
        limit: u32,
        /// Requests in flight to them.
        in_flight: u32,
        /// Requests in line.
        waiting: u32,
        /// The longest line.
        waiting_max: u32,
        /// The longest wait, milliseconds.
        wait_max_ms: u32,
    },
    /// It had less time left than an answer takes.
    Doomed {
        /// What it had left.
        left_ms: f32,
        /// What nine of ten answers take at least.
        takes_ms: f32,
    },
}

impl Why {
    /// Nothing is known.
    pub const NONE: Why =
        Why { choice: None, before: None, placed: None, late: None, refusal: None, retry_after_s: None };

    /// With names instead of numbers.
    pub(crate) fn named(&self, names: &Names) -> Why<String, String> {
        let endpoint = |id: EndpointId| names.endpoint_name(id).address.to_string();
        Why {
            choice: self.choice.map(|choice| choice.named(names)),
            before: self
                .before
                .map(|before| Before { endpoint: endpoint(before.endpoint), cause: before.cause }),
            placed: self.placed,
            late: self.late.map(|late| Late {
                first: late.first.map(endpoint),
                copy: late.copy.map(endpoint),
                after_ms: late.after_ms,
                usual_ms: late.usual_ms,
            }),
            refusal: self.refusal,
            retry_after_s: self.retry_after_s,
        }
    }
}

impl Choice {
    fn named(&self, names: &Names) -> Choice<String, String> {
        let region = |id: u16| names.region_name(id);
        let candidate = |of: Candidate| Candidate {
            endpoint: names.endpoint_name(of.endpoint).address.to_string(),
            cost: of.cost,
            in_flight: of.in_flight,
            failing: of.failing,
            slower: of.slower,
        };
        Choice {
            how: self.how,
            despite: self.despite,
            endpoints: self.endpoints,
            compared: self.compared,
            chosen: candidate(self.chosen),
            other: self.other.map(candidate),
            left_out: self.left_out,
            region: self.region.and_then(region),
            home: self.home.and_then(region),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_the_decisions_about_a_request_is_small() {
        assert!(size_of::<Choice>() <= 104, "{} bytes", size_of::<Choice>());
        assert!(size_of::<Why>() <= 200, "{} bytes", size_of::<Why>());
    }

    #[test]
    fn everybody_is_counted_for_what_is_against_them_and_nobody_twice() {
        let mut left_out = LeftOut::default();
        (0..300).for_each(|_| left_out.count(Against::Ejected));
        left_out.count(Against::Full);
        let each: Vec<_> = left_out.each().collect();
        assert_eq!(each, [(Against::Ejected, 255), (Against::Full, 1)]);
    }
}
