//! What an operator takes out of an upstream at run time, and puts back.

use serde::Serialize;

/// One turn of a switch. What is under way goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The endpoint at this address, or all of them, get no new requests.
    Drain(Option<String>),
    /// They do again.
    Undrain(Option<String>),
    /// Only the endpoints at these addresses get requests.
    PinEndpoints(Vec<String>),
    /// Only the endpoints of this region do.
    PinRegion(String),
    /// All do again.
    Unpin,
}

/// Why a switch was not turned. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchError {
    /// There is no such upstream.
    NoUpstream,
    /// The upstream has nothing of that name.
    Nothing(String),
    /// All were meant, and the upstream has none at present.
    NoEndpoints,
}

/// What is taken out of an upstream and does not stand among its endpoints. It holds for those that come later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamDrained {
    /// All were taken out: those that come later are too.
    pub all: bool,
    /// Addresses that were taken out one by one, and whose endpoints have left since.
    pub gone: Vec<String>,
}
