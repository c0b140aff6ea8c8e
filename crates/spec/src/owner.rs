//! `--chown=user:group`, and `USER user:group`.

/// Names or numbers, unresolved: which user a name is, the image's `/etc/passwd` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Before the `:`; `None` when empty.
    pub user: Option<&'a str>,
    /// Behind the `:`; `None` when empty or when there is no `:`.
    pub group: Option<&'a str>,
}

/// Why an owner cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// Neither user nor group.
    #[error("the owner names neither a user nor a group")]
    Empty,
    /// More than one `:`.
    #[error("`{0}` has more than one `:`: write `user:group`")]
    TooManyParts(String),
}

/// Splits `user`, `user:group` or `:group`.
///
/// # Errors
/// When nothing is named, or there is more than one `:`.
pub fn parse(text: &str) -> Result<Owner<'_>, OwnerError> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if group.contains(':') {
        return Err(OwnerError::TooManyParts(text.to_owned()));
    }
    let some = |part| Some(part).filter(|part: &&str| !part.is_empty());
    match (some(user), some(group)) {
        (None, None) => Err(OwnerError::Empty),
        (user, group) => Ok(Owner { user, group }),
    }
}

/// A user or group given as a number.
pub fn numeric(part: &str) -> Option<u32> {
    // `+5` is a name to the kernel's tools, and to Go.
    if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_owners() {
        assert_eq!(parse("app"), Ok(Owner { user: Some("app"), group: None }));
        assert_eq!(parse("1000:100"), Ok(Owner { user: Some("1000"), group: Some("100") }));
        assert_eq!(parse(":staff"), Ok(Owner { user: None, group: Some("staff") }));
        assert_eq!(parse("app:"), Ok(Owner { user: Some("app"), group: None }));
        assert_eq!(parse(""), Err(OwnerError::Empty));
        assert_eq!(parse(":"), Err(OwnerError::Empty));
        assert!(matches!(parse("a:b:c"), Err(OwnerError::TooManyParts(_))));
        assert_eq!(
            (numeric("42"), numeric("+42"), numeric("root"), numeric("4294967296")),
            (Some(42), None, None, None)
        );
    }
}
