//! What the user wrote, and what is wrong with it.
//!
//! [`dockerfile::parse`] turns text into an [`ast::Dockerfile`] and diagnostics; it never fails, so one run reports
//! every mistake. Nothing here opens a file or asks the world: variables are expanded later, by the planner, with
//! [`expand`], because their values come from base images and the command line.
//!
//! [`source`] text with a name, and spans into it     [`diag`] what is wrong, where, and what to do
//! [`ast`] the parsed form, as typed, unexpanded      [`dockerfile`] text → ast
//! [`expand`] `$x`, `${x:-y}`                         [`dockerignore`] which files a build sees
//! [`kubefile`] text → Dockerfile and what is beyond it
//! [`glob`] wildcards     [`login`] passwords in URLs     [`chmod`] [`owner`] [`duration`] [`moment`] [`size`] [`port`] values
//!
//! Adding an instruction: a variant in [`ast::Op`], its parser in `dockerfile/`, its planner in `kiln-plan`.
#![forbid(unsafe_code)]

pub mod ast;
pub mod chmod;
pub mod diag;
pub mod dockerfile;
pub mod dockerignore;
pub mod duration;
pub mod expand;
pub mod glob;
pub mod kubefile;
pub mod login;
pub mod moment;
pub mod owner;
pub mod port;
pub mod size;
pub mod source;
