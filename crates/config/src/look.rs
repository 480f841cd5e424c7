//! A look at the files and variables that a configuration names. What is absent is a warning, since a
//! configuration may be checked elsewhere than where it runs; what is there and useless is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::endpoints::endpoints;
use crate::model::{Action, Config, Source};
use crate::problem::{Problem, Severity};
use crate::read::SHARED_HELP;
use crate::secret::{SecretError, resolve_secret};
use crate::tier;

/// Largest file that is read, bytes: a bundle of every public authority is a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Looks at every certificate, key, list of endpoints and secret that `config` names; relative paths start at
/// `base`, the directory of the config file. [`crate::Parsed::look`] adds the lines of the file.
#[must_use]
pub fn look(config: &Config, base: &Path) -> Vec<Problem> {
    findings(config, base).problems
}

/// Those of [`look`] that are about a certificate, key or list of endpoints which is not there, as errors: nothing runs without.
pub(crate) fn absent(config: &Config, base: &Path) -> Vec<Problem> {
    let Findings { problems, absent, .. } = findings(config, base);
    let is_absent = |problem: &Problem| problem.key.as_ref().is_some_and(|key| absent.contains(key));
    let errors = problems.into_iter().filter(is_absent);
    errors.map(|problem| Problem { severity: Severity::Error, ..problem }).collect()
}

fn findings<'a>(config: &Config, base: &'a Path) -> Findings<'a> {
    let mut findings = Findings { base, problems: Vec::new(), absent: BTreeSet::new() };
    for (index, listen) in config.listen.iter().enumerate() {
        let Some(tls) = &listen.tls else { continue };
        for (entry, files) in tls.certificates.iter().enumerate() {
            let at = format!("listen[{index}].tls[{entry}]");
            findings.certificates(&format!("{at}.certificate"), &files.certificate);
            findings.private_key(&format!("{at}.key"), &files.key);
        }
        if let Some(path) = &tls.client_ca {
            findings.certificates(&format!("listen[{index}].tls[0].client_ca"), path);
        }
    }
    for upstream in &config.upstreams {
        if let Some(path) = &upstream.tls.ca {
            findings.certificates(&format!("upstream.{}.tls.ca", upstream.name), path);
        }
        if let Some(files) = &upstream.tls.client {
            findings.certificates(&format!("upstream.{}.tls.certificate", upstream.name), &files.certificate);
            findings.private_key(&format!("upstream.{}.tls.key", upstream.name), &files.key);
        }
        if let Source::File(path) = &upstream.source {
            findings.endpoints(&format!("upstream.{}.discover", upstream.name), path);
        }
    }
    for (index, route) in config.routes.iter().enumerate() {
        if let Action::Static(files) = &route.action {
            findings.directory(&format!("route[{index}].static.directory"), &files.directory);
        }
    }
    for (key, secret) in [("admin.token", &config.admin.token), ("cache.shared", &config.cache.shared)] {
        match secret.as_ref().map(|secret| resolve_secret(secret, base)) {
            None => {}
            Some(Ok(found)) => {
                let is_address = key == "cache.shared";
                if let Some(Err(error)) = is_address.then(|| found.expose().parse::<tier::Address>()) {
                    let message = format!("what this refers to is no address of a shared cache: {error}");
                    findings.note(Severity::Error, key, message, SHARED_HELP);
                }
            }
            Some(Err(SecretError::Absent(message))) => {
                findings.note(Severity::Warning, key, message, "it must be there when unlag runs")
            }
            Some(Err(SecretError::Invalid(message))) => {
                findings.note(Severity::Error, key, message, "a secret is one line of text that is not empty")
            }
        }
    }
    findings
}

/// The place of a key among those that were remembered while reading: the one certificate of a listener may
/// be written as a table or as a list of one, and its `client_ca` in any entry of a list.
pub(crate) fn place<'p>(places: &'p BTreeMap<String, Problem>, key: &str) -> Option<&'p Problem> {
    let single = || places.get(&key.replace(".tls[0].", ".tls."));
    let any_entry = || {
        let (listener, _) = key.strip_suffix(".client_ca")?.split_once(".tls")?;
        let prefix = format!("{listener}.tls");
        places
            .iter()
            .find(|(at, _)| at.starts_with(&prefix) && at.ends_with(".client_ca"))
            .map(|(_, place)| place)
    };
    places.get(key).or_else(single).or_else(any_entry)
}

