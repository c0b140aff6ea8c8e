//! How unpacked files are kept: as they are, or so that a user without rights can keep them.
//!
//! ```text
//! form      owners              device nodes        overlayfs's marks    in the store as
//! real      the files' own      nodes               trusted.overlay.*    <layer>
//! no nodes  the files' own      user.kiln.node      trusted.overlay.*    <layer>-n
//! mapped    the files' own      user.kiln.node      user.overlay.*       <layer>-u<hash of the id maps>
//! virtual   user.kiln.owner     user.kiln.node      user.overlay.*       <layer>-v
//! bare      user.kiln.owner     user.kiln.node      -                    <layer>-b
//! ```
//! A node that may not be made is an empty file with an attribute that says what it is. What can have no attribute of a
//! user (links, pipes) has its virtual owner in the layer's listing only. In the form `bare` whoever keeps a file may do
//! no more than its owner may: a mode that would keep it from reading or writing, or gives rights to programs, is an
//! attribute too (`user.kiln.mode`), and so are a program's capabilities (`user.kiln.capability`). A directory kept in one form is wrong in
//! another, so each has names of its own, also for the directories of `RUN --mount=type=cache`.

use std::os::fd::AsFd;

use kiln_oci::Digest;
use rustix::fs::{Mode, XattrFlags, fchmod, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use crate::unpack::{Devices, OverlayXattrs, Owners};

/// The attribute with a virtual owner: `uid:gid`.
pub(crate) const OWNER: &[u8] = b"user.kiln.owner";
/// The attribute that makes a file a device: `c:major:minor` or `b:major:minor`.
pub(crate) const NODE: &[u8] = b"user.kiln.node";

/// The attribute with the mode, where the file's own is another.
const MODE: &[u8] = b"user.kiln.mode";
/// The attribute with a program's capabilities.
pub(crate) const CAPABILITY: &[u8] = b"user.kiln.capability";

/// How unpacked files are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// As the layer says.
    #[default]
    Real,
    /// As the layer says, by somebody who may not make device nodes: root in a pod with a user namespace of its own.
    NoNodes,
    /// In a user namespace whose ids are those of the images.
    Mapped(MapId),
    /// By a user with one id.
    Virtual,
    /// By a user with one id and no right at all.
    Bare,
}

/// Which ids the files on the disk have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MapId(String);

impl Form {
    /// The form for a user namespace; `maps` is any text that tells its id maps from others.
    pub fn mapped(maps: &str) -> Form {
        Form::Mapped(MapId(Digest::of(maps.as_bytes()).hex()[..8].to_owned()))
    }

    /// What the names of its directories end with.
    pub(crate) fn suffix(&self) -> String {
        match self {
            Form::Real => String::new(),
            Form::NoNodes => "-n".to_owned(),
            Form::Mapped(MapId(id)) => format!("-u{id}"),
            Form::Virtual => "-v".to_owned(),
            Form::Bare => "-b".to_owned(),
        }
    }

    /// Whether owners are in attributes, and those of links and pipes in listings.
    pub fn has_virtual_owners(&self) -> bool {
        matches!(self, Form::Virtual | Form::Bare)
    }

    /// What to do with owners and devices.
    pub(crate) fn how(&self) -> (Owners, Devices) {
        match self {
            Form::Real => (Owners::Keep, Devices::Create),
            Form::NoNodes | Form::Mapped(_) => (Owners::Keep, Devices::Virtual),
            Form::Virtual => (Owners::Virtual, Devices::Virtual),
            Form::Bare => (Owners::Bare, Devices::Virtual),
        }
    }

    /// Where overlayfs puts its marks.
    pub fn marks(&self) -> OverlayXattrs {
        match self {
            Form::Real | Form::NoNodes => OverlayXattrs::Trusted,
            Form::Mapped(_) | Form::Virtual | Form::Bare => OverlayXattrs::User,
        }
    }
}

/// The owner that the attribute of an open file says; root without one.
pub(crate) fn owner_of(file: impl AsFd) -> Result<(u32, u32), Errno> {
    let Some(text) = attribute(file, OWNER)? else { return Ok((0, 0)) };
    let parsed = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    parsed.ok_or(Errno::INVAL)
}

