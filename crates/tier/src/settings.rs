//! The bounds of the tier that its owner may set, each default with its reason.

use std::time::Duration;

/// How the tier behaves. `Settings::default()` is right for a server in the same network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the server may take to answer before that counts against it. 10 ms: a shared cache that is slower than this
    /// is slower than many an origin. A caller that has less time says so in each ask.
    pub answer_timeout: Duration,
    /// For a connection to stand, TLS and login included. 250 ms: a server in the same network accepts in one.
    pub connect_timeout: Duration,
    /// For a batch of writes or an announcement. 1 s: nobody waits for it, and a server that needs longer is in trouble.
    pub write_timeout: Duration,
    /// Connections to each server that answer asks, besides one for writes. 2: a large value on one does not hold up small ones.
    pub connections: usize,
    /// Bytes of values that wait to be written, in even parts for each server. 64 MiB: half a second of a full gigabit link.
    pub queue_bytes: usize,
    /// The largest value that is stored in Redis. 16 MiB: larger ones belong to the origin, and hold up a connection for long.
    pub value_bytes: usize,
    /// The largest item that is stored in Memcached. 1 MiB, which is what a server allows unless `-I` says otherwise.
    pub item_bytes: usize,
    /// What the names of all keys begin with, so that fleets that must not share content can share servers.
    pub namespace: String,
    /// Certificates (PEM) of the authorities to trust for `rediss://`; those of the system when `None`.
    pub authorities: Option<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            answer_timeout: Duration::from_millis(10),
            connect_timeout: Duration::from_millis(250),
            write_timeout: Duration::from_secs(1),
            connections: 2,
            queue_bytes: 64 << 20,
            value_bytes: 16 << 20,
            item_bytes: 1 << 20,
            namespace: "unlag".to_owned(),
            authorities: None,
        }
    }
}
