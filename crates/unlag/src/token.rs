//! The token that admin writes need: taken from the configuration, or made once and kept in a file that only its owner reads.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub(crate) const FILE: &str = "admin.token";

/// The token in `directory`, made if there is none.
pub(crate) fn in_directory(directory: &Path) -> Result<String> {
    let path = directory.join(FILE);
    if let Ok(known) = fs::read_to_string(&path)
        && !known.trim().is_empty()
    {
        return Ok(known.trim().to_owned());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let token = fresh()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{token}")?;
    Ok(token)
}

/// Where a run without a config keeps it: nothing else is written to disk then.
pub(crate) fn runtime_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("unlag"),
        None => std::env::temp_dir().join(format!("unlag-{}", rustix::process::getuid().as_raw())),
    }
}

/// 256 random bits as hexadecimal digits.
fn fresh() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
