//! Who a host is in a launch: a certificate that only this launch knows, and TLS 1.3 with it on both sides.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::words::Hello;

/// Who signs the certificates of one launch. Its key is in the launcher's memory and nowhere else.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Authority, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "Kiln launch");
        Ok(Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// What hosts check others by: PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a host, of which `name` is its name among its peers. It counts only with this authority, which
    /// ends with the launch: clocks of hosts do not matter.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn certificate(&self, name: &str) -> Result<Certificate, rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Kiln host");
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Both sides of TLS for one host.
#[derive(Clone)]
pub struct Identity {
    /// For who asks others.
    pub client: Arc<ClientConfig>,
    /// For who is asked.
    pub server: Arc<ServerConfig>,
}

impl Identity {
    /// What a launcher gave.
    ///
    /// # Errors
    /// When it is no certificate with its key and authority.
    pub fn read(hello: &Hello) -> Result<Identity, String> {
        Identity::of(&hello.certificate, &hello.key, &hello.authority)
    }

    /// From PEM.
    ///
    /// # Errors
    /// When it is no certificate with its key and authority.
    pub fn of(certificate: &str, key: &str, authority: &str) -> Result<Identity, String> {
        // Never with what was given: a key is in it.
        let bad = |_| "the launcher's certificate cannot be read".to_owned();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(bad)?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(bad)?;
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(bad)?;
        let wrong = |error: rustls::Error| format!("the launcher's certificate is of no use: {error}");
        roots.add(root).map_err(wrong)?;
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let versions = [&rustls::version::TLS13];
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| format!("the launcher's authority is of no use: {error}"))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(wrong)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(wrong)?;
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(wrong)?;
        Ok(Identity { client: Arc::new(client), server: Arc::new(server) })
    }
}
