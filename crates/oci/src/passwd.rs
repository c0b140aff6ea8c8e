//! Users and groups of an image, from its own `/etc/passwd` and `/etc/group`. The host's users play no part.
//!
//! ```text
//! USER text         uid                     gid                              further groups
//! (empty)           0                       0                                where root is a member
//! name              of the entry            of the entry                     where the name is a member
//! number            the number              of the entry with it, else 0     where the entry's name is a member
//! user:group        as above                the group's, or the number       none
//! unknown name      error                   error                            -
//! ```

/// The largest passwd or group file that is read, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// The largest uid or gid `USER` may name: what container runtimes accept.
const MAX_ID: u32 = i32::MAX as u32;

/// The name that every system has for 0.
const ROOT: &str = "root";

/// A line of `/etc/passwd`, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of members, beside those whose primary group it is.
    pub members: Vec<String>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups, in the order of the file.
    pub groups: Vec<u32>,
    /// What `HOME` is unless set; `/` for users without an entry, as runc has it.
    pub home: String,
}

/// Why a `USER` or an owner means nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name `/etc/passwd` does not have.
    #[error("no user `{0}` in the image's /etc/passwd")]
    UnknownUser(String),
    /// A name `/etc/group` does not have.
    #[error("no group `{0}` in the image's /etc/group")]
    UnknownGroup(String),
    /// A number no user or group can have.
    #[error("`{0}` is not a user or group id: they go from 0 to {MAX_ID}")]
    Range(String),
    /// A file larger than [`MAX_FILE`].
    #[error("the image's {0} is larger than {MAX_FILE} bytes")]
    TooLarge(&'static str),
}

/// The users in the bytes of a passwd file. Lines that are malformed are skipped, as C libraries do.
///
/// # Errors
/// [`UserError::TooLarge`].
pub fn parse_passwd(bytes: &[u8]) -> Result<Vec<User>, UserError> {
    let mut users = Vec::new();
    for fields in lines(bytes, "/etc/passwd")? {
        let [name, _, uid, gid, rest @ ..] = &fields[..] else { continue };
        if let (Some(uid), Some(gid), false) = (id(uid), id(gid), name.is_empty()) {
            let home = rest.get(1).map_or_else(String::new, |h| (*h).to_owned());
            users.push(User { name: (*name).to_owned(), uid, gid, home });
        }
    }
    Ok(users)
}

/// The groups in the bytes of a group file. Lines that are malformed are skipped.
///
/// # Errors
/// [`UserError::TooLarge`].
pub fn parse_group(bytes: &[u8]) -> Result<Vec<Group>, UserError> {
    let mut groups = Vec::new();
    for fields in lines(bytes, "/etc/group")? {
        let [name, _, gid, rest @ ..] = &fields[..] else { continue };
        if let (Some(gid), false) = (id(gid), name.is_empty()) {
            let members = rest.first().map_or("", |m| m).split(',').filter(|m| !m.is_empty());
            groups.push(Group { name: (*name).to_owned(), gid, members: members.map(str::to_owned).collect() });
        }
    }
    Ok(groups)
}

/// Who `USER text` runs as. `passwd` and `group` are the files' bytes, empty where the image has none.
///
/// # Errors
/// Unknown names, numbers out of range, files too large.
pub fn resolve_user(text: &str, passwd: &[u8], group: &[u8]) -> Result<ResolvedUser, UserError> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let users = parse_passwd(passwd)?;
    let groups = parse_group(group)?;
    let number = number(user_text)?;
    let entry = match user_text {
        "" => users.iter().find(|u| u.uid == 0),
        _ => users.iter().find(|u| u.name == user_text || number == Some(u.uid)),
    };
    let mut out = match entry {
        Some(u) => {
            let home = if u.home.is_empty() { "/" } else { &u.home };
            ResolvedUser { uid: u.uid, gid: u.gid, groups: Vec::new(), home: home.to_owned() }
        }
        None => {
            let uid = match (user_text, number) {
                ("", _) => 0,
                (_, Some(uid)) => uid,
                (name, None) => return Err(UserError::UnknownUser(name.to_owned())),
            };
            ResolvedUser { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() }
        }
    };
    match (group_text, entry) {
        ("", Some(user)) => {
            out.groups = groups.iter().filter(|g| g.members.contains(&user.name)).map(|g| g.gid).collect();
        }
        ("", None) => {}
        (text, _) => out.gid = group_id(text, &groups)?,
    }
    Ok(out)
}

/// The owner that `--chown=text` means: uid and gid. A number alone is also the group; a name alone brings its group.
///
/// # Errors
/// As [`resolve_user`].
pub fn resolve_owner(text: &str, passwd: &[u8], group: &[u8]) -> Result<(u32, u32), UserError> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let (uid, gid) = match number(user_text)? {
        Some(uid) => (uid, uid),
        None if user_text.is_empty() => (0, 0),
        None => {
            let users = parse_passwd(passwd)?;
            let user = users.iter().find(|u| u.name == user_text).map(|u| (u.uid, u.gid));
            // Everyone knows who root is, images without a passwd file included.
            let user = user.or((user_text == ROOT).then_some((0, 0)));
            user.ok_or_else(|| UserError::UnknownUser(user_text.to_owned()))?
        }
    };
    match (group_text, number(group_text)?) {
        ("", _) => Ok((uid, gid)),
        (_, Some(gid)) => Ok((uid, gid)),
        (name, None) => Ok((uid, group_id(name, &parse_group(group)?)?)),
    }
}

