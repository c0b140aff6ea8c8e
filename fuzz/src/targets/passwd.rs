//! `/etc/passwd` and `/etc/group` of an image: a first line is who is asked for, a line of `--` parts the files.

use kiln_oci::passwd::{resolve_owner, resolve_user};

/// Resolves as `USER` and as `--chown`.
pub fn run(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (who, files) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let at = files.windows(4).position(|w| w == b"\n--\n");
    let (passwd, group) = at.map_or((files, &b""[..]), |at| (&files[..=at], &files[at + 4..]));
    let Ok(who) = std::str::from_utf8(who) else { return };
    if let Ok(user) = resolve_user(who, passwd, group) {
        assert!(!user.home.is_empty() && !user.home.contains('\n'));
        assert!(
            who.contains(|c: char| !c.is_ascii_digit())
                || who.is_empty()
                || who.parse() == Ok(user.uid)
                || !passwd.is_empty()
        );
    }
    let _ = resolve_owner(who, passwd, group);
}
