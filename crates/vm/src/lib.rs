//! Virtual machines: qemu's command line, accelerators that really work, boot commands, consoles.
#![forbid(unsafe_code)]
