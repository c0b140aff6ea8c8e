//! Charts from the disk: a directory, or an archive.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_helm::{Chart, ChartError, Files, MAX_FILE};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::error::CliError;

/// Directories inside of each other.
const MAX_DEPTH: usize = 32;

/// Reads the chart at `path`.
pub fn chart(path: &Path) -> Result<Chart, CliError> {
    let shown = path.display();
    let missing = |error: rustix::io::Errno| {
        CliError::input(format!("cannot read the chart `{shown}`: {}", std::io::Error::from(error)))
            .with_hint("name a directory with a Chart.yaml, or an archive such as app-1.2.3.tgz")
    };
    let opened = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(missing)?;
    let kind = FileType::from_raw_mode(fstat(&opened).map_err(missing)?.st_mode);
    let chart = if kind == FileType::Directory {
        let mut files = Files::new();
        walk(&opened, &opened, "", &mut files, 0)
            .and_then(|()| Chart::load(&files).map_err(|error| error.to_string()))
            .map_err(|message| CliError::input(format!("the chart `{shown}`: {message}")))?
    } else {
        let wrong = |error: ChartError| CliError::input(format!("the chart `{shown}`: {error}"));
        Chart::archive(File::from(opened)).map_err(wrong)?
    };
    Ok(chart)
}

/// All files below `directory`, which is `prefix` of `root`; links are followed inside of the root only.
fn walk(root: &OwnedFd, directory: &OwnedFd, prefix: &str, files: &mut Files, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "{prefix}: more than {MAX_DEPTH} directories inside of each other, or a link to one above"
        ));
    }
    let failed = |name: &str, error: rustix::io::Errno| format!("{name}: {}", std::io::Error::from(error));
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(|error| failed(prefix, error))? {
        let entry = entry.map_err(|error| failed(prefix, error))?;
        let name = entry.file_name().to_str().map_err(|_| format!("{prefix}: a name is no UTF-8"))?;
        if !matches!(name, "." | "..") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    for name in names {
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // Not blocked by a pipe: what is no file is an error below.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(root, path.as_str(), flags, Mode::empty(), resolve).map_err(|error| match error {
            rustix::io::Errno::XDEV => format!("{path}: a link that leads out of the chart"),
            error => failed(&path, error),
        })?;
        let stat = fstat(&opened).map_err(|error| failed(&path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => walk(root, &opened, &path, files, depth + 1)?,
            FileType::RegularFile => {
                let mut bytes = Vec::new();
                let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX) + 1;
                File::from(opened).take(most).read_to_end(&mut bytes).map_err(|error| format!("{path}: {error}"))?;
                files.add(&path, bytes).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("{path}: neither a file nor a directory")),
        }
    }
    Ok(())
}

/// A text that an option names: values, the content of `--set-file`.
pub fn text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let opened = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("cannot read `{shown}`: {}", std::io::Error::from(error)))?;
    let mut text = String::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX) + 1;
    let read = File::from(opened).take(most).read_to_string(&mut text);
    match read {
        Ok(size) if size > MAX_FILE => Err(format!("`{shown}` is larger than {MAX_FILE} bytes")),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read `{shown}`: {error}")),
    }
}
