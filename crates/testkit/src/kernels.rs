//! Kernels of all kinds, as files: ELF by hand, with the notes, sections and headers that each kind really has.
//!
//! Formats: the System V ABI for ELF; `include/solo5/{elf,mft}_abi.h` of Solo5; `lib/uklibid/libinfo.S` of Unikraft;
//! `arch/x64/{loader.ld,boot16.S}` of OSv; `app-tools/recipe.s.in` of Rumprun; the module `note` of hermit-entry; the
//! multiboot specification; `Documentation/arch/x86/boot.rst` of Linux; Xen's `elfnote.h`.

/// Where a kernel's code lies in memory.
const ADDRESS: u64 = 0x10_0000;
/// x86-64.
const X86_64: u16 = 62;
/// 32-bit x86.
const I386: u16 = 3;
/// Xen's note with the entry for PVH.
const PHYS32_ENTRY: u32 = 18;

/// An executable that grows.
#[derive(Debug, Clone)]
pub struct Elf {
    /// Whether it is a 64-bit file.
    pub wide: bool,
    /// The number of its processors.
    pub machine: u16,
    code: Vec<u8>,
    notes: Vec<Vec<u8>>,
    sections: Vec<(String, Vec<u8>)>,
}

impl Default for Elf {
    fn default() -> Elf {
        Elf::new()
    }
}

impl Elf {
    /// A 64-bit one for x86-64 that does nothing.
    pub fn new() -> Elf {
        Elf { wide: true, machine: X86_64, code: vec![0xf4, 0xeb, 0xfd], notes: Vec::new(), sections: Vec::new() }
    }

    /// The same of 32 bits.
    #[must_use]
    pub fn narrow(self) -> Elf {
        Elf { wide: false, machine: I386, ..self }
    }

    /// With this code, which is entered at its beginning.
    #[must_use]
    pub fn code(self, code: impl AsRef<[u8]>) -> Elf {
        Elf { code: code.as_ref().to_vec(), ..self }
    }

    /// With a note, in a segment of its own.
    #[must_use]
    pub fn note(mut self, name: &str, kind: u32, value: &[u8]) -> Elf {
        let length = |n: usize| u32::try_from(n).expect("a short note").to_le_bytes();
        let mut note = [length(name.len() + 1), length(value.len()), kind.to_le_bytes()].concat();
        note.extend_from_slice(name.as_bytes());
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend_from_slice(value);
        note.resize(note.len().next_multiple_of(4), 0);
        self.notes.push(note);
        self
    }

    /// With these bytes as a segment of notes, whatever they are.
    #[must_use]
    pub fn raw_note(mut self, bytes: &[u8]) -> Elf {
        self.notes.push(bytes.to_vec());
        self
    }

    /// With a section.
    #[must_use]
    pub fn section(mut self, name: &str, bytes: &[u8]) -> Elf {
        self.sections.push((name.to_owned(), bytes.to_vec()));
        self
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let (header, segment) = if self.wide { (64, 56) } else { (52, 32) };
        let segments = 1 + self.notes.len();
        let code_at = (header + segment * segments).next_multiple_of(16);
        let mut body = vec![0; code_at];
        body.extend_from_slice(&self.code);
        let mut note_places = Vec::new();
        for note in &self.notes {
            body.resize(body.len().next_multiple_of(8), 0);
            note_places.push((body.len(), note.len()));
            body.extend_from_slice(note);
        }
        let sections_at = self.put_sections(&mut body);
        let mut head = self.head(header, segments, sections_at);
        self.put_segment(&mut head, 1, (code_at, self.code.len()), ADDRESS);
        for place in note_places {
            self.put_segment(&mut head, 4, place, 0);
        }
        body[..head.len()].copy_from_slice(&head);
        body
    }

    fn number(&self, out: &mut Vec<u8>, value: u64) {
        match self.wide {
            true => out.extend_from_slice(&value.to_le_bytes()),
            false => out.extend_from_slice(&u32::try_from(value).expect("32 bits").to_le_bytes()),
        }
    }

