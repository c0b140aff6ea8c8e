//! Credential helpers: programs named `docker-credential-NAME` that keep secrets.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::credentials::{Credential, CredentialError, Secret};
use kiln_http::printable;

/// No answer of a helper is read beyond this many bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    username: String,
    secret: Secret,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// A program that keeps secrets.
pub(crate) struct Helper {
    /// Its name without `docker-credential-`.
    name: String,
    program: PathBuf,
    timeout: Duration,
}

impl Helper {
    /// The helper of a name, found in `PATH`.
    pub(crate) fn named(name: &str, timeout: Duration) -> Result<Helper, CredentialError> {
        // The name becomes part of a program's name: it must not reach another directory.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            let why = "its name is not allowed".to_owned();
            return Err(CredentialError::HelperMissing { name: printable(name), why });
        }
        Ok(Helper { name: name.to_owned(), program: format!("docker-credential-{name}").into(), timeout })
    }

    /// The credential of a server; none if it has none.
    pub(crate) async fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let (ok, output) = self.run("get", server.as_bytes()).await?;
        if !ok {
            let text = String::from_utf8_lossy(&output);
            // The wording helpers agree on; it is the only sign of "not there" the protocol has.
            if text.contains("credentials not found") {
                return Ok(None);
            }
            return Err(self.failed(&printable(&text)));
        }
        let found: Found =
            serde_json::from_slice(&output).map_err(|_| self.failed("its answer is not a credential"))?;
        if found.secret.expose().is_empty() {
            return Ok(None);
        }
        Ok(Some(match &*found.username {
            TOKEN_USER => Credential::IdentityToken { token: found.secret },
            _ => Credential::Basic { username: found.username, password: found.secret },
        }))
    }

    /// Keeps a credential for a server.
    pub(crate) async fn store(&self, server: &str, username: &str, secret: &Secret) -> Result<(), CredentialError> {
        let kept = Kept { server_url: server, username, secret: secret.expose() };
        let input = serde_json::to_vec(&kept).map_err(|_| self.failed("the credential cannot be written as JSON"))?;
        self.succeed(self.run("store", &input).await?)
    }

    /// Forgets a server.
    pub(crate) async fn erase(&self, server: &str) -> Result<(), CredentialError> {
        self.succeed(self.run("erase", server.as_bytes()).await?)
    }

    fn succeed(&self, (ok, output): (bool, Vec<u8>)) -> Result<(), CredentialError> {
        if ok { Ok(()) } else { Err(self.failed(&printable(&String::from_utf8_lossy(&output)))) }
    }

    fn failed(&self, why: &str) -> CredentialError {
        let why = if why.is_empty() { "it gives no reason" } else { why };
        CredentialError::HelperFailed { name: self.name.clone(), why: why.to_owned() }
    }

    /// Runs the program: whether it succeeded, and its standard output, which is where helpers write errors, too.
    async fn run(&self, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), CredentialError> {
        let missing = |e: io::Error| {
            let why = if e.kind() == ErrorKind::NotFound { "it is not installed".to_owned() } else { e.to_string() };
            CredentialError::HelperMissing { name: self.name.clone(), why }
        };
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(missing)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let write = async {
            // A helper may answer, or fail, without reading its input.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let read = async {
            let mut output = Vec::new();
            match stdout {
                Some(stdout) => stdout.take(MAX_ANSWER).read_to_end(&mut output).await.map(|_| output),
                None => Ok(output),
            }
        };
        let work = async {
            let ((), output) = tokio::join!(write, read);
            let output = output.map_err(|e| self.failed(&e.to_string()))?;
            let status = child.wait().await.map_err(|e| self.failed(&e.to_string()))?;
            Ok((status.success(), output))
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(self.failed(&format!("it did not answer within {} s", self.timeout.as_secs_f32()))),
        }
    }
}

/// Runs asynchronous work on the calling thread.
pub(crate) fn blocking<T>(work: impl Future<Output = T>) -> Result<T, CredentialError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CredentialError::HelperFailed { name: "*".to_owned(), why: e.to_string() })?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A helper that is a shell script; it sees its verb as `$1`.
    fn script(dir: &std::path::Path, text: &str) -> Helper {
        let program = dir.join("helper");
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Helper { name: "script".to_owned(), program, timeout: Duration::from_secs(20) }
    }

    #[test]
    fn names_with_a_path_are_not_run() {
        for bad in ["", "../x", "a/b", "a b", "x;y"] {
            assert!(matches!(Helper::named(bad, Duration::ZERO), Err(CredentialError::HelperMissing { .. })), "{bad}");
        }
    }

    #[test]
    fn helpers_are_asked_in_their_protocol() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        let text = format!(
            r#"case $1 in
            get) read -r server; case $server in
                reg) echo '{{"ServerURL":"reg","Username":"u","Secret":"s"}}';;
                token) echo '{{"ServerURL":"token","Username":"<token>","Secret":"s"}}';;
                odd) echo 'hunter2';;
                locked) echo 'the keyring is locked'; exit 1;;
                *) echo 'credentials not found in native keychain'; exit 1;;
            esac;;
            *) cat > {}; test $1 = store;;
            esac"#,
            kept.display()
        );
        let helper = script(dir.path(), &text);
        let get = |server: &str| blocking(helper.get(server)).unwrap();
        assert_eq!(get("reg\n"), Ok(Some(Credential::basic("u", "s"))));
        assert_eq!(get("token\n"), Ok(Some(Credential::IdentityToken { token: Secret::new("s") })));
        assert_eq!(get("other\n"), Ok(None));
        assert!(get("locked\n").unwrap_err().to_string().ends_with("failed: the keyring is locked"));
        assert!(!get("odd\n").unwrap_err().to_string().contains("hunter2"));
        blocking(helper.store("reg", "u", &Secret::new("p\"q"))).unwrap().unwrap();
        let input = std::fs::read_to_string(&kept).unwrap();
        assert_eq!(input, r#"{"ServerURL":"reg","Username":"u","Secret":"p\"q"}"#);
        assert!(blocking(helper.erase("reg")).unwrap().is_err());
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "reg");
    }

    #[test]
    fn a_helper_that_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let helper = Helper { timeout: Duration::from_millis(50), ..script(dir.path(), "exec sleep 600") };
        let error = blocking(helper.get("reg")).unwrap().unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
    }
}
