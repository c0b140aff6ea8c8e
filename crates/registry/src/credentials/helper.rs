//! Credential helpers: programs named `docker-credential-NAME` that keep secrets.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::answer::printable;
use crate::credentials::{Credential, CredentialError, Secret};

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

/// Asks a helper for the credential of a server; none if it has none.
pub(crate) async fn get(name: &str, server: &str, timeout: Duration) -> Result<Option<Credential>, CredentialError> {
    let (ok, output) = run(name, "get", server.as_bytes(), timeout).await?;
    if !ok {
        let text = String::from_utf8_lossy(&output);
        // The wording helpers agree on; it is the only sign of "not there" the protocol has.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(name, &printable(&text)));
    }
    let found: Found = serde_json::from_slice(&output).map_err(|_| failed(name, "its answer is not a credential"))?;
    if found.secret.expose().is_empty() {
        return Ok(None);
    }
    Ok(Some(match &*found.username {
        TOKEN_USER => Credential::IdentityToken { token: found.secret },
        _ => Credential::Basic { username: found.username, password: found.secret },
    }))
}

/// Hands a helper a credential to keep.
pub(crate) async fn store(
    name: &str,
    server: &str,
    username: &str,
    secret: &Secret,
    timeout: Duration,
) -> Result<(), CredentialError> {
    let kept = Kept { server_url: server, username, secret: secret.expose() };
    let input = serde_json::to_vec(&kept).map_err(|_| failed(name, "the credential cannot be written as JSON"))?;
    succeed(name, run(name, "store", &input, timeout).await?)
}

/// Tells a helper to forget a server.
pub(crate) async fn erase(name: &str, server: &str, timeout: Duration) -> Result<(), CredentialError> {
    succeed(name, run(name, "erase", server.as_bytes(), timeout).await?)
}

fn succeed(name: &str, (ok, output): (bool, Vec<u8>)) -> Result<(), CredentialError> {
    if ok { Ok(()) } else { Err(failed(name, &printable(&String::from_utf8_lossy(&output)))) }
}

fn failed(name: &str, why: &str) -> CredentialError {
    let why = if why.is_empty() { "it gives no reason" } else { why };
    CredentialError::HelperFailed { name: printable(name), why: why.to_owned() }
}

/// Runs a helper: whether it succeeded, and its standard output, which is where helpers write errors, too.
async fn run(name: &str, verb: &str, input: &[u8], timeout: Duration) -> Result<(bool, Vec<u8>), CredentialError> {
    let missing = |why: String| CredentialError::HelperMissing { name: printable(name), why };
    // The name becomes part of a program's name: it must not reach another directory.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(missing("its name is not allowed".to_owned()));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            missing(if e.kind() == ErrorKind::NotFound { "it is not installed".to_owned() } else { e.to_string() })
        })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let work = async {
        let mut output = Vec::new();
        let write = async {
            // A helper may answer, or fail, without reading its input.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_ANSWER).read_to_end(&mut output).await,
                None => Ok(0),
            }
        };
        let ((), read) = tokio::join!(write, read);
        read.map_err(|e| failed(name, &e.to_string()))?;
        let status = child.wait().await.map_err(|e| failed(name, &e.to_string()))?;
        Ok((status.success(), output))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(failed(name, &format!("it did not answer within {} s", timeout.as_secs_f32()))),
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
    use super::*;

    #[test]
    fn names_with_a_path_are_not_run() {
        for bad in ["", "../x", "a/b", "a b", "x;y"] {
            let error = blocking(get(bad, "s", Duration::from_secs(1))).unwrap().unwrap_err();
            assert!(matches!(error, CredentialError::HelperMissing { .. }), "{error}");
        }
    }
}
