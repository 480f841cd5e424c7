//! Certificates made on the spot, and TLS configurations for both sides.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// An authority that signs certificates for tests.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Certificate {
    /// PEM of the certificate.
    pub pem: String,
    /// PEM of the key.
    pub key_pem: String,
    der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Authority {
    /// Makes a new one.
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// PEM of the authority's own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A valid certificate for these names.
    pub fn certificate(&self, names: &[&str]) -> Certificate {
        self.sign(names, 2020, 2050)
    }

    /// A certificate that has expired long ago.
    pub fn expired(&self, names: &[&str]) -> Certificate {
        self.sign(names, 2019, 2020)
    }

    fn sign(&self, names: &[&str], from_year: i32, to_year: i32) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        // Not that of its authority, which is the default as well: OpenSSL takes such a one for one that has signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        params.not_before = date_time_ymd(from_year, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("a signature");
        Certificate {
            pem: signed.pem(),
            key_pem: key.serialize_pem(),
            der: signed.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// What a caller needs to trust certificates of this authority, offering these ALPN protocols.
    pub fn client_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.client_builder().with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The same, showing this certificate when asked for one.
    pub fn client_config_with(&self, certificate: &Certificate) -> Arc<ClientConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.clone()));
        let config = self.client_builder().with_client_auth_cert(vec![certificate.der.clone()], key);
        Arc::new(config.expect("a certificate with its key"))
    }

    fn client_builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        builder.expect("versions").with_root_certificates(roots)
    }

    /// The same without SNI.
    pub fn client_config_without_sni(&self) -> Arc<ClientConfig> {
        let mut config = self.client_config(&[]).as_ref().clone();
        config.enable_sni = false;
        Arc::new(config)
    }
}

impl Certificate {
    /// An origin's configuration, HTTP/1.1 only.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_no_client_auth();
        Arc::new(config.with_single_cert(vec![self.der.clone()], key).expect("a certificate with its key"))
    }

    /// An origin's configuration that offers these ALPN protocols, the one it likes best first.
    pub fn server_config_for(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let mut config = self.server_config().as_ref().clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Writes `NAME.pem` and `NAME.key` under `directory`.
    pub fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.pem")), &self.pem).expect("the certificate");
        std::fs::write(directory.join(format!("{name}.key")), &self.key_pem).expect("the key");
    }

    /// The certificate itself, to compare with what a handshake showed.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
