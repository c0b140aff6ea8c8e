//! What must be true of a machine that is to be a node: profiles, checks, reports.
//!
//! ```text
//! System (directory | image | memory | this host | remote) ─▶ Look (readers) ─▶ Rule → Finding ─▶ Report ─▶ text | JSON | JUnit | HTML
//! ```
//! A [`System`] is what is looked at: a tree of files, and, where it runs, a way to run commands. A [`Look`] reads it,
//! once, with the readers of [`read`]. A [`Profile`] is a table of [`Rule`]s; each rule asks one [`Test`] and gives a
//! [`Finding`]: it passes, fails, could not be checked (and why), or has no meaning for a system that is not running.
//! Everything that is read is hostile: readers have limits, and what they cannot read is never taken for a pass.
//!
//! [`system`] what is looked at             [`read`] files of a system → facts      [`test`] the closed list of questions
//! [`family`] what kinds of checks there are, for people                            [`profile`] tables of checks, built-in and from YAML
//! [`guard`] sysctl parameters that the platform owns                               [`report`] results, written down
//! [`script`] what scripts that make images had better not do
//!
//! Adding a check: its family in [`family`], a variant of [`Test`] with its effect in `test/` if no existing one will
//! do, and a row in a table in `profile/`.
#![forbid(unsafe_code)]

pub mod family;
mod finding;
pub mod guard;
mod look;
pub mod profile;
pub mod read;
pub mod report;
pub mod script;
pub mod system;
pub mod test;

pub use family::Family;
pub use finding::{Evidence, Finding, Severity, Verdict};
pub use look::Look;
pub use profile::{Profile, ProfileError, Rule};
pub use report::{Report, verify};
pub use system::{LookError, System};
pub use test::Test;
