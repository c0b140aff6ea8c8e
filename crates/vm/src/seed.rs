//! Discs made of files: `cd_files`, `cd_content`, `floppy_files` and the like, and seeds of cloud-init.
//!
//! A disc is ISO 9660 with the names of Joliet and Rock Ridge when a program that makes such images is there (xorriso,
//! genisoimage or mkisofs), else FAT by the caller's writer: cloud-init and installers take both, by label. Floppies
//! are always FAT.
//!
//! How the machine sees it matters more: small kernels, such as Debian's for clouds, have no driver for IDE CD-ROMs,
//! so seeds are given as virtio disks ([`crate::Machine::seeds`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::VmError;
use crate::qemu::{find, run};

const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 32;
/// Of all files of a disc.
const LARGEST: u64 = 4 << 30;
/// Of a floppy; those of 1.44 MB are the ones that firmware knows.
const FLOPPY: u64 = 1_474_560;

/// Writes FAT images. The disk crate can; this crate does not know it.
pub trait FatImage {
    /// Makes `image` from everything below `root`, of `size` bytes if it is given and as large as it needs to be if
    /// not.
    ///
    /// # Errors
    /// One sentence.
    fn write(&self, image: &Path, label: &str, root: &Path, size: Option<u64>) -> Result<(), String>;
}

/// What goes onto a disc.
#[derive(Debug, Clone, Default)]
pub struct Seed {
    /// The volume's label: "cidata" for cloud-init, "OEMDRV" for kickstart.
    pub label: String,
    /// Files and directories of this machine; a directory goes with its name, one whose path ends with a slash only
    /// with what is in it.
    pub files: Vec<PathBuf>,
    /// Contents by their path on the disc.
    pub content: BTreeMap<String, Vec<u8>>,
}

/// How a disc was made, for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ISO 9660.
    Iso,
    /// FAT.
    Fat,
}

impl Seed {
    /// Makes the image; files are gathered below `temporary`, and `path` is the environment's `PATH`.
    ///
    /// # Errors
    /// A file cannot be read, there is too much, or nothing that makes images is there.
    pub fn disc(
        &self,
        image: &Path,
        temporary: &Path,
        path: Option<&OsStr>,
        fat: Option<&dyn FatImage>,
    ) -> Result<Format, VmError> {
        self.check(32)?;
        let stage = self.stage(temporary, LARGEST)?;
        let iso = ["xorriso", "genisoimage", "mkisofs"].iter().find_map(|name| Some((*name, find(name, path)?)));
        if let Some((name, program)) = iso {
            let mut args: Vec<String> = Vec::new();
            if name == "xorriso" {
                args.extend(["-as", "genisoimage"].map(str::to_owned));
            }
            args.extend(["-quiet", "-rock", "-joliet", "-volid", &self.label, "-o"].map(str::to_owned));
            args.extend([absolute(image)?, stage.path().display().to_string()]);
            run(&program, &args)?;
            return Ok(Format::Iso);
        }
        match fat {
            Some(fat) => {
                fat.write(image, &self.label, stage.path(), None).map_err(|why| self.failed(why))?;
                Ok(Format::Fat)
            }
            None => Err(VmError::Missing {
                program: "xorriso".to_owned(),
                hint: "install the package `xorriso` (or genisoimage), which makes discs of cd_files".to_owned(),
            }),
        }
    }

    /// Makes a floppy of 1.44 MB; files are gathered below `temporary`.
    ///
    /// # Errors
    /// A file cannot be read, or they do not fit.
    pub fn floppy(&self, image: &Path, temporary: &Path, fat: &dyn FatImage) -> Result<(), VmError> {
        self.check(11)?;
        let stage = self.stage(temporary, FLOPPY)?;
        fat.write(image, &self.label, stage.path(), Some(FLOPPY)).map_err(|why| self.failed(why))
    }

    fn check(&self, longest: usize) -> Result<(), VmError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        if self.label.len() > longest || self.label.starts_with('-') || !self.label.chars().all(good) {
            let why = format!("{:?}: up to {longest} letters, digits, `_`, `-`, `.` and blanks", self.label);
            return Err(VmError::option("cd_label", why));
        }
        if self.files.is_empty() && self.content.is_empty() {
            return Err(self.failed("there is nothing to go onto it".to_owned()));
        }
        Ok(())
    }

    fn failed(&self, why: String) -> VmError {
        VmError::Seed { label: self.label.clone(), why }
    }

    /// All files in one directory, as they will be on the disc.
    fn stage(&self, temporary: &Path, largest: u64) -> Result<tempfile::TempDir, VmError> {
        let dir = crate::process::private_dir(temporary)?;
        let mut budget = Budget { seed: self, files: MOST_FILES, bytes: largest };
        for file in &self.files {
            let contents_only = file.as_os_str().as_encoded_bytes().ends_with(b"/");
            match file.file_name() {
                Some(name) if !contents_only => budget.copy(file, &dir.path().join(name), 0)?,
                _ => budget.copy_below(file, dir.path(), 0)?,
            }
        }
        for (name, bytes) in &self.content {
            budget.spend(bytes.len() as u64)?;
            let relative = name.trim_start_matches('/');
            let clean =
                !relative.is_empty() && relative.split('/').all(|p| !matches!(p, "" | "." | "..") && p.len() < 200);
            if !clean || relative.contains('\0') || relative.split('/').count() > DEEPEST {
                return Err(VmError::option("cd_content", format!("{name:?} is no path on a disc")));
            }
            let to = dir.path().join(relative);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent).map_err(VmError::file("create", parent))?;
            }
            std::fs::write(&to, bytes).map_err(VmError::file("write", &to))?;
        }
        Ok(dir)
    }
}

