//! The running system and its configuration: one place that loads, replaces and shows it.

use crate::check::directory_of;
use anyhow::{Context, Result};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use unlag_config::{Config, Problems, Severity};
use unlag_console::{Applied, ConfigView, PutError};
use unlag_engine::Engine;
use unlag_engine::limits::RESERVED_FDS;

/// Everything that runs.
pub(crate) struct System {
    /// The data plane.
    pub(crate) engine: Engine,
    /// Configurations that were put in force after the first.
    pub(crate) reloads: AtomicU64,
    /// Configurations that were not valid.
    pub(crate) reloads_refused: AtomicU64,
    file: Option<PathBuf>,
    source: String,
    state: Mutex<State>,
}

struct State {
    text: String,
    last_error: Option<String>,
}

/// A text that was read, parsed and looked at.
pub(crate) struct Loaded {
    /// What it says.
    pub(crate) config: Config,
    /// The text.
    pub(crate) text: String,
    /// What is allowed and perhaps not meant.
    pub(crate) warnings: Vec<String>,
}

/// Reads a configuration: parses it, looks at the files that it names, puts its secrets in.
pub(crate) fn load(text: String, file: &std::path::Path) -> Result<Loaded, Problems> {
    let name = file.display().to_string();
    let base = directory_of(file);
    let parsed = unlag_config::parse(&text, &name)?;
    let found = parsed.look(base);
    let (errors, mut warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(Problems(errors));
    }
    warnings.splice(0..0, parsed.warnings.clone());
    let mut config = parsed.config;
    if let Some(secret) = &config.admin.token
        && let Ok(resolved) = unlag_config::resolve_secret(secret, base)
    {
        config.admin.token = Some(resolved);
    }
    config.anchor(base);
    bound_connections(&mut config);
    Ok(Loaded { config, text, warnings: warnings.iter().map(ToString::to_string).collect() })
}

/// Each caller may cost two descriptors, its own and the upstream's; more connections than that cannot be served.
pub(crate) fn bound_connections(config: &mut Config) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let Some(soft) = limit.current else { return };
    let room = soft.saturating_sub(RESERVED_FDS).max(16) / 2;
    config.limits.connections = config.limits.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
}

/// Raises the soft limit of descriptors to the hard one: the shell's 1,024 is no decision about a proxy.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

impl System {
    /// Takes over a started engine and the text that it was started with.
    pub(crate) fn new(engine: Engine, file: Option<PathBuf>, source: String, text: String) -> System {
        System {
            engine,
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            file,
            source,
            state: Mutex::new(State { text, last_error: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again and puts it in force, or says why not; then the last good one stays.
    pub(crate) fn reload(&self) -> Result<Applied, PutError> {
        let Some(file) = &self.file else { return Err(PutError::ReadOnly) };
        let mut state = self.state();
        let text = std::fs::read_to_string(file).map_err(|error| PutError::Io(error.to_string()));
        self.apply(&mut state, text)
    }

    /// Whether the file says something else than what is in force or was refused.
    pub(crate) fn differs(&self, text: &str) -> bool {
        self.state().text != text
    }

    /// Replaces the file by `text`, if the caller has seen the current one, and puts it in force.
    pub(crate) fn put(&self, text: &str, if_match: &str) -> Result<Applied, PutError> {
        let Some(file) = &self.file else { return Err(PutError::ReadOnly) };
        let mut state = self.state();
        let current = hash(&state.text);
        if if_match.trim_matches('"') != current {
            return Err(PutError::Conflict(current));
        }
        let text = unmask(text, &state.text);
        let loaded = load(text.clone(), file).map_err(|problems| PutError::Invalid(problems.to_string()))?;
        self.engine.apply(&loaded.config).map_err(|error| PutError::Invalid(error.to_string()))?;
        write_atomically(file, &text).map_err(|error| PutError::Io(format!("{error:#}")))?;
        self.reloads.fetch_add(1, Relaxed);
        state.text = text;
        state.last_error = None;
        Ok(Applied { hash: hash(&state.text), warnings: loaded.warnings })
    }

    fn apply(&self, state: &mut State, text: Result<String, PutError>) -> Result<Applied, PutError> {
        let file = self.file.as_deref().unwrap_or(std::path::Path::new("unlag.toml"));
        let result = text.and_then(|text| {
            let loaded = load(text, file).map_err(|problems| PutError::Invalid(problems.to_string()))?;
            self.engine.apply(&loaded.config).map_err(|error| PutError::Invalid(error.to_string()))?;
            Ok(loaded)
        });
        match result {
            Ok(loaded) => {
                self.reloads.fetch_add(1, Relaxed);
                state.text = loaded.text;
                state.last_error = None;
                Ok(Applied { hash: hash(&state.text), warnings: loaded.warnings })
            }
            Err(error) => {
                self.reloads_refused.fetch_add(1, Relaxed);
                state.last_error = Some(format!("{error:?}"));
                if let PutError::Invalid(text) | PutError::Io(text) = &error {
                    state.last_error = Some(text.clone());
                }
                Err(error)
            }
        }
    }

    /// What the console shows.
    pub(crate) fn view(&self) -> ConfigView {
        let state = self.state();
        ConfigView {
            text: mask(&state.text),
            hash: hash(&state.text),
            source: self.source.clone(),
            last_error: state.last_error.clone(),
            writable: self.file.is_some(),
        }
    }
}

/// The version of a text, for `ETag` and `If-Match`.
fn hash(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What stands in place of a secret that is written in the file itself.
const MASK: &str = "***";

/// Hides a token that stands in the text; references to the environment or a file are no secret.
fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(|line| masked_line(line).unwrap_or_else(|| line.to_owned())).collect()
}

fn masked_line(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let secret = value.trim().trim_matches(['"', '\'']);
    let is_secret = key.trim() == "token" && !secret.starts_with("env:") && !secret.starts_with("file:");
    is_secret.then(|| format!("{key}= \"{MASK}\"\n"))
}

/// Puts the secret of the current text back where the new one has the mask.
fn unmask(new: &str, current: &str) -> String {
    let Some(kept) = current.lines().find(|line| masked_line(line).is_some()) else { return new.to_owned() };
    let is_mask = |line: &str| masked_line(line).is_some() && line.contains(MASK);
    let lines = new
        .split_inclusive('\n')
        .map(|line| if is_mask(line) { format!("{kept}\n") } else { line.to_owned() });
    lines.collect()
}

/// A reader of the file sees the old text or the new one, never a part; so does a crash.
fn write_atomically(file: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    let temporary = file.with_extension("toml.new");
    let mut new =
        std::fs::File::create(&temporary).with_context(|| format!("cannot write {}", temporary.display()))?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&temporary, file).with_context(|| format!("cannot replace {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_text_is_masked_and_survives_being_sent_back() {
        let text = "[admin]\ntoken = \"s3cret\"\nother = 1\n";
        let shown = mask(text);
        assert!(!shown.contains("s3cret"));
        assert_eq!(unmask(&shown, text), text);
        let reference = "[admin]\ntoken = \"env:NAME\"\n";
        assert_eq!(mask(reference), reference);
    }
}
