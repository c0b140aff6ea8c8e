//! Certificates: given, or made here and kept. Files that change are read again, so that a certificate that was renewed
//! counts without a restart.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::ServeError;
use crate::fresh::{Fresh, Now};
use crate::log::Log;

/// The longest file of a certificate or key, in bytes.
const LONGEST: u64 = 1 << 20;

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
    pub fn server(&self, log: &Arc<Log>) -> Result<Arc<ServerConfig>, ServeError> {
        let (certificate, key) = match self {
            Certificate::Files { certificate, key } => (certificate.clone(), key.clone()),
            Certificate::Own { dir, names } => own(dir, names)?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let files = Files::open(certificate, key, provider.clone(), log.clone())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ServeError::Certificate(e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(files));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A certificate and its key in two files, as they are now.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    log: Arc<Log>,
    both: Fresh<CertifiedKey>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Files {
    fn open(
        certificate: PathBuf,
        key: PathBuf,
        provider: Arc<CryptoProvider>,
        log: Arc<Log>,
    ) -> Result<Files, ServeError> {
        let both = Fresh::open(&[&certificate, &key], || load(&certificate, &key, &provider))?;
        Ok(Files { certificate, key, provider, log, both })
    }

    /// The certificate of the files as they are now; the last good one, if they are none.
    fn current(&self) -> Arc<CertifiedKey> {
        let now = self.both.now(|_| load(&self.certificate, &self.key, &self.provider));
        match &now {
            Now::Changed(_) => self.log.say("the certificate has changed, and is used from now on"),
            // In the midst of a change, one file belongs to the next certificate: its partner comes, and is looked at.
            Now::Failed { error, first: true, .. } => {
                self.log.say(&format!("the certificate that was used before is still used: {error}"));
            }
            Now::Same(_) | Now::Failed { .. } => {}
        }
        now.value()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Reads a certificate and its key.
fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, ServeError> {
    let bad = |path: &Path, e: &dyn std::fmt::Display| ServeError::Certificate(format!("{}: {e}", path.display()));
    let read = |path: &Path| -> Result<Vec<u8>, ServeError> {
        let failed = |source| ServeError::ReadFile { path: path.to_path_buf(), source };
        let mut bytes = Vec::new();
        fs::File::open(path).map_err(failed)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(bad(path, &"it is too long for a certificate or key"));
        }
        Ok(bytes)
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(certificate, &e))?;
    if chain.is_empty() {
        return Err(bad(certificate, &"it holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| bad(key, &e))?;
    // What is not the certificate's key is refused here.
    CertifiedKey::from_der(chain, private, provider).map_err(|e| bad(certificate, &e))
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
