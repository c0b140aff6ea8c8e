//! Files of a system → facts.
//!
//! Each reader takes a [`System`](crate::System) and gives one kind of facts, with the places they come from. A file that
//! cannot be read is an error; a file that is not there means what its absence means to the program that reads it.
//!
//! [`sysctl`] kernel parameters             [`unit`] services of systemd     [`package`] dpkg, rpm, apk
//! [`kernel`] installed kernels             [`vmlinuz`] what is in one       [`boot`] which one starts
//! [`sshd`] the SSH server                  [`cloud`] cloud-init             [`containerd`] its configuration
//! [`bolt`] containerd's database of images [`dns`] resolv.conf              [`fstab`] mounts and swap
//! [`module`] modules loaded at boot        [`version`] how versions order   [`lines`] texts of lines

pub mod bolt;
pub mod boot;
pub mod cloud;
pub mod containerd;
pub mod dns;
pub mod fstab;
pub mod kernel;
pub mod lines;
pub mod module;
pub mod package;
pub mod sshd;
pub mod sysctl;
pub mod unit;
pub mod version;
pub mod vmlinuz;
