//! The directory of a machine with one application, checked against its manifest.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_engine::output::microvm::manifest::{self, Manifest, Part};
use kiln_oci::digest::{Digest, HashReader};

use crate::error::{NodeError, Result};

/// A directory whose files are what its manifest says.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// The directory.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Artefact {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it is none of a machine, or a file is not what the manifest says.
    pub fn open(directory: &Path) -> Result<Artefact> {
        let refused = |why: String, hint: Option<&str>| NodeError::MicroVm {
            path: directory.to_owned(),
            why,
            hint: hint.map(str::to_owned),
        };
        const MAKE: &str = "make one: kiln build -o type=microvm,dest=DIR .";
        let path = directory.join(manifest::FILE);
        let text = match File::open(&path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(refused(format!("there is no {}", manifest::FILE), Some(MAKE)));
            }
            Err(e) => return Err(NodeError::file("read", path)(e)),
            Ok(file) => {
                let mut text = Vec::new();
                file.take(manifest::MAX).read_to_end(&mut text).map_err(NodeError::file("read", &path))?;
                text
            }
        };
        let manifest =
            Manifest::parse(&text).map_err(|why| refused(format!("{}: {why}", manifest::FILE), Some(MAKE)))?;
        if manifest.architecture != "amd64" {
            let machines = manifest.architecture.escape_debug();
            return Err(refused(format!("it is for {machines} machines, which are not run yet"), None));
        }
        let artefact = Artefact { directory: directory.to_owned(), manifest };
        for part in [&artefact.manifest.kernel.part, &artefact.manifest.initramfs] {
            artefact.check(part)?;
        }
        Ok(artefact)
    }

    /// Where a file of it is.
    pub fn path(&self, part: &Part) -> PathBuf {
        self.directory.join(&part.file)
    }

    /// An error about it.
    pub fn refused(&self, why: String, hint: Option<&str>) -> NodeError {
        NodeError::MicroVm { path: self.directory.clone(), why, hint: hint.map(str::to_owned) }
    }

    fn check(&self, part: &Part) -> Result<()> {
        let path = self.path(part);
        let failed = NodeError::file("read", &path);
        let wanted: Digest = part.digest.parse().map_err(|_| {
            let why = format!("{}: `{}` is no digest", manifest::FILE, part.digest.escape_debug());
            self.refused(why, None)
        })?;
        let read = File::open(&path).and_then(|file| {
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let mut hashed = HashReader::new(file.take(part.size.saturating_add(1)), wanted.hasher());
            io::copy(&mut hashed, &mut io::sink())?;
            Ok(hashed.finish())
        });
        let (digest, size) = read.map_err(failed)?;
        if digest != wanted || size != part.size {
            let why =
                format!("`{}` is not what the manifest says: it was changed, or not written to its end", part.file);
            return Err(self.refused(why, Some("build it again")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, kernel: &[u8]) {
        let part = |file: &str, bytes: &[u8]| {
            std::fs::write(dir.join(file), bytes).unwrap();
            let digest = Digest::of(bytes);
            serde_json::json!({"file": file, "size": bytes.len(), "digest": digest, "unpacked": 9})
        };
        let mut kernel = part("kernel", kernel);
        kernel["modules"] = 0.into();
        let text = serde_json::json!({
            "kilnMicrovm": 1, "architecture": "amd64", "image": "x", "kernel": kernel,
            "initramfs": part("initramfs", b"files"), "cmdline": "quiet",
            "application": {"arguments": ["a"], "user": 0, "directory": "/", "ports": []},
        });
        std::fs::write(dir.join("manifest.json"), text.to_string()).unwrap();
    }

    #[test]
    fn only_what_the_manifest_says_is_run() {
        let dir = tempfile::tempdir().unwrap();
        let why = || Artefact::open(dir.path()).map(drop).map_err(|e| e.to_string());
        assert!(why().unwrap_err().contains("there is no manifest.json"));
        write(dir.path(), b"kernel");
        why().unwrap();
        for bytes in [&b"kernes"[..], b"kern", b"kernel and more"] {
            std::fs::write(dir.path().join("kernel"), bytes).unwrap();
            assert!(why().unwrap_err().contains("`kernel` is not what the manifest says"));
        }
        std::fs::remove_file(dir.path().join("kernel")).unwrap();
        assert!(why().unwrap_err().contains("cannot read"));
        write(dir.path(), b"kernel");
        let text = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
        std::fs::write(dir.path().join("manifest.json"), text.replace("amd64", "arm64")).unwrap();
        assert!(why().unwrap_err().contains("arm64 machines"));
    }
}
