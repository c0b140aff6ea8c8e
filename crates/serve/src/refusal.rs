//! Answers that say no: the error codes of the distribution specification, their status, and their JSON.

use http::{HeaderName, HeaderValue, StatusCode};
use kiln_oci::Digest;
use kiln_store::{ErrorKind, StoreError};
use serde_json::{Value, json};

/// The codes of the specification (section "Error Codes"), and `UNKNOWN`, which Docker's registry uses for its own faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The repository does not have the blob.
    BlobUnknown,
    /// An upload went wrong and cannot go on as asked.
    BlobUploadInvalid,
    /// There is no such upload.
    BlobUploadUnknown,
    /// What came does not have the digest, or a digest is none.
    DigestInvalid,
    /// A manifest names something that the repository does not have.
    ManifestBlobUnknown,
    /// It is not a manifest.
    ManifestInvalid,
    /// The repository does not have the manifest.
    ManifestUnknown,
    /// It is not the name of a repository.
    NameInvalid,
    /// The registry does not have the repository.
    NameUnknown,
    /// A length is not what was announced.
    SizeInvalid,
    /// Who asks has to say who they are.
    Unauthorized,
    /// Who asks may not.
    Denied,
    /// The registry does not do this.
    Unsupported,
    /// Later.
    TooManyRequests,
    /// `n` is no number.
    PaginationNumberInvalid,
    /// The fault is the registry's.
    Unknown,
}

impl Code {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Code::BlobUnknown => "BLOB_UNKNOWN",
            Code::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Code::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Code::DigestInvalid => "DIGEST_INVALID",
            Code::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Code::ManifestInvalid => "MANIFEST_INVALID",
            Code::ManifestUnknown => "MANIFEST_UNKNOWN",
            Code::NameInvalid => "NAME_INVALID",
            Code::NameUnknown => "NAME_UNKNOWN",
            Code::SizeInvalid => "SIZE_INVALID",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Denied => "DENIED",
            Code::Unsupported => "UNSUPPORTED",
            Code::TooManyRequests => "TOOMANYREQUESTS",
            Code::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Code::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Code::BlobUnknown
            | Code::BlobUploadUnknown
            | Code::ManifestBlobUnknown
            | Code::ManifestUnknown
            | Code::NameUnknown => StatusCode::NOT_FOUND,
            Code::BlobUploadInvalid
            | Code::DigestInvalid
            | Code::ManifestInvalid
            | Code::NameInvalid
            | Code::PaginationNumberInvalid
            | Code::SizeInvalid => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Denied => StatusCode::FORBIDDEN,
            Code::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that is not done.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status of the answer; that of the code, unless said otherwise.
    pub status: StatusCode,
    /// The code in its body.
    pub code: Code,
    /// In words.
    pub message: String,
    /// More, for programs.
    pub detail: Option<Box<Value>>,
    /// Headers that belong to it: a challenge, where an upload is.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// One with its usual status.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { status: code.status(), code, message: message.into(), detail: None, headers: Vec::new() }
    }

    /// The same with another status.
    #[must_use]
    pub fn status(self, status: StatusCode) -> Refusal {
        Refusal { status, ..self }
    }

    /// The same with more for programs.
    #[must_use]
    pub fn detail(self, detail: Value) -> Refusal {
        Refusal { detail: Some(Box::new(detail)), ..self }
    }

    /// The same with a header; a value that no header can have is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Refusal {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The body.
    pub fn body(&self) -> String {
        let mut error = json!({"code": self.code.name(), "message": self.message});
        if let Some(detail) = &self.detail {
            error["detail"] = (**detail).clone();
        }
        json!({"errors": [error]}).to_string()
    }

    /// The repository does not have a blob.
    pub fn no_blob(digest: &Digest) -> Refusal {
        Refusal::new(Code::BlobUnknown, "the repository does not have this blob")
            .detail(json!({"digest": digest.to_string()}))
    }
}

/// What the store says, for who asks: the kind of trouble, and no paths of this machine.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match &error {
            StoreError::MissingBlob { digest } => return Refusal::no_blob(digest),
            StoreError::DigestMismatch { actual, .. } => {
                return Refusal::new(Code::DigestInvalid, format!("the bytes have digest {actual}"));
            }
            _ => {}
        }
        let (status, text) = match error.kind() {
            ErrorKind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "the registry's disk is full"),
            ErrorKind::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "the registry can only be read"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "the registry's store failed; its log says more"),
        };
        let code = if status == StatusCode::METHOD_NOT_ALLOWED { Code::Unsupported } else { Code::Unknown };
        Refusal::new(code, text).status(status)
    }
}
