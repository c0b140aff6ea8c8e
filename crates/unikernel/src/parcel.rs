//! What an image says of the kernel in it, whichever way it says it.

use crate::{Kind, Monitor};

/// The way an image says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// urunc's: annotations, labels and a file.
    Urunc,
    /// kraftkit's: a platform, annotations, layers of one file.
    Kraftkit,
}

impl Form {
    /// Both, by name.
    pub const NAMES: [&'static str; 2] = ["urunc", "kraftkit"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Urunc => "urunc",
            Form::Kraftkit => "kraftkit",
        }
    }

    /// The form of a name.
    pub fn named(name: &str) -> Option<Form> {
        [Form::Urunc, Form::Kraftkit].into_iter().find(|form| form.name() == name)
    }
}

/// Where in an image a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a path.
    Path(String),
    /// It is the layer with this number, as it is.
    Layer(usize),
    /// At a path, if there is something.
    Perhaps(String),
}

/// What an image says of its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// How it says it.
    pub form: Form,
    /// Which kernel.
    pub kind: Kind,
    /// Of which version.
    pub version: Option<String>,
    /// What it is to be run with.
    pub monitor: Monitor,
    /// The application's arguments; for kernels that are not told apart, the command line.
    pub line: String,
    /// For which processors, as images spell them.
    pub architecture: String,
    /// The kernel.
    pub kernel: Place,
    /// Files that the kernel gets.
    pub initrd: Option<Place>,
    /// A disk that it gets.
    pub block: Option<String>,
    /// Whether the image's own files are to be its disk.
    pub mounted: bool,
}

/// Longer command lines are no monitor's.
pub(crate) const LONGEST: usize = 16 << 10;

/// Whether a text can be a command line.
pub(crate) fn is_line(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!("has {} bytes, and may have {LONGEST}", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("has the control character {c:?}")),
        None => Ok(()),
    }
}
