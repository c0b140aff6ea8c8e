//! Kernels: which are installed, which one a system starts, and how they are configured.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use kiln_oci::compress::{Bounds, Format, decompress_within};

use super::{boot, lines, version};
use crate::system::{LookError, MAX_CONFIG, Result, System, read_bounded};

/// A kernel of a system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kernel {
    /// What `uname -r` says of it.
    pub release: String,
    /// Its image, where there is one.
    pub image: Option<String>,
    /// Whether it has a directory of modules.
    pub modules: bool,
}

/// The kernel that counts, and why it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The kernel.
    pub kernel: Kernel,
    /// Where that is said: a path, with a line.
    pub place: String,
}

/// Names of images in `/boot`, before the release.
const IMAGES: [&str; 3] = ["vmlinuz-", "vmlinux-", "kernel-"];

/// The kernels installed, the newest last. A directory of modules without anything to load counts too.
///
/// # Errors
/// A directory cannot be read.
pub fn installed(system: &dyn System) -> Result<Vec<Kernel>> {
    let mut found: BTreeMap<String, Kernel> = BTreeMap::new();
    let mut images: Vec<(String, String)> = Vec::new();
    for name in system.list("/boot")?.unwrap_or_default() {
        if let Some(release) = IMAGES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            images.push((release.to_owned(), format!("/boot/{name}")));
        }
    }
    let mut trees: BTreeSet<String> = BTreeSet::new();
    for dir in ["/usr/lib/modules", "/lib/modules"] {
        for name in system.list(dir)?.unwrap_or_default() {
            if !name.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let image = format!("{dir}/{name}/vmlinuz");
            if system.stat(&image, true)?.is_some() {
                images.push((name.clone(), image));
            }
            trees.insert(name);
        }
    }
    for (release, path) in images {
        let kernel = found.entry(release.clone()).or_default();
        kernel.release = release;
        kernel.image.get_or_insert(path);
    }
    for release in trees {
        let kernel = found.entry(release.clone()).or_default();
        kernel.release = release;
        kernel.modules = true;
    }
    let mut all: Vec<Kernel> = found.into_values().collect();
    all.sort_by(|a, b| version::debian(&a.release, &b.release));
    Ok(all)
}

/// The kernel that runs, else the one that the boot loader starts, else the newest that has an image.
///
/// # Errors
/// A file cannot be read.
pub fn chosen(system: &dyn System) -> Result<Option<Chosen>> {
    let all = installed(system)?;
    let known = |release: &str| all.iter().find(|kernel| kernel.release == release).cloned();
    if system.live().is_some() {
        const PATH: &str = "/proc/sys/kernel/osrelease";
        let release = lines::text(system, PATH)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let release = release.ok_or_else(|| LookError::form(PATH, "it does not say which kernel runs"))?;
        let kernel = known(&release).unwrap_or(Kernel { release, ..Kernel::default() });
        return Ok(Some(Chosen { kernel, place: PATH.to_owned() }));
    }
    if let Some(entry) = boot::default_entry(system)?
        && let Some(release) = &entry.release
        && let Some(kernel) = known(release)
    {
        return Ok(Some(Chosen { kernel, place: entry.place }));
    }
    let newest = all.into_iter().rev().find(|kernel| kernel.image.is_some());
    Ok(newest.map(|kernel| Chosen { place: kernel.image.clone().unwrap_or_default(), kernel }))
}

/// How a kernel was configured, and the file that says so; `None` when none of the usual places does.
///
/// # Errors
/// A file cannot be read.
pub fn config(system: &dyn System, release: &str) -> Result<Option<(Config, String)>> {
    if system.live().is_some()
        && let Some(bytes) = system.read("/proc/config.gz", MAX_CONFIG)?
    {
        let inner = decompress_within(Format::Gzip, &bytes[..], Bounds::layer(MAX_CONFIG));
        let text = read_bounded("/proc/config.gz", inner.take(MAX_CONFIG + 1), MAX_CONFIG)?;
        return Ok(Some((Config::parse(&String::from_utf8_lossy(&text)), "/proc/config.gz".to_owned())));
    }
    let places = [
        format!("/boot/config-{release}"),
        format!("/usr/src/linux-{release}/.config"),
        "/usr/src/linux/.config".to_owned(),
        format!("/usr/lib/modules/{release}/config"),
        format!("/usr/lib/ostree-boot/config-{release}"),
        format!("/usr/lib/kernel/config-{release}"),
        format!("/usr/src/linux-headers-{release}/.config"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
    ];
    for path in places {
        if let Some(text) = lines::text(system, &path)? {
            return Ok(Some((Config::parse(&text), path)));
        }
    }
    Ok(None)
}

/// The options of a kernel, without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, String>);

impl Config {
    /// The options of a text of lines `CONFIG_X=y`.
    pub fn parse(text: &str) -> Config {
        let pairs = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
        Config(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// `y`, `m` or another value; `None` when it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| *value != "n")
    }

    /// Whether it is built in or a module.
    pub fn has(&self, name: &str) -> bool {
        matches!(self.get(name), Some("y" | "m"))
    }

    /// How many options are set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is: the file was something else.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn the_newest_kernel_with_an_image_counts_unless_the_boot_loader_says_otherwise() {
        let system = Memory::new()
            .file("/boot/vmlinuz-6.9.0-1-amd64", "")
            .file("/boot/vmlinuz-6.10.0-1-amd64", "")
            .file("/boot/config-6.10.0-1-amd64", "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"x\"\n")
            .dir("/usr/lib/modules/6.11.0-1-amd64")
            .dir("/usr/lib/modules/6.10.0-1-amd64")
            .link("/lib", "usr/lib");
        let all: Vec<String> = installed(&system).unwrap().into_iter().map(|kernel| kernel.release).collect();
        assert_eq!(all, ["6.9.0-1-amd64", "6.10.0-1-amd64", "6.11.0-1-amd64"]);
        let found = chosen(&system).unwrap().unwrap();
        assert_eq!((found.kernel.release.as_str(), found.kernel.modules), ("6.10.0-1-amd64", true));
        let (config, place) = config(&system, "6.10.0-1-amd64").unwrap().unwrap();
        assert_eq!(
            (config.has("A"), config.has("B"), config.has("C"), config.get("D")),
            (true, true, false, Some("\"x\""))
        );
        assert_eq!(place, "/boot/config-6.10.0-1-amd64");
        let menu = "menuentry 'old' { \n linux /boot/vmlinuz-6.9.0-1-amd64 root=x\n}\n";
        let system = system.file("/boot/grub/grub.cfg", menu);
        assert_eq!(chosen(&system).unwrap().unwrap().kernel.release, "6.9.0-1-amd64");
        let runs = system.running().file("/proc/sys/kernel/osrelease", "5.4.0\n");
        assert_eq!(chosen(&runs).unwrap().unwrap().kernel.release, "5.4.0");
        assert_eq!(chosen(&Memory::new()).unwrap(), None);
    }
}
