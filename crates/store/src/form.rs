//! How unpacked files are kept: as they are, or so that a user without rights can keep them.
//!
//! ```text
//! form      owners              device nodes        overlayfs's marks    in the store as
//! real      the files' own      nodes               trusted.overlay.*    <layer>
//! no nodes  the files' own      user.kiln.node      trusted.overlay.*    <layer>-n
//! mapped    the files' own      user.kiln.node      user.overlay.*       <layer>-u<hash of the id maps>
//! virtual   user.kiln.owner     user.kiln.node      user.overlay.*       <layer>-v
//! ```
//! A node that may not be made is an empty file with an attribute that says what it is. What can have no attribute of a
//! user (links, pipes) has its virtual owner in the layer's listing only. A directory kept in one form is wrong in
//! another, so each has names of its own, also for the directories of `RUN --mount=type=cache`.

use std::os::fd::AsFd;

use kiln_oci::Digest;
use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use crate::unpack::{Devices, OverlayXattrs, Owners};

/// The attribute with a virtual owner: `uid:gid`.
pub(crate) const OWNER: &[u8] = b"user.kiln.owner";
/// The attribute that makes a file a device: `c:major:minor` or `b:major:minor`.
pub(crate) const NODE: &[u8] = b"user.kiln.node";

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
        }
    }

    /// What to do with owners and devices.
    pub(crate) fn how(&self) -> (Owners, Devices) {
        match self {
            Form::Real => (Owners::Keep, Devices::Create),
            Form::NoNodes | Form::Mapped(_) => (Owners::Keep, Devices::Virtual),
            Form::Virtual => (Owners::Virtual, Devices::Virtual),
        }
    }

    /// Where overlayfs puts its marks.
    pub fn marks(&self) -> OverlayXattrs {
        match self {
            Form::Real | Form::NoNodes => OverlayXattrs::Trusted,
            Form::Mapped(_) | Form::Virtual => OverlayXattrs::User,
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
            mapped.iter().chain(&[Form::Real, Form::NoNodes, Form::Virtual]).map(Form::suffix).collect();
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
        set_owner(&file, 0, 0).expect("owner");
        set_owner(&file, 0, 0).expect("again");
        assert_eq!(owner_of(&file), Ok((0, 0)));
    }
}
