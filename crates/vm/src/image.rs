//! The few things that are left to qemu-img: formats that only it writes, and files on top of others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::VmError;
use crate::qemu::{Qemu, run};

/// How often a conversion is tried again while the machine that has just ended still holds its disk.
const LOCK_RETRIES: u32 = 10;

/// Arguments of the template for each command: `qemu_img_args`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageArgs {
    /// For `create`.
    pub create: Vec<String>,
    /// For `convert`.
    pub convert: Vec<String>,
    /// For `resize`.
    pub resize: Vec<String>,
}

/// What qemu-img knows about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// "qcow2", "raw", "vmdk", …
    pub format: String,
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// The file below, as it is written in this one.
    pub backing: Option<String>,
}

/// qemu-img, with a template's arguments.
#[derive(Debug, Clone)]
pub struct QemuImg {
    program: PathBuf,
    args: ImageArgs,
}

impl QemuImg {
    /// The one in `path` (the environment's `PATH`).
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn find(path: Option<&std::ffi::OsStr>, args: ImageArgs) -> Result<QemuImg, VmError> {
        Ok(QemuImg { program: Qemu::find("qemu-img", path, Path::new(""))?.program, args })
    }

    /// Makes an empty disk, or one that is seen as `backing` (file and format) until it is written to. Without a size
    /// it is as large as that.
    ///
    /// # Errors
    /// What qemu-img says.
    pub fn create(
        &self,
        path: &Path,
        format: &str,
        size: Option<&str>,
        backing: Option<(&Path, &str)>,
    ) -> Result<(), VmError> {
        let mut args = self.command("create", &self.args.create, &["-f", format]);
        if let Some((file, format)) = backing {
            // Relative names are looked up beside the new file, not where the build was started.
            let file = std::path::absolute(file).map_err(VmError::file("find", file))?;
            args.extend(["-b".to_owned(), text(&file)?, "-F".to_owned(), format.to_owned()]);
        }
        args.push(text(path)?);
        args.extend(size.map(str::to_owned));
        run(&self.program, &args).map(drop)
    }

    /// Writes `from` to `to` in another format, compressed or not. Waits for a machine that is just letting go of it.
    ///
    /// # Errors
    /// What qemu-img says.
    pub fn convert(&self, from: &Path, to: &Path, format: &str, compress: bool) -> Result<(), VmError> {
        let mut args = self.command("convert", &self.args.convert, &[]);
        args.extend(compress.then(|| "-c".to_owned()));
        args.extend(["-O".to_owned(), format.to_owned(), text(from)?, text(to)?]);
        let mut tries = 0;
        loop {
            match run(&self.program, &args) {
                Err(VmError::Failed { said, .. }) if tries < LOCK_RETRIES && locked(&said) => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(500));
                }
                other => return other.map(drop),
            }
        }
    }

    /// Makes a disk as large as `size`; smaller only if `qemu_img_args` has `--shrink`.
    ///
    /// # Errors
    /// What qemu-img says.
    pub fn resize(&self, path: &Path, format: &str, size: &str) -> Result<(), VmError> {
        let mut args = self.command("resize", &self.args.resize, &["-f", format]);
        args.extend([text(path)?, size.to_owned()]);
        run(&self.program, &args).map(drop)
    }

    /// What a file is. Its format is guessed only if it is not given: a raw disk can pretend to be anything, and name
    /// any file as the one below it.
    ///
    /// # Errors
    /// What qemu-img says.
    pub fn info(&self, path: &Path, format: Option<&str>) -> Result<ImageInfo, VmError> {
        let mut args = self.command("info", &[], &["--output=json"]);
        args.extend(format.iter().flat_map(|f| ["-f".to_owned(), (*f).to_owned()]));
        args.push(text(path)?);
        let said = run(&self.program, &args)?;
        let unreadable = || VmError::Failed {
            program: format!("{} info", self.program.display()),
            status: "its answer is not understood".to_owned(),
            said: vec![String::from_utf8_lossy(&said).chars().take(200).collect()],
        };
        let value: serde_json::Value = serde_json::from_slice(&said).map_err(|_| unreadable())?;
        Ok(ImageInfo {
            format: value["format"].as_str().ok_or_else(unreadable)?.to_owned(),
            virtual_size: value["virtual-size"].as_u64().ok_or_else(unreadable)?,
            backing: value["backing-filename"].as_str().map(str::to_owned),
        })
    }

    fn command(&self, verb: &str, given: &[String], fixed: &[&str]) -> Vec<String> {
        let fixed = fixed.iter().map(|f| (*f).to_owned());
        std::iter::once(verb.to_owned()).chain(fixed).chain(given.iter().cloned()).collect()
    }
}

/// Bytes of a `disk_size`: a number of MiB, or one with a unit of 1024 (b, k, m, g, t, p, e, in any case).
///
/// # Errors
/// It is neither, or too large for a disk.
pub fn disk_size(option: &str, text: &str) -> Result<u64, VmError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let power = match text[digits..].to_ascii_lowercase().as_str() {
        "b" => Some(0),
        "k" => Some(1),
        "" | "m" => Some(2),
        "g" => Some(3),
        "t" => Some(4),
        "p" => Some(5),
        "e" => Some(6),
        _ => None,
    };
    let bytes = power.and_then(|power| text[..digits].parse::<u64>().ok()?.checked_mul(1 << (10 * power)));
    match bytes {
        Some(bytes) if bytes > 0 && i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => Err(VmError::option(option, format!("{text:?} is no size of a disk: write `40960M` or `40G`"))),
    }
}

/// A path that qemu-img takes as one: names with a colon can be protocols, and those with a dash options.
fn text(path: &Path) -> Result<String, VmError> {
    let name = path
        .to_str()
        .ok_or_else(|| VmError::option("path", format!("{}: qemu-img takes names in UTF-8 only", path.display())))?;
    Ok(if path.is_absolute() { name.to_owned() } else { format!("./{name}") })
}

fn locked(said: &[String]) -> bool {
    said.iter().any(|l| l.contains("Failed to get shared \"write\" lock") || l.contains("Failed to get \"write\" lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_disks() {
        let size = |text: &str| disk_size("disk_size", text).ok();
        assert_eq!(size("40960"), Some(40 << 30));
        assert_eq!((size("40960M"), size("40g"), size("1T")), (Some(40 << 30), Some(40 << 30), Some(1 << 40)));
        assert_eq!((size("512b"), size(" 8k ")), (Some(512), Some(8192)));
        for bad in ["", "0", "-1", "1.5G", "G", "10GB", "8E", "99999999999999999999", "1 G"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_never_options_or_protocols() {
        assert_eq!(text(Path::new("-b")).unwrap(), "./-b");
        assert_eq!(text(Path::new("nbd:localhost:1")).unwrap(), "./nbd:localhost:1");
        assert_eq!(text(Path::new("/a/b")).unwrap(), "/a/b");
        use std::os::unix::ffi::OsStrExt;
        assert!(text(Path::new(std::ffi::OsStr::from_bytes(b"\xff"))).is_err());
    }
}
