//! A certificate authority for one test, and a certificate for loopback.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

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
