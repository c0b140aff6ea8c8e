//! Users and groups as the image's own `/etc/passwd` and `/etc/group` name them. Nothing of the host is asked.

use kiln_oci::passwd::{self, ResolvedUser, UserError};

use crate::copy::Owner;
use crate::rootfs::Root;

/// As much of a passwd or group file as tells that it is too large: one that is cut could make another user of a line.
const MAX_FILE: u64 = passwd::MAX_FILE as u64 + 1;

fn files(root: &Root) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |path: &str| {
        let found = root.read_file(path.as_bytes(), MAX_FILE);
        found.map(Option::unwrap_or_default).map_err(|e| format!("cannot read `/{path}` of the image: {e}"))
    };
    Ok((read("etc/passwd")?, read("etc/group")?))
}

/// Who a command runs as.
///
/// # Errors
/// When a name is unknown in the image.
pub fn account(root: &Root, user: &str) -> Result<ResolvedUser, String> {
    let (passwd, group) = files(root)?;
    passwd::resolve_user(user, &passwd, &group).map_err(|e| e.to_string())
}

/// Who owns files written for `user[:group]`; a user without a group owns them with its primary one.
///
/// # Errors
/// When a name is unknown in the image.
pub fn owner(root: &Root, text: &str) -> Result<Owner, String> {
    if let Some(owner) = numeric(text) {
        return Ok(owner);
    }
    let (passwd, group) = files(root)?;
    let (uid, gid) = passwd::resolve_owner(text, &passwd, &group).map_err(|e| e.to_string())?;
    Ok(Owner { uid, gid })
}

/// Who owns the directory that `WORKDIR` makes while `USER text` holds, and what of it the image does not know: such a
/// user is root, such a group the user's own, since `USER` may be written before the files that name it are copied.
///
/// # Errors
/// Ids out of range, files too large.
pub fn owner_of_workdir(root: &Root, text: &str) -> Result<(Owner, Option<UserError>), String> {
    if let Some(owner) = numeric(text) {
        return Ok((owner, None));
    }
    let (passwd, group) = files(root)?;
    let resolve = |text: &str| passwd::resolve_owner(text, &passwd, &group);
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let mut unknown = None;
    for known in [text, user, &format!("0:{group}"), "0:0"] {
        match resolve(known) {
            Ok((uid, gid)) => return Ok((Owner { uid, gid }, unknown)),
            Err(why @ (UserError::UnknownUser(_) | UserError::UnknownGroup(_))) => unknown = unknown.or(Some(why)),
            Err(why) => return Err(why.to_string()),
        }
    }
    Err(format!("nobody owns what `USER {text}` makes"))
}

/// `uid` or `uid:gid` in numbers, or `root`, which is 0 wherever it is. A lone number is its own group, as `--chown` has it.
pub fn numeric(text: &str) -> Option<Owner> {
    let id = |name: &str| if name == "root" { Some(0) } else { name.parse().ok() };
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let uid = id(user)?;
    let gid = match group {
        None | Some("") => uid,
        Some(group) => id(group)?,
    };
    Some(Owner { uid, gid })
}