fn group_id(text: &str, groups: &[Group]) -> Result<u32, UserError> {
    let number = number(text)?;
    let entry = groups.iter().find(|g| g.name == text || number == Some(g.gid));
    let root = (text == ROOT).then_some(0);
    entry.map(|g| g.gid).or(number).or(root).ok_or_else(|| UserError::UnknownGroup(text.to_owned()))
}

/// A text as an id; `None` when it is a name, which may well begin with a digit.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse::<u32>().ok().filter(|id| *id <= MAX_ID);
    id.map(Some).ok_or_else(|| UserError::Range(text.to_owned()))
}

fn id(field: &str) -> Option<u32> {
    field.trim().parse().ok()
}

/// The colon-separated fields of each line that is text and no comment.
fn lines<'a>(bytes: &'a [u8], file: &'static str) -> Result<impl Iterator<Item = Vec<&'a str>>, UserError> {
    if bytes.len() > MAX_FILE {
        return Err(UserError::TooLarge(file));
    }
    Ok(bytes.split(|b| *b == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim();
        (!line.is_empty() && !line.starts_with('#')).then(|| line.split(':').collect())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken\nbad:x:one:2::/:\n\
        app:x:1000:1001:App:/home/app:/bin/sh\n12x:x:12:13::/x:\n\xff\xfe:x:5:5::/:\nnohome:x:7:7\n77:x:5:6::/seven:\r\n";
    const GROUP: &[u8] = b"root:x:0:\napp:x:1001:\ntg:x:50:app,root\nmore:x:60:other,app\nbroken:x\n90:x:91:\n";

    fn user(text: &str) -> (u32, u32, Vec<u32>, String) {
        let u = resolve_user(text, PASSWD, GROUP).unwrap();
        (u.uid, u.gid, u.groups, u.home)
    }

    #[test]
    fn users_are_found_as_runtimes_find_them() {
        let of = |uid, gid, groups: &[u32], home: &str| (uid, gid, groups.to_vec(), home.to_owned());
        assert_eq!(user("app"), of(1000, 1001, &[50, 60], "/home/app"));
        assert_eq!(user("1000"), of(1000, 1001, &[50, 60], "/home/app"));
        assert_eq!(user("root:tg"), of(0, 50, &[], "/root"));
        assert_eq!(user("app:99"), of(1000, 99, &[], "/home/app"));
        assert_eq!(user("4242"), of(4242, 0, &[], "/"));
        assert_eq!(user("4242:app"), of(4242, 1001, &[], "/"));
        assert_eq!(user(""), of(0, 0, &[50], "/root"));
        assert_eq!(user("12x"), of(12, 13, &[], "/x"));
        assert_eq!(user("nohome"), of(7, 7, &[], "/"));
        assert_eq!(user("77"), of(5, 6, &[], "/seven"), "a name that looks like a number");
        assert_eq!(user("0:90"), of(0, 91, &[], "/root"));
        assert_eq!(resolve_user("", b"", b"").unwrap().home, "/");
        assert_eq!(resolve_user("0:0", b"", b"").unwrap().gid, 0);
    }

    #[test]
    fn unknown_names_are_errors() {
        let fails = |text: &str| resolve_user(text, PASSWD, GROUP).unwrap_err();
        assert_eq!(fails("ghost"), UserError::UnknownUser("ghost".into()));
        assert_eq!(fails("app:ghosts"), UserError::UnknownGroup("ghosts".into()));
        for bad in ["-1", "4294967296", "2147483648", "0:99999999999"] {
            assert!(matches!(fails(bad), UserError::Range(_)), "{bad}");
        }
        assert_eq!(resolve_user("0", &vec![b'\n'; MAX_FILE + 1], b""), Err(UserError::TooLarge("/etc/passwd")));
    }

    #[test]
    fn owners_of_copied_files() {
        let owner = |text: &str| resolve_owner(text, PASSWD, GROUP);
        assert_eq!(owner("1000"), Ok((1000, 1000)));
        assert_eq!(owner("app"), Ok((1000, 1001)));
        assert_eq!(owner("app:tg"), Ok((1000, 50)));
        assert_eq!(owner("5:6"), Ok((5, 6)));
        assert_eq!(owner(":tg"), Ok((0, 50)));
        assert_eq!(owner("ghost"), Err(UserError::UnknownUser("ghost".into())));
        assert_eq!(resolve_owner("1:2", b"", b""), Ok((1, 2)), "numbers need no files");
        assert_eq!(resolve_owner("root:root", b"", b""), Ok((0, 0)), "nor does root");
    }
}
