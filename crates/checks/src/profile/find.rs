//! A profile by what a user calls it: a name of Kiln's, or a file.

use std::io;
use std::path::Path;

use kiln_spec::diag::did_you_mean;
use kiln_spec::source::Source;

use super::{BUILT_IN, Profile, ProfileError, own};

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None is called so.
    #[error("there is no profile `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Its file cannot be read.
    #[error("cannot read the profile {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file is none.
    #[error("the profile {path} {why}")]
    Text {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Its file has mistakes, each with its place.
    #[error("the profile has mistakes")]
    Mistakes(#[source] ProfileError),
}

impl FindError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let FindError::Unknown { name } = self else { return None };
        let names = || BUILT_IN.iter().map(|profile| profile.name);
        Some(match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}, and files ending in .yaml", names().collect::<Vec<_>>().join(", ")),
        })
    }
}

impl Profile {
    /// The profile of this name, or in the file of this path.
    ///
    /// # Errors
    /// There is none, or its file cannot be read or has mistakes.
    pub fn find(name: &str) -> Result<Profile, FindError> {
        if let Some(profile) = Profile::built_in(name) {
            return Ok(profile);
        }
        let path = Path::new(name);
        let is_file = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") || path.is_file();
        if !is_file {
            return Err(FindError::Unknown { name: name.to_owned() });
        }
        let failed = |source| FindError::Read { path: name.to_owned(), source };
        let wrong = |why: String| FindError::Text { path: name.to_owned(), why };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > own::MAX {
            return Err(wrong(format!("has {size} bytes, and {} are the limit", own::MAX)));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not text (UTF-8)".to_owned()))?;
        own::parse(Source { name: name.to_owned(), text }).map_err(FindError::Mistakes)
    }
}
