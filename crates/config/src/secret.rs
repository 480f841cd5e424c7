//! Secrets: held masked, wiped when dropped, and read from the environment or a file only when asked to.

use std::fmt;
use std::io::Read;
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

/// Longest secret that is read from a file, bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What an unresolved secret exposes: a NUL cannot be sent in a header, so nothing that a caller offers
/// equals it.
const UNRESOLVED: &str = "\0unresolved";

/// A secret, or where to find one. `Debug` and `Display` show `***`; the bytes are overwritten on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The secret itself, or the part of the reference behind `env:` or `file:`.
    text: String,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Environment,
    File,
}

/// Why a secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The variable or file does not exist: a matter of the environment, not of the configuration.
    Absent(String),
    /// It exists and cannot be a secret.
    Invalid(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(message) | Self::Invalid(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for SecretError {}

impl Secret {
    /// A secret as a config file writes it: `env:NAME`, `file:PATH`, or the secret itself.
    ///
    /// # Errors
    /// When it is empty, the name or path is missing, or it holds control characters.
    pub fn new(written: &str) -> Result<Self, SecretError> {
        let (text, place) = match (written.strip_prefix("env:"), written.strip_prefix("file:")) {
            (Some(name), _) => (name, Place::Environment),
            (_, Some(path)) => (path, Place::File),
            (None, None) => (written, Place::Here),
        };
        if place == Place::Environment && text.contains(['=', '\0']) {
            return Err(SecretError::Invalid(
                "`env:` is followed by something that cannot name a variable".into(),
            ));
        }
        match place {
            _ if !text.is_empty() => usable(text)?,
            Place::Environment => {
                return Err(SecretError::Invalid("`env:` needs the name of a variable behind it".into()));
            }
            Place::File => return Err(SecretError::Invalid("`file:` needs a path behind it".into())),
            Place::Here => return Err(SecretError::Invalid("a secret cannot be empty".into())),
        }
        Ok(Self { text: text.to_owned(), place })
    }

    /// The secret itself. One that still has to be resolved exposes a text that nothing sent over HTTP can
    /// equal, so a forgotten [`resolve_secret`] locks out instead of letting in.
    #[must_use]
    pub fn expose(&self) -> &str {
        if self.is_resolved() { &self.text } else { UNRESOLVED }
    }

    /// Whether the secret is at hand, not only its place.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.place == Place::Here
    }

    /// Whether `offered` is the secret, in time that depends on the length of `offered` alone.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        let own = self.expose().as_bytes();
        let mut difference = u8::from(own.len() != offered.len() || !self.is_resolved());
        for (index, byte) in offered.iter().enumerate() {
            let expected = own.get(index % own.len().max(1)).copied().unwrap_or(0);
            difference |= byte ^ expected;
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// Fetches a secret from where it says it is; a path is relative to `base`, the directory of the config file.
/// White space at the end of a file is dropped, since editors put a line feed there.
///
/// # Errors
/// [`SecretError::Absent`] when the variable or file does not exist, [`SecretError::Invalid`] when it is empty, too long,
/// cannot be read, or holds control characters.
pub fn resolve_secret(secret: &Secret, base: &Path) -> Result<Secret, SecretError> {
    resolve_with(secret, base, |name| std::env::var_os(name))
}

fn resolve_with(
    secret: &Secret,
    base: &Path,
    environment: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Secret, SecretError> {
    let (found, whence) = match secret.place {
        Place::Here => return Ok(secret.clone()),
        Place::Environment => {
            let whence = format!("environment variable {}", secret.text);
            let Some(value) = environment(&secret.text) else {
                return Err(SecretError::Absent(format!("{whence} is not set")));
            };
            let value =
                value.into_string().map_err(|_| SecretError::Invalid(format!("{whence} is not UTF-8")))?;
            (Zeroizing::new(value), whence)
        }
        Place::File => {
            let path = base.join(&secret.text);
            (read_file(&path)?, path.display().to_string())
        }
    };
    let text = found.trim_end();
    if text.is_empty() {
        return Err(SecretError::Invalid(format!("{whence} is empty")));
    }
    usable(text).map_err(|error| SecretError::Invalid(format!("{whence}: {error}")))?;
    Ok(Secret { text: text.to_owned(), place: Place::Here })
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => SecretError::Absent(format!("{} does not exist", path.display())),
        _ => SecretError::Invalid(format!("{} cannot be read: {error}", path.display())),
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Invalid(format!("{} is longer than 64KiB", path.display())));
    }
    Ok(text)
}

/// A secret goes into headers and comparisons of text: nothing in it may need escaping there.
fn usable(text: &str) -> Result<(), SecretError> {
    if text.chars().any(char::is_control) {
        return Err(SecretError::Invalid("a secret cannot hold control characters".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<std::ffi::OsString> {
        match name {
            "TOKEN" => Some("s3cret\n".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        }
    }

    fn resolve(written: &str) -> Result<Secret, SecretError> {
        resolve_with(&Secret::new(written)?, Path::new(env!("CARGO_MANIFEST_DIR")), environment)
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_reference_that_was_never_resolved_lets_nobody_in() {
        let secret = Secret::new("env:TOKEN").unwrap();
        assert!(!secret.is_resolved());
        assert!(!secret.matches(b"env:TOKEN") && !secret.matches(b"TOKEN") && !secret.matches(b""));
        assert!(!secret.matches(secret.expose().as_bytes()));
    }

    #[test]
    fn a_variable_becomes_the_secret() {
        let secret = resolve("env:TOKEN").unwrap();
        assert!(secret.matches(b"s3cret"));
        assert!(!secret.matches(b"s3cre") && !secret.matches(b"s3cretX") && !secret.matches(b""));
    }

    #[test]
    fn what_is_absent_differs_from_what_is_invalid() {
        assert!(matches!(resolve("env:NOWHERE"), Err(SecretError::Absent(_))));
        assert!(matches!(resolve("file:no/such/file"), Err(SecretError::Absent(_))));
        assert!(matches!(resolve("env:EMPTY"), Err(SecretError::Invalid(_))));
        assert!(matches!(resolve("file:src"), Err(SecretError::Invalid(_))));
        assert!(matches!(Secret::new(""), Err(SecretError::Invalid(_))));
        assert!(matches!(Secret::new("env:"), Err(SecretError::Invalid(_))));
    }
}
