//! The language against Debian's packer 1.6.6, and what that one does not have.

mod formatting;
mod language;
mod oracle;
mod packer;
