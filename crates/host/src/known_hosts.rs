//! Which keys machines have: files of known hosts, as OpenSSH writes them.
//!
//! ```text
//! name,other,*.example.com,!bad.example.com KEYTYPE BASE64 [comment]   names with wildcards; a match of ! excludes
//! [name]:2222 KEYTYPE BASE64                                           another port than 22
//! |1|SALT|HASH KEYTYPE BASE64                                          a hashed name
//! @revoked … / @cert-authority …                                       never to be trusted / signs for such hosts
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::HostError;
use crate::keys::PublicKey;

/// Files larger than this are refused.
const FILE_LIMIT: u64 = 16 << 20;
/// More names than this in one line are refused.
const NAMES_LIMIT: usize = 4096;

/// The contents of some such files.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    line: usize,
    marker: Marker,
    names: Names,
    kind: String,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Key,
    Authority,
    Revoked,
}

#[derive(Debug, Clone)]
enum Names {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

/// What the files say about a key of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the machine's.
    Trusted,
    /// Nothing is known of the machine.
    Unknown,
    /// The machine is known by other keys, at these places (`FILE:LINE`).
    Changed(Vec<String>),
    /// It is marked as revoked at this place.
    Revoked(String),
}

impl KnownHosts {
    /// Reads files; one that does not exist is empty.
    ///
    /// # Errors
    /// When one cannot be read, is too large, or has a line of `@revoked` that cannot be understood. Other lines that
    /// cannot be understood are left out, as they trust nothing.
    pub fn read(paths: &[PathBuf]) -> Result<KnownHosts, HostError> {
        let mut known = KnownHosts::default();
        for path in paths {
            let fail = |source| HostError::File { what: "read", path: path.clone(), source };
            let file = match fs::File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            let mut bytes = Vec::new();
            file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
            if bytes.len() as u64 > FILE_LIMIT {
                return Err(fail(io::Error::other(format!("it has more than {FILE_LIMIT} bytes"))));
            }
            known.add(path, &String::from_utf8_lossy(&bytes))?;
        }
        Ok(known)
    }

