//! Unikernels made elsewhere: which a file is, what starts it, and how images carry it.
//!
//! A kernel is recognised by what its makers wrote into it for that purpose: notes, sections and headers, never by a name
//! or a guess. Everything read is hostile: counts, sizes and places have limits, and an error says which byte it is about.
//!
//! [`recognise()`] a file → a [`Kernel`]     [`input`] reading at places     [`elf`] [`notes`] the file around a kernel
//! [`boot`] how it is entered     [`linux`] [`solo5`] [`unikraft`] [`osv`] what each says of itself
//! [`monitor`] what can run it     [`parcel`] what an image says of a kernel     [`urunc`] [`kraftkit`] two ways to say it
//! [`line`] the words a guest is given     [`tender`] command lines of monitors other than qemu
//!
//! Adding a kind: a variant of [`Kind`] with its names, its rule in [`mod@recognise`], its words in [`line`], a file made by
//! hand in `testkit/src/kernels.rs`, and its row in `tests/it/kinds.rs`. Adding a platform of kraftkit's: its row in
//! [`monitor::PLATFORMS`], its name in [`kiln_oci::platform::MONITORS`].
#![forbid(unsafe_code)]

pub mod boot;
pub mod elf;
pub mod error;
pub mod input;
pub mod kind;
pub mod kraftkit;
pub mod line;
pub mod linux;
pub mod monitor;
pub mod notes;
pub mod osv;
pub mod parcel;
pub mod recognise;
pub mod solo5;
pub mod tender;
pub mod unikraft;
pub mod urunc;

pub use error::{Result, UnikernelError};
pub use kind::Kind;
pub use monitor::Monitor;
pub use parcel::Parcel;
pub use recognise::{Kernel, recognise};
