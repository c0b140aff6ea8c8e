//! What a builder or post-processor made.

use std::path::PathBuf;

/// The result of a build, or of a post-processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Which builder or post-processor made it, as `packer.file` or `kiln.offline`.
    pub builder_id: String,
    /// What it is called where it is: a file's name, an image's digest.
    pub id: String,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// It in words.
    pub text: String,
    /// What is removed with it besides its files.
    pub directory: Option<PathBuf>,
}

impl Artifact {
    /// Files that a builder wrote.
    pub fn of_files(builder_id: &str, id: &str, files: Vec<PathBuf>, text: impl Into<String>) -> Artifact {
        Artifact { builder_id: builder_id.to_owned(), id: id.to_owned(), files, text: text.into(), directory: None }
    }

    /// Removes its files, and the directory made for them when it is empty then.
    ///
    /// # Errors
    /// When one is there and cannot be removed.
    pub fn destroy(&self) -> crate::Result<()> {
        for file in &self.files {
            match std::fs::remove_file(file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(crate::NodeError::file("remove", file)(e));
                }
                _ => {}
            }
        }
        if let Some(dir) = &self.directory {
            // Somebody else's files in it keep it.
            let _ = std::fs::remove_dir(dir);
        }
        Ok(())
    }
}
