//! What Kiln will do, decided before anything is done.
//!
//! [`container::build`] takes a parsed Dockerfile, the user's [`Options`] and the [`Facts`] gathered so far, and
//! answers with a [`Plan`] or with the [`Question`]s whose answers it still needs. Nothing here opens a file, reads a
//! clock or asks the network: the same Dockerfile, options and facts always give the same bytes.
//!
//! [`facts`] what is asked of the world, and the answers   [`options`] what the command line says
//! [`step`] the closed list of things Kiln can do          [`key`] what is hashed, and what is not
//! [`container`] the planner of container images           [`scope`] variables
//! [`history`] how BuildKit words what was done            [`explain`] plans for people
//! [`policy`] which sources a build may use
//! [`lint`] rules about what was probably not meant       [`why`] what changed since the last run
//!
//! Adding a step: a variant in [`step`], its row in the table in [`key`], its effect in `kiln-engine/src/step/`.
#![forbid(unsafe_code)]

pub mod container;
pub mod explain;
pub mod facts;
pub mod git;
pub mod history;
pub mod key;
pub mod lint;
pub mod options;
pub mod policy;
pub mod scope;
pub mod step;
pub mod why;

pub use container::{Extent, Outcome, Survey, build, survey};
pub use facts::{Facts, Question};
pub use key::Key;
pub use options::Options;
pub use step::{Op, Plan, Step, StepId};
