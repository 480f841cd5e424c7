//! Where a request belongs, and whether an answer says that it belongs elsewhere.

use crate::http::ResponseHead;

/// The field by which a replica says that the primary has to answer.
pub const REPLAY: &str = "x-replay";
/// The same as platforms spell it.
const REPLAY_OF_FLY: &str = "fly-replay";

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever it is answered soonest.
    Anywhere,
    /// Where writes go.
    Primary,
    /// There as well, because its caller has just written.
    PrimaryForWriter,
}

/// What an answer says of where its request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// To the primary.
    Primary,
}

/// Decides by what the route says, by the method (RFC 9110 §9.2.1), and by whether the caller has just written.
pub fn place(method: &http::Method, to_primary: Option<bool>, has_written: bool) -> Place {
    match to_primary.unwrap_or(!method.is_safe()) {
        true => Place::Primary,
        false if has_written => Place::PrimaryForWriter,
        false => Place::Anywhere,
    }
}

/// What a replica's answer says, by `x-replay: role=primary` or `fly-replay` with the same words.
pub fn replay(head: &ResponseHead) -> Option<Replay> {
    let says = |name| {
        head.fields.get_named(name).is_some_and(|value| {
            value.split(|&byte| byte == b';' || byte == b',').any(|part| part.trim_ascii() == b"role=primary")
        })
    };
    (says(REPLAY) || says(REPLAY_OF_FLY)).then_some(Replay::Primary)
}
