//! The running system and its configuration: one place that loads, replaces and shows it.

use crate::check::directory_of;
use crate::watch;
use anyhow::{Context, Result};
use std::collections::hash_map::DefaultHasher;
use std::fs::OpenOptions;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use unlag_config::{Config, Problem, Problems, Severity};
use unlag_console::{Applied, ConfigView, PutError};
use unlag_engine::Engine;
use unlag_engine::limits::RESERVED_FDS;

/// Everything that runs.
pub(crate) struct System {
    /// The parts of the configuration that are only read at the start, as they were then.
    fixed: Fixed,
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

/// What a reload does not reach.
#[derive(PartialEq)]
struct Fixed {
    admin: unlag_config::Admin,
    state: unlag_config::State,
    monitor: unlag_config::Monitor,
    label_series: usize,
    lame_duck: std::time::Duration,
    drain_timeout: std::time::Duration,
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        Fixed {
            admin: config.admin.clone(),
            state: config.state.clone(),
            monitor: config.monitor.clone(),
            label_series: config.limits.label_series,
            lame_duck: config.limits.lame_duck,
            drain_timeout: config.limits.drain_timeout,
        }
    }

    /// Says which changes wait for the next start.
    fn warn(&self, new: &Config, warnings: &mut Vec<String>) {
        let new = Fixed::of(new);
        let parts = [
            ("[admin]", self.admin != new.admin),
            ("[state]", self.state != new.state),
            ("[monitor]", self.monitor != new.monitor),
            ("limits.label_series", self.label_series != new.label_series),
            ("limits.lame_duck", self.lame_duck != new.lame_duck),
            ("limits.drain_timeout", self.drain_timeout != new.drain_timeout),
        ];
        let changed = parts.into_iter().filter(|(_, changed)| *changed);
        warnings.extend(
            changed.map(|(part, _)| format!("{part} has changed: that takes effect at the next start")),
        );
    }
}

impl System {
    /// The file says again what is in force: what was wrong with it has been mended.
    pub(crate) fn forget_error(&self) {
        if self.state().last_error.take().is_some() {
            tracing::info!("the config file is what is in force again");
        }
    }
}

struct State {
    text: String,
    last_error: Option<String>,
    /// Certificates and keys that are in use.
    named_files: Vec<PathBuf>,
}

/// A text that was read, parsed and looked at.
pub(crate) struct Loaded {
    /// What it says.
    pub(crate) config: Config,
    /// The text.
    pub(crate) text: String,
    /// What is allowed and perhaps not meant.
    pub(crate) warnings: Vec<String>,
    /// What has to be there and is not.
    pub(crate) absent: Vec<Problem>,
}