fn absolute(path: &Path) -> Result<String, VmError> {
    let path = std::path::absolute(path).map_err(VmError::file("find", path))?;
    Ok(path.display().to_string())
}

struct Budget<'a> {
    seed: &'a Seed,
    files: usize,
    bytes: u64,
}

impl Budget<'_> {
    fn spend(&mut self, bytes: u64) -> Result<(), VmError> {
        let files = self.files.checked_sub(1);
        match (files, self.bytes.checked_sub(bytes)) {
            (Some(files), Some(left)) => {
                (self.files, self.bytes) = (files, left);
                Ok(())
            }
            (None, _) => Err(self.seed.failed(format!("more than {MOST_FILES} files"))),
            (_, None) => Err(self.seed.failed("its files are too large together".to_owned())),
        }
    }

    fn copy(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), VmError> {
        let metadata = std::fs::metadata(from).map_err(VmError::file("read", from))?;
        if metadata.is_dir() {
            std::fs::create_dir_all(to).map_err(VmError::file("create", to))?;
            return self.copy_below(from, to, depth + 1);
        }
        if !metadata.is_file() {
            return Err(self.seed.failed(format!("{} is neither a file nor a directory", from.display())));
        }
        self.spend(metadata.len())?;
        std::fs::copy(from, to).map_err(VmError::file("copy", from)).map(drop)
    }

    fn copy_below(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), VmError> {
        if depth > DEEPEST {
            return Err(self.seed.failed(format!("{}: directories too deep (or a link to one above)", from.display())));
        }
        for entry in std::fs::read_dir(from).map_err(VmError::file("read", from))? {
            let entry = entry.map_err(VmError::file("read", from))?;
            self.copy(&entry.path(), &to.join(entry.file_name()), depth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it was asked for.
    struct List;

    impl FatImage for List {
        fn write(&self, image: &Path, label: &str, root: &Path, size: Option<u64>) -> Result<(), String> {
            let mut names = Vec::new();
            walk(root, root, &mut names);
            names.sort();
            std::fs::write(image, format!("{label} {size:?} {}", names.join(" "))).map_err(|e| e.to_string())
        }
    }

    fn walk(root: &Path, dir: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                out.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }

    fn seed(dir: &Path) -> Seed {
        std::fs::create_dir_all(dir.join("d/sub")).unwrap();
        std::fs::write(dir.join("d/sub/x"), "x").unwrap();
        std::fs::write(dir.join("user-data"), "#cloud-config\n").unwrap();
        Seed {
            label: "cidata".to_owned(),
            files: vec![dir.join("user-data"), dir.join("d"), dir.join("d/")],
            content: BTreeMap::from([("/meta-data".to_owned(), b"{}".to_vec()), ("a/b".to_owned(), Vec::new())]),
        }
    }

    #[test]
    fn files_are_where_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        let seed = seed(dir.path());
        let image = dir.path().join("image");
        assert_eq!(seed.disc(&image, &std::env::temp_dir(), None, Some(&List)).unwrap(), Format::Fat);
        assert_eq!(std::fs::read_to_string(&image).unwrap(), "cidata None a/b d/sub/x meta-data sub/x user-data");
        seed.floppy(&image, &std::env::temp_dir(), &List).unwrap();
        assert!(std::fs::read_to_string(&image).unwrap().starts_with("cidata Some(1474560)"));
        let error = seed.disc(&image, &std::env::temp_dir(), None, None).unwrap_err().to_string();
        assert!(error.contains("install the package `xorriso`"), "{error}");
    }

    #[test]
    fn bad_seeds_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |change: &dyn Fn(&mut Seed)| {
            let mut seed = seed(dir.path());
            change(&mut seed);
            seed.floppy(&dir.path().join("image"), &std::env::temp_dir(), &List)
                .unwrap_err()
                .to_string()
                .replace(&*dir.path().to_string_lossy(), "DIR")
        };
        let bad_path = |path: &str| refused(&|s| drop(s.content.insert(path.to_owned(), Vec::new())));
        std::os::unix::fs::symlink(".", dir.path().join("loop")).unwrap();
        std::fs::write(dir.path().join("large"), vec![0; 1_500_000]).unwrap();
        insta::assert_snapshot!([
            bad_path("../x"),
            bad_path("/"),
            bad_path("a//b"),
            refused(&|s| s.label = "way too long a label".into()),
            refused(&|s| s.label = "-o".into()),
            refused(&|s| s.files = vec![dir.path().join("absent")]),
            refused(&|s| s.files = vec![dir.path().join("large")]),
            refused(&|s| s.files = vec!["/dev/null".into()]),
            refused(&|s| *s = Seed { label: "x".into(), ..Seed::default() }),
        ].join("\n"), @r#"
        `cd_content`: "../x" is no path on a disc
        `cd_content`: "/" is no path on a disc
        `cd_content`: "a//b" is no path on a disc
        `cd_label`: "way too long a label": up to 11 letters, digits, `_`, `-`, `.` and blanks
        `cd_label`: "-o": up to 11 letters, digits, `_`, `-`, `.` and blanks
        cannot read DIR/absent: No such file or directory (os error 2)
        cannot make the image `cidata`: its files are too large together
        cannot make the image `cidata`: /dev/null is neither a file nor a directory
        cannot make the image `x`: there is nothing to go onto it
        "#);
        std::fs::remove_file(dir.path().join("large")).unwrap();
        let deep = refused(&|s| s.files = vec![dir.path().join("loop")]);
        assert!(deep.contains("directories too deep") || deep.contains("too large"), "{deep}");
    }
}
