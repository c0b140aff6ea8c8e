//! Builders in clouds, against doubles of those clouds: what they ask, what they make, and that nothing of it stays.

mod alicloud;
mod books;
mod gc;
mod googlecompute;
mod marks;
mod offline;
mod publish;
mod scenes;
#[path = "../../../host/tests/it/sshd.rs"]
#[allow(dead_code, reason = "the server of kiln-host's own tests, of which these need less")]
mod sshd;
mod tap;