    fn head(&self, header: usize, segments: usize, sections_at: usize) -> Vec<u8> {
        let half = |n: usize| u16::try_from(n).expect("16 bits").to_le_bytes();
        let mut out = b"\x7fELF".to_vec();
        out.extend_from_slice(&[if self.wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&[2, 0]);
        out.extend_from_slice(&self.machine.to_le_bytes());
        out.extend_from_slice(&[1, 0, 0, 0]);
        self.number(&mut out, ADDRESS);
        self.number(&mut out, header as u64);
        self.number(&mut out, sections_at as u64);
        out.extend_from_slice(&[0; 4]);
        let (segment, section) = if self.wide { (56, 64) } else { (32, 40) };
        let sections = if sections_at == 0 { 0 } else { self.sections.len() + 2 };
        let names = sections.saturating_sub(1);
        for value in [header, segment, segments, section, sections, names] {
            out.extend_from_slice(&half(value));
        }
        out
    }

    fn put_segment(&self, out: &mut Vec<u8>, kind: u32, (at, size): (usize, usize), address: u64) {
        out.extend_from_slice(&kind.to_le_bytes());
        if self.wide {
            out.extend_from_slice(&7_u32.to_le_bytes());
        }
        for value in [at as u64, address, address, size as u64, size as u64] {
            self.number(out, value);
        }
        if !self.wide {
            out.extend_from_slice(&7_u32.to_le_bytes());
        }
        self.number(out, 4);
    }

    /// Puts the sections, their names and their table to the end; returns where the table is, 0 if there is none.
    fn put_sections(&self, body: &mut Vec<u8>) -> usize {
        if self.sections.is_empty() {
            return 0;
        }
        let mut names = vec![0];
        // The first section is nothing.
        let mut rows = vec![(0, 0, 0, 0)];
        for (name, bytes) in &self.sections {
            rows.push((names.len(), 1_u32, body.len(), bytes.len()));
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            body.extend_from_slice(bytes);
        }
        let own = names.len();
        names.extend_from_slice(b".shstrtab\0");
        rows.push((own, 3, body.len(), names.len()));
        body.extend_from_slice(&names);
        body.resize(body.len().next_multiple_of(8), 0);
        let table = body.len();
        for (name, kind, at, size) in rows {
            body.extend_from_slice(&u32::try_from(name).expect("a short name").to_le_bytes());
            body.extend_from_slice(&kind.to_le_bytes());
            for value in [0, 0, at as u64, size as u64] {
                self.number(body, value);
            }
            body.extend_from_slice(&[0; 8]);
            self.number(body, 1);
            self.number(body, 0);
        }
        table
    }
}

/// A device in a manifest of Solo5's: its name and type, 1 for a disk and 2 for a network card.
pub type Device<'a> = (&'a str, u32);

