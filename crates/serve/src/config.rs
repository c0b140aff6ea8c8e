//! The configuration file of Docker's registry (`version: 0.1`), as far as it has a meaning here, with what sealer adds
//! to `proxy`.
//!
//! ```text
//! http.addr, http.headers, http.tls.{certificate,key}, http.debug.addr     as there
//! auth.htpasswd.{realm,path}, auth.token.{realm,service,issuer,jwks}       as there
//! storage.delete.enabled, storage.maintenance.readonly.enabled             as there
//! proxy.{remoteurl,username,password,ttl}                                  as there
//! proxy.{on,remoteregistries}                                              as sealer's registry
//! log.formatter: json, log.accesslog.disabled                              as there
//! storage.filesystem, storage.cache, health, log.level, http.secret, …     no meaning here: a warning
//! other storage drivers, notifications, middleware, letsencrypt, …         an error
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use kiln_spec::diag::{self, Diagnostic, did_you_mean};
use kiln_spec::source::{Source, Span};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::ServeError;

/// The largest file, in bytes.
pub const MAX: u64 = 1 << 20;
/// How long a tag of another registry is believed, where nothing else is said.
pub const TTL: Duration = Duration::from_secs(300);
/// The most headers and registries.
const MOST: usize = 100;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Where to listen, as written: `:5000`, `127.0.0.1:5000`.
    pub address: Option<String>,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where numbers and health are told.
    pub debug_address: Option<String>,
    /// Users: the realm, and their file.
    pub htpasswd: Option<(String, PathBuf)>,
    /// Another server's tokens.
    pub token: Option<Token>,
    /// Whether deleting is enabled.
    pub delete: bool,
    /// Whether nothing is taken.
    pub read_only: bool,
    /// Other registries.
    pub proxy: Option<Remotes>,
    /// Whether the log is JSON.
    pub json: bool,
    /// Whether requests are not logged.
    pub no_access_log: bool,
    /// What has no meaning here.
    pub warnings: Vec<String>,
}

/// Who gives tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Where clients get them.
    pub realm: String,
    /// What this registry is called there.
    pub service: String,
    /// Who signs them.
    pub issuer: String,
    /// The file of public keys.
    pub keys: PathBuf,
}

/// Other registries whose images are fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct Remotes {
    /// Them.
    pub registries: Vec<Remote>,
    /// The login of the first of them. Never shown.
    pub login: Option<(String, String)>,
    /// How long tags are believed.
    pub ttl: Duration,
}

impl std::fmt::Debug for Remotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let login = self.login.is_some();
        write!(f, "Remotes {{ registries: {:?}, login: {login}, ttl: {:?} }}", self.registries, self.ttl)
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// As references name it.
    pub registry: String,
    /// Whether it is spoken to in plain HTTP.
    pub plain_http: bool,
}

impl Remote {
    /// Reads `https://registry-1.docker.io`, `http://10.0.0.1:5000`, `quay.io`.
    ///
    /// # Errors
    /// A sentence about what it is not.
    pub fn parse(text: &str) -> Result<Remote, String> {
        let (plain_http, rest) = match text.strip_prefix("http://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("https://").unwrap_or(text)),
        };
        let host = rest.trim_end_matches('/');
        let registry = match host {
            "registry-1.docker.io" | "index.docker.io" | "hub.docker.com" => "docker.io",
            other => other,
        };
        let read = format!("{registry}/x").parse::<kiln_oci::Reference>();
        match read {
            Ok(read) if crate::names::is_host(registry) && read.registry == registry => {
                Ok(Remote { registry: registry.to_owned(), plain_http })
            }
            _ => Err(format!("`{}` is not the address of a registry: expected https://HOST[:PORT]", shown(text))),
        }
    }
}

/// An address, without a login that may be in it.
fn shown(text: &str) -> String {
    match (text.rsplit_once('@'), text.split_once("://")) {
        (Some((_, host)), Some((scheme, _))) => format!("{scheme}://…@{host}"),
        (Some((_, host)), None) => format!("…@{host}"),
        (None, _) => text.to_owned(),
    }
}

