//! What the files of a machine with one application are, so that they are not taken for something else: sizes, digests,
//! and what is run.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Its name in the directory.
pub const FILE: &str = "manifest.json";
/// The version that this Kiln writes.
pub const VERSION: u32 = 1;
/// No manifest is larger.
pub const MAX: u64 = 8 << 20;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    #[serde(rename = "kilnMicrovm")]
    pub version: u32,
    /// As Go names it: `amd64`.
    pub architecture: String,
    /// The digest of the image's manifest.
    pub image: String,
    /// The kernel.
    pub kernel: Kernel,
    /// The initramfs.
    pub initramfs: Part,
    /// The kernel's command line.
    pub cmdline: String,
    /// What is run.
    pub application: Described,
}

/// A file beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: String,
    /// How many there are when it is unpacked.
    pub unpacked: u64,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its file.
    #[serde(flatten)]
    pub part: Part,
    /// Its version, when it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many modules the initramfs has for it.
    pub modules: u64,
}

/// The application, for people; what counts is in the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// As which user.
    pub user: u32,
    /// Where it starts.
    pub directory: String,
    /// Ports that the image says it listens on, as `80/tcp`.
    pub ports: Vec<String>,
}

/// Whether what is at a path may give way to a manifest: nothing, or a manifest of any version. Others have files of
/// that name, too.
pub fn may_be_replaced(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    let found: Result<serde_json::Value, _> = serde_json::from_reader(file.take(MAX));
    Ok(found.is_ok_and(|value| value.get("kilnMicrovm").is_some()))
}

impl Manifest {
    /// The file's text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// When it is none, is of another version, or names files elsewhere: the reason.
    pub fn parse(text: &[u8]) -> Result<Manifest, String> {
        let value: serde_json::Value = serde_json::from_slice(text).map_err(|e| format!("it is no JSON: {e}"))?;
        match value.get("kilnMicrovm").and_then(serde_json::Value::as_u64) {
            None => return Err("it is no manifest of a machine that `kiln build -o type=microvm` wrote".to_owned()),
            Some(version) if version != u64::from(VERSION) => {
                return Err(format!("it is of version {version}; this Kiln knows {VERSION}"));
            }
            Some(_) => {}
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(|e| e.to_string())?;
        for part in [&manifest.kernel.part, &manifest.initramfs] {
            let plain = part.file.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            if !plain || part.file.is_empty() || part.file.starts_with('.') {
                return Err(format!("`{}` is no name of a file beside it", part.file.escape_debug()));
            }
        }
        if manifest.cmdline.len() > 2048 || manifest.cmdline.chars().any(|c| c.is_control()) {
            return Err("its command line is none of a kernel".to_owned());
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Manifest {
        let part = |file: &str| Part { file: file.into(), size: 1, digest: "sha256:00".into(), unpacked: 2 };
        Manifest {
            version: 1,
            architecture: "amd64".into(),
            image: "sha256:11".into(),
            kernel: Kernel { part: part("kernel"), version: Some("6.1".into()), modules: 9 },
            initramfs: part("initramfs"),
            cmdline: "console=ttyS0".into(),
            application: Described { arguments: vec!["/a".into()], user: 0, directory: "/".into(), ports: vec![] },
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        assert_eq!(Manifest::parse(some().text().as_bytes()), Ok(some()));
    }

    #[test]
    fn only_a_manifest_gives_way_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            may_be_replaced(&path).unwrap()
        };
        assert!(with(&some().text()) && with("{\"kilnMicrovm\": 9, \"later\": true}"));
        assert!(!with("{\"name\": \"a web application\"}") && !with("no JSON") && !with(""));
        std::fs::remove_file(&path).unwrap();
        assert!(may_be_replaced(&path).unwrap());
    }

    #[test]
    fn others_are_told_apart() {
        let why = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = some();
            change(&mut manifest);
            Manifest::parse(manifest.text().as_bytes()).unwrap_err()
        };
        assert!(Manifest::parse(b"{").unwrap_err().contains("no JSON"));
        assert!(Manifest::parse(b"{}").unwrap_err().contains("no manifest"));
        assert!(Manifest::parse(b"{\"kilnMicrovm\": 1}").unwrap_err().contains("missing field"));
        assert!(why(&|m| m.version = 2).contains("of version 2; this Kiln knows 1"));
        for name in ["../kernel", "/etc/passwd", "", ".hidden", "a,b"] {
            assert!(why(&|m| m.initramfs.file = name.to_owned()).contains("no name of a file"), "{name}");
        }
        assert!(why(&|m| m.cmdline = "a\nb".to_owned()).contains("command line"));
    }
}
