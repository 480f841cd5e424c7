//! Notices that the config file, or a certificate or key that it names, has changed and then stood still, so that a half-written
//! one is left alone. A certificate is renewed under its old name: nothing in the config file tells.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use unlag_config::Config;

/// What changes when a file is written or replaced.
type Stamp = (SystemTime, u64, u64);
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// What was seen of the files.
#[derive(Default)]
pub(crate) struct Watched {
    last: Stamps,
    taken: Stamps,
}

/// What has changed and stood still since.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changed {
    /// The config file may say something else.
    pub(crate) config: bool,
    /// A file that it names is another one.
    pub(crate) named: bool,
}

impl Watched {
    /// Takes what is there now as what is in force.
    pub(crate) fn take(&mut self, file: &Path, named: Vec<PathBuf>) {
        self.last = stamps(std::iter::once(file.to_owned()).chain(named));
        self.taken = self.last.clone();
    }

    /// Takes what is there now of these files, which the config file has turned out to name, as what is in force.
    pub(crate) fn take_named(&mut self, named: Vec<PathBuf>) {
        self.last.extend(stamps(named));
        self.taken = self.last.clone();
    }

    /// Looks again; each change is told once.
    pub(crate) fn look(&mut self, file: &Path, named: Vec<PathBuf>) -> Changed {
        self.see(stamps(std::iter::once(file.to_owned()).chain(named)))
    }

    fn see(&mut self, now: Stamps) -> Changed {
        let mut changed = Changed::default();
        if now == self.last && now != self.taken {
            changed.config = now.first() != self.taken.first();
            // A path that is new here came with the config, which has read it.
            changed.named = now.iter().skip(1).any(|(path, stamp)| {
                let before = self.taken.iter().skip(1).find(|(known, _)| known == path);
                stamp.is_some() && before.is_some_and(|(_, before)| before != stamp)
            });
            self.taken.clone_from(&now);
        }
        self.last = now;
        changed
    }
}

fn stamps(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    let stamp = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len(), data.ino()))
    };
    files.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}

/// The certificates, keys and authorities that a configuration names.
pub(crate) fn named_files(config: &Config) -> Vec<PathBuf> {
    let tls = config.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let own = tls.flat_map(|tls| {
        let pairs = tls.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        pairs.chain(&tls.client_ca).cloned().collect::<Vec<_>>()
    });
    let theirs = config.upstreams.iter().flat_map(|upstream| {
        let shown = upstream.tls.client.iter().flat_map(|files| [&files.certificate, &files.key]);
        shown.chain(&upstream.tls.ca).cloned()
    });
    own.chain(theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamps: &[(&str, u64)]) -> Stamps {
        let stamp = |n: u64| (SystemTime::UNIX_EPOCH, n, 0);
        stamps.iter().map(|(path, n)| (path.into(), (*n > 0).then(|| stamp(*n)))).collect()
    }

    #[test]
    fn a_file_is_told_once_after_it_has_stood_still() {
        let mut watched = Watched::default();
        watched.see(at(&[("config", 1), ("cert", 1)]));
        watched.see(at(&[("config", 1), ("cert", 1)]));
        let nothing = Changed::default();
        let renewed = Changed { config: false, named: true };
        for (cert, expected) in [(1, &nothing), (2, &nothing), (3, &nothing), (3, &renewed), (3, &nothing)] {
            assert_eq!(&watched.see(at(&[("config", 1), ("cert", cert)])), expected, "{cert}");
        }
        for _ in 0..3 {
            assert_eq!(watched.see(at(&[("config", 1), ("cert", 0)])), nothing, "it is being replaced");
        }
    }

    #[test]
    fn a_file_that_came_with_a_new_config_is_no_change_of_its_own() {
        let mut watched = Watched::default();
        watched.see(at(&[("config", 1)]));
        watched.see(at(&[("config", 1)]));
        watched.see(at(&[("config", 2), ("cert", 1)]));
        let changed = watched.see(at(&[("config", 2), ("cert", 1)]));
        assert_eq!(changed, Changed { config: true, named: false });
    }

    #[test]
    fn what_changes_after_it_was_taken_and_before_the_first_look_is_told() {
        let directory = std::env::temp_dir().join(format!("unlag-watch-{}", std::process::id()));
        let (config, key) = (directory.join("unlag.toml"), directory.join("key.pem"));
        let write = |file: &Path, text: &str| std::fs::write(file, text).expect("a file");
        std::fs::create_dir_all(&directory).expect("a directory");
        write(&config, "a");
        write(&key, "b");
        let mut watched = Watched::default();
        watched.take(&config, Vec::new());
        watched.take_named(vec![key.clone()]);
        write(&config, "other");
        write(&key, "renewed");
        let looks = [(); 3].map(|()| watched.look(&config, vec![key.clone()]));
        let told = Changed { config: true, named: true };
        assert_eq!(looks, [Changed::default(), told, Changed::default()]);
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
