//! The machine's disks: fetched, made, resized, and rewritten at the end.

use std::path::{Path, PathBuf};

use kiln_vm::image::QemuImg;

use super::Qemu;
use crate::builder::{Job, fetched};
use crate::error::{NodeError, Result};

impl Qemu {
    /// The installer or disk to start from.
    pub(super) fn fetch(&self, job: &Job<'_>) -> Result<PathBuf> {
        let (address, found) = fetched::obtain(job, &self.config.addresses, &self.config.checksum)?;
        let place = self.placed(&address, found)?;
        fetched::tell(job, &address, &place);
        Ok(place)
    }

    /// Where the template wants what was fetched.
    fn placed(&self, address: &str, found: PathBuf) -> Result<PathBuf> {
        let remote = address.split_once("://").is_some_and(|(scheme, _)| scheme != "file");
        let Some(target) = self.config.target_path.as_ref().filter(|_| remote) else { return Ok(found) };
        super::super::make_parents(target)?;
        // Whoever looks at it meanwhile sees all of it or nothing.
        let new = PathBuf::from(format!("{}.new", target.display()));
        std::fs::copy(&found, &new).map_err(NodeError::file("write", &new))?;
        std::fs::rename(&new, target).map_err(NodeError::file("write", target))?;
        Ok(target.clone())
    }

    /// An empty directory for the result, which is this build's from now on.
    pub(super) fn make_room(&mut self, job: &Job<'_>) -> Result<()> {
        let dir = &self.config.directory;
        if dir.symlink_metadata().is_ok() {
            if !job.force {
                let what = format!("Output directory exists: {}", dir.display());
                let hint = Some("use the force flag to delete it prior to building: -force".to_owned());
                return Err(NodeError::Unsupported { what, hint });
            }
            self.is_only_a_result()?;
            job.ui.say("Deleting previous output directory...");
            std::fs::remove_dir_all(dir).map_err(NodeError::file("remove", dir))?;
        }
        super::super::make_parents(dir)?;
        std::fs::create_dir(dir).map_err(NodeError::file("make", dir))?;
        self.made = true;
        Ok(())
    }

    /// A directory that the build itself is in is no result of an earlier one.
    fn is_only_a_result(&self) -> Result<()> {
        let dir = &self.config.directory;
        let whole = dir.canonicalize().map_err(NodeError::file("find", dir))?;
        let here = Path::new(".").canonicalize().map_err(NodeError::file("find", "."))?;
        match here.starts_with(&whole) {
            false => Ok(()),
            true => {
                let message = format!("{} has the template's own directory in it, and is not removed", dir.display());
                Err(self.config.place.error("BadDirectory", message).into())
            }
        }
    }

    /// The paths of all disks, the first one first.
    pub(super) fn disk_paths(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let more = (1..=config.disk.more.len()).map(|n| format!("{}-{n}", config.name));
        std::iter::once(config.name.clone()).chain(more).map(|name| config.directory.join(name)).collect()
    }

    /// Makes the disks.
    pub(super) fn make_disks(&self, source: &Path, job: &Job<'_>) -> Result<Vec<kiln_vm::machine::Disk>> {
        let config = &self.config.disk;
        let img = self.image_tool(job)?;
        let paths = self.disk_paths();
        let bytes = |size: u64| format!("{size}b");
        for (index, path) in paths.iter().enumerate() {
            match (index.checked_sub(1).and_then(|i| config.more.get(i)), config.is_image) {
                (Some(size), _) => {
                    job.ui.say("Creating required virtual machine disks");
                    img.create(path, &config.format, Some(&bytes(*size)), None)?;
                }
                (None, false) => {
                    job.ui.say("Creating required virtual machine disks");
                    img.create(path, &config.format, Some(&bytes(config.size)), None)?;
                }
                (None, true) if config.backing => {
                    job.ui.say("Creating required virtual machine disks");
                    let below = img.info(source, None)?;
                    let size = (!config.keep_size).then(|| bytes(config.size.max(below.virtual_size)));
                    img.create(path, &config.format, size.as_deref(), Some((source, &below.format)))?;
                }
                (None, true) => self.copy(&img, source, path, job)?,
            }
            if job.cancel.is_cancelled() {
                return Err(NodeError::Cancelled);
            }
        }
        let format = || config.format.clone();
        Ok(paths.into_iter().map(|path| kiln_vm::machine::Disk { path, format: format() }).collect())
    }

    fn copy(&self, img: &QemuImg, source: &Path, path: &Path, job: &Job<'_>) -> Result<()> {
        let config = &self.config.disk;
        let below = img.info(source, None)?;
        if let Some(file) = &below.backing {
            // It would name any file of this machine, and that file would be read.
            let what = format!("{} is on top of another file, `{file}`", source.display());
            let hint = Some("flatten it first: qemu-img convert -O qcow2".to_owned());
            return Err(NodeError::Unsupported { what, hint });
        }
        job.ui.say("Copying hard drive...");
        img.convert(source, path, &config.format, false)?;
        if config.keep_size {
            job.ui.say("Skipping resizing the hard drive...");
            return Ok(());
        }
        if config.size < below.virtual_size {
            if config.sized {
                let message = format!(
                    "disk_size is {} bytes, and the disk image has {}: it is not made smaller",
                    config.size, below.virtual_size
                );
                return Err(self.config.place.error("BadSize", message).into());
            }
            return Ok(());
        }
        job.ui.say("Resizing hard drive...");
        Ok(img.resize(path, &config.format, &format!("{}", config.size))?)
    }

    pub(super) fn image_tool(&self, job: &Job<'_>) -> Result<QemuImg> {
        Ok(QemuImg::find(job.site.path.as_deref(), self.config.disk.image_args.clone())?)
    }

    /// Rewrites the first disk: what the guest freed is gone then.
    pub(super) fn compact(&self, job: &Job<'_>) -> Result<()> {
        let config = &self.config.disk;
        if config.keep_holes && !config.compress {
            return Ok(());
        }
        let path = self.config.directory.join(&self.config.name);
        let new = PathBuf::from(format!("{}.convert", path.display()));
        job.ui.say("Converting hard drive...");
        self.image_tool(job)?.convert(&path, &new, &config.format, config.compress)?;
        std::fs::rename(&new, &path).map_err(NodeError::file("write", &path))
    }
}
