//! Debian's docker-registry: open, with passwords, with TLS. What is pushed is read back by skopeo.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Manifest, Reference, media};
use kiln_registry::{
    Client, ClientCert, Config, Credential, Credentials, HostCa, LoginStore, MountOutcome, PushOutcome, RegistryError,
    Secret,
};
use tempfile::TempDir;

use crate::{blob, config, layer, opener, pull, reference};

/// A registry process; it ends with the value.
struct Registry {
    process: Child,
    host: String,
    dir: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts a registry with lines added to its `http:` section, and others after it.
    fn start(dir: TempDir, http: &str, rest: &str) -> Registry {
        // The port may be taken between the look and the start, so a few are tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let host = format!("127.0.0.1:{port}");
            let root = dir.path().join("registry");
            let text = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n{http}\n{rest}\n",
                root.display()
            );
            let path = dir.path().join("config.yml");
            fs::write(&path, text).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry must be installed");
            if listening(&mut process, &host) {
                return Registry { process, host, dir };
            }
        }
        panic!("docker-registry does not start");
    }
}

fn listening(process: &mut Child, host: &str) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(host).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

fn open_registry() -> Registry {
    Registry::start(TempDir::new().unwrap(), "", "")
}

/// An image of one layer: configuration, layer, manifest.
fn image(size: usize) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let data = blob(size);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&data)
    );
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media::OCI_CONFIG, config.as_bytes()),
        layers: vec![layer(&data)],
        subject: None,
        annotations: Annotations::new(),
    };
    (config.into_bytes(), data, serde_json::to_vec(&manifest).unwrap())
}

/// Pushes an image and pulls it back, with everything compared.
fn round_trip(client: &Client, to: &Reference, size: usize) -> Result<Digest, RegistryError> {
    let (config, data, manifest) = image(size);
    for bytes in [&config, &data] {
        client.push_blob(to, &layer(bytes), &opener(bytes), &|_| ())?;
        assert!(client.has_blob(to, &Digest::of(bytes))?);
    }
    let digest = client.push_manifest(to, media::OCI_MANIFEST, manifest.clone())?;
    let fetched = client.manifest(to)?;
    assert_eq!((&*fetched.bytes, fetched.descriptor.digest.clone()), (&*manifest, digest.clone()));
    assert_eq!(client.resolve(to)?, fetched.descriptor);
    let mut sink = Vec::new();
    client.blob(to, &layer(&data), &mut sink, &|_| ())?;
    assert!(sink == data);
    Ok(digest)
}

/// Copies an image out with skopeo, which verifies it, and returns its layers' bytes.
fn read_by_skopeo(from: &Reference, arguments: &[String]) -> Vec<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    let target = format!("dir:{}", dir.path().join("out").display());
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy"])
        .args(arguments)
        .args([&format!("docker://{from}"), &target])
        .output()
        .expect("skopeo must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest: Manifest = serde_json::from_slice(&fs::read(dir.path().join("out/manifest.json")).unwrap()).unwrap();
    manifest.layers.iter().map(|l| fs::read(dir.path().join("out").join(l.digest.hex())).unwrap()).collect()
}

#[test]
fn an_open_registry_takes_and_gives_images() {
    let registry = open_registry();
    // Nothing says that it speaks plain http: loopback registries are asked.
    let client = Client::new(config(&[])).unwrap();
    let to = reference(&registry.host, "team/app:v1");
    let digest = round_trip(&client, &to, 3_000_000).unwrap();
    let layers = read_by_skopeo(&to, &["--src-tls-verify=false".to_owned()]);
    assert!(layers == [blob(3_000_000)]);
    client.push_manifest(&reference(&registry.host, "team/app:v2"), media::OCI_MANIFEST, image(3_000_000).2).unwrap();
    let mut tags = client.tags(&to).unwrap();
    tags.sort();
    assert_eq!(tags, ["v1", "v2"]);
    assert_eq!(client.referrers(&to, &digest).unwrap(), []);
    let (_, _, about) = image(10);
    let entry = Descriptor::of(media::OCI_MANIFEST, &about);
    for bytes in [image(10).0, image(10).1] {
        client.push_blob(&to, &layer(&bytes), &opener(&bytes), &|_| ()).unwrap();
    }
    client.push_referrer(&to, &digest, &entry, about).unwrap();
    assert_eq!(
        client.referrers(&to, &digest).unwrap(),
        std::slice::from_ref(&entry),
        "this registry keeps no list itself"
    );
    client.delete(&to).unwrap();
    assert!(client.manifest(&to).unwrap_err().is_not_found());
    let error = client.manifest(&reference(&registry.host, "nobody/nothing")).unwrap_err();
    assert!(error.to_string().contains("MANIFEST_UNKNOWN"), "{error}");
}

