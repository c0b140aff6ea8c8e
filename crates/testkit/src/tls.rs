//! A certificate authority for one test, and a certificate for loopback.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// PEM texts.
pub(crate) struct Certificates {
    /// The authority's certificate: what a client must trust.
    pub(crate) ca: String,
    /// The server's certificate, for `localhost` and `127.0.0.1`.
    pub(crate) certificate: String,
    /// The server's key.
    pub(crate) key: String,
}

impl Certificates {
    /// A new authority and a certificate signed by it.
    pub(crate) fn new() -> Certificates {
        make().unwrap_or_else(|e| panic!("make certificates: {e}"))
    }

    /// For a server that shows the certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.expect("protocol versions").with_no_client_auth().with_single_cert(chain, key);
        Arc::new(config.expect("a certificate with its key"))
    }
}

fn make() -> Result<Certificates, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "kiln test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "kiln test registry");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok(Certificates { ca: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}
