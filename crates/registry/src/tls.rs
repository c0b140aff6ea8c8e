//! Whom TLS trusts: the system's authorities or, where a machine has none, those built in; plus what was configured.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use kiln_http::connection;

use crate::config::{Config, same_host};
use crate::error::RegistryError;

/// No certificate file is read beyond this many bytes.
const MAX_PEM: u64 = 16 << 20;

/// The authorities every host is checked against: `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's, else the ones
/// built in, plus the configured ones. The system's are hundreds of files, read when the first certificate is to be
/// checked: a registry without TLS never needs them.
#[derive(Debug)]
pub(crate) struct Roots {
    bundle: (Option<PathBuf>, Option<PathBuf>),
    configured: RootCertStore,
    all: OnceLock<RootCertStore>,
}

impl Roots {
    /// Reads the configured ones; one that cannot be used is an error.
    pub(crate) fn new(config: &Config) -> Result<Roots, RegistryError> {
        let mut configured = RootCertStore::empty();
        for path in &config.ca_files {
            add_authorities(&mut configured, path)?;
        }
        let bundle = (config.ssl_cert_file.clone(), config.ssl_cert_dir.clone());
        Ok(Roots { bundle, configured, all: OnceLock::new() })
    }

    fn all(&self) -> &RootCertStore {
        self.all.get_or_init(|| {
            let mut roots = connection::roots(self.bundle.0.as_deref(), self.bundle.1.as_deref());
            roots.extend(self.configured.roots.iter().cloned());
            roots
        })
    }
}

/// What one host needs besides the shared roots.
#[derive(Debug, Default)]
pub(crate) struct HostTls {
    /// PEM files with authorities.
    pub authorities: Vec<PathBuf>,
    /// Certificate and key to identify with.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate will do.
    pub unverified: bool,
}

impl HostTls {
    /// What is configured for a host known by any of `names` (`host[:port]`).
    pub(crate) fn of(config: &Config, names: &[String]) -> Result<HostTls, RegistryError> {
        let known = |pattern: &str| names.iter().any(|name| same_host(pattern, name));
        let mut tls = HostTls {
            authorities: config.host_ca.iter().filter(|ca| known(&ca.host)).map(|ca| ca.path.clone()).collect(),
            identity: config.client_certs.iter().find(|c| known(&c.host)).map(|c| (c.cert.clone(), c.key.clone())),
            unverified: config.insecure_all || config.insecure_tls.iter().any(|pattern| known(pattern)),
        };
        for dir in &config.certs_dirs {
            for name in names {
                tls.add_directory(&dir.join(name))?;
            }
        }
        Ok(tls)
    }

    /// Reads the names in one `certs.d/HOST` directory: `*.crt` are authorities, `*.cert` with `*.key` identify.
    fn add_directory(&mut self, dir: &Path) -> Result<(), RegistryError> {
        let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.authorities.push(path),
                Some("cert") if self.identity.is_none() => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        let why = format!("its key {} is missing", key.display());
                        return Err(RegistryError::Certificate { path, why });
                    }
                    self.identity = Some((path, key));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The TLS configuration for the host.
    pub(crate) fn client_config(&self, host: &str, shared: &Arc<Roots>) -> Result<ClientConfig, RegistryError> {
        let setup = |e: rustls::Error| RegistryError::TlsSetup { host: host.to_owned(), why: e.to_string() };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let trust = match self.unverified {
            true => None,
            false => {
                let mut own = RootCertStore::empty();
                for path in &self.authorities {
                    add_authorities(&mut own, path)?;
                }
                Some(Trust { shared: shared.clone(), own, verifier: OnceLock::new() })
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { provider, trust }));
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| RegistryError::Certificate {
                    path: key.clone(),
                    why: "it holds no private key".to_owned(),
                })?;
                builder.with_client_auth_cert(chain, secret).map_err(setup)
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let fail = |why: String| RegistryError::Certificate { path: path.to_owned(), why };
    let length = fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if length > MAX_PEM {
        return Err(fail(format!("it is larger than {MAX_PEM} bytes")));
    }
    fs::read(path).map_err(|e| fail(e.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let fail = |why: &str| RegistryError::Certificate { path: path.to_owned(), why: why.to_owned() };
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| fail("it is not valid PEM"))?;
    if found.is_empty() { Err(fail("it holds no certificate")) } else { Ok(found) }
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), RegistryError> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| RegistryError::Certificate { path: path.to_owned(), why: e.to_string() })?;
    }
    Ok(())
}

/// Checks certificates as rustls does, against authorities that are read when the first one comes. Without any trust it
/// accepts every certificate, for hosts the user allowed by name; signatures are still checked, so that the peer holds
/// the key of what it showed.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    shared: Arc<Roots>,
    /// The host's own authorities.
    own: RootCertStore,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl Trust {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let made = self.verifier.get_or_init(|| {
            let mut roots = self.shared.all().clone();
            roots.extend(self.own.roots.iter().cloned());
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))
        });
        made.as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            None => Ok(ServerCertVerified::assertion()),
            Some(trust) => trust.verifier(&self.provider)?.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostCa;

    #[test]
    fn certs_d_is_read_by_host_and_port() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("reg.local:5000");
        fs::create_dir(&host).unwrap();
        for name in ["ca.crt", "client.cert", "client.key", "README"] {
            fs::write(host.join(name), "").unwrap();
        }
        let config = Config {
            certs_dirs: vec![dir.path().to_owned()],
            host_ca: vec![HostCa { host: "other".into(), path: "/nonexistent".into() }],
            ..Config::default()
        };
        let tls = HostTls::of(&config, &["reg.local:5000".to_owned()]).unwrap();
        assert_eq!(tls.authorities, [host.join("ca.crt")]);
        assert_eq!(tls.identity, Some((host.join("client.cert"), host.join("client.key"))));
        assert!(HostTls::of(&config, &["reg.local".to_owned()]).unwrap().authorities.is_empty());
        let error =
            tls.client_config("reg.local:5000", &Arc::new(Roots::new(&config).unwrap())).unwrap_err().to_string();
        assert!(error.contains("ca.crt: it holds no certificate"), "{error}");
        fs::remove_file(host.join("client.key")).unwrap();
        let error = HostTls::of(&config, &["reg.local:5000".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("client.key is missing"), "{error}");
    }

    #[test]
    fn a_machine_without_bundle_has_roots() {
        let config = Config { ssl_cert_file: Some("/nonexistent/bundle.pem".into()), ..Config::default() };
        assert!(!Roots::new(&config).unwrap().all().is_empty());
        let config = Config { ca_files: vec!["/nonexistent/ca.pem".into()], ..Config::default() };
        assert!(Roots::new(&config).unwrap_err().to_string().contains("/nonexistent/ca.pem"));
    }
}
