//! What can fail between Kiln and a store. No variant ever holds a credential, a token or a signed address.

use std::io;

use kiln_clouds::CloudError;
pub use kiln_http::Answer;

/// A failed try, and whether another one makes sense.
pub(crate) type Failure = kiln_http::Failure<ObjectError>;

/// Why an object could not be read, written, listed or deleted. `what` is its address without a signature.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The asynchronous machinery could not be started.
    #[error("cannot start the network threads: {0}")]
    Start(#[source] io::Error),
    /// The service behind the store could not be asked, or credentials could not be had.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The store wants other, or any, credentials, or does not allow it.
    #[error("{host} refuses access to {what}: {answer}{}", anonymous(looked))]
    Denied {
        /// The host.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
        /// Where credentials were looked for and not found; `None` if some were used.
        looked: Option<Vec<String>>,
    },
    /// The object, or its bucket or container, is not there.
    #[error("{what} does not exist: {answer}")]
    NotFound {
        /// What was wanted.
        what: String,
        /// What the store said.
        answer: Box<Answer>,
    },
    /// Any other refusal.
    #[error("{host} fails on {what}: {answer}")]
    Refused {
        /// The host.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
    },
    /// A redirect, which is never followed, because requests carry credentials.
    #[error("{host} redirects {what} to {target}, which is not followed")]
    Redirect {
        /// The host that redirected.
        host: String,
        /// What was wanted.
        what: String,
        /// Scheme and host of the target; never its path or query.
        target: String,
    },
    /// The object was replaced while it was read.
    #[error("{what} was changed while it was being read")]
    Changed {
        /// The object.
        what: String,
    },
    /// The bytes do not have the sum the store keeps.
    #[error("{host} sends wrong bytes for {what}: their {algorithm} is not the one the store keeps")]
    Checksum {
        /// The host.
        host: String,
        /// The object.
        what: String,
        /// The sum.
        algorithm: &'static str,
    },
    /// The object is larger than the store's protocol, or Kiln, can move.
    #[error("{what} is too large: {size} bytes, and the limit is {limit}")]
    TooLarge {
        /// The object.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// What was downloaded could not be kept.
    #[error("cannot keep what {what} holds: {source}")]
    Sink {
        /// The object.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// A failure of an exchange, as one of a store.
pub(crate) fn lift(failure: kiln_clouds::Failure) -> Failure {
    Failure { error: failure.error.into(), again: failure.again }
}

fn anonymous(looked: &Option<Vec<String>>) -> String {
    let Some(looked) = looked else { return String::new() };
    format!(" (no credentials were found in {})", looked.join(", "))
}

impl ObjectError {
    /// Whether the object, or its bucket, does not exist (as opposed to not being reachable or allowed).
    pub fn is_not_found(&self) -> bool {
        matches!(self, ObjectError::NotFound { .. })
    }

    /// Whether it is the bucket or container that does not exist.
    pub fn is_no_bucket(&self) -> bool {
        let ObjectError::NotFound { answer, .. } = self else { return false };
        matches!(&*answer.code, "NoSuchBucket" | "ContainerNotFound") || answer.message.contains("bucket")
    }

    /// Whether the caller interrupted the work.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, ObjectError::Cancelled)
    }

    /// Whether other credentials would help.
    pub fn is_denied(&self) -> bool {
        matches!(self, ObjectError::Denied { .. })
    }

    /// The store's own words, if it gave any.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            ObjectError::Denied { answer, .. }
            | ObjectError::NotFound { answer, .. }
            | ObjectError::Refused { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// What to do next, where there is something sensible to say.
    pub fn hint(&self) -> Option<String> {
        if let Some(hint) = self.answer().and_then(code_hint) {
            return Some(hint.to_owned());
        }
        let text = match self {
            ObjectError::Denied { what, looked: Some(_), .. } => credentials_hint(what),
            ObjectError::Denied { .. } => {
                "the account that was found lacks the right to do this, or the object does not exist and it may not list the bucket"
            }
            ObjectError::NotFound { .. } => {
                "check the bucket and the key: both are case-sensitive, and nothing is decoded in keys of s3:// and gs://"
            }
            ObjectError::Cloud(CloudError::Untrusted { .. }) => {
                "give the authority's certificate by SSL_CERT_FILE, together with those of the system"
            }
            ObjectError::Cloud(CloudError::Connect { .. }) => {
                "check the network, the proxy variables, and S3_ENDPOINT, STORAGE_EMULATOR_HOST or AZURE_STORAGE_ENDPOINT if one is set"
            }
            ObjectError::Cloud(CloudError::Stalled { .. }) => {
                "the network or the store is very slow, or hangs: try again"
            }
            ObjectError::Cloud(CloudError::Protocol { .. }) => {
                "this may be no such store, or a proxy may answer for it: check the address"
            }
            ObjectError::Redirect { .. } => "name that host as the endpoint, if it is to be trusted with credentials",
            ObjectError::Changed { .. } => "try again when nobody writes it any more",
            ObjectError::Checksum { .. } => {
                "a proxy on the way, or a disk of the store, may alter the content: try again"
            }
            ObjectError::Cloud(CloudError::Credentials { .. }) => {
                "mend what is wrong there, or unset the variable that leads to it"
            }
            ObjectError::Refused { answer, .. } if answer.status >= 500 => "the store has a problem: try again later",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Where credentials may be put, by the scheme of the address.
fn credentials_hint(what: &str) -> &'static str {
    match what.split_once(':').map(|(scheme, _)| scheme) {
        Some("s3") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod or machine a role"
        }
        Some("gs") => {
            "set GOOGLE_APPLICATION_CREDENTIALS to a key file, run `gcloud auth application-default login`, or give the pod or machine a service account"
        }
        _ => {
            "set AZURE_STORAGE_ACCESS_KEY, or put a shared access signature into the URL, or give the pod a workload identity"
        }
    }
}

fn code_hint(answer: &Answer) -> Option<&'static str> {
    Some(match &*answer.code {
        "NoSuchBucket" | "ContainerNotFound" => {
            "the bucket or container does not exist there: check its name and the endpoint"
        }
        "notFound" if answer.message.contains("bucket") => "the bucket does not exist there: check its name",
        "InvalidAccessKeyId" => {
            "the store does not know this key: it may be deleted, or belong to another store (check S3_ENDPOINT)"
        }
        "SignatureDoesNotMatch" | "AuthenticationFailed" => {
            "the secret does not belong to the key, or the clock of this machine is wrong"
        }
        "ExpiredToken" | "ExpiredTokenException" => "the credentials have expired: get new ones",
        "RequestTimeTooSkewed" => "the clock of this machine is wrong: set it",
        "SlowDown" | "ServerBusy" => "the store limits the rate of requests: try again later",
        "KeyBasedAuthenticationNotPermitted" => "the account allows no keys: use a workload identity",
        "invalid_grant" => "the key or token is revoked or expired, or the clock of this machine is wrong",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Box<Answer> {
        Box::new(Answer { status, code: code.to_owned(), message: String::new() })
    }

    #[test]
    fn who_finds_no_credentials_says_where_it_looked() {
        let looked = Some(vec!["the environment".to_owned(), "~/.aws/credentials".to_owned()]);
        let denied = |what: &str, looked| ObjectError::Denied {
            host: "h".into(),
            what: what.into(),
            answer: answer(403, "AccessDenied"),
            looked,
        };
        let error = denied("s3://b/k", looked.clone());
        assert_eq!(
            error.to_string(),
            "h refuses access to s3://b/k: HTTP 403 AccessDenied (no credentials were found in the environment, ~/.aws/credentials)"
        );
        assert!(error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"));
        assert!(denied("gs://b/k", looked.clone()).hint().unwrap().contains("GOOGLE_APPLICATION_CREDENTIALS"));
        assert!(denied("https://x", looked).hint().unwrap().contains("AZURE_STORAGE_ACCESS_KEY"));
        assert!(denied("s3://b/k", None).hint().unwrap().contains("lacks the right"));
    }

    #[test]
    fn codes_have_hints_of_their_own() {
        let missing = |code| ObjectError::NotFound { what: "s3://b/k".into(), answer: answer(404, code) };
        assert!(missing("NoSuchBucket").hint().unwrap().contains("bucket or container does not exist"));
        assert!(missing("NoSuchKey").hint().unwrap().contains("case-sensitive"));
        assert!(missing("NoSuchKey").is_not_found() && !missing("NoSuchKey").is_denied());
        assert!(missing("ContainerNotFound").is_no_bucket() && !missing("NoSuchKey").is_no_bucket());
    }
}