/// The value of Solo5's note MFT1.
pub fn manifest(devices: &[Device<'_>]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&1_u32.to_le_bytes());
    let entries = u32::try_from(devices.len() + 1).expect("few devices");
    out.extend_from_slice(&entries.to_le_bytes());
    for (name, kind) in std::iter::once(&("", 1 << 30)).chain(devices) {
        let mut entry = name.as_bytes().to_vec();
        entry.resize(68, 0);
        entry.extend_from_slice(&kind.to_le_bytes());
        entry.resize(104, 0);
        out.extend_from_slice(&entry);
    }
    out
}

/// The value of Solo5's note ABI1: target 1 hvt, 2 spt, 3 virtio, 4 muen, 5 genode, 6 xen.
pub fn abi(target: u32) -> Vec<u8> {
    [target, 2, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

/// A unikernel for Solo5.
pub fn solo5(target: u32, devices: &[Device<'_>]) -> Elf {
    let note = |name: &[u8; 4]| u32::from_le_bytes(*name);
    let elf = Elf::new().note("Solo5", note(b"ABI1"), &abi(target)).note("Solo5", note(b"MFT1"), &manifest(devices));
    // What is started by a virtual machine's firmware has a header of multiboot, with addresses.
    if target == 3 { elf.code(multiboot(1 << 16)) } else { elf }
}

/// Twelve bytes of multiboot, and what flags promise after them.
pub fn multiboot(flags: u32) -> Vec<u8> {
    let magic = 0x1bad_b002_u32;
    let sum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let mut out: Vec<u8> = [magic, flags, sum].iter().flat_map(|word| word.to_le_bytes()).collect();
    out.resize(64, 0xf4);
    out
}

/// A record of Unikraft's.
fn record(kind: u16, text: &str) -> Vec<u8> {
    let length = u32::try_from(6 + text.len() + 1).expect("a short record");
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), text.as_bytes(), b"\0"].concat()
}

fn header(records: &[Vec<u8>]) -> Vec<u8> {
    let records = records.concat();
    let length = u32::try_from(6 + records.len()).expect("short records");
    [&length.to_le_bytes()[..], &1_u16.to_le_bytes(), &records].concat()
}

/// A kernel of Unikraft's for qemu, which loads it as a 32-bit file.
pub fn unikraft(version: &str) -> Elf {
    let info = [header(&[record(1, "libukboot"), record(6, "0.1")]), header(&[record(6, version), record(0xb, "gcc")])];
    Elf::new()
        .narrow()
        .code(multiboot(2))
        .section(".text", b"")
        .section(".uk_libinfo", &info.concat())
        .section(".uk_inittab", &[0; 16])
}

/// A kernel of Unikraft's for firecracker.
pub fn unikraft_fc(version: &str) -> Elf {
    Elf { wide: true, machine: X86_64, ..unikraft(version) }.code([0xf4])
}

/// OSv's loader.
pub fn osv() -> Elf {
    pvh(&[0xf4]).section(".tracepoint_patch_sites", &[0; 24]).section(".percpu_workers", &[0; 8])
}

/// A program made with Rumprun.
pub fn rumprun() -> Elf {
    let recipe = b"rumprun_tuple: x86_64-rumprun-netbsd\0rumprun_cflags: -O2\0";
    Elf::new().narrow().code(multiboot(3)).note("rumpkernel.org", 0x101, recipe)
}

/// An application of Hermit.
pub fn hermit() -> Elf {
    Elf::new().note("HERMIT", 0x5a00, &[4])
}

/// A kernel that is entered by PVH, with this code of 32 bits.
pub fn pvh(code: &[u8]) -> Elf {
    Elf::new().code(code).note("Xen", PHYS32_ENTRY, &ADDRESS.to_le_bytes())
}

/// A Linux kernel as an ELF file.
pub fn vmlinux(version: &str) -> Elf {
    let code = [b"\xf4Linux version %s\0Linux version ", version.as_bytes(), b" (gcc) #1 SMP\0"].concat();
    pvh(&code).note("Xen", 6, b"linux\0")
}

/// A Linux kernel that unpacks itself.
pub fn bz_image(version: &str) -> Vec<u8> {
    let mut out = vec![0; 8192];
    out[0x1f1] = 4;
    out[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    out[0x202..0x206].copy_from_slice(b"HdrS");
    out[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    out[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
    let text = format!("{version} (builder@host) #1 SMP\0");
    out[0x500..0x500 + text.len()].copy_from_slice(text.as_bytes());
    out
}

/// A disk of OSv's with a command line.
pub fn osv_disk(line: &str) -> Vec<u8> {
    let mut out = vec![0; 128 * 512 + 4096];
    out[..5].copy_from_slice(&[0xea, 0x3c, 0x7c, 0, 0]);
    out[0x1b8..0x1bc].copy_from_slice(b"VSO\0");
    out[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    out[512..512 + line.len()].copy_from_slice(line.as_bytes());
    out
}

/// Code of 32 bits that says a text on the first serial port, and then does what `end` is.
pub fn says(text: &str, end: &[u8]) -> Vec<u8> {
    // mov dx, 0x3f8
    let mut code = vec![0x66, 0xba, 0xf8, 0x03];
    for byte in text.bytes() {
        // mov al, BYTE; out dx, al
        code.extend_from_slice(&[0xb0, byte, 0xee]);
    }
    code.extend_from_slice(end);
    // hlt; jmp to it
    code.extend_from_slice(&[0xf4, 0xeb, 0xfd]);
    code
}

/// Turns the machine off by qemu's ACPI: mov dx, 0x604; mov ax, 0x2000; out dx, ax.
pub const POWER_OFF: [u8; 10] = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef];
/// Ends qemu by its device for that, with status 3: mov dx, 0xf4; mov al, 3; out dx, al.
pub const STATUS_3: [u8; 7] = [0x66, 0xba, 0xf4, 0x00, 0xb0, 0x03, 0xee];
/// Does what no processor knows, with nobody to tell.
pub const CRASH: [u8; 2] = [0x0f, 0x0b];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tool;

    /// Somebody else's reader takes them for what they are.
    #[test]
    fn readelf_reads_what_is_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("kernel");
        let read = |elf: &Elf| {
            std::fs::write(&file, elf.build()).expect("write the kernel");
            let out =
                std::process::Command::new(tool("readelf")).args(["-hlnSW"]).arg(&file).output().expect("readelf");
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success() && !err.contains("Warning"), "{err}");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let text = read(&solo5(1, &[("service", 2)]));
        assert!(text.contains("Solo5") && text.contains("0x31494241") && text.contains("0x3154464d"), "{text}");
        let text = read(&unikraft("0.17.0"));
        assert!(text.contains(".uk_libinfo") && text.contains("ELF32"), "{text}");
        assert!(read(&rumprun()).contains("rumpkernel.org"));
        assert!(read(&hermit()).contains("HERMIT"));
        assert!(read(&osv()).contains(".tracepoint_patch_sites"));
        assert!(read(&vmlinux("6.1.0")).contains("Xen"));
    }
}
