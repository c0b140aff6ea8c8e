//! `artifice`: files that something else made take the artifact's place.

use std::path::{Path, PathBuf};

use kiln_packer::config::Config;
use kiln_spec::glob::Pattern;

use super::Made;
use crate::artifact::Artifact;
use crate::error::{NodeError, Result};

/// As many files may match.
const MAX_FILES: usize = 100_000;

/// An `artifice` block.
pub struct Artifice {
    files: Vec<String>,
}

impl Artifice {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Artifice> {
        let f = config.fields();
        let files = f.strings("files")?.unwrap_or_default();
        if files.is_empty() {
            return Err(f.fault("files", "NoFiles", "No files specified in artifice configuration").into());
        }
        for text in &files {
            if let Err(e) = Pattern::new(text.as_bytes()) {
                return Err(f.fault("files", "BadPattern", format!("`{text}`: {e}")).into());
            }
        }
        f.finish()?;
        Ok(Artifice { files })
    }

    /// Finds the files.
    ///
    /// # Errors
    /// When there are none.
    pub fn run(&self, artifact: &Artifact) -> Result<Made> {
        let mut found = Vec::new();
        for text in &self.files {
            found.extend(matching(text)?);
        }
        if found.is_empty() {
            return Err(NodeError::Artifact("No files specified in artifice configuration".to_owned()));
        }
        let names: Vec<String> = found.iter().map(|f| f.display().to_string()).collect();
        let text = format!("Created artifact from files: {}", names.join(", "));
        let made = Artifact::of_files("packer.post-processor.artifice", &artifact.id, found, text);
        Ok(Made { artifact: made, keep: true, forced: true })
    }
}

/// The paths that match a pattern, sorted; a text without wildcards is itself.
fn matching(text: &str) -> Result<Vec<PathBuf>> {
    if !text.contains(['*', '?', '[', '\\']) {
        return Ok(vec![PathBuf::from(text)]);
    }
    let mut at = vec![PathBuf::from(if text.starts_with('/') { "/" } else { "" })];
    for part in text.split('/').filter(|part| !part.is_empty()) {
        let pattern = Pattern::new(part.as_bytes()).map_err(|e| NodeError::Artifact(format!("`{text}`: {e}")))?;
        let mut next = Vec::new();
        for dir in &at {
            if !part.contains(['*', '?', '[', '\\']) {
                let path = dir.join(part);
                if path.exists() {
                    next.push(path);
                }
                continue;
            }
            let listed = std::fs::read_dir(if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
            for entry in listed.into_iter().flatten().flatten() {
                use std::os::unix::ffi::OsStrExt;
                if pattern.matches(entry.file_name().as_bytes()) {
                    next.push(dir.join(entry.file_name()));
                }
            }
        }
        if next.len() > MAX_FILES {
            return Err(NodeError::Artifact(format!("`{text}` matches more than {MAX_FILES} files")));
        }
        next.sort();
        at = next;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_in_every_part() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/x.img", "a/y.txt", "b/z.img"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = matching(&format!("{}/*/*.img", dir.path().display())).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string()).collect();
        assert_eq!(names, ["a/x.img", "b/z.img"]);
        assert_eq!(matching("gone.img").unwrap(), [PathBuf::from("gone.img")]);
    }
}
