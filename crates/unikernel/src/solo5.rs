//! What a unikernel for Solo5 says in its two notes: which tender it is for, and which devices it wants.
//!
//! ```text
//! ABI1   target, version, two words that are reserved
//! MFT1   version, number of entries, entries of 104 bytes: name (68), type, what the tender fills in
//! ```
//! The first entry is reserved. A tender refuses to start a unikernel unless every device is attached.

use crate::error::{Result, UnikernelError};
use crate::input::{Words, text};
use crate::notes::Note;

const NAME: &str = "Solo5";
const ABI1: u32 = u32::from_le_bytes(*b"ABI1");
const MFT1: u32 = u32::from_le_bytes(*b"MFT1");
const MANIFEST_VERSION: u32 = 1;
/// Solo5's own limit.
const MAX_ENTRIES: u32 = 64;
const ENTRY: usize = 104;
const ENTRY_NAME: usize = 68;
const RESERVED: u32 = 1 << 30;
/// The manifest is aligned to eight bytes, and the note's head has twenty.
const PADDING: usize = 4;

/// Which tender a unikernel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// solo5-hvt: a virtual machine of KVM, FreeBSD or OpenBSD.
    Hvt,
    /// solo5-spt: a process that may do almost nothing.
    Spt,
    /// A virtual machine with virtio devices.
    Virtio,
    /// The separation kernel Muen.
    Muen,
    /// Genode.
    Genode,
    /// Xen.
    Xen,
}

impl Target {
    const ALL: [(Target, &'static str); 6] = [
        (Target::Hvt, "hvt"),
        (Target::Spt, "spt"),
        (Target::Virtio, "virtio"),
        (Target::Muen, "muen"),
        (Target::Genode, "genode"),
        (Target::Xen, "xen"),
    ];

    /// Its name, as Solo5 spells it.
    pub fn name(self) -> &'static str {
        Target::ALL.iter().find(|(t, _)| *t == self).map_or("", |(_, name)| name)
    }

    /// Targets are numbered from one.
    fn numbered(number: u32) -> Option<Target> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        Target::ALL.get(at).map(|(target, _)| *target)
    }
}

/// A device that a unikernel wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What the unikernel calls it.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A disk.
    Block,
    /// A network card.
    Net,
}

/// What both notes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solo5 {
    /// Which tender it is for.
    pub target: Target,
    /// The version of what it expects of that.
    pub abi_version: u32,
    /// The devices it wants; none when it has no manifest.
    pub devices: Vec<Device>,
}

impl Solo5 {
    /// Reads the notes; none of Solo5's, no unikernel of it.
    ///
    /// # Errors
    /// When a note of Solo5's is not as it must be, or one of the two is missing.
    pub fn of(notes: &[Note]) -> Result<Option<Solo5>> {
        let mine = |kind: u32| notes.iter().find(|n| n.name == NAME && n.kind == kind);
        let (abi, manifest) = (mine(ABI1), mine(MFT1));
        let (abi, manifest) = match (abi, manifest) {
            (None, None) => return Ok(None),
            (Some(abi), Some(manifest)) => (abi, manifest),
            (Some(_), None) => return Err(lacks("manifest (MFT1)", "ABI1")),
            (None, Some(_)) => return Err(lacks("target (ABI1)", "MFT1")),
        };
        let (target, abi_version) = target(abi)?;
        Ok(Some(Solo5 { target, abi_version, devices: devices(manifest)? }))
    }

    /// The names of its network cards, or of its disks.
    pub fn named(&self, kind: DeviceKind) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(move |d| d.kind == kind).map(|d| d.name.as_str())
    }
}

fn lacks(what: &str, has: &str) -> UnikernelError {
    UnikernelError::malformed("its notes of Solo5", format!("{has} is there, but not the {what}"))
}

fn wrong(note: &Note, name: &str, why: impl Into<String>) -> UnikernelError {
    UnikernelError::malformed(format!("Solo5's note {name} at byte {}", note.at), why)
}

fn target(note: &Note) -> Result<(Target, u32)> {
    if note.value.len() != 16 {
        return Err(wrong(note, "ABI1", format!("it has {} bytes, and must have 16", note.value.len())));
    }
    let words = Words(&note.value);
    let number = words.word(0);
    let target = Target::numbered(number)
        .ok_or_else(|| wrong(note, "ABI1", format!("{number} is the number of no target that Solo5 has")))?;
    Ok((target, words.word(4)))
}

fn devices(note: &Note) -> Result<Vec<Device>> {
    let bad = |why: String| wrong(note, "MFT1", why);
    let manifest = note.value.get(PADDING..).unwrap_or_default();
    if manifest.len() < 8 {
        return Err(bad(format!("it has {} bytes, and a manifest's head alone has 12", note.value.len())));
    }
    let words = Words(manifest);
    let (version, count) = (words.word(0), words.word(4));
    if version != MANIFEST_VERSION {
        return Err(bad(format!("it is a manifest of version {version}, and 1 is known")));
    }
    if count > MAX_ENTRIES {
        return Err(bad(format!("it has {count} entries, and Solo5 takes at most {MAX_ENTRIES}")));
    }
    let wanted = 8 + count as usize * ENTRY;
    if manifest.len() != wanted {
        let (has, wanted) = (manifest.len() + PADDING, wanted + PADDING);
        return Err(bad(format!("it has {has} bytes, and {count} entries take {wanted}")));
    }
    let mut found: Vec<Device> = Vec::new();
    for (index, entry) in manifest[8..].chunks_exact(ENTRY).enumerate() {
        let kind = match Words(entry).word(ENTRY_NAME) {
            RESERVED if index == 0 => continue,
            1 => DeviceKind::Block,
            2 => DeviceKind::Net,
            other => return Err(bad(format!("entry {index} is of type {other}, which is not known"))),
        };
        let name = text(&entry[..ENTRY_NAME]).filter(|n| n.bytes().all(|b| b.is_ascii_alphanumeric()));
        let name = name.filter(|n| n.len() < ENTRY_NAME);
        let name = name.ok_or_else(|| bad(format!("entry {index} has no name of letters and digits")))?;
        if found.iter().any(|d| d.name == name) {
            return Err(bad(format!("two entries are called `{name}`")));
        }
        found.push(Device { name, kind });
    }
    Ok(found)
}