struct Findings<'a> {
    base: &'a Path,
    problems: Vec<Problem>,
    /// The keys of files that are not there, without which nothing runs.
    absent: BTreeSet<String>,
}

impl Findings<'_> {
    fn certificates(&mut self, key: &str, path: &Path) {
        let Some(bytes) = self.read(key, path) else { return };
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            if let Err(error) = certificate {
                let help = "the file is PEM: blocks from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`";
                return self.unusable(key, path, &format!("is damaged: {error}"), help);
            }
            found += 1;
        }
        if found == 0 {
            let help = "the file is PEM and holds `-----BEGIN CERTIFICATE-----`";
            self.unusable(key, path, "holds no certificate", help);
        }
    }

    fn private_key(&mut self, key: &str, path: &Path) {
        let Some(bytes) = self.read(key, path).map(Zeroizing::new) else { return };
        let whole = self.base.join(path);
        if std::fs::metadata(&whole).is_ok_and(|data| data.mode() & 0o007 != 0) {
            let message = format!("every user of this machine can read {}", whole.display());
            self.note(Severity::Warning, key, message, "`chmod 600` it, or 640 for a group that needs it");
        }
        if let Err(error) = PrivateKeyDer::from_pem_slice(&bytes) {
            let why = match error {
                rustls_pki_types::pem::Error::NoItemsFound => "holds no private key".to_owned(),
                other => format!("is damaged: {other}"),
            };
            let help = "the file is PEM and holds `-----BEGIN PRIVATE KEY-----`, without a password";
            self.unusable(key, path, &why, help);
        }
    }

    fn directory(&mut self, key: &str, path: &Path) {
        let whole = self.base.join(path);
        match std::fs::metadata(&whole) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => {
                self.unusable(key, path, "is not a directory", "name the directory that the files are in")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let help = "paths are relative to the directory of this file; until it is there, every answer is 404";
                self.note(Severity::Warning, key, format!("{} does not exist", whole.display()), help);
            }
            Err(error) => self.unusable(key, path, &format!("cannot be read: {error}"), ""),
        }
    }

    fn endpoints(&mut self, key: &str, path: &Path) {
        let Some(bytes) = self.read(key, path) else { return };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return self.unusable(
                key,
                path,
                "is not UTF-8",
                "one endpoint a line, such as http://10.0.0.11:8000",
            );
        };
        if let Err(problems) = endpoints(text, &path.display().to_string()) {
            for problem in problems.0 {
                let message = format!("{}:{}: {}", problem.file, problem.line, problem.message);
                self.note(problem.severity, key, message, problem.help.as_deref().unwrap_or(""));
            }
        }
    }

    /// The bytes of a file; says why when there are none.
    fn read(&mut self, key: &str, path: &Path) -> Option<Vec<u8>> {
        let whole = self.base.join(path);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&whole)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                self.unusable(key, path, "is too large", "at most 1MiB");
                None
            }
            Ok(_) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let help =
                    "paths are relative to the directory of this file; it must be there when unlag runs";
                self.note(Severity::Warning, key, format!("{} does not exist", whole.display()), help);
                self.absent.insert(key.to_owned());
                None
            }
            Err(error) => {
                self.unusable(key, path, &format!("cannot be read: {error}"), "");
                None
            }
        }
    }

    fn unusable(&mut self, key: &str, path: &Path, why: &str, help: &str) {
        let message = format!("{} {why}", self.base.join(path).display());
        self.note(Severity::Error, key, message, help);
    }

    fn note(&mut self, severity: Severity, key: &str, message: String, help: &str) {
        self.problems.push(Problem {
            severity,
            message,
            help: (!help.is_empty()).then(|| help.to_owned()),
            file: key.to_owned(),
            line: 0,
            column: 0,
            key: Some(key.to_owned()),
            excerpt: None,
        });
    }
}