/// Reads a configuration: parses it, looks at the files that it names, puts its secrets in.
pub(crate) fn load(text: String, file: &Path) -> Result<Loaded, Problems> {
    let name = file.display().to_string();
    let base = directory_of(file);
    let parsed = unlag_config::parse(&text, &name)?;
    let (found, absent) = (parsed.look(base), parsed.absent(base));
    let (errors, mut warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(Problems(errors));
    }
    warnings.splice(0..0, parsed.warnings.clone());
    let mut config = parsed.config;
    for secret in [&mut config.admin.token, &mut config.cache.shared].into_iter().flatten() {
        if let Ok(resolved) = unlag_config::resolve_secret(secret, base) {
            *secret = resolved;
        }
    }
    config.anchor(base);
    bound_connections(&mut config);
    Ok(Loaded { config, text, warnings: warnings.iter().map(ToString::to_string).collect(), absent })
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
    pub(crate) fn new(
        engine: Engine,
        config: &Config,
        file: Option<PathBuf>,
        source: String,
        text: String,
    ) -> System {
        System {
            fixed: Fixed::of(config),
            engine,
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            file,
            source,
            state: Mutex::new(State { text, last_error: None, named_files: watch::named_files(config) }),
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

    /// The certificates and keys that are in use.
    pub(crate) fn named_files(&self) -> Vec<PathBuf> {
        self.state().named_files.clone()
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
        // An edit that is not in force yet, or was refused, is somebody's work too.
        if std::fs::read(file).is_ok_and(|on_disk| on_disk != state.text.as_bytes()) {
            return Err(PutError::Edited);
        }
        let text = unmask(text, &state.text);
        let mut loaded =
            load(text.clone(), file).map_err(|problems| PutError::Invalid(problems.to_string()))?;
        self.fixed.warn(&loaded.config, &mut loaded.warnings);
        let staged = Staged::write(file, &text).map_err(|error| PutError::Io(format!("{error:#}")))?;
        self.engine.apply(&loaded.config).map_err(|error| PutError::Invalid(error.to_string()))?;
        if let Err(error) = staged.commit() {
            // The file still has the old text: so must the engine.
            if let Ok(old) = load(state.text.clone(), file) {
                let _ = self.engine.apply(&old.config);
            }
            return Err(PutError::Io(format!("{error:#}")));
        }
        self.reloads.fetch_add(1, Relaxed);
        state.text = text;
        state.named_files = watch::named_files(&loaded.config);
        state.last_error = None;
        Ok(Applied { hash: hash(&state.text), warnings: loaded.warnings })
    }

    fn apply(&self, state: &mut State, text: Result<String, PutError>) -> Result<Applied, PutError> {
        let file = self.file.as_deref().unwrap_or(Path::new("unlag.toml"));
        let result = text.and_then(|text| {
            let mut loaded = load(text, file).map_err(|problems| PutError::Invalid(problems.to_string()))?;
            self.fixed.warn(&loaded.config, &mut loaded.warnings);
            self.engine.apply(&loaded.config).map_err(|error| PutError::Invalid(error.to_string()))?;
            Ok(loaded)
        });
        match result {
            Ok(loaded) => {
                self.reloads.fetch_add(1, Relaxed);
                state.text = loaded.text;
                state.named_files = watch::named_files(&loaded.config);
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

/// What stands in place of the secrets that are written in the file itself, in their order; nobody writes it by chance.
const MASKS: [&str; 2] = ["***masked-token***", "***masked-password***"];

/// The secrets that stand in the text itself: the token, and the password of the shared cache; a reference to the environment or
/// a file is no secret.
fn literal_secrets(text: &str) -> [Option<String>; 2] {
    let Ok(parsed) = unlag_config::parse(text, "") else { return [None, None] };
    let of = |secret: Option<unlag_config::Secret>| {
        secret.filter(unlag_config::Secret::is_resolved).map(|secret| secret.expose().to_owned())
    };
    let password = of(parsed.config.cache.shared).and_then(|url| {
        let (login, _) = url.split_once("://")?.1.rsplit_once('@')?;
        Some(login.split_once(':').map_or(login, |(_, password)| password).to_owned())
    });
    [of(parsed.config.admin.token), password.filter(|password| !password.is_empty())]
}

/// Hides the secrets wherever they stand, however TOML spells them. A text in which one cannot be found is not shown at all.
fn mask(text: &str) -> String {
    let mut shown = text.to_owned();
    for (secret, mask) in literal_secrets(text).into_iter().zip(MASKS) {
        match secret {
            None => {}
            Some(secret) if shown.contains(&secret) => shown = shown.replace(&secret, mask),
            Some(_) => {
                return "# not shown: it holds a secret in a spelling that cannot be masked\n".to_owned();
            }
        }
    }
    shown
}

/// Puts the secrets of the current text back where the new one has the masks.
fn unmask(new: &str, current: &str) -> String {
    let mut text = new.to_owned();
    for (secret, mask) in literal_secrets(current).into_iter().zip(MASKS) {
        if let Some(secret) = secret {
            text = text.replace(mask, &secret);
        }
    }
    text
}

/// A text beside the file that it will replace: whoever reads the file sees the old text or the new one, never a part.
struct Staged {
    temporary: PathBuf,
    file: PathBuf,
}

impl Staged {
    /// Writes it down, with the permissions of the file that it replaces.
    fn write(file: &Path, text: &str) -> Result<Staged> {
        let file = std::fs::canonicalize(file).with_context(|| format!("cannot find {}", file.display()))?;
        let temporary = file.with_extension("toml.new");
        let written = (|| -> std::io::Result<()> {
            let permissions = std::fs::metadata(&file)?.permissions();
            let _ = std::fs::remove_file(&temporary);
            let mut open = OpenOptions::new();
            let mut new = open.write(true).create_new(true).mode(0o600).open(&temporary)?;
            new.write_all(text.as_bytes())?;
            new.set_permissions(permissions)?;
            new.sync_all()
        })();
        written.with_context(|| format!("cannot write {}", temporary.display()))?;
        Ok(Staged { temporary, file })
    }

    /// Puts it in the file's place.
    fn commit(self) -> Result<()> {
        std::fs::rename(&self.temporary, &self.file)
            .with_context(|| format!("cannot replace {}", self.file.display()))?;
        if let Some(directory) = self.file.parent() {
            std::fs::File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

    #[test]
    fn a_token_is_masked_in_every_spelling_and_survives_being_sent_back() {
        for admin in [
            "[admin]\ntoken = \"s3cret-token-s3cret\"\n",
            "admin.token = \"s3cret-token-s3cret\"\n",
            "admin = { token = 's3cret-token-s3cret' }\n",
            "[admin]\n\"token\" = \"s3cret-token-s3cret\"\n",
        ] {
            let text =
                if admin.starts_with('[') { format!("{LISTEN}{admin}") } else { format!("{admin}{LISTEN}") };
            let shown = mask(&text);
            assert!(!shown.contains("s3cret") && shown.contains(MASKS[0]), "{shown}");
            assert_eq!(unmask(&shown, &text), text);
        }
        let escaped = format!("{LISTEN}[admin]\ntoken = \"s3cret-\\u0074oken-s3cret\"\n");
        assert!(!mask(&escaped).contains("s3cret"));
        let shared = format!("{LISTEN}[cache]\nshared = \"redis://me:s3cret-word@127.0.0.1:6379\"\n");
        assert!(!mask(&shared).contains("s3cret") && mask(&shared).contains("127.0.0.1:6379"));
        assert_eq!(unmask(&mask(&shared), &shared), shared);
        let starred = format!("# *** ours ***\n{LISTEN}[admin]\ntoken = \"s3cret-token-s3cret\"\n");
        assert_eq!(unmask(&mask(&starred), &starred), starred, "a comment with stars stays a comment");
        let reference = format!("{LISTEN}[admin]\ntoken = \"env:NAME\"\n");
        assert_eq!(mask(&reference), reference);
    }
}
