//! What the console sees of the cache, and what it may have taken out.

/// The cache at a glance.
#[derive(Clone, Debug, Default)]
pub struct CacheStatus {
    /// Bytes in use.
    pub bytes: u64,
    /// The bound on them.
    pub capacity_bytes: u64,
    /// URLs for which something is stored.
    pub urls: u64,
    /// The tier that nodes share, if there is one.
    pub shared: Option<CacheShared>,
    /// Every route for which anything was counted, in the order of names.
    pub routes: Vec<CacheRoute>,
}

/// The tier that nodes share.
#[derive(Clone, Debug, Default)]
pub struct CacheShared {
    /// Where it is, without a password.
    pub address: String,
    /// Whether purges are heard; while not, it is not asked.
    pub listening: bool,
    /// Whether it is not, because the server refuses our login.
    pub refused: bool,
    /// What was counted since it is used, by what.
    pub events: Vec<(&'static str, u64)>,
    /// Its servers.
    pub servers: Vec<CacheServer>,
}

/// One server of the shared tier.
#[derive(Clone, Debug, Default)]
pub struct CacheServer {
    /// Host and port.
    pub server: String,
    /// `closed` while it is asked, `open` while it is not, `half-open` while one ask tries it.
    pub breaker: &'static str,
    /// Connections that stand.
    pub connections: u64,
    /// What 95 of 100 answers stay below, microseconds.
    pub p95_us: Option<u64>,
    /// Bytes that wait to be written.
    pub queue_bytes: u64,
}

/// What the cache has done for a route since the start.
#[derive(Clone, Debug, Default)]
pub struct CacheRoute {
    /// The route's name.
    pub route: String,
    /// Requests that were answered from what is stored.
    pub hits: u64,
    /// Of these, those that got something stale.
    pub stale_hits: u64,
    /// Requests that were answered by the fetch of another.
    pub collapsed: u64,
    /// Questions to which the origin said that nothing has changed.
    pub revalidated: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Content of hits.
    pub hit_bytes: u64,
    /// What the fetches of what was hit had taken, in nanoseconds.
    pub saved_ns: u64,
    /// Fetches by their reason.
    pub misses: Vec<(&'static str, u64)>,
    /// Answers that were not stored, by their reason.
    pub not_stored: Vec<(&'static str, u64)>,
}

impl CacheRoute {
    /// Adds the counts of another route.
    pub(crate) fn merge(&mut self, other: &CacheRoute) {
        self.hits += other.hits;
        self.stale_hits += other.stale_hits;
        self.collapsed += other.collapsed;
        self.revalidated += other.revalidated;
        self.stored += other.stored;
        self.hit_bytes += other.hit_bytes;
        self.saved_ns += other.saved_ns;
        add_each(&mut self.misses, &other.misses);
        add_each(&mut self.not_stored, &other.not_stored);
    }
}

fn add_each(sums: &mut Vec<(&'static str, u64)>, more: &[(&'static str, u64)]) {
    for &(reason, count) in more {
        match sums.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => sums.push((reason, count)),
        }
    }
}

/// What is to be taken out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeWhat {
    /// What is stored for this URL, of either scheme.
    Url(String),
    /// What carries this tag.
    Tag(String),
    /// What begins so: `host/path`, or `/path` on every host.
    Prefix(String),
    /// Everything.
    All,
}

/// A purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeOrder {
    /// What.
    pub what: PurgeWhat,
    /// It becomes stale instead of going at once.
    pub soft: bool,
    /// Nothing is done: it is counted what would be meant.
    pub dry_run: bool,
}

/// What a purge would mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeCount {
    /// Stored answers.
    pub objects: u64,
    /// What they take in memory.
    pub bytes: u64,
}
