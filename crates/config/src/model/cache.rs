//! What is stored of answers, and for how long.

use crate::secret::Secret;
use crate::template::Template;
use std::time::Duration;

/// What routes share of caching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Bound on stored answers in memory, bytes.
    pub memory: u64,
    /// How this cache calls itself in `Cache-Status`, a token. Default `unlag`.
    pub name: String,
    /// Whether a lifetime is guessed where the origin declares none (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// Whether answers with `Set-Cookie` are stored, as RFC 9111 allows.
    pub set_cookie: bool,
    /// Where answers are shared with other nodes, as a URL. Default none. A secret, because it may hold a password.
    pub shared: Option<Secret>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            name: "unlag".to_owned(),
            heuristic: false,
            set_cookie: false,
            shared: None,
        }
    }
}

/// What the operator says of the answers of a route, in place of the origin. What is about one caller is never stored, whatever
/// stands here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteCache {
    /// Their lifetime. Default none: what the origin declares.
    pub ttl: Option<Duration>,
    /// How long after that they are served while they are fetched again. Default none: what the origin declares.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after that they are served when the origin fails. Default none: what the origin declares.
    pub stale_if_error: Option<Duration>,
    /// Whether the content of a request is part of the key, so that POSTs that only read are cached, and in which form. Default
    /// none: POST is a change.
    pub body: Option<KeyedBody>,
    /// Names by which they are purged together, beside those that the origin gives them. Default none.
    pub tags: Vec<Template>,
}

/// In which form the content of a request is part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedBody {
    /// As it is.
    Exact,
    /// JSON with sorted names and without white space; anything else as it is.
    Json,
    /// GraphQL: queries only.
    GraphQl,
    /// gRPC: calls with one message.
    Grpc,
}