#[test]
fn chunks_and_mounts_work_on_a_real_registry() {
    let registry = open_registry();
    let client = Client::new(Config { chunk_above: 0, chunk_size: 700_000, ..config(&[&registry.host]) }).unwrap();
    let first = reference(&registry.host, "first:v1");
    round_trip(&client, &first, 3_000_000).unwrap();
    let (to, data) = (reference(&registry.host, "second/copy"), layer(&blob(3_000_000)));
    assert!(!client.has_blob(&to, &data.digest).unwrap());
    assert!(matches!(client.mount_blob(&to, "first", &data.digest).unwrap(), MountOutcome::Mounted));
    assert!(client.has_blob(&to, &data.digest).unwrap());
    let other = blob(1_000_001);
    let MountOutcome::NotMounted(session) = client.mount_blob(&to, "first", &layer(&other).digest).unwrap() else {
        panic!("there is nothing to mount")
    };
    client.push_blob_in(session, &to, &layer(&other), &opener(&other), &|_| ()).unwrap();
    let mut sink = Vec::new();
    client.blob(&to, &layer(&other), &mut sink, &|_| ()).unwrap();
    assert!(sink == other);
    assert_eq!(client.push_blob(&to, &data, &opener(b""), &|_| ()).unwrap(), PushOutcome::Existed);
    let empty = layer(b"");
    client.push_blob(&to, &empty, &opener(b""), &|_| ()).unwrap();
    let corrupt = layer(b"what it should be");
    let error = client.push_blob(&to, &corrupt, &opener(b"what it really is"), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

#[test]
fn many_threads_push_the_same_blobs() {
    let registry = open_registry();
    let client = Client::new(Config { backoff: Duration::from_millis(50), ..config(&[&registry.host]) }).unwrap();
    thread::scope(|scope| {
        for n in 0..8 {
            let (client, to) = (&client, reference(&registry.host, &format!("many:v{n}")));
            scope.spawn(move || round_trip(client, &to, 500_000).unwrap());
        }
    });
    assert_eq!(client.tags(&reference(&registry.host, "many")).unwrap().len(), 8);
}

#[test]
fn passwords_are_asked_for() {
    let dir = TempDir::new().unwrap();
    let passwords = dir.path().join("htpasswd");
    let output =
        Command::new("htpasswd").args(["-Bbn", "user", "hunter2"]).output().expect("htpasswd must be installed");
    assert!(output.status.success());
    fs::write(&passwords, output.stdout).unwrap();
    let section = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", passwords.display());
    let registry = Registry::start(dir, "", &section);
    let to = reference(&registry.host, "private/app:v1");
    let store = LoginStore::at(registry.dir.path().join("docker/config.json"));
    let with = |credentials| Client::new(Config { credentials, ..config(&[&registry.host]) }).unwrap();

    let error = round_trip(&with(Credentials::none()), &to, 1000).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");
    let wrong = Credential::basic("user", "wrong");
    let error = round_trip(&with(Credentials::none().with(&registry.host, wrong.clone())), &to, 1000).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
    let anonymous = with(Credentials::none());
    assert!(anonymous.check_login(&registry.host, &wrong).unwrap_err().is_unauthorized());
    anonymous.check_login(&registry.host, &Credential::basic("user", "hunter2")).unwrap();

    store.login(&registry.host, "user", &Secret::new("hunter2")).unwrap();
    let file = registry.dir.path().join("docker/config.json");
    round_trip(&with(Credentials::none().with_file(&file)), &to, 100_000).unwrap();
    let auth = format!("--authfile={}", file.display());
    assert!(read_by_skopeo(&to, &["--src-tls-verify=false".to_owned(), auth]) == [blob(100_000)]);
}

/// An authority and a certificate it signed, as PEM files `ca.crt`, `NAME.cert` and `NAME.key`.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(dir: &Path) -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(dir.join("ca.crt"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn sign(&self, dir: &Path, file: &str, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        fs::write(dir.join(format!("{file}.cert")), parameters.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn an_own_authority_is_trusted_where_it_is_named() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path());
    authority.sign(dir.path(), "server", "127.0.0.1");
    let at = |name: &str| dir.path().join(name);
    let http =
        format!("  tls:\n    certificate: {}\n    key: {}", at("server.cert").display(), at("server.key").display());
    let ca = fs::read(at("ca.crt")).unwrap();
    let registry = Registry::start(dir, &http, "");
    let to = reference(&registry.host, "secure/app:v1");
    let path = registry.dir.path().join("ca.crt");

    let error = round_trip(&Client::new(config(&[])).unwrap(), &to, 10).unwrap_err();
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{error}");
    assert!(error.hint().unwrap().contains("ca.crt"));

    let host_ca = vec![HostCa { host: registry.host.clone(), path: path.clone() }];
    round_trip(&Client::new(Config { host_ca, ..config(&[]) }).unwrap(), &to, 100_000).unwrap();
    round_trip(&Client::new(Config { ca_files: vec![path], ..config(&[]) }).unwrap(), &to, 10).unwrap();
    let insecure = Config { insecure_tls: vec![registry.host.clone()], ..config(&[]) };
    round_trip(&Client::new(insecure).unwrap(), &to, 20).unwrap();
    let certs = TempDir::new().unwrap();
    let host_dir = certs.path().join(&registry.host);
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("ca.crt"), ca).unwrap();
    let docker = Config { certs_dirs: vec![certs.path().to_owned()], ..config(&[]) };
    round_trip(&Client::new(docker).unwrap(), &to, 100_000).unwrap();
    assert!(read_by_skopeo(&to, &[format!("--src-cert-dir={}", host_dir.display())]) == [blob(100_000)]);
}

