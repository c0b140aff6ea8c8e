//! Which container images the manifests of Kubernetes name, where, and by which rule they were found.
//!
//! ```text
//! Source ─▶ scan | image_list | values ─▶ Scan { images, ignored, diagnostics }
//! ```
//! Files are read as YAML, with places: pods and what holds their templates by their types, everything else by the
//! names of keys, texts inside of texts again. What cannot be read is searched line by line, with a warning that names
//! the line. A name that is no reference is an error, unless the list of ignored images has it.
//!
//! [`found`] an image and its place     [`rule`] by what it was found
//! [`scan`] a file     [`list`] lists of images, and of images to ignore     [`control_plane`] what kubeadm runs
//!
//! Adding a rule: its row and page in [`rule`], its search in `kinds`, `pod` or `walk`, a test in `tests/it`.
#![forbid(unsafe_code)]

pub mod control_plane;
mod finder;
pub mod found;
mod inner;
mod kinds;
mod line;
pub mod list;
mod parts;
mod pod;
pub mod rule;
pub mod scan;
mod walk;
mod word;

pub use found::{Certainty, Found, Ignored, Object, Place, Scan};
pub use list::{Ignore, image_list};
pub use rule::{RULES, Rule};
pub use scan::{Rules, scan, values};
