//! The first process of a machine. The kernel starts it from an initramfs; which of its two lives it leads is told by
//! what lies beside it ([`guest::place`]): with an application it runs that, without one it finds the root file system
//! that the kernel's command line names, and hands over.
//!
//! Nothing of it runs in Kiln: it is a program of its own, without any library but `core` and `alloc`. What can be
//! decided without a kernel is in [`guest`], where Kiln's tests can reach it.
//!
//! [`sys`] system calls, and all that is unsafe     [`say`] words for people     [`files`] small files and mounts
//! [`root`] the life in an initramfs     [`app`] the life with one application     [`net`] its network

#![no_std]
#![no_main]

extern crate alloc;

mod app;
mod files;
#[path = "../guest/mod.rs"]
mod guest;
mod net;
mod root;
mod say;
mod sys;

use sys::Start;

/// What `sys` calls once there is a stack.
fn main(start: &Start) -> ! {
    files::furnish();
    let line = guest::words::parse(&files::text("/proc/cmdline"));
    match files::read(guest::place::APPLICATION, guest::place::MAX_APPLICATION) {
        Ok(bytes) => app::live(&bytes, &line),
        Err(sys::ENOENT) => root::live(&line, start),
        Err(e) => say::give_up(&alloc::format!("cannot read {}: {}", guest::place::APPLICATION, say::reason(e))),
    }
}
