//! Why the network of pods is down: facts read from kernels and files, checks as rows, paths followed hop by hop.
//!
//! [`facts::gather`] reads one host into a [`HostFacts`], which is data: it is printed, sent over SSH, kept as a test.
//! [`checks::run`] looks at the facts of a whole [`Fleet`] and returns [`Finding`]s; it opens nothing.
//!
//! [`netlink`] the kernel's tables: links, routes, neighbours, rules of nf_tables, features of devices
//! [`facts`] one host     [`fleet`] many, over SSH     [`checks`] the table of what can be wrong
//! [`path`] a packet's way, from state     [`probe`] packets that prove it     [`names`] of pods and services
//! [`api`] what the cluster says of itself     [`fix`] what can be put right, and undone
//! [`look`] all of it in one call     [`report`] findings as text, JSON, JUnit, a page
//!
//! Adding a check: a row in the table of its module in [`checks`], a fault in `tests/it` that yields exactly it, and
//! `KILN_BLESS=1 cargo test -p kiln-doctor` for the catalogue.
#![forbid(unsafe_code)]

pub mod api;
pub mod checks;
pub mod error;
pub mod facts;
pub mod fix;
pub mod fleet;
pub mod look;
pub mod names;
pub mod netlink;
pub mod path;
mod patience;
pub mod probe;
pub mod report;

pub use checks::{Finding, Row, Severity};

pub use error::DoctorError;
pub use facts::HostFacts;
pub use fleet::Fleet;
