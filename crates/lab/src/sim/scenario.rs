//! What a simulated world is made of: replicas with private capacity and their faults, the work that requests carry,
//! and how they arrive. The named worlds stand in [`super::catalogue`].

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000 * MS;

/// How a server shares its workers among the requests it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// One request a worker, the others wait in order.
    Fifo,
    /// All requests at once, each at an equal share, at most one worker's.
    Sharing,
}

/// How many times slower than nominal a replica is, over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slowness {
    /// Always the same.
    Always(f64),
    /// `factor` during the first `lasting` of every `every`.
    Spells {
        /// How many times slower.
        factor: f64,
        /// Period, ns.
        every: u64,
        /// Of which slow, ns.
        lasting: u64,
    },
    /// Slow for exponential times of mean `slow`, nominal for exponential times of mean `fast`.
    Modes {
        /// How many times slower.
        factor: f64,
        /// Mean length of a nominal spell, ns.
        fast: u64,
        /// Mean length of a slow spell, ns.
        slow: u64,
    },
    /// Grows steadily from 1 to `to` over the first `over` and stays.
    Creeping {
        /// How many times slower in the end.
        to: f64,
        /// How long it takes, ns.
        over: u64,
    },
    /// `factor` for the first `lasting` after it joined, nominal afterwards.
    Cold {
        /// How many times slower.
        factor: f64,
        /// How long, ns.
        lasting: u64,
    },
}

/// Times at which nothing in a replica moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freezes {
    /// Mean gap between the end of one and the start of the next, ns.
    pub gap: u64,
    /// Spread of the gap in percent: uniform within it; 100 and more is exponential.
    pub spread: u64,
    /// Shortest, ns.
    pub shortest: u64,
    /// Longest, ns.
    pub longest: u64,
}

/// Which requests a replica answers with a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Failing {
    /// None.
    Never,
    /// This share of them.
    Share(f64),
    /// A share during the first `lasting` of every `every`, ns, none otherwise.
    Spells {
        /// How many.
        share: f64,
        /// Period, ns.
        every: u64,
        /// Of which failing, ns.
        lasting: u64,
    },
}

impl Failing {
    /// The share that fails at `now`.
    pub fn share_at(&self, now: u64) -> f64 {
        match *self {
            Self::Never => 0.0,
            Self::Share(share) => share,
            Self::Spells { share, every, lasting } if now % every < lasting => share,
            Self::Spells { .. } => 0.0,
        }
    }
}

/// One server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replica {
    /// Requests worked on at a time.
    pub workers: u32,
    /// How they are shared.
    pub discipline: Discipline,
    /// Network distance there and back, ns.
    pub rtt: u64,
    /// Speed over time.
    pub slowness: Slowness,
    /// Pauses.
    pub freezes: Option<Freezes>,
    /// Failures, each after 0.2 ms.
    pub failing: Failing,
    /// When it is first offered, ns.
    pub joins: u64,
}

impl Replica {
    /// Four workers in order, 0.4 ms away, healthy.
    pub const HEALTHY: Self = Self {
        workers: 4,
        discipline: Discipline::Fifo,
        rtt: 400_000,
        slowness: Slowness::Always(1.0),
        freezes: None,
        failing: Failing::Never,
        joins: 0,
    };
}

/// What a request asks of a server, before noise: its own size, the same for every copy of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Log-normal sizes of this mean, ns, spread 0.5.
    Common(u64),
    /// A tenth of the requests `large`, the others `small`, ns.
    Bimodal {
        /// ns
        small: u64,
        /// ns
        large: u64,
    },
    /// One request in so many takes `rare`, the others `usual`, ns.
    Rare {
        /// ns
        usual: u64,
        /// ns
        rare: u64,
        /// How many.
        one_in: u32,
    },
    /// Pareto sizes of this mean, ns, shape 1.5, at most 60 times the mean.
    Pareto(u64),
}

/// How many requests a second, over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// A Poisson process.
    Steady(f64),
    /// A Poisson process whose rate swings between two, up and down once every period.
    Swinging {
        /// Lowest rate.
        low: f64,
        /// Highest rate.
        high: f64,
        /// Period, ns.
        period: u64,
    },
    /// Two rates in turn.
    Bursts {
        /// Rate between bursts.
        low: f64,
        /// Rate within.
        high: f64,
        /// Length between, ns.
        between: u64,
        /// Length of a burst, ns.
        burst: u64,
    },
}

impl Arrivals {
    /// Requests a second at `now`.
    pub fn rate_at(&self, now: u64) -> f64 {
        match *self {
            Self::Steady(rate) => rate,
            Self::Swinging { low, high, period } => {
                let turn = (now % period) as f64 / period as f64 * std::f64::consts::TAU;
                low + (high - low) * (1.0 - turn.cos()) / 2.0
            }
            Self::Bursts { low, high, between, burst } => {
                if now % (between + burst) < between {
                    low
                } else {
                    high
                }
            }
        }
    }
}

/// A world to balance in.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Short name, as in the tables.
    pub name: &'static str,
    /// What it is.
    pub says: &'static str,
    /// Whether constants were tuned on it; the others are there to catch what tuning missed.
    pub tuned_on: bool,
    /// The servers.
    pub replicas: Vec<Replica>,
    /// The requests.
    pub work: Work,
    /// Their times.
    pub arrivals: Arrivals,
    /// Proxies that share them, each with its own view.
    pub proxies: u32,
    /// Share of arrivals that reach a replica at random past every proxy, unmeasured.
    pub direct: f64,
    /// Whether a failed request is tried once more elsewhere, within a budget of 20 %.
    pub retries: bool,
}

impl Scenario {
    /// The same arrivals with common work of another mean.
    pub fn with_work(self, mean: u64) -> Self {
        Self { work: Work::Common(mean), ..self }
    }

    /// Whether a replica is far compared with the nearest.
    pub fn is_far(&self, replica: usize) -> bool {
        let nearest = self.replicas.iter().map(|r| r.rtt).min().unwrap_or(0);
        self.replicas.get(replica).is_some_and(|r| r.rtt > 3 * nearest)
    }
}