    /// Adds the text of a file.
    ///
    /// # Errors
    /// As [`KnownHosts::read`].
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), HostError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Entry::parse(path, index + 1, line) {
                Ok(entry) => self.entries.push(entry),
                Err(why) if line.starts_with("@revoked") => {
                    return Err(HostError::Line { path: path.to_owned(), line: index + 1, why: why.to_owned() });
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What is known of this key for this machine.
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let blob = key.0.to_bytes().unwrap_or_default();
        let name = name_of(host, port);
        let plain = name_of(host, 22);
        let revoked = |entry: &&Entry| entry.marker == Marker::Revoked && entry.key == blob;
        if let Some(entry) = self.of(&name).chain(self.of(&plain)).find(revoked) {
            return Verdict::Revoked(entry.place());
        }
        let keys: Vec<&Entry> = self.of(&name).filter(|entry| entry.marker == Marker::Key).collect();
        if keys.iter().any(|entry| entry.key == blob) {
            return Verdict::Trusted;
        }
        if !keys.is_empty() {
            return Verdict::Changed(keys.iter().map(|entry| entry.place()).collect());
        }
        // A key that is known for the machine's port 22 is also good on another port, but a different one says nothing.
        match self.of(&plain).any(|entry| entry.marker == Marker::Key && entry.key == blob) {
            true => Verdict::Trusted,
            false => Verdict::Unknown,
        }
    }

    /// What is known of the authority that signed a machine's certificate.
    pub fn check_authority(&self, host: &str, port: u16, authority: &PublicKey) -> Verdict {
        let blob = authority.0.to_bytes().unwrap_or_default();
        let (name, plain) = (name_of(host, port), name_of(host, 22));
        let of_key: Vec<&Entry> = self.of(&name).chain(self.of(&plain)).filter(|entry| entry.key == blob).collect();
        if let Some(entry) = of_key.iter().find(|entry| entry.marker == Marker::Revoked) {
            return Verdict::Revoked(entry.place());
        }
        match of_key.iter().any(|entry| entry.marker == Marker::Authority) {
            true => Verdict::Trusted,
            false => Verdict::Unknown,
        }
    }

    /// The types of the keys that are known for a machine: to be asked for first, or a server with another type as well
    /// would look like a changed one.
    pub(crate) fn kinds(&self, host: &str, port: u16) -> Vec<String> {
        let (name, plain) = (name_of(host, port), name_of(host, 22));
        let key = |entry: &&Entry| entry.marker == Marker::Key;
        let mut kinds: Vec<String> = self.of(&name).filter(key).map(|entry| entry.kind.clone()).collect();
        if kinds.is_empty() {
            kinds = self.of(&plain).filter(key).map(|entry| entry.kind.clone()).collect();
        }
        kinds
    }

    /// Whether an authority is known for a machine.
    pub(crate) fn has_authority(&self, host: &str, port: u16) -> bool {
        let (name, plain) = (name_of(host, port), name_of(host, 22));
        self.of(&name).chain(self.of(&plain)).any(|entry| entry.marker == Marker::Authority)
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.names.matches(name))
    }

    /// Appends a key of a machine to a file, which is made if it is not there, with its directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(path: &Path, host: &str, port: u16, key: &PublicKey) -> Result<(), HostError> {
        let fail = |source| HostError::File { what: "add a host key to", path: path.to_owned(), source };
        if let Some(directory) = path.parent()
            && !directory.as_os_str().is_empty()
        {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(fail)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|error| fail(error.into()))?;
        let mut text = String::new();
        // A last line without its end would swallow the new one.
        let mut old = Vec::new();
        (&mut file).take(FILE_LIMIT).read_to_end(&mut old).map_err(fail)?;
        if old.last().is_some_and(|&byte| byte != b'\n') {
            text.push('\n');
        }
        let blob = key.0.to_bytes().unwrap_or_default();
        text.push_str(&format!("{} {} {}\n", name_of(host, port), key.algorithm(), STANDARD.encode(blob)));
        file.write_all(text.as_bytes()).map_err(fail)
    }
}

impl Entry {
    fn parse(path: &Path, line: usize, text: &str) -> Result<Entry, &'static str> {
        let mut words = text.split_whitespace();
        let mut next = |what| words.next().ok_or(what);
        let mut names = next("there is no name of a host")?;
        let marker = match names {
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::Authority,
            other if other.starts_with('@') => return Err("there is no such mark"),
            _ => Marker::Key,
        };
        if marker != Marker::Key {
            names = next("there is no name of a host")?;
        }
        let kind = next("there is no key type")?.to_owned();
        let key = STANDARD.decode(next("there is no key")?).map_err(|_| "the key is not base64")?;
        let inner = key.get(4..4 + kind.len()).ok_or("the key is too short")?;
        if inner != kind.as_bytes() {
            return Err("the key is of another type than its line says");
        }
        Ok(Entry { path: path.to_owned(), line, marker, names: Names::parse(names)?, kind, key })
    }

    fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
}

impl Names {
    fn parse(text: &str) -> Result<Names, &'static str> {
        if let Some(rest) = text.strip_prefix("|1|") {
            let (salt, hash) = rest.split_once('|').ok_or("a hashed name is |1|SALT|HASH")?;
            let decode = |text| STANDARD.decode(text).map_err(|_| "a hashed name is of base64");
            return Ok(Names::Hashed { salt: decode(salt)?, hash: decode(hash)? });
        }
        if text.starts_with('|') {
            return Err("there is no such hash");
        }
        let patterns: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
        if patterns.len() > NAMES_LIMIT {
            return Err("too many names");
        }
        Ok(Names::Patterns(patterns))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Names::Patterns(patterns) => matches_list(patterns, name),
            Names::Hashed { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, name.as_bytes(), hash).is_ok()
            }
        }
    }
}

