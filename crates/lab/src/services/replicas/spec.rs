//! What replicas are told to be: their work, their workers, what is wrong with them and when. Plain data, read from a
//! file by `lab replicas`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A service of several replicas, each with a capacity of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicasSpec {
    /// Decides service times and jitter.
    pub seed: u64,
    /// How long a request takes.
    pub work: Work,
    /// Requests that one replica works on at a time.
    pub workers: usize,
    /// Whether a request whose caller has gone is dropped: out of the queue, or out of its worker's hands.
    pub drop_cancelled: bool,
    /// Whether every answer says how many requests its replica holds (`x-lb-rif`).
    pub reports_load: bool,
    /// The replicas.
    pub replicas: Vec<ReplicaSpec>,
}

/// One replica.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReplicaSpec {
    /// What is wrong with it, and when. The first that holds counts, of each kind.
    pub faults: Vec<Timed>,
    /// It is reached through a relay, and that is the address it is known by.
    pub relay: Option<RelaySpec>,
    /// What role it has in keeping data.
    pub role: Role,
    /// Milliseconds until a replica shows what the primary has taken.
    pub lag_ms: u64,
}

/// What a replica does with writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes them like any other request.
    #[default]
    Equal,
    /// Takes them, and numbers them.
    Primary,
    /// Refuses them, asks for the primary, and shows what it took a while ago.
    Follower,
}

/// A user-space relay that delays bytes. A connection through it is accepted at once: the kernel of the loopback does
/// that, so a connect does not see the distance, only what is sent over it does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RelaySpec {
    /// Milliseconds there, and as many back.
    pub one_way_ms: f64,
    /// What is wrong with the way.
    pub outages: Vec<(Outage, When)>,
}

/// How a way is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Nothing moves; what was sent arrives when it is over.
    Freeze,
    /// Open connections are reset, new ones refused.
    Close,
    /// Connections are accepted, and nothing comes out of them again.
    BlackHole,
}

/// The distribution of service times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// What belongs to the request and what belongs to the copy are drawn apart, so that a second copy shares the size.
    LogNormal {
        /// Mean of the product, in milliseconds.
        mean_ms: f64,
        /// Spread of the logarithm that all copies of a request share.
        request_sigma: f64,
        /// Spread of the logarithm of each copy.
        copy_sigma: f64,
    },
    /// Cheap requests and dear ones.
    Bimodal {
        /// Milliseconds of a cheap one.
        low_ms: f64,
        /// Milliseconds of a dear one.
        high_ms: f64,
        /// Share of the dear ones.
        high_share: f64,
    },
}

impl Work {
    /// The mean, in milliseconds.
    pub fn mean_ms(self) -> f64 {
        match self {
            Self::LogNormal { mean_ms, .. } => mean_ms,
            Self::Bimodal { low_ms, high_ms, high_share } => low_ms + high_share * (high_ms - low_ms),
        }
    }

    /// A mean of 20 ms with the spread that the scenarios share.
    pub const USUAL: Self = Self::LogNormal { mean_ms: 20.0, request_sigma: 0.5, copy_sigma: 0.5 };
    /// 8 ms, and 120 ms for a tenth.
    pub const BIMODAL: Self = Self::Bimodal { low_ms: 8.0, high_ms: 120.0, high_share: 0.1 };
}

/// A fault and its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timed {
    /// What.
    pub fault: Wrong,
    /// When.
    pub when: When,
}

/// What can be wrong with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// Requests that begin now take this many times as long.
    Slow(f64),
    /// Nothing at all moves: nothing is accepted, read, worked on or answered.
    Freeze,
    /// A share of requests is answered at once, without a worker.
    Answer {
        /// The status.
        status: u16,
        /// Which share of requests, 0 to 1.
        share: f64,
        /// Seconds of `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The connection is reset when a request comes.
    Reset,
    /// A request is taken and counted, and never answered, not even when this is over.
    Silent,
}

/// A time, in milliseconds since the clock was started. Before that only [`When::Always`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// From the first moment on.
    Always,
    /// Once.
    Between {
        /// The first moment.
        from_ms: u64,
        /// The first moment after it.
        until_ms: u64,
    },
    /// Again and again.
    Every {
        /// From the start of one to the start of the next.
        period_ms: u64,
        /// How long each time.
        for_ms: u64,
        /// Every start is moved by a share of the period drawn up to this, either way.
        jitter: f64,
    },
}

/// Where the replicas are once they run; what `lab replicas` says first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// The replicas as they are to be reached, by the relay where there is one.
    pub replicas: Vec<SocketAddr>,
    /// Where the clock is started and the counts are read.
    pub control: SocketAddr,
}
