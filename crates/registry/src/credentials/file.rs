//! Docker's `config.json` and podman's `auth.json`: what they know about a registry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use kiln_oci::reference::DEFAULT_REGISTRY;
use serde::Deserialize;

use crate::credentials::helper::Helper;
use crate::credentials::{Credential, CredentialError, Secret};

/// No file is read beyond this many bytes.
const MAX_FILE: u64 = 4 << 20;
/// The key docker files its own registry under.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Padding is optional: other tools leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parts of a configuration file that are about credentials.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthFile {
    #[serde(default, deserialize_with = "null_is_empty")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "null_is_empty")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(skip)]
    place: String,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    registrytoken: Option<Secret>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl AuthFile {
    /// Reads a file; one that does not exist is none.
    pub(crate) fn read(path: &Path) -> Result<Option<AuthFile>, CredentialError> {
        match read_limited(path)? {
            Some(bytes) => AuthFile::parse(&bytes, &path.display().to_string()).map(Some),
            None => Ok(None),
        }
    }

    /// Reads JSON. Errors give a line and a column but never the text, which holds passwords.
    pub(crate) fn parse(json: &[u8], place: &str) -> Result<AuthFile, CredentialError> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(AuthFile::default());
        }
        let mut file: AuthFile = serde_json::from_slice(json).map_err(|e| invalid_json(place, &e))?;
        place.clone_into(&mut file.place);
        Ok(file)
    }

    /// The helper that credentials for a registry are kept by, if any.
    pub(crate) fn helper_for(&self, host: &str) -> Option<&str> {
        let named = self.cred_helpers.iter().find(|(key, _)| canonical(key) == canonical(host)).map(|(_, name)| name);
        named.or(self.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What the file, or a helper it names, knows about a repository of a registry.
    pub(crate) async fn find(
        &self,
        host: &str,
        repository: &str,
        timeout: Duration,
    ) -> Result<Option<Credential>, CredentialError> {
        let direct = self.direct(host, repository)?;
        if let Some(name) = self.helper_for(host) {
            match ask(name, host, timeout).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // A configuration copied from a desktop names a store that is not here: that matters only where the
                // store would have had something.
                Err(CredentialError::HelperMissing { .. }) if direct.is_some() => {}
                Err(CredentialError::HelperMissing { .. })
                    if self.entry(host, repository).is_none() && !self.named_helper(host) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(direct)
    }

    /// What the file itself knows about a repository of a registry.
    pub(crate) fn direct(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        self.entry(host, repository).map_or(Ok(None), |(key, entry)| entry.credential(&self.place, key))
    }

    fn named_helper(&self, host: &str) -> bool {
        self.cred_helpers.keys().any(|key| canonical(key) == canonical(host))
    }

    /// The most specific entry: `host/a/b` before `host/a` before `host`, exact keys before those in older forms.
    fn entry(&self, host: &str, repository: &str) -> Option<(&str, &Entry)> {
        let mut path = repository;
        while !path.is_empty() {
            let key = format!("{host}/{path}");
            if let Some((key, entry)) = self.auths.get_key_value(&key) {
                return Some((key, entry));
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        let exact = self.auths.get_key_value(host);
        let found =
            exact.or_else(|| self.auths.iter().find(|(key, _)| legacy(key) && canonical(key) == canonical(host)))?;
        Some((found.0, found.1))
    }
}

impl Entry {
    fn credential(&self, place: &str, key: &str) -> Result<Option<Credential>, CredentialError> {
        let set = |secret: &Option<Secret>| secret.clone().filter(|s| !s.expose().is_empty());
        if let Some(token) = set(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken { token }));
        }
        if let Some(auth) = set(&self.auth) {
            let invalid = || CredentialError::Invalid {
                place: place.to_owned(),
                why: format!("the `auth` of `{}` is not the base64 of `user:password`", kiln_http::printable(key)),
            };
            let bytes = BASE64.decode(auth.expose().trim()).map_err(|_| invalid())?;
            let text = String::from_utf8(bytes).map_err(|_| invalid())?;
            let (username, password) = text.split_once(':').ok_or_else(invalid)?;
            // Docker for Windows ended passwords with NUL.
            return Ok(Some(Credential::basic(username, password.trim_end_matches('\0'))));
        }
        match (&self.username, set(&self.password)) {
            (Some(username), Some(password)) if !username.is_empty() => {
                Ok(Some(Credential::Basic { username: username.clone(), password }))
            }
            _ => Ok(None),
        }
    }
}

async fn ask(name: &str, host: &str, timeout: Duration) -> Result<Option<Credential>, CredentialError> {
    Helper::named(name, timeout)?.get(server_key(host)).await
}

/// Whether a key without a path scope: a host, or an address of the older forms `https://host/v1/`.
fn legacy(key: &str) -> bool {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    key.contains("://") || path.is_empty() || matches!(path.trim_end_matches('/'), "v1" | "v2")
}

/// The registry a key means: without scheme and path, with Docker's own under one name.
pub(crate) fn canonical(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match &*host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => host,
    }
}

/// What helpers and docker's own file call a registry.
pub(crate) fn server_key(host: &str) -> &str {
    if canonical(host) == DEFAULT_REGISTRY { DOCKER_HUB_KEY } else { host }
}

/// The bytes of a file up to the limit; none if it does not exist.
pub(crate) fn read_limited(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    let fail = |why: String| CredentialError::File { action: "read", path: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(fail(e.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(Some(bytes))
}

/// A JSON error without the text it is about.
pub(crate) fn invalid_json(place: &str, error: &serde_json::Error) -> CredentialError {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a value has the wrong type",
        serde_json::error::Category::Eof => "it ends too early",
        _ => "it is not JSON",
    };
    let why = format!("{what} at line {} column {}", error.line(), error.column());
    CredentialError::Invalid { place: place.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::helper;

    fn find(json: &str, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let file = AuthFile::parse(json.as_bytes(), "test")?;
        helper::blocking(file.find(host, repository, Duration::from_secs(5)))?
    }

    #[test]
    fn keys_come_in_many_forms() {
        let json = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "https://legacy.example/v2/":{"auth":"bGVnYWN5OnB3"},
            "reg.example:5000":{"username":"plain","password":"p:w"},
            "reg.example:5000/team":{"auth":"dGVhbTpwdw=="},
            "reg.example:5000/team/app":{"identitytoken":"idt"},
            "token.example":{"registrytoken":"rt","auth":"x"}
        }}"#;
        let get = |host: &str, repository: &str| find(json, host, repository).unwrap();
        assert_eq!(get("docker.io", "library/busybox"), Some(Credential::basic("hub", "pw")));
        assert_eq!(get("legacy.example", "x"), Some(Credential::basic("legacy", "pw")));
        assert_eq!(get("reg.example:5000", "other"), Some(Credential::basic("plain", "p:w")));
        assert_eq!(get("reg.example:5000", "team/lib/x"), Some(Credential::basic("team", "pw")));
        assert_eq!(get("reg.example:5000", "teamwork"), Some(Credential::basic("plain", "p:w")));
        assert_eq!(get("reg.example:5000", "team/app"), Some(Credential::IdentityToken { token: Secret::new("idt") }));
        assert_eq!(get("token.example", "x"), Some(Credential::RegistryToken(Secret::new("rt"))));
        assert_eq!(get("reg.example", "x"), None);
        assert_eq!(get("evil-reg.example:5000", "x"), None);
    }

    #[test]
    fn a_scope_of_one_repository_is_not_the_registrys() {
        assert_eq!(find(r#"{"auths":{"reg/team":{"auth":"dGVhbTpwdw=="}}}"#, "reg", "other").unwrap(), None);
    }

    #[test]
    fn broken_files_do_not_show_their_secrets() {
        for bad in [
            r#"{"auths":{"a":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"a":{"username":["hunter2"]}}}"#,
            r#"{"auths":"hunter2"}"#,
            r#"{"auths":{"a":{"password":"hunter2""#,
            r#"{"auths":{"a":{"auth":"aHVudGVyMg=="}}}"#,
        ] {
            let error = find(bad, "a", "x").unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("test"), "{error}");
        }
        assert_eq!(find(" \n", "a", "x").unwrap(), None);
        assert_eq!(find(r#"{"auths":null,"credHelpers":null,"credsStore":""}"#, "a", "x").unwrap(), None);
    }

    #[test]
    fn a_missing_store_matters_only_where_it_is_needed() {
        let json = r#"{"auths":{"in.store":{},"in.file":{"auth":"dTpw"}},"credsStore":"kiln-not-there"}"#;
        assert_eq!(find(json, "elsewhere", "x").unwrap(), None);
        assert_eq!(find(json, "in.file", "x").unwrap(), Some(Credential::basic("u", "p")));
        let error = find(json, "in.store", "x").unwrap_err();
        assert!(matches!(error, CredentialError::HelperMissing { .. }), "{error}");
        let json = r#"{"credHelpers":{"in.helper":"kiln-not-there"}}"#;
        assert!(find(json, "in.helper", "x").is_err());
    }
}
