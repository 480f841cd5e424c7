//! The token that admin writes need: taken from the configuration, or made once and kept in a file that only its owner reads.
//! A file or directory that somebody else made or can read is refused: whoever prepares it knows the token.

use anyhow::{Context, Result, bail};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub(crate) const FILE: &str = "admin.token";

/// The token in the state directory, made if there is none.
pub(crate) fn in_directory(directory: &Path) -> Result<String> {
    create(directory)?;
    // A volume may belong to root or be shared with a group, as long as not everybody can put something there.
    judge(&Found::of(&fs::metadata(directory)?), Expected { others: 0o002, or_root: true }, directory)?;
    in_checked(directory)
}

/// The token of a run without a config, whose place in `/tmp` anybody could have prepared.
pub(crate) fn in_runtime_directory() -> Result<String> {
    let directory = runtime_directory();
    create(&directory)?;
    let found = Found::of(&fs::symlink_metadata(&directory)?);
    judge(&found, Expected { others: 0o077, or_root: false }, &directory)?;
    in_checked(&directory)
}

/// Where a run without a config keeps it: nothing else is written to disk then.
pub(crate) fn runtime_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("unlag"),
        None => std::env::temp_dir().join(format!("unlag-{}", own_id())),
    }
}

fn create(directory: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn in_checked(directory: &Path) -> Result<String> {
    let path = directory.join(FILE);
    if let Some(known) = read(&path)? {
        return Ok(known);
    }
    let token = fresh()?;
    let opened =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_FOLLOW).open(&path);
    let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{token}")?;
    Ok(token)
}

/// A link in the token's place would be somebody else's choice of a file.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// The token that is kept; none if there is no file, or one without a token, which is removed.
fn read(path: &Path) -> Result<Option<String>> {
    let mut file = match OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    judge(&Found::of(&file.metadata()?), Expected { others: 0o077, or_root: false }, path)?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

/// Whose a file is, and what others may do with it.
struct Found {
    owner: u32,
    mode: u32,
}

impl Found {
    fn of(data: &Metadata) -> Found {
        Found { owner: data.uid(), mode: data.mode() & 0o777 }
    }
}

/// What others may not do with it, and whether it may belong to root instead of us.
#[derive(Clone, Copy)]
struct Expected {
    others: u32,
    or_root: bool,
}

/// Refuses what is not ours or open to others, and says what to do.
fn judge(found: &Found, expected: Expected, path: &Path) -> Result<()> {
    let (path, own) = (path.display(), own_id());
    if found.owner != own && !(expected.or_root && found.owner == 0) {
        bail!(
            "{path} belongs to user {}, but unlag runs as user {own}: remove it, or name another place with \
             `[state] directory` or XDG_RUNTIME_DIR",
            found.owner
        );
    }
    if found.mode & expected.others != 0 {
        let allowed = found.mode & !expected.others;
        bail!(
            "{path} is open to others (mode {:o}), and the admin token with it: run `chmod {allowed:o} {path}`, and \
             remove the token if others may have read it",
            found.mode
        );
    }
    Ok(())
}

fn own_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// 256 random bits as hexadecimal digits.
fn fresh() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_or_is_open_to_others_is_refused_with_advice() {
        let said = |owner, mode, others, or_root| {
            let expected = Expected { others, or_root };
            judge(&Found { owner, mode }, expected, Path::new("/t")).err().map(|error| error.to_string())
        };
        let (own, stranger) = (own_id(), own_id() + 1);
        assert_eq!(said(own, 0o600, 0o077, false), None);
        assert_eq!(said(own, 0o775, 0o002, true), None, "a directory shared with a group");
        assert!(said(own, 0o777, 0o002, true).is_some_and(|text| text.contains("chmod 775 /t")));
        assert!(said(own, 0o640, 0o077, false).is_some_and(|text| text.contains("chmod 600 /t")));
        assert!(said(stranger, 0o600, 0o077, false).is_some_and(|text| text.contains("remove it")));
    }
}
