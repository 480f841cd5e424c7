//! TLS towards upstreams: always verified, against the system's authorities or the one that the upstream names; and
//! what is shown where an upstream wants to know who asks, as a node that is the gateway of another region does.

use crate::error::Error;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use unlag_config::{CertificateFiles, Protocol, UpstreamTls};

/// How TLS is spoken to one upstream.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Shared by all connections, with the sessions that they resume.
    config: Arc<ClientConfig>,
    /// The same, for connections that must speak HTTP/1.1.
    http1: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// What makes connections; those that must speak HTTP/1.1 offer nothing else.
    pub fn connector(&self, http1_only: bool) -> TlsConnector {
        TlsConnector::from(Arc::clone(if http1_only { &self.http1 } else { &self.config }))
    }

    /// The name that the certificate must be valid for, also sent as SNI.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, Error> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|_| Error::Certificate),
        }
    }
}

/// Builds it from the configuration.
pub fn client(config: &UpstreamTls, protocol: Protocol) -> Result<ClientTls, String> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| {
                    format!("cannot read the authority's certificate {}: {error}", path.display())
                })?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            if roots.is_empty() {
                return Err(format!("{} holds no certificate", path.display()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let name = config.name.as_ref().map(|name| {
        ServerName::try_from(name.clone())
            .map_err(|_| format!("{name:?} is not a host name or an IP address"))
    });
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut client = match &config.client {
        Some(files) => shown(builder, files)?,
        None => builder.with_no_client_auth(),
    };
    let mut http1 = client.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    client.alpn_protocols = match protocol {
        Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(ClientTls { config: Arc::new(client), http1: Arc::new(http1), name: name.transpose()? })
}

/// Shows a certificate where one is asked for.
fn shown(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    files: &CertificateFiles,
) -> Result<ClientConfig, String> {
    let (chain, key) = (&files.certificate, &files.key);
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read the certificate {}: {error}", chain.display()))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", chain.display()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read the key {}: {error}", key.display()))?;
    builder
        .with_client_auth_cert(certificates, private)
        .map_err(|error| format!("{} with {}: {error}", chain.display(), key.display()))
}

/// The one cryptography provider, named wherever rustls wants one: a second one linked by accident would make it panic.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
