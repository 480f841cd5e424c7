//! Every bound of the admin API, with its reason.

use std::time::Duration;

/// Connections at once. A dashboard uses six, a scraper one; past it, the oldest makes room.
pub(crate) const CONNECTIONS: usize = 64;

/// How long a connection may take for a request's head, and idle between two requests.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live before it is asked to end after its current answer.
pub(crate) const CONNECTION_AGE: Duration = Duration::from_secs(60);

/// How long the last answer of such a connection, or of a shutdown, may take.
pub(crate) const LAST_ANSWER: Duration = Duration::from_secs(5);

/// A request's head: enough for any honest caller.
pub(crate) const HEAD_BYTES: usize = 32 * 1024;

/// A request's body: a configuration with thousands of routes stays well below.
pub(crate) const BODY_BYTES: usize = 1024 * 1024;

/// Threads that ask the data plane, so that a slow answer does not delay the others.
pub(crate) const ASKING_THREADS: usize = 4;

/// Recent requests in one answer.
pub(crate) const REQUESTS: usize = 500;

/// Recent requests in one answer, unless asked otherwise.
pub(crate) const DEFAULT_REQUESTS: usize = 100;

/// How often the state of the routes is remembered, to know what happened in the last minute.
pub(crate) const HISTORY_STEP: Duration = Duration::from_secs(20);

/// How many of these states are kept: three steps make a minute, and the newest may be a moment old.
pub(crate) const HISTORY_STATES: usize = 4;

/// Routes whose last minute is known; a state of one takes 4 KiB.
pub(crate) const HISTORY_ROUTES: usize = 250;
