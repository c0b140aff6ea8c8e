//! The command line as users see it: one module a topic, the real binary, real registries, other tools as readers.

mod archives;
mod charts;
mod clusterfile;
mod doctor;
mod images;
mod nodes;
mod registries;
mod serve;
#[path = "../../../host/tests/it/sshd.rs"]
#[allow(dead_code, reason = "the server of kiln-host's own tests, of which these need less")]
mod sshd;
