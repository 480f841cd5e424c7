//! What an operator takes out of an upstream at run time, and puts back.

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
}