#[test]
fn client_certificates_are_shown() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path());
    authority.sign(dir.path(), "server", "127.0.0.1");
    authority.sign(dir.path(), "client", "kiln");
    let at = |name: &str| dir.path().join(name);
    let http = format!(
        "  tls:\n    certificate: {}\n    key: {}\n    clientcas:\n      - {}",
        at("server.cert").display(),
        at("server.key").display(),
        at("ca.crt").display()
    );
    let registry = Registry::start(dir, &http, "");
    let at = |name: &str| registry.dir.path().join(name);
    let to = reference(&registry.host, "mutual/app:v1");
    let base = Config { ca_files: vec![at("ca.crt")], ..config(&[]) };
    assert!(round_trip(&Client::new(base.clone()).unwrap(), &to, 10).is_err());
    let client_certs = vec![ClientCert { host: registry.host.clone(), cert: at("client.cert"), key: at("client.key") }];
    round_trip(&Client::new(Config { client_certs, ..base }).unwrap(), &to, 10).unwrap();
}

#[test]
fn nobody_there_is_told_soon() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::new(config(&[])).unwrap().manifest(&reference(&free.to_string(), "a")).unwrap_err();
    assert!(matches!(error, RegistryError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    let error = pull(&Client::new(config(&[])).unwrap(), &free.to_string(), &layer(b"x")).unwrap_err();
    assert!(error.hint().unwrap().contains("--plain-http"), "{error}");
}
