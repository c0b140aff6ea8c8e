//! Which kernel a file is.
//!
//! | kind | told by |
//! |---|---|
//! | Rumprun | its recipe: a note of `rumpkernel.org` |
//! | Solo5 | its notes `ABI1` and `MFT1` |
//! | Unikraft | sections that begin with `.uk_` |
//! | OSv | sections of its loader; the boot sector of its disks |
//! | Hermit | its note `HERMIT` |
//! | Linux | the header of a bzImage; notes of Linux or Xen; the banner |
//! | Mini-OS | the name in its notes for Xen |
//! | plain | any way in that a monitor knows |

use std::io::{Read, Seek};

use crate::boot::{self, Boot};
use crate::elf::{Elf, MACHINE_386, MACHINE_AARCH64, MACHINE_X86_64};
use crate::error::{Result, UnikernelError};
use crate::input::Input;
use crate::solo5::Solo5;
use crate::{Kind, linux, osv, unikraft};

/// Hermit's number for the note with the version of its entry.
const HERMIT_ENTRY: u32 = 0x5a00;
/// Rumprun's number for the note with how it was made.
const RUMPRUN_RECIPE: u32 = 0x101;

/// A kernel, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Which.
    pub kind: Kind,
    /// How that is known, as a sentence.
    pub because: String,
    /// Its version.
    pub version: Option<String>,
    /// For which processors, as images spell them.
    pub architecture: &'static str,
    /// The ways into it.
    pub boot: Boot,
    /// What it says to Solo5's tenders.
    pub solo5: Option<Solo5>,
    /// A command line that is in it: that of a disk of OSv's.
    pub line: Option<String>,
    /// The format of the disk, if it is one.
    pub disk: Option<&'static str>,
    /// The bytes of the file.
    pub size: u64,
    /// The memory that its own parts take, in bytes.
    pub memory: u64,
}

/// Says which kernel a file is.
///
/// # Errors
/// When it is none, is broken, or is for machines that are not known.
pub fn recognise<R: Read + Seek>(file: &mut R) -> Result<Kernel> {
    let mut input = Input::over(file)?;
    let head = input.up_to(0, 8)?;
    if head.starts_with(b"\x7fELF") {
        return elf(&mut input);
    }
    let plain = |kind, because: &str, version, boot: Boot, size| Kernel {
        kind,
        because: because.to_owned(),
        version,
        architecture: "amd64",
        boot,
        solo5: None,
        line: None,
        disk: None,
        size,
        memory: size,
    };
    if let Some(version) = boot::bz_image(&mut input)? {
        let boot = Boot { bz_image: true, ..Boot::default() };
        // It unpacks itself to about four times of its size.
        let memory = input.size().saturating_mul(5);
        return Ok(Kernel {
            memory,
            ..plain(Kind::Linux, "it has the header of a bzImage", version, boot, input.size())
        });
    }
    if let Some(line) = osv::disk(&mut input)? {
        let boot = Boot { boot_sector: true, ..Boot::default() };
        let kernel = plain(Kind::Osv, "its boot sector is OSv's", None, boot, input.size());
        return Ok(Kernel { line, disk: Some("raw"), memory: 0, ..kernel });
    }
    Err(UnikernelError::NoKernel(other(&head).to_owned()))
}

/// What a file is instead.
fn other(head: &[u8]) -> &'static str {
    match head {
        [] => "it is empty",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', ..] | [b'B', b'Z', b'h', ..] => {
            "it is compressed; unpack it first"
        }
        [b'Q', b'F', b'I', 0xfb, ..] => "it is a qcow2 disk, and not one of OSv's",
        [b'#', b'!', ..] => "it is a script",
        [b'M', b'Z', ..] => "it is a program for UEFI or Windows",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "it is a program for macOS",
        _ => "it is neither an ELF file nor a bzImage, and no disk of OSv's",
    }
}

fn elf(input: &mut Input<'_>) -> Result<Kernel> {
    let elf = Elf::read(input)?;
    let architecture = match elf.machine {
        MACHINE_X86_64 | MACHINE_386 => "amd64",
        MACHINE_AARCH64 => "arm64",
        other => return Err(UnikernelError::Machine(format!("ELF number {other}"))),
    };
    let boot = Boot::of_elf(input, &elf)?;
    let solo5 = Solo5::of(&elf.notes)?;
    let (kind, because, version) = kind(input, &elf, &boot, solo5.as_ref())?;
    let (size, memory) = (input.size(), elf.loaded().map(|s| s.memory_size).fold(0, u64::saturating_add));
    Ok(Kernel { kind, because, version, architecture, boot, solo5, line: None, disk: None, size, memory })
}

type Told = (Kind, String, Option<String>);

fn kind(input: &mut Input<'_>, elf: &Elf, boot: &Boot, solo5: Option<&Solo5>) -> Result<Told> {
    let told = |kind, because: String, version| Ok((kind, because, version));
    if elf.notes.iter().any(|n| n.name == "rumpkernel.org" && n.kind == RUMPRUN_RECIPE) {
        return told(Kind::Rumprun, "it has Rumprun's recipe in a note".to_owned(), None);
    }
    if let Some(found) = unikraft::of(input, elf)? {
        return told(Kind::Unikraft, format!("it has Unikraft's section {}", found.section), found.version);
    }
    if let Some(solo5) = solo5 {
        let because = format!("its notes say that it is for {} of Solo5", solo5.target.name());
        return told(Kind::Solo5, because, None);
    }
    if let Some(section) = osv::loader(elf) {
        return told(Kind::Osv, format!("it has OSv's section {section}"), None);
    }
    if let Some(note) = elf.notes.iter().find(|n| n.name == "HERMIT" && n.kind == HERMIT_ENTRY) {
        let because = match note.value.first() {
            Some(version) => format!("its note of Hermit says version {version} of the entry"),
            None => {
                let what = format!("the note of Hermit at byte {}", note.at);
                return Err(UnikernelError::malformed(what, "it is empty, and must say a version"));
            }
        };
        return told(Kind::Hermit, because, None);
    }
    if let Some(because) = linux::by_notes(elf) {
        let version = linux::banner(input, elf)?;
        return told(Kind::Linux, because.to_owned(), version);
    }
    if let Some(name) = linux::guest_os(elf).filter(|name| name == "Mini-OS") {
        return told(Kind::MiniOs, format!("its notes for Xen say {name}"), None);
    }
    if let Some(version) = linux::banner(input, elf)? {
        return told(Kind::Linux, "it has Linux's banner".to_owned(), Some(version));
    }
    if boot.pvh.is_none() && boot.multiboot.is_none() && boot.multiboot2.is_none() {
        let why = "it is a program that no monitor knows how to enter: no note of a unikernel, no entry for PVH, no \
                   multiboot header";
        return Err(UnikernelError::NoKernel(why.to_owned()));
    }
    told(Kind::Plain, format!("it can be entered by {}", boot.words()), None)
}