type Ignored = Option<IgnoredAny>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Option<Scalar>,
    log: Option<Log>,
    loglevel: Ignored,
    storage: Option<Storage>,
    http: Option<Http>,
    auth: Option<AuthSection>,
    proxy: Option<ProxySection>,
    health: Ignored,
    redis: Ignored,
    reporting: Ignored,
    compatibility: Ignored,
    policy: Ignored,
    validation: Ignored,
    catalog: Ignored,
    middleware: Ignored,
    notifications: Ignored,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Log {
    formatter: Option<String>,
    accesslog: Option<Switch>,
    level: Ignored,
    fields: Ignored,
    hooks: Ignored,
    reportcaller: Ignored,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Switch {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Storage {
    delete: Option<Switch>,
    maintenance: Option<Maintenance>,
    filesystem: Ignored,
    inmemory: Ignored,
    cache: Ignored,
    redirect: Ignored,
    tag: Ignored,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Maintenance {
    readonly: Option<Switch>,
    uploadpurging: Ignored,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Http {
    addr: Option<String>,
    headers: Option<BTreeMap<String, Vec<String>>>,
    tls: Option<Tls>,
    debug: Option<Debug>,
    net: Ignored,
    host: Ignored,
    prefix: Option<String>,
    secret: Ignored,
    relativeurls: Ignored,
    draintimeout: Ignored,
    http2: Ignored,
    h2c: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    minimumtls: Ignored,
    ciphersuites: Ignored,
    clientcas: Ignored,
    clientauth: Ignored,
    letsencrypt: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Debug {
    addr: String,
    prometheus: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthSection {
    htpasswd: Option<HtpasswdSection>,
    token: Option<TokenSection>,
    silly: Ignored,
    none: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HtpasswdSection {
    realm: Option<String>,
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenSection {
    realm: String,
    service: String,
    issuer: String,
    rootcertbundle: Option<PathBuf>,
    jwks: Option<PathBuf>,
    autoredirect: Ignored,
    signingalgorithms: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxySection {
    on: Option<bool>,
    remoteurl: Option<String>,
    remoteregistries: Option<Vec<RemoteEntry>>,
    username: Option<String>,
    password: Option<String>,
    ttl: Option<String>,
    exec: Ignored,
}

/// sealer's registry takes addresses, and addresses with a login.
#[derive(Deserialize)]
#[serde(untagged)]
enum RemoteEntry {
    Address(String),
    Login { url: String, username: Option<String>, password: Option<String> },
}

/// Reads a file.
///
/// # Errors
/// [`ServeError::Config`] with the place of what is wrong.
pub fn parse(source: &Source) -> Result<Config, ServeError> {
    let file: File = serde_saphyr::from_str(&source.text).map_err(|e| {
        let span = e.location().map_or(Span::default(), |location| {
            let (line, column) = (location.line(), location.column());
            span(source, usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1))
        });
        let text = e.without_snippet().to_string();
        mistake(&diagnostic(&text, span), source)
    })?;
    let mut reader = Reader { config: Config::default() };
    let wrong = |message: String| mistake(&Diagnostic::error("Registry", Span::default(), message), source);
    reader.file(file).map_err(wrong)?;
    Ok(reader.config)
}

/// A mistake with its place. Whoever shows errors says that it is one.
fn mistake(found: &Diagnostic, source: &Source) -> ServeError {
    let shown = diag::render(found, source, false);
    ServeError::Config(shown.strip_prefix("error: ").unwrap_or(&shown).trim_end().to_owned())
}

/// A message of the parser, without the place that is shown below it, and with what was probably meant.
fn diagnostic(text: &str, span: Span) -> Diagnostic {
    let first = text.lines().next().unwrap_or("it is not YAML");
    let message = first.rsplit_once(" at line ").map_or(first, |(message, _)| message);
    let word = message.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    let (message, meant) = match word {
        Some((word, rest)) => {
            let known = rest.rsplit_once("expected one of ").map_or("", |(_, known)| known);
            let known = known.split(',').map(|k| k.trim().trim_matches('`'));
            (format!("`{word}` means nothing here"), did_you_mean(word, known).map(str::to_owned))
        }
        None => (message.to_owned(), None),
    };
    let found = Diagnostic::error("Registry", span, message);
    match meant {
        Some(meant) => found.hint(format!("did you mean `{meant}`?")),
        None => found,
    }
}

fn span(source: &Source, line: usize, column: usize) -> Span {
    let start: usize = source.text.split_inclusive('\n').take(line.max(1) - 1).map(str::len).sum();
    let rest = source.text.get(start..).unwrap_or("");
    let at = start + rest.char_indices().nth(column.max(1) - 1).map_or(rest.len(), |(at, _)| at);
    let word = source.text.get(at..).unwrap_or("");
    let length = word.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(word.len());
    Span::new(at, at + length.max(1).min(word.len()))
}

struct Reader {
    config: Config,
}

impl Reader {
    fn nothing(&mut self, key: &str, there: &Ignored, why: &str) {
        if there.is_some() {
            self.config.warnings.push(format!("`{key}` has no meaning here: {why}"));
        }
    }

    fn file(&mut self, file: File) -> Result<(), String> {
        let version = match file.version {
            Some(Scalar::Text(text)) => text,
            Some(Scalar::Number(number)) => number.to_string(),
            None => return Err("`version: 0.1` is missing: is it the configuration of a registry?".to_owned()),
        };
        if version != "0.1" {
            return Err(format!("version `{version}` is not known: the only one there is, is 0.1"));
        }
        for (key, there) in [("middleware", &file.middleware), ("notifications", &file.notifications)] {
            refuse(key, there)?;
        }
        for (key, there, why) in [
            ("loglevel", &file.loglevel, "requests and troubles are logged, and nothing else"),
            ("health", &file.health, "/healthz and http.debug.addr tell the health"),
            ("redis", &file.redis, "what is known of blobs is in the store"),
            ("reporting", &file.reporting, "nothing is reported elsewhere"),
            ("compatibility", &file.compatibility, "schema 1 is not served"),
            ("policy", &file.policy, "manifests of all kinds are taken"),
            ("validation", &file.validation, "what a manifest names must always be here"),
            ("catalog", &file.catalog, "a page of the catalogue has up to 10000 names"),
        ] {
            self.nothing(key, there, why);
        }
        self.log(file.log.unwrap_or_default());
        self.storage(file.storage.unwrap_or_default())?;
        self.http(file.http.unwrap_or_default())?;
        if let Some(auth) = file.auth {
            self.auth(auth)?;
        }
        match file.proxy {
            Some(proxy) => self.proxy(proxy),
            None => Ok(()),
        }
    }

    fn log(&mut self, log: Log) {
        self.config.json = log.formatter.as_deref() == Some("json");
        self.config.no_access_log = log.accesslog.is_some_and(|a| a.disabled);
        self.nothing("log.level", &log.level, "requests and troubles are logged, and nothing else");
        self.nothing("log.fields", &log.fields, "lines have the fields they have");
        self.nothing("log.hooks", &log.hooks, "the log is standard error");
        self.nothing("log.reportcaller", &log.reportcaller, "lines have the fields they have");
    }

    fn storage(&mut self, storage: Storage) -> Result<(), String> {
        self.config.delete = storage.delete.is_some_and(|d| d.enabled);
        let store = "images are in Kiln's store (--store)";
        self.nothing("storage.filesystem", &storage.filesystem, store);
        self.nothing("storage.cache", &storage.cache, "the store needs none");
        self.nothing("storage.redirect", &storage.redirect, "blobs are sent from here");
        self.nothing("storage.tag", &storage.tag, store);
        refuse("storage.inmemory", &storage.inmemory)?;
        let maintenance = storage.maintenance.unwrap_or_default();
        self.config.read_only = maintenance.readonly.is_some_and(|r| r.enabled);
        let purge = "uploads are given up after a day";
        self.nothing("storage.maintenance.uploadpurging", &maintenance.uploadpurging, purge);
        Ok(())
    }

    fn http(&mut self, http: Http) -> Result<(), String> {
        self.config.address = http.addr;
        self.config.debug_address = http.debug.map(|debug| {
            let _ = debug.prometheus;
            debug.addr
        });
        if http.prefix.is_some_and(|p| p != "/" && !p.is_empty()) {
            return Err("`http.prefix` is not supported: the registry is at /v2/".to_owned());
        }
        for (key, there, why) in [
            ("http.net", &http.net, "it listens on TCP"),
            ("http.host", &http.host, "locations are relative to this server"),
            ("http.secret", &http.secret, "uploads are kept in the store"),
            ("http.relativeurls", &http.relativeurls, "locations are always relative"),
            ("http.draintimeout", &http.draintimeout, "transfers are waited for until a second signal"),
            ("http.http2", &http.http2, "clients choose"),
            ("http.h2c", &http.h2c, "clients choose"),
        ] {
            self.nothing(key, there, why);
        }
        if let Some(tls) = http.tls {
            for (key, there) in [
                ("http.tls.letsencrypt", &tls.letsencrypt),
                ("http.tls.clientcas", &tls.clientcas),
                ("http.tls.clientauth", &tls.clientauth),
            ] {
                refuse(key, there)?;
            }
            self.nothing("http.tls.minimumtls", &tls.minimumtls, "TLS 1.2 and 1.3 are spoken");
            self.nothing("http.tls.ciphersuites", &tls.ciphersuites, "they are chosen well");
            self.config.tls = Some((tls.certificate, tls.key));
        }
        for (name, values) in http.headers.unwrap_or_default() {
            for value in values {
                let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
                let header = header.ok_or_else(|| format!("`http.headers`: `{name}` is not a header"))?;
                self.config.headers.push(header);
            }
        }
        match self.config.headers.len() <= MOST {
            true => Ok(()),
            false => Err(format!("`http.headers`: more than {MOST}")),
        }
    }

    fn auth(&mut self, auth: AuthSection) -> Result<(), String> {
        refuse("auth.silly", &auth.silly)?;
        let _ = auth.none;
        if auth.htpasswd.is_some() && auth.token.is_some() {
            return Err("`auth` has both `htpasswd` and `token`: choose one".to_owned());
        }
        self.config.htpasswd = auth.htpasswd.map(|h| (h.realm.unwrap_or_else(|| "Kiln registry".to_owned()), h.path));
        let Some(token) = auth.token else { return Ok(()) };
        self.nothing("auth.token.autoredirect", &token.autoredirect, "clients are sent to auth.token.realm");
        self.nothing("auth.token.signingalgorithms", &token.signingalgorithms, "the key says how it signs");
        let keys = token.jwks.or(token.rootcertbundle);
        let keys = keys.ok_or("`auth.token` needs `jwks`, or `rootcertbundle` with public keys")?;
        self.config.token = Some(Token { realm: token.realm, service: token.service, issuer: token.issuer, keys });
        Ok(())
    }

    fn proxy(&mut self, proxy: ProxySection) -> Result<(), String> {
        refuse("proxy.exec", &proxy.exec)?;
        if proxy.on == Some(false) {
            return Ok(());
        }
        let mut login = proxy.username.zip(proxy.password);
        let mut registries = Vec::new();
        let given = proxy.remoteurl.map(RemoteEntry::Address).into_iter();
        for entry in given.chain(proxy.remoteregistries.unwrap_or_default()) {
            let address = match entry {
                RemoteEntry::Address(address) => address,
                RemoteEntry::Login { url, username, password } => {
                    if registries.is_empty() {
                        login = username.zip(password).or(login);
                    } else if username.is_some() {
                        return Err(
                            "`proxy.remoteregistries`: only the first may have a login here; use kiln login".to_owned()
                        );
                    }
                    url
                }
            };
            registries.push(Remote::parse(&address).map_err(|e| format!("`proxy`: {e}"))?);
        }
        if registries.is_empty() {
            return Err("`proxy` names no registry: `remoteurl`, or `remoteregistries`".to_owned());
        }
        if registries.len() > MOST {
            return Err(format!("`proxy` names more than {MOST} registries"));
        }
        let ttl = match proxy.ttl.as_deref() {
            None => TTL,
            Some(text) => {
                let nanos = kiln_spec::duration::parse(text).map_err(|e| format!("`proxy.ttl`: {e}"))?;
                Duration::from_nanos(u64::try_from(nanos).map_err(|_| "`proxy.ttl` is negative")?)
            }
        };
        self.config.proxy = Some(Remotes { registries, login, ttl });
        Ok(())
    }
}

fn refuse(key: &str, there: &Ignored) -> Result<(), String> {
    match there {
        Some(_) => Err(format!("`{key}` is not supported")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        parse(&Source { name: "registry_config.yml".to_owned(), text: text.to_owned() }).map_err(|e| e.to_string())
    }

    #[test]
    fn the_file_of_a_cluster_image_is_read() {
        let config = read(
            "version: 0.1\nlog:\n  fields: {service: registry}\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  \
             filesystem:\n    rootdirectory: /srv\n  delete:\n    enabled: true\nhttp:\n  addr: :5000\n  headers:\n    \
             X-Content-Type-Options: [nosniff]\nproxy:\n  on: true\n  remoteregistries: [https://registry-1.docker.io, \
             quay.io, {url: 'http://10.0.0.1:5000'}]\nhealth:\n  storagedriver: {enabled: true, interval: 10s}\n",
        )
        .unwrap();
        assert_eq!(config.address.as_deref(), Some(":5000"));
        assert!(config.delete && !config.read_only);
        assert_eq!(config.headers.len(), 1);
        let proxy = config.proxy.unwrap();
        let names: Vec<_> = proxy.registries.iter().map(|r| (r.registry.as_str(), r.plain_http)).collect();
        assert_eq!(names, [("docker.io", false), ("quay.io", false), ("10.0.0.1:5000", true)]);
        assert_eq!(config.warnings.len(), 4, "{:?}", config.warnings);
    }

    #[test]
    fn mistakes_have_a_place() {
        let shown = read("version: 0.1\nhttp:\n  adr: :5000\n").unwrap_err();
        assert!(shown.contains("registry_config.yml:3:3") && shown.contains("did you mean `addr`?"), "{shown}");
        assert!(shown.starts_with("`adr` means nothing here\n"), "{shown}");
        for (text, want) in [
            ("", "version"),
            ("version: 0.2\n", "0.2"),
            ("version: 0.1\nstorage: {s3: {bucket: b}}\n", "`s3` means nothing here"),
            ("version: 0.1\nauth: {silly: {}}\n", "auth.silly"),
            ("version: 0.1\nhttp: {tls: {certificate: a, key: b, letsencrypt: {}}}\n", "letsencrypt"),
            ("version: 0.1\nhttp: {headers: {'a b': [x]}}\n", "not a header"),
            ("version: 0.1\nhttp: {prefix: /x/}\n", "prefix"),
            ("version: 0.1\nproxy: {remoteurl: 'ftp://x/y'}\n", "not the address"),
            ("version: 0.1\nproxy: {on: true}\n", "names no registry"),
            ("version: 0.1\nproxy: {remoteurl: a.b, ttl: soon}\n", "ttl"),
            ("version: 0.1\nauth: {htpasswd: {path: a}, token: {realm: r, service: s, issuer: i, jwks: j}}\n", "both"),
            ("version: 0.1\nversion: 0.1\n", "duplicate"),
            ("version: [", ""),
            ("a: &a [*a]\n", ""),
        ] {
            let shown = read(text).unwrap_err();
            assert!(shown.contains(want), "{text}: {shown}");
        }
    }

    #[test]
    fn logins_are_not_shown() {
        let text = "version: 0.1\nproxy: {remoteurl: a.b, username: u, password: hunter2}\n";
        assert!(!format!("{:?}", read(text).unwrap()).contains("hunter2"));
        let shown = read("version: 0.1\nproxy: {remoteurl: 'https://u:hunter2@a.b/x'}\n").unwrap_err();
        assert!(!shown.split("-->").next().unwrap_or("").contains("hunter2"), "{shown}");
    }
}
