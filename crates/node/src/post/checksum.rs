//! `checksum`: a file with the sums of the artifact's files, in the form that Packer's has.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use kiln_packer::config::Config;
use kiln_packer::render::Text;
use sha2::Digest;

use super::{Job, Made};
use crate::artifact::Artifact;
use crate::builder::make_parents;
use crate::error::{NodeError, Result};

/// The sums there are.
const KINDS: [&str; 6] = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// A `checksum` block.
pub struct Checksum {
    kinds: Vec<&'static str>,
    output: Option<Text>,
}

impl Checksum {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Checksum> {
        let f = config.fields();
        let mut kinds = Vec::new();
        for text in f.strings("checksum_types")?.unwrap_or_else(|| vec!["md5".to_owned()]) {
            let Some(kind) = KINDS.into_iter().find(|kind| *kind == text) else {
                let fault = f.fault("checksum_types", "BadChecksum", format!("Unrecognized checksum type: {text}"));
                return Err(fault.suggest(&text, KINDS).into());
            };
            kinds.push(kind);
        }
        let output = f.verbatim("output")?;
        f.finish()?;
        Ok(Checksum { kinds, output })
    }

    /// Writes the sums.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn run(&self, artifact: &Artifact, job: &Job<'_>) -> Result<Made> {
        let mut files = artifact.files.clone();
        let mut written: Vec<PathBuf> = Vec::new();
        for kind in &self.kinds {
            let path = self.path(job, kind)?;
            make_parents(&path)?;
            for file in &artifact.files {
                let sum = sum(kind, file)?;
                // Sums of an earlier run would be there twice.
                let fresh = !written.contains(&path);
                let mut options = OpenOptions::new();
                options.create(true).write(true).truncate(fresh && job.force).append(!(fresh && job.force));
                let mut out = options.open(&path).map_err(NodeError::file("write", &path))?;
                let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
                let line = format!("{sum}\t{name}\n");
                out.write_all(line.as_bytes()).map_err(NodeError::file("write", &path))?;
                if fresh {
                    written.push(path.clone());
                    files.push(path.clone());
                }
            }
        }
        let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
        let text = format!("Created artifact from files: {}", names.join(", "));
        let made = Artifact::of_files("packer.post-processor.checksum", &artifact.id, files, text);
        Ok(Made { artifact: made, keep: true, forced: true })
    }

    fn path(&self, job: &Job<'_>, kind: &str) -> Result<PathBuf> {
        let text = match &self.output {
            None => format!("packer_{}_{}_{kind}.checksum", job.build, job.kind),
            Some(text) => {
                text.render(&[("BuildName", job.build), ("BuilderType", job.kind), ("ChecksumType", kind)])?
            }
        };
        Ok(text.into())
    }
}

/// The sum of a file, in hexadecimal digits.
fn sum(kind: &str, path: &Path) -> Result<String> {
    match kind {
        "md5" => hash::<md5::Md5>(path),
        "sha1" => hash::<sha1::Sha1>(path),
        "sha224" => hash::<sha2::Sha224>(path),
        "sha256" => hash::<sha2::Sha256>(path),
        "sha384" => hash::<sha2::Sha384>(path),
        _ => hash::<sha2::Sha512>(path),
    }
}

fn hash<D: Digest>(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(NodeError::file("read", path))?;
    let (mut hasher, mut buffer) = (D::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer).map_err(NodeError::file("read", path))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        for (kind, wanted) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(sum(kind, &path).unwrap(), wanted, "{kind}");
        }
        assert!(sum("sha384", &path).unwrap().starts_with("cb00753f45a35e8b"));
        assert!(sum("sha512", &path).unwrap().starts_with("ddaf35a193617aba"));
    }
}
