//! What can fail, by what was intended.

use std::path::PathBuf;

use kiln_engine::EngineError;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Source;

/// The result of anything here.
pub type Result<T> = std::result::Result<T, ClusterError>;

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Building, moving or keeping images failed.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// A file that lists images, or another file in the image, has mistakes.
    #[error("{} has mistakes", source_file.name)]
    Mistakes {
        /// The file.
        source_file: Box<Source>,
        /// What is wrong with it.
        found: Vec<Diagnostic>,
    },
    /// A contained image cannot be had.
    #[error("the image `{name}`{} cannot be had: {source}", who(named))]
    Image {
        /// Its name.
        name: String,
        /// Who names it: a place each.
        named: Vec<String>,
        /// Why.
        #[source]
        source: Box<EngineError>,
    },
    /// A file of the image cannot be read.
    #[error("/{path} cannot be read: {message}")]
    File {
        /// Its path in the image.
        path: String,
        /// Why.
        message: String,
    },
    /// The directory of a registry cannot be used.
    #[error("the registry directory {dir}: {message}")]
    RegistryDir {
        /// The directory.
        dir: String,
        /// What is wrong with it.
        message: String,
    },
    /// An image is no cluster image, or a damaged one.
    #[error("`{name}`: {message}")]
    NotACluster {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// Pieces of a file do not fit together, or cannot be written.
    #[error("{}: {message}", path.display())]
    Parts {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// Whether the disk is full or cannot be written.
        environment: bool,
    },
    /// A root file system cannot be made of what there is.
    #[error("{message}")]
    Base {
        /// What is missing or wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Images cannot be put into the directory of a registry.
    #[error("{0}")]
    Export(String),
    /// Images cannot be one.
    #[error("{0}")]
    Merge(String),
    /// Images cannot be launched together.
    #[error("{message}")]
    Together {
        /// Why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What a chart or manifest names could not be found out, and `--strict` does not allow guessing.
    #[error("{place}: {message}")]
    Unrendered {
        /// Which chart or file.
        place: String,
        /// Why.
        message: String,
    },
}

/// Who names an image, inside of a sentence.
fn who(named: &[String]) -> String {
    match named {
        [] => String::new(),
        [only] => format!(", which {only} names,"),
        all => format!(", which {} name,", all.join(" and ")),
    }
}

impl From<EngineError> for ClusterError {
    fn from(error: EngineError) -> ClusterError {
        ClusterError::Engine(Box::new(error))
    }
}

impl From<kiln_store::StoreError> for ClusterError {
    fn from(error: kiln_store::StoreError) -> ClusterError {
        EngineError::from(error).into()
    }
}

impl ClusterError {
    /// What to do, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClusterError::Image { named, .. } if !named.is_empty() => {
                Some("if it is not an image or not needed, list it in a file for --ignored-image-list".to_owned())
            }
            ClusterError::NotACluster { .. } => Some("kiln cluster build makes one; kiln images lists all".to_owned()),
            ClusterError::Base { hint, .. } => hint.clone(),
            ClusterError::Together { hint, .. } => Some(hint.clone()),
            ClusterError::Unrendered { .. } => {
                Some("without --strict, images are then found by other means, with a warning".to_owned())
            }
            ClusterError::Parts { environment: true, .. } => {
                Some("what was written of the file is removed; the image is still in the store".to_owned())
            }
            _ => None,
        }
    }
}
