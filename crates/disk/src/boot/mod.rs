//! What makes a tree of files boot: which kernel, which boot loader, and what is changed in the tree for it.
//!
//! [`gather`] looks at the tree once, [`plan`] decides from what it saw and from the [`Wish`]; it asks nobody. The plan
//! says what goes on the EFI system partition, which files of the tree are changed ([`Change`]) and whether a BIOS is
//! served. No program of the image is run: GRUB's core image is put together by Kiln, and for UEFI the loader that the
//! distribution ships as one file is taken.
//!
//! Adding a boot loader: a variant of [`Efi`], where it is found in `facts.rs`, what it needs in `plan.rs`.

mod core;
mod facts;
mod follow;
mod plan;
mod tree;
mod version;

pub use facts::{Efi, Facts, Kernel, Tree, gather};
pub use follow::follow;
pub use plan::{Change, EspFile, EspSource, Initramfs, Plan, Wish, plan};
pub use tree::DirTree;
pub use version::compare as compare_versions;

pub(crate) use self::core::bios;

/// What the disk's machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arch {
    /// amd64.
    #[default]
    X86_64,
    /// arm64.
    Arm64,
}

impl Arch {
    /// As in `BOOTX64.EFI`, in small letters.
    fn efi_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x64",
            Arch::Arm64 => "aa64",
        }
    }

    /// As Rust and the kernel call it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    fn grub_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The console that a hypervisor shows as serial.
    fn serial(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0,115200",
            Arch::Arm64 => "ttyAMA0",
        }
    }
}
