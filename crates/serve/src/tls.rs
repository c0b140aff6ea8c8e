//! Certificates: given, or made here and kept.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::ServeError;

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Two PEM files: the certificate with its chain, and its key.
    Files {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// One made here for these names, with an authority of its own; kept in a directory.
    Own {
        /// The directory: `ca.crt`, `server.crt` and `server.key`.
        dir: PathBuf,
        /// Host names and addresses it is for.
        names: Vec<String>,
    },
}

impl Certificate {
    /// The authority that clients must trust, if it was made here.
    pub fn authority(&self) -> Option<PathBuf> {
        match self {
            Certificate::Files { .. } => None,
            Certificate::Own { dir, .. } => Some(dir.join("ca.crt")),
        }
    }

    /// What a server needs. Makes the certificate first, if it is to be made and is not there.
    ///
    /// # Errors
    /// When files cannot be read or written, or are no certificate with its key.
    pub fn server(&self) -> Result<Arc<ServerConfig>, ServeError> {
        let (certificate, key) = match self {
            Certificate::Files { certificate, key } => (certificate.clone(), key.clone()),
            Certificate::Own { dir, names } => own(dir, names)?,
        };
        let bad = |path: &Path, e: &dyn std::fmt::Display| ServeError::Certificate(format!("{}: {e}", path.display()));
        let read =
            |path: &Path| fs::read(path).map_err(|source| ServeError::ReadFile { path: path.to_path_buf(), source });
        let chain = CertificateDer::pem_slice_iter(&read(&certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad(&certificate, &e))?;
        if chain.is_empty() {
            return Err(bad(&certificate, &"it holds no certificate in PEM"));
        }
        let private = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|e| bad(&key, &e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ServeError::Certificate(e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|e| bad(&certificate, &e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificate in a directory, made if there is none, or it is for other names.
fn own(dir: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), ServeError> {
    let path = |name: &str| dir.join(name);
    let (certificate, key, listed) = (path("server.crt"), path("server.key"), path("names"));
    let wanted = names.join("\n") + "\n";
    if certificate.is_file() && key.is_file() && fs::read_to_string(&listed).is_ok_and(|text| text == wanted) {
        return Ok((certificate, key));
    }
    let made = make(names).map_err(|e| ServeError::Certificate(e.to_string()))?;
    fs::create_dir_all(dir).map_err(|source| ServeError::WriteFile { path: dir.to_path_buf(), source })?;
    // The names last: a crash in between makes all of it again.
    let parts = [
        (&key, made.key.as_str(), 0o600),
        (&path("ca.crt"), &made.authority, 0o644),
        (&certificate, &made.certificate, 0o644),
        (&listed, &wanted, 0o644),
    ];
    for (path, text, mode) in parts {
        write(path, text, mode).map_err(|source| ServeError::WriteFile { path: path.clone(), source })?;
    }
    Ok((certificate, key))
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

struct Made {
    authority: String,
    certificate: String,
    key: String,
}

/// An authority whose key nobody keeps, and a certificate of it.
fn make(names: &[String]) -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Kiln registry authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name.push(DnType::CommonName, "Kiln registry");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    let chain = certificate.pem() + &authority.pem();
    Ok(Made { authority: authority.pem(), certificate: chain, key: key.serialize_pem() })
}
