//! Keeping credentials: docker's `config.json`, or the store it names.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::credentials::file::{AuthFile, canonical, invalid_json, read_limited, server_key};
use crate::credentials::helper::Helper;
use crate::credentials::{CredentialError, Secret, docker_config, helper};

/// Where a credential was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredIn {
    /// In the configuration file, readable to its owner only but not encrypted.
    File(PathBuf),
    /// In the store of a credential helper.
    Helper(String),
}

/// A configuration file that logins are written to.
#[derive(Debug, Clone)]
pub struct LoginStore {
    path: PathBuf,
    helper_timeout: Duration,
}

impl LoginStore {
    /// A store at a path, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> LoginStore {
        LoginStore { path: path.into(), helper_timeout: super::HELPER_TIMEOUT }
    }

    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    ///
    /// # Errors
    /// Where neither variable is set.
    pub fn from_env() -> Result<LoginStore, CredentialError> {
        docker_config(&|name| std::env::var(name).ok()).map(LoginStore::at).ok_or(CredentialError::NoHome)
    }

    /// Keeps a credential for a registry, replacing an earlier one. Other contents of the file survive.
    pub fn login(&self, host: &str, username: &str, secret: &Secret) -> Result<StoredIn, CredentialError> {
        let _lock = self.lock()?;
        let mut document = self.load()?;
        let key = server_key(host).to_owned();
        let helper = self.helper(&document, host)?;
        let entry = match &helper {
            Some(name) => {
                let helper = Helper::named(name, self.helper_timeout)?;
                helper::blocking(helper.store(&key, username, secret))??;
                // Docker leaves an empty entry behind, as a sign that the store has something.
                Value::Object(Map::new())
            }
            None => {
                let auth = STANDARD.encode(format!("{username}:{}", secret.expose()));
                Value::Object(Map::from_iter([("auth".to_owned(), Value::String(auth))]))
            }
        };
        let auths = self.auths(&mut document)?;
        auths.retain(|k, _| !same_entry(k, host));
        auths.insert(key, entry);
        self.save(&document)?;
        Ok(helper.map_or_else(|| StoredIn::File(self.path.clone()), StoredIn::Helper))
    }

    /// Forgets the credential of a registry. Returns whether there was one in the file.
    pub fn logout(&self, host: &str) -> Result<bool, CredentialError> {
        if !self.path.exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut document = self.load()?;
        let helper = self.helper(&document, host)?;
        let auths = self.auths(&mut document)?;
        let before = auths.len();
        auths.retain(|k, _| !same_entry(k, host));
        let known = auths.len() < before;
        if let Some(name) = helper {
            let helper = Helper::named(&name, self.helper_timeout)?;
            match helper::blocking(helper.erase(server_key(host)))? {
                // Helpers disagree on whether forgetting nothing is an error.
                Err(CredentialError::HelperFailed { .. }) if !known => {}
                other => other?,
            }
        }
        if known {
            self.save(&document)?;
        }
        Ok(known)
    }

    fn load(&self) -> Result<Map<String, Value>, CredentialError> {
        let bytes = read_limited(&self.path)?.unwrap_or_default();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        serde_json::from_slice(&bytes).map_err(|e| invalid_json(&self.place(), &e))
    }

    fn helper(&self, document: &Map<String, Value>, host: &str) -> Result<Option<String>, CredentialError> {
        let json = serde_json::to_vec(document).map_err(|e| invalid_json(&self.place(), &e))?;
        Ok(AuthFile::parse(&json, &self.place())?.helper_for(host).map(str::to_owned))
    }

    fn auths<'a>(&self, document: &'a mut Map<String, Value>) -> Result<&'a mut Map<String, Value>, CredentialError> {
        let slot = document.entry("auths").or_insert(Value::Null);
        if slot.is_null() {
            *slot = Value::Object(Map::new());
        }
        let why = "`auths` is not an object".to_owned();
        slot.as_object_mut().ok_or_else(|| CredentialError::Invalid { place: self.place(), why })
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn fail(&self, action: &'static str) -> impl Fn(std::io::Error) -> CredentialError {
        let path = self.path.clone();
        move |e| CredentialError::File { action, path: path.clone(), why: e.to_string() }
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Held while the file is changed; it is the directory that is locked, so that nothing is left behind.
    fn lock(&self) -> Result<File, CredentialError> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory()).map_err(self.fail("write"))?;
        let dir = File::open(self.directory()).map_err(self.fail("lock"))?;
        dir.lock().map_err(self.fail("lock"))?;
        Ok(dir)
    }

    fn save(&self, document: &Map<String, Value>) -> Result<(), CredentialError> {
        let fail = self.fail("write");
        let mut text = serde_json::to_vec_pretty(document).map_err(|e| invalid_json(&self.place(), &e))?;
        text.push(b'\n');
        // Through a symbolic link: people keep this file elsewhere.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Temporary files are created readable to their owner only.
        let mut file = tempfile::Builder::new().prefix(".config.json.").tempfile_in(dir).map_err(&fail)?;
        file.as_file().set_permissions(Permissions::from_mode(0o600)).map_err(&fail)?;
        file.write_all(&text).map_err(&fail)?;
        file.as_file().sync_all().map_err(&fail)?;
        file.persist(&target).map_err(|e| fail(e.error))?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(&fail)
    }
}

/// Whether a key of `auths` is about the registry as a whole, in any of its forms.
fn same_entry(key: &str, host: &str) -> bool {
    key == host || (canonical(key) == canonical(host) && (key.contains("://") || !key.contains('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credential, Credentials};

    #[test]
    fn a_login_is_found_again_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.json");
        let store = LoginStore::at(&path);
        assert!(!store.logout("reg:5000").unwrap());
        assert_eq!(store.login("docker.io", "u", &Secret::new("p")).unwrap(), StoredIn::File(path.clone()));
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["auths"]["https://index.docker.io/v1/"]["auth"], "dTpw");
        document["HttpHeaders"] = serde_json::json!({"X": "1"});
        document["auths"]["https://reg:5000/v1/"] = serde_json::json!({"auth": "b2xkOm9sZA=="});
        document["auths"]["reg:5000/team"] = serde_json::json!({"auth": "dGVhbTpw"});
        fs::write(&path, document.to_string()).unwrap();
        store.login("reg:5000", "new", &Secret::new("q:q")).unwrap();
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["HttpHeaders"]["X"], "1");
        assert!(document["auths"].get("https://reg:5000/v1/").is_none());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let find = |host: &str, repository: &str| Credentials::none().with_file(&path).find(host, repository).unwrap();
        assert_eq!(find("reg:5000", "x"), Some(Credential::basic("new", "q:q")));
        assert!(store.logout("reg:5000").unwrap());
        assert_eq!(find("reg:5000", "x"), None);
        assert_eq!(find("reg:5000", "team/x"), Some(Credential::basic("team", "p")));
        assert_eq!(find("docker.io", "x"), Some(Credential::basic("u", "p")));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_and_a_broken_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("config.json"));
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        LoginStore::at(&link).login("a", "u", &Secret::new("p")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("auths"));
        for bad in ["{", "[]", r#"{"auths":7}"#] {
            fs::write(&real, bad).unwrap();
            assert!(LoginStore::at(&link).login("a", "u", &Secret::new("p")).is_err());
            assert_eq!(fs::read_to_string(&real).unwrap(), bad);
        }
    }
}
