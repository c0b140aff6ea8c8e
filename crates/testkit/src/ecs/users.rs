//! Who may ask: one user, and the roles it may take on.

/// The access key of the only user.
pub const ACCESS_KEY: &str = "LTAIkilntest";
/// Its secret.
pub const SECRET_KEY: &str = "kiln-test-secret";
/// The role that the machine has, and that the user may take on as `acs:ram::1:role/ROLE`.
pub const ROLE: &str = "builder";

/// Temporary keys, of the role.
pub(super) const TEMPORARY: (&str, &str, &str) = ("STS.kilntest", "temporary-secret", "temporary-token");

/// The secret and the token of an access key.
pub(super) fn of(id: &str) -> Option<(&'static str, Option<&'static str>)> {
    match id {
        ACCESS_KEY => Some((SECRET_KEY, None)),
        id if id == TEMPORARY.0 => Some((TEMPORARY.1, Some(TEMPORARY.2))),
        _ => None,
    }
}
