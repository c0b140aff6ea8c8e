//! How a kernel can be entered: what of it a monitor looks for.

use kiln_init::kernel;

use crate::elf::{Elf, MACHINE_X86_64};
use crate::error::{Result, UnikernelError};
use crate::input::{Input, Words};
use crate::notes::Note;

/// Multiboot headers are this near to the beginning of the file.
const MULTIBOOT_WITHIN: u64 = 8 << 10;
const MULTIBOOT2_WITHIN: u64 = 32 << 10;
const MULTIBOOT: u32 = 0x1bad_b002;
const MULTIBOOT2: u32 = 0xe852_50d6;
/// The header has the addresses itself.
const ADDRESSES: u32 = 1 << 16;
/// A note of Xen's: where a guest without a paravirtualised processor is entered.
const XEN_PHYS32_ENTRY: u32 = 18;
/// Setup code of Linux is at most 64 sectors, with its version's text.
const SETUP: u64 = 66 * 512;

/// A header of multiboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiboot {
    /// Where it is in the file.
    pub at: u64,
    /// Whether it says where the kernel is put, so that the file around it does not matter.
    pub addresses: bool,
}

/// The ways into a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// PVH: an address in a note of Xen's.
    pub pvh: Option<u64>,
    /// Multiboot 1.
    pub multiboot: Option<Multiboot>,
    /// Where the header of multiboot 2 is.
    pub multiboot2: Option<u64>,
    /// Linux's boot protocol: it is a bzImage.
    pub bz_image: bool,
    /// It begins with a boot sector.
    pub boot_sector: bool,
    /// It is an ELF file of 64 bits for x86-64.
    pub elf64: bool,
}

impl Boot {
    /// The ways into an ELF file.
    ///
    /// # Errors
    /// When the file cannot be read, or a note of Xen's has another size than an address.
    pub fn of_elf(input: &mut Input<'_>, elf: &Elf) -> Result<Boot> {
        let head = input.up_to(0, MULTIBOOT2_WITHIN)?;
        let entry = elf.notes.iter().find(|n| n.name == "Xen" && n.kind == XEN_PHYS32_ENTRY);
        Ok(Boot {
            pvh: entry.map(address).transpose()?,
            multiboot: multiboot(&head),
            multiboot2: multiboot2(&head),
            bz_image: false,
            boot_sector: false,
            elf64: elf.wide && elf.machine == MACHINE_X86_64,
        })
    }

    /// The ways in, in words.
    pub fn words(&self) -> String {
        let multiboot = self.multiboot.map(|m| if m.addresses { "multiboot with addresses" } else { "multiboot" });
        let all = [
            self.bz_image.then_some("Linux's boot protocol"),
            self.boot_sector.then_some("a boot sector"),
            self.pvh.map(|_| "PVH"),
            multiboot,
            self.multiboot2.map(|_| "multiboot 2"),
        ];
        let all: Vec<&str> = all.into_iter().flatten().collect();
        if all.is_empty() { "its entry point alone".to_owned() } else { all.join(", ") }
    }

    /// How qemu enters it, in the order in which qemu looks.
    ///
    /// # Errors
    /// When it does not: the reason.
    pub fn by_qemu(&self) -> Result<&'static str, String> {
        if self.bz_image {
            return Ok("Linux's boot protocol");
        }
        if self.boot_sector {
            return Ok("the boot sector of a disk");
        }
        match self.multiboot {
            Some(Multiboot { addresses: false, .. }) if self.elf64 => {
                let why = "its multiboot header has no addresses, and qemu takes those of 64-bit files only with them";
                return Err(why.to_owned());
            }
            Some(_) => return Ok("multiboot"),
            None => {}
        }
        match (self.pvh, self.multiboot2) {
            (Some(_), _) => Ok("PVH"),
            (None, Some(_)) => Err("it is entered by multiboot 2 alone, which qemu's -kernel does not do".to_owned()),
            (None, None) => {
                let why =
                    "it has no entry that qemu's -kernel knows: no note for PVH, no multiboot header, no Linux header";
                Err(why.to_owned())
            }
        }
    }

    /// How firecracker enters it.
    ///
    /// # Errors
    /// When it does not: the reason.
    pub fn by_firecracker(&self) -> Result<&'static str, String> {
        match self {
            Boot { elf64: true, pvh: Some(_), .. } => Ok("PVH"),
            Boot { elf64: true, multiboot: None, multiboot2: None, .. } => Ok("Linux's 64-bit entry"),
            Boot { elf64: true, .. } => Err("it is entered by multiboot, which firecracker does not do".to_owned()),
            Boot { bz_image: true, .. } => Err("firecracker takes uncompressed kernels (vmlinux) only".to_owned()),
            _ => Err("firecracker takes ELF files of 64 bits only".to_owned()),
        }
    }
}

fn address(note: &Note) -> Result<u64> {
    let words = Words(&note.value);
    match note.value.len() {
        4 => Ok(words.word(0).into()),
        8 => Ok(words.long(0)),
        other => {
            let what = format!("the note at byte {} with the entry for PVH", note.at);
            Err(UnikernelError::malformed(what, format!("an address has 4 or 8 bytes, and this {other}")))
        }
    }
}

fn multiboot(head: &[u8]) -> Option<Multiboot> {
    let within = head.get(..head.len().min(usize::try_from(MULTIBOOT_WITHIN).unwrap_or(0)))?;
    (0..within.len().saturating_sub(11)).step_by(4).find_map(|at| {
        let words = Words(within.get(at..)?);
        let [magic, flags, sum] = [0, 4, 8].map(|at| words.word(at));
        let good = magic == MULTIBOOT && magic.wrapping_add(flags).wrapping_add(sum) == 0;
        good.then_some(Multiboot { at: at as u64, addresses: flags & ADDRESSES != 0 })
    })
}

fn multiboot2(head: &[u8]) -> Option<u64> {
    (0..head.len().saturating_sub(15)).step_by(8).find_map(|at| {
        let words = Words(head.get(at..)?);
        let [magic, machine, length, sum] = [0, 4, 8, 12].map(|at| words.word(at));
        let total = magic.wrapping_add(machine).wrapping_add(length).wrapping_add(sum);
        (magic == MULTIBOOT2 && total == 0).then_some(at as u64)
    })
}

/// Whether a file is a bzImage, and its version.
///
/// # Errors
/// When it says that it is one and is not: the reason.
pub fn bz_image(input: &mut Input<'_>) -> Result<Option<Option<String>>> {
    let head = input.up_to(0, SETUP.max(1 << 16))?;
    if head.get(0x202..0x206) != Some(b"HdrS") {
        return Ok(None);
    }
    match kernel::version(&head) {
        Ok(version) => Ok(Some(version)),
        Err(kiln_init::InitError::Kernel(why)) => Err(UnikernelError::malformed("its Linux header", why)),
        Err(other) => Err(UnikernelError::malformed("its Linux header", other.to_string())),
    }
}
