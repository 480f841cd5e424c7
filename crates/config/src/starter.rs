//! The file that `unlag init` writes.

/// A commented file with everything that most people touch first. It is valid as it stands, without a
/// warning.
#[must_use]
pub fn starter() -> &'static str {
    include_str!("starter.toml")
}
