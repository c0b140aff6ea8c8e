//! Why the network of pods is down: facts read from kernels and files, checks as rows, paths followed hop by hop.
//!
//! [`facts::gather`] reads one host into a [`HostFacts`], which is data: it is printed, sent over SSH, kept as a test.
//! [`checks::run`] looks at the facts of a whole [`Fleet`] and returns [`Finding`]s; it opens nothing.
//!
//! [`netlink`] the kernel's tables: links, routes, neighbours, rules of nf_tables, features of devices
//! [`facts`] one host     [`fleet`] many, over SSH     [`checks`] the table of what can be wrong
//! [`path`] a packet's way, from state     [`fix`] what can be put right, and undone
//! [`report`] findings as text, JSON, JUnit, a page
//!
//! Adding a check: a row in the table of its module in [`checks`], a fault in `tests/it` that yields exactly it, and
//! `KILN_BLESS=1 cargo test -p kiln-doctor` for the catalogue.
#![forbid(unsafe_code)]

pub mod checks;
pub mod error;
pub mod facts;
pub mod fix;
pub mod fleet;

pub mod netlink;
pub mod path;
pub mod report;

pub use checks::{Finding, Row, Severity};

pub use error::DoctorError;
pub use facts::HostFacts;
pub use fleet::Fleet;
