//! Charts of Helm: loading, values, rendering, without the `helm` program.
//!
//! A chart is made of [`Files`] or of an archive; with [`Values`], a [`Release`] and the [`Capabilities`] of a cluster it
//! becomes manifests. Nothing here opens a file, reads a clock or asks a cluster; random numbers are the exception, and
//! have a seed. What Helm 4.2 gives is given, byte by byte where that can be; what it refuses is refused.
//!
//! [`Chart`] [`Files`] [`Metadata`] what a chart is     [`Values`] [`SetKind`] what it is told
//! [`render`] [`Rendered`] [`Manifest`] [`Hook`] what becomes of it     [`images`] images without rendering
//! [`text`] templates that are no charts     [`Version`] [`Range`] versions     [`yaml`] YAML as Go's libraries read and write it
//! `functions` what templates may call: Sprig's and Helm's     `dependencies` which charts of a chart are there
//! `origin` which line of a template gave a line
//!
//! Adding a function: its row in the table of its family in `functions/`, its case in `tests/it/templates.txt`, which Helm
//! itself confirms.
#![forbid(unsafe_code)]

mod chart;
mod dependencies;
mod error;
mod files;
mod functions;
mod ignore;
pub mod images;
mod json;
mod manifest;
mod metadata;
mod objects;
mod origin;
mod release;
mod render;
mod schema;
mod strvals;
pub mod text;
mod values;
mod version;
pub mod yaml;

pub use chart::{Chart, File};
pub use error::{ChartError, RenderError};
pub use files::{Files, MAX_FILE, MAX_FILES, MAX_TOTAL};
pub use manifest::{Hook, Manifest};
pub use metadata::{Dependency, Kind, Maintainer, Metadata};
pub use origin::Origins;
pub use release::{Capabilities, KUBE_VERSION, Release};
pub use render::{Limits, Rendered, RenderedFile, computed_values, render};
pub use strvals::{SetError, SetKind};
pub use values::Values;
pub use version::{Range, Version};
