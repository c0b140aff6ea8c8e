//! Packer's templates: legacy JSON or HCL2 in, builds with their provisioners and post-processors out.
//!
//! A dialect reads a text into a [`model::Template`]. What it has to ask — environment, time, files — goes through
//! [`world::World`]; nothing here opens a file, reads a clock or starts a process. Whoever runs a build decodes the
//! configuration of its builder and blocks with [`fields::Fields`], which renders Go-template actions on the way and
//! finds every key nobody knows.
//!
//! [`model`] what a template says     [`config`] values with places     [`fields`] the strict decoder of them
//! [`render`] actions in texts: functions, variables, facts of a build
//! [`fault`] what is wrong, and in which file     [`world`] questions   [`select`] `-only`, `-except`, globs
//! [`json`] the legacy dialect     [`hcl2`] the HCL2 dialect
//! [`inspect`] what `inspect` prints     [`machine`] records for programs
//!
//! Adding a function of the legacy dialect: its closure in [`render`], its row in the test beside it.
#![forbid(unsafe_code)]

pub mod config;
pub mod fault;
pub mod fields;
pub mod hcl2;
mod hidden;
pub mod inspect;
pub mod json;
pub mod machine;
pub mod model;
pub mod render;
pub mod select;
pub mod world;