/// Notes the owner of an open file.
pub(crate) fn set_owner(file: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    if (uid, gid) == (0, 0) {
        return match fremovexattr(file, OWNER) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        };
    }
    fsetxattr(file, OWNER, format!("{uid}:{gid}").as_bytes(), XattrFlags::empty())
}

/// The device that an open file stands for: whether it is a block device, and its numbers.
pub(crate) fn node_of(file: impl AsFd) -> Result<Option<(bool, u32, u32)>, Errno> {
    let Some(text) = attribute(file, NODE)? else { return Ok(None) };
    let mut parts = text.split(':');
    let mut next = || parts.next().ok_or(Errno::INVAL);
    let block = match next()? {
        "b" => true,
        "c" => false,
        _ => return Err(Errno::INVAL),
    };
    let (major, minor) = (next()?.parse(), next()?.parse());
    Ok(Some((block, major.map_err(|_| Errno::INVAL)?, minor.map_err(|_| Errno::INVAL)?)))
}

/// Makes an open file stand for a device.
pub(crate) fn set_node(file: impl AsFd, block: bool, (major, minor): (u32, u32)) -> Result<(), Errno> {
    let text = format!("{}:{major}:{minor}", if block { 'b' } else { 'c' });
    fsetxattr(file, NODE, text.as_bytes(), XattrFlags::empty())
}

/// The mode of an open file or directory, whose own is `own`.
pub(crate) fn mode_of(file: impl AsFd, own: u32) -> Result<u32, Errno> {
    let Some(text) = attribute(file, MODE)? else { return Ok(own) };
    u32::from_str_radix(&text, 8).map_err(|_| Errno::INVAL)
}

/// Gives an open file or directory a mode, so that its owner can always read and write it.
pub(crate) fn set_mode(file: impl AsFd, is_dir: bool, mode: u32) -> Result<(), Errno> {
    let kept = mode & 0o777 | if is_dir { 0o700 } else { 0o600 };
    fchmod(&file, Mode::from_raw_mode(kept))?;
    if kept != mode {
        return fsetxattr(file, MODE, format!("{mode:o}").as_bytes(), XattrFlags::empty());
    }
    match fremovexattr(file, MODE) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

/// Makes the attributes of forms of one open file those of another too.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let mut value = [0; 64];
    for name in [OWNER, NODE, MODE, CAPABILITY] {
        match fgetxattr(&from, name, &mut value[..]) {
            Ok(len) => fsetxattr(&to, name, &value[..len], XattrFlags::empty())?,
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn attribute(file: impl AsFd, name: &[u8]) -> Result<Option<String>, Errno> {
    let mut value = [0; 64];
    match fgetxattr(file, name, &mut value[..]) {
        Ok(len) => Ok(Some(String::from_utf8_lossy(&value[..len]).into_owned())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_do_not_share_names() {
        let mapped = [Form::mapped("0 1000 1"), Form::mapped("0 0 1")];
        let suffixes: Vec<String> =
            mapped.iter().chain(&[Form::Real, Form::NoNodes, Form::Virtual, Form::Bare]).map(Form::suffix).collect();
        for (at, one) in suffixes.iter().enumerate() {
            assert!(suffixes.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(suffixes[0].len(), 10);
    }

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let file = tempfile::tempfile().expect("file");
        assert_eq!((owner_of(&file), node_of(&file)), (Ok((0, 0)), Ok(None)));
        set_owner(&file, 5, 70_000).expect("owner");
        set_node(&file, true, (8, 1)).expect("node");
        assert_eq!((owner_of(&file), node_of(&file)), (Ok((5, 70_000)), Ok(Some((true, 8, 1)))));
        for (is_dir, mode, own) in
            [(false, 0o4000, 0o600), (false, 0o640, 0o640), (true, 0o1555, 0o755), (true, 0, 0o700)]
        {
            set_mode(&file, is_dir, mode).expect("mode");
            let kept = crate::stat::Stat::of(&file).expect("stat").mode;
            assert_eq!((kept, mode_of(&file, kept)), (own, Ok(mode)));
        }
        let other = tempfile::tempfile().expect("file");
        copy(&file, &other).expect("copy");
        assert_eq!((owner_of(&other), mode_of(&other, 0o600)), (Ok((5, 70_000)), Ok(0)));
        set_owner(&file, 0, 0).expect("owner");
        set_owner(&file, 0, 0).expect("again");
        assert_eq!(owner_of(&file), Ok((0, 0)));
    }
}
