//! What can fail between Kiln and Compute Engine. No variant ever holds a credential or a token.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_clouds::CloudError;
use kiln_http::Answer;
use kiln_ledger::LedgerError;
use kiln_objects::ObjectError;

/// A result of this crate.
pub type Result<T, E = GceError> = std::result::Result<T, E>;

/// One complaint of an operation that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Its code, such as `QUOTA_EXCEEDED`.
    pub code: String,
    /// Its words, made safe to show.
    pub message: String,
}

/// Why something could not be done there.
#[derive(Debug, thiserror::Error)]
pub enum GceError {
    /// The asynchronous machinery could not be started.
    #[error("cannot start the network threads: {0}")]
    Start(#[source] io::Error),
    /// The service could not be asked, or credentials could not be had.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// There are no credentials anywhere.
    #[error("no credentials for Google Cloud were found in {}", .looked.join(", "))]
    Anonymous {
        /// Where was looked.
        looked: Vec<String>,
    },
    /// The service refused.
    #[error("{what}: {answer}")]
    Refused {
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
    },
    /// An operation was begun, and failed.
    #[error("{what}: {}", told(complaints))]
    Failed {
        /// What was wanted.
        what: String,
        /// What the operation says.
        complaints: Vec<Complaint>,
    },
    /// It did not come about in time.
    #[error("{what}: not done after {} s", limit.as_secs())]
    Late {
        /// What was wanted.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// An answer that is not the protocol.
    #[error("{what}: the service answers wrongly: {why}")]
    Protocol {
        /// What was wanted.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// What is asked for cannot be.
    #[error("{what}: {why}")]
    Input {
        /// What was wanted.
        what: String,
        /// Why not.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A file of this machine.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was intended.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A disk of this machine.
    #[error("cannot use {}: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: kiln_disk::DiskError,
    },
    /// The object that a disk is uploaded to.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// It could not be written down what is about to be made, so it was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What was made could not be deleted again.
    #[error("not deleted: {}", .0.join("; "))]
    Left(Vec<String>),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

fn told(complaints: &[Complaint]) -> String {
    let lines = complaints.iter().map(|c| match c.code.is_empty() {
        true => c.message.clone(),
        false => format!("{}: {}", c.code, c.message),
    });
    let all = lines.collect::<Vec<_>>().join("; ");
    if all.is_empty() { "the operation failed without saying why".to_owned() } else { all }
}

impl GceError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            GceError::Refused { answer, .. } => Some(answer.status),
            GceError::Object(error) => error.answer().map(|a| a.status),
            _ => None,
        }
    }

    /// The service's codes.
    pub fn codes(&self) -> Vec<&str> {
        match self {
            GceError::Refused { answer, .. } => vec![&answer.code],
            GceError::Failed { complaints, .. } => complaints.iter().map(|c| &*c.code).collect(),
            _ => Vec::new(),
        }
    }

    fn has(&self, code: &str) -> bool {
        // The codes of operations are in capitals, those of refusals in the middle.
        let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
        self.codes().iter().any(|c| plain(c) == plain(code))
    }

    /// Whether it is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) || self.has("RESOURCE_NOT_FOUND")
    }

    /// Whether the name is taken.
    pub fn is_taken(&self) -> bool {
        self.status() == Some(409) || self.has("RESOURCE_ALREADY_EXISTS")
    }

    /// Whether what is to go is still needed by something that is itself going away.
    pub fn is_in_use(&self) -> bool {
        ["RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "RESOURCE_NOT_READY", "RESOURCE_IN_USE"].iter().any(|c| self.has(c))
    }

    /// Whether what was sent is based on a state that somebody has changed meanwhile.
    pub fn is_stale(&self) -> bool {
        self.status() == Some(412) || self.has("CONDITION_NOT_MET")
    }

    /// Whether nothing can have been made by the call that failed so: it was refused before anything began.
    pub fn made_nothing(&self) -> bool {
        matches!(self.status(), Some(400..=499)) || self.is_taken()
    }

    /// Whether the caller asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            GceError::Cancelled => true,
            GceError::Object(error) => error.is_cancelled(),
            _ => false,
        }
    }

    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            GceError::Input { hint, .. } => return hint.clone(),
            GceError::Object(error) => return error.hint(),
            GceError::Anonymous { .. } => {
                "run `gcloud auth application-default login`, or give credentials_file with a service account's key"
            }
            GceError::Cloud(CloudError::Credentials { .. }) => "see docs/googlecompute.md for where credentials may be",
            GceError::Late { .. } => "state_timeout says how long is waited; the operation may still come about",
            GceError::Left(_) => "delete them by hand, or by `kiln node gc`",
            _ if self.has("QUOTA_EXCEEDED") => {
                "ask for more at IAM & Admin > Quotas, delete what is not needed, or take another region"
            }
            _ if self.has("ZONE_RESOURCE_POOL_EXHAUSTED") || self.has("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS") => {
                "the zone has no such machine free now: take another zone or machine_type"
            }
            _ if self.has("accessNotConfigured") || self.has("SERVICE_DISABLED") => {
                "enable the service for the project: gcloud services enable compute.googleapis.com"
            }
            _ if self.has("rateLimitExceeded") || self.status() == Some(429) => {
                "the project asks too often: let fewer builds run at once"
            }
            _ if self.status() == Some(401) => "the token is not accepted: it may have ended",
            _ if self.status() == Some(403) => {
                "the account needs the roles compute.instanceAdmin.v1 and iam.serviceAccountUser in the project"
            }
            _ if self.is_taken() => "take another name, or delete what has it",
            _ if self.is_not_found() => "look at the spelling, the project and the zone",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> GceError {
        GceError::Refused { what: "instance x".to_owned(), answer: Box::new(Answer::new(status, code, "no")) }
    }

    fn failed(code: &str) -> GceError {
        let complaints = vec![Complaint { code: code.to_owned(), message: "no".to_owned() }];
        GceError::Failed { what: "instance x".to_owned(), complaints }
    }

    #[test]
    fn both_spellings_of_a_code_mean_the_same() {
        for error in [refused(400, "resourceInUseByAnotherResource"), failed("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")] {
            assert!(error.is_in_use(), "{error}");
        }
        assert!(refused(409, "alreadyExists").is_taken() && failed("RESOURCE_ALREADY_EXISTS").is_taken());
        assert!(refused(412, "conditionNotMet").is_stale() && refused(404, "notFound").is_not_found());
        assert!(failed("QUOTA_EXCEEDED").hint().unwrap().contains("Quotas"));
        assert!(refused(403, "quotaExceeded").hint().unwrap().contains("Quotas"));
        assert!(refused(403, "forbidden").hint().unwrap().contains("instanceAdmin"));
    }

    #[test]
    fn only_a_refusal_says_that_nothing_was_made() {
        assert!(refused(403, "forbidden").made_nothing() && failed("RESOURCE_ALREADY_EXISTS").made_nothing());
        assert!(!failed("QUOTA_EXCEEDED").made_nothing() && !refused(503, "backendError").made_nothing());
        assert!(!GceError::Cancelled.made_nothing());
    }

    #[test]
    fn an_operation_that_says_nothing_is_told_so() {
        let error = GceError::Failed { what: "disk d".to_owned(), complaints: Vec::new() };
        assert_eq!(error.to_string(), "disk d: the operation failed without saying why");
        assert_eq!(failed("X").to_string(), "instance x: X: no");
    }
}
