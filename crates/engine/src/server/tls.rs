//! TLS towards callers: certificates chosen by the name they ask for, `h2` and `http/1.1` offered, caller certificates on
//! request. The files are read anew at every load, so that a rotated certificate serves the next handshake.

use crate::upstream::tls::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;
use unlag_config::ListenTls;

/// One certificate and the names that it is for.
#[derive(Debug)]
struct Entry {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// Chooses by SNI; the first certificate answers for every other name and for callers without one.
#[derive(Debug)]
struct BySni {
    entries: Vec<Entry>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let found = asked.and_then(|asked| {
            self.entries.iter().find(|entry| entry.names.iter().any(|name| covers(name, &asked)))
        });
        found.or(self.entries.first()).map(|entry| Arc::clone(&entry.key))
    }
}

/// Whether a name of a certificate covers a host: exactly, or by a wildcard for one label (RFC 9525 §6.3).
pub fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

/// Builds the server's side from its files.
pub fn server(config: &ListenTls) -> Result<ServerConfig, String> {
    let entries = config
        .certificates
        .iter()
        .map(|files| entry(&files.certificate, &files.key))
        .collect::<Result<Vec<_>, String>>()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_cert_resolver(Arc::new(BySni { entries }));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server.max_early_data_size = 0;
    Ok(server)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if list.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(list) }
}

fn entry(certificate: &Path, key: &Path) -> Result<Entry, String> {
    let chain = certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read {}: {error}", key.display()))?;
    let signing = provider()
        .key_provider
        .load_private_key(key_der)
        .map_err(|error| format!("{}: {error}", key.display()))?;
    let names = chain.first().map(names_of).unwrap_or_default();
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| {
        format!("{} does not belong to {}: {error}", key.display(), certificate.display())
    })?;
    Ok(Entry { names, key: Arc::new(certified) })
}

/// The DNS names in a certificate's subjectAltName.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    webpki::EndEntityCert::try_from(certificate)
        .map(|parsed| parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("a.example", "a.example"));
        assert!(covers("*.example", "a.example"));
        assert!(!covers("*.example", "a.b.example"));
        assert!(!covers("*.example", "example"));
    }
}
