//! Where the tools of the third-party suites live: `target/tools`, so that nothing outside the repository changes
//! and `cargo clean` removes them.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::process;

/// The directory that `setup` fills. It stays in the repository's own target directory even when `CARGO_TARGET_DIR`
/// points elsewhere: the suites look for it there.
pub(crate) fn directory() -> PathBuf {
    process::root().join("target").join("tools")
}

/// The Python environment of the suites.
pub(crate) fn python() -> PathBuf {
    directory().join("python")
}

/// The directory that holds `node_modules`.
pub(crate) fn node() -> PathBuf {
    directory().join("node")
}

/// Programs installed by cargo.
pub(crate) fn cargo_binaries() -> PathBuf {
    directory().join("bin")
}

/// The caller's PATH first, then ours: what a developer has installed wins. System directories come last because
/// servers such as nginx are found there even when a user's PATH leaves them out.
pub(crate) fn search_path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&own).collect();
    places.extend([cargo_binaries(), python().join("bin"), "/usr/sbin".into(), "/sbin".into()]);
    std::env::join_paths(places).unwrap_or(own)
}

/// Whether a program of this name can be found.
pub(crate) fn found(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|place| place.join(program).is_file())
}