/// The name under which a machine is filed.
pub fn name_of(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// A list of patterns: one has to match, and none that begins with `!` may.
pub(crate) fn matches_list(patterns: &[String], name: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if wildcard(not.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => matched |= wildcard(pattern.as_bytes(), name.as_bytes()),
        }
    }
    matched
}

/// `*` and `?`, in time of the product of both lengths at worst.
pub(crate) fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || text.get(t) == Some(&c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Kind, PrivateKey};

    fn key() -> PublicKey {
        PrivateKey::generate(Kind::Ed25519, "").unwrap().public()
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add(Path::new("kh"), text).unwrap();
        known
    }

    #[test]
    fn names_wildcards_negation_and_ports() {
        let (k, other) = (key(), key());
        let hosts = known(&format!(
            "# comment\n\nweb,*.example.com,!bad.example.com {0}\n[web]:2222 {1}\n",
            k.line(),
            other.line()
        ));
        assert_eq!(hosts.check("WEB", 22, &k), Verdict::Trusted);
        assert_eq!(hosts.check("a.example.com", 22, &k), Verdict::Trusted);
        assert_eq!(hosts.check("bad.example.com", 22, &k), Verdict::Unknown);
        assert_eq!(hosts.check("web", 2222, &k), Verdict::Changed(vec!["kh:4".to_owned()]));
        assert_eq!(hosts.check("web", 2200, &k), Verdict::Trusted, "known for port 22");
        assert_eq!(hosts.check("web", 2200, &other), Verdict::Unknown);
        assert_eq!(hosts.check("web", 22, &other), Verdict::Changed(vec!["kh:3".to_owned()]));
    }

    #[test]
    fn revoked_keys_and_authorities() {
        let (k, ca) = (key(), key());
        let hosts = known(&format!("@revoked * {0}\nh {0}\n@cert-authority *.lan {1}\n", k.line(), ca.line()));
        assert_eq!(hosts.check("h", 22, &k), Verdict::Revoked("kh:1".to_owned()));
        assert_eq!(hosts.check_authority("a.lan", 22, &ca), Verdict::Trusted);
        assert_eq!(hosts.check_authority("a.net", 22, &ca), Verdict::Unknown);
        assert_eq!(hosts.check_authority("a.lan", 22, &k), Verdict::Revoked("kh:1".to_owned()));
        assert!(hosts.has_authority("a.lan", 22) && !hosts.has_authority("h", 22));
    }

    #[test]
    fn lines_that_are_no_lines_trust_nothing_and_bad_revocations_are_errors() {
        let k = key();
        let body = k.line();
        let hosts = known(&format!("h\nh ssh-rsa\nh ssh-rsa AAAA\n@what h {body}\n|2|a|b {body}\nh ssh-rsa {}\n", {
            body.split_whitespace().nth(1).unwrap()
        }));
        assert_eq!(hosts.check("h", 22, &k), Verdict::Unknown);
        let error = KnownHosts::default().add(Path::new("kh"), "@revoked * ssh-ed25519 %%%").unwrap_err();
        insta::assert_snapshot!(error, @"kh:1: the key is not base64");
    }

    #[test]
    fn many_stars_are_no_trouble() {
        let pattern = "*a".repeat(400);
        assert!(!wildcard(pattern.as_bytes(), "a".repeat(399).as_bytes()));
        assert!(wildcard(b"a*c?e", b"abbbcde"));
    }

    #[test]
    fn an_appended_key_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".ssh/known_hosts");
        let (first, second) = (key(), key());
        KnownHosts::append(&path, "a", 22, &first).unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        KnownHosts::append(&path, "b", 2222, &second).unwrap();
        let hosts = KnownHosts::read(&[path, directory.path().join("none")]).unwrap();
        assert_eq!(hosts.check("a", 22, &first), Verdict::Trusted);
        assert_eq!(hosts.check("b", 2222, &second), Verdict::Trusted);
        assert_eq!(hosts.kinds("b", 2222), ["ssh-ed25519"]);
    }
}
