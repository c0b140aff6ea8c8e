//! What can fail.

/// Why a key or a signature cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// A key that is not written in a way Kiln reads.
    #[error("it is no key that can be used here: {0}")]
    Key(String),
    /// A private key behind a password that is not the one given.
    #[error("the password is wrong, or the key is damaged")]
    Password,
    /// A private key behind a password, and none was given.
    #[error("the key is behind a password, and none was given")]
    NoPassword,
    /// No new key or signature could be made.
    #[error("the system gives no random numbers")]
    Random,
    /// A document that says something else than what it should.
    #[error("{0}")]
    Document(String),
    /// A signature that another key made, or of another document.
    #[error("the signature was not made by this key of this document")]
    Signature,
}
