//! What a tree has that can boot it, learned by looking once.

use std::io;

use super::{Arch, core, version};
use crate::error::{DiskError, Result};

/// The files that are to become the root file system.
pub trait Tree {
    /// The names in a directory, sorted; none when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// The bytes of a file, links in the tree followed; `None` when it is not there.
    ///
    /// # Errors
    /// When it is larger than `limit`, or cannot be read.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Whether there is something at this path, links in the tree followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn has(&self, path: &str) -> io::Result<bool>;
}

/// A kernel of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its version, as its file or its directory of modules is named.
    pub version: String,
    /// Where it is.
    pub image: String,
    /// Where its initramfs is.
    pub initrd: Option<String>,
    /// The directory of its modules, with depmod's lists.
    pub modules: Option<String>,
}

/// A boot loader for UEFI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Efi {
    /// GRUB as one file, and the directory of the ESP where it looks for its configuration.
    Grub {
        /// Its file.
        image: String,
        /// As `EFI/debian`.
        directory: String,
    },
    /// systemd-boot.
    SystemdBoot {
        /// Its file.
        image: String,
    },
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Kernels, the newest first.
    pub kernels: Vec<Kernel>,
    /// Whether there is an init.
    pub init: bool,
    /// Where GRUB's files for a BIOS are.
    pub grub_bios: Option<String>,
    /// Boot loaders for UEFI, the preferred first.
    pub efi: Vec<Efi>,
    /// `ID` of os-release.
    pub os: String,
    /// `PRETTY_NAME` of os-release.
    pub title: String,
    /// `/etc/fstab`, when it is text.
    pub fstab: String,
    /// Names of SSH host keys.
    pub host_keys: Vec<String>,
    /// Units of systemd that start an SSH server, when nothing in the tree makes the host keys it needs.
    pub keyless: Vec<String>,
    /// Whether there is a name of the host that says something.
    pub hostname: bool,
    /// Whether there is `/etc/hosts`.
    pub hosts: bool,
    /// Things of one machine that are in the tree and should not be.
    pub leftovers: Vec<String>,
}

const INITS: [&str; 5] = ["/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/init"];
const LEFTOVERS: [&str; 5] = [
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/.dockerenv",
    "/var/lib/cloud/instance",
    "/run/.containerenv",
];
const MAX_TEXT: u64 = 1 << 20;
const MAX_LOADER: u64 = 64 << 20;

/// Looks at what `tree` has for a machine of `arch`.
///
/// # Errors
/// When a file cannot be read.
pub fn gather(tree: &dyn Tree, arch: Arch) -> Result<Facts> {
    let look = |path: &str, result: io::Result<bool>| result.map_err(|source| body(path, source));
    let text = |path: &str| -> Result<String> {
        let data = tree.read(path, MAX_TEXT).map_err(|source| body(path, source))?;
        Ok(data.map(|d| String::from_utf8_lossy(&d).into_owned()).unwrap_or_default())
    };
    let mut facts = Facts { kernels: kernels(tree)?, ..Facts::default() };
    for path in INITS {
        facts.init |= look(path, tree.has(path))?;
    }
    for dir in core::DIRECTORIES {
        if facts.grub_bios.is_none() && look(dir, tree.has(&format!("{dir}/boot.img")))? {
            facts.grub_bios = Some(dir.to_owned());
        }
    }
    let release = text("/etc/os-release")?;
    let release = if release.is_empty() { text("/usr/lib/os-release")? } else { release };
    facts.os = field(&release, "ID");
    facts.title = field(&release, "PRETTY_NAME");
    facts.efi = efi(tree, arch)?;
    facts.fstab = text("/etc/fstab")?;
    let ssh = tree.list("/etc/ssh").map_err(|source| body("/etc/ssh", source))?;
    facts.host_keys = ssh.into_iter().filter(|n| n.starts_with("ssh_host_") && n.contains("_key")).collect();
    facts.keyless = keyless(tree)?;
    let hostname = text("/etc/hostname")?;
    facts.hostname = !matches!(hostname.trim(), "" | "localhost" | "localhost.localdomain" | "buildkitsandbox");
    facts.hosts = look("/etc/hosts", tree.has("/etc/hosts"))? && !text("/etc/hosts")?.trim().is_empty();
    for path in LEFTOVERS {
        if look(path, tree.has(path))? {
            facts.leftovers.push(path.to_owned());
        }
    }
    Ok(facts)
}

const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// What makes host keys on the first start by itself.
const KEY_MAKERS: [&str; 3] = [
    "/usr/lib/systemd/system/sshd-keygen@.service",
    "/usr/lib/systemd/system/sshdgenkeys.service",
    "/usr/sbin/sshd-gen-keys-start",
];

/// The units of SSH servers that would not start without host keys.
fn keyless(tree: &dyn Tree) -> Result<Vec<String>> {
    let has = |path: &str| tree.has(path).map_err(|source| body(path, source));
    for maker in KEY_MAKERS {
        if has(maker)? {
            return Ok(Vec::new());
        }
    }
    if has("/usr/bin/cloud-init")? && !has("/etc/cloud/cloud-init.disabled")? {
        return Ok(Vec::new());
    }
    if !has("/usr/bin/ssh-keygen")? {
        return Ok(Vec::new());
    }
    // A unit of the image's own.
    for name in tree.list(UNITS[0]).map_err(|source| body(UNITS[0], source))? {
        let path = format!("{}/{name}", UNITS[0]);
        if name.ends_with(".service")
            // What cannot be read makes no keys.
            && let Ok(Some(text)) = tree.read(&path, MAX_TEXT)
            && String::from_utf8_lossy(&text).contains("ssh-keygen")
        {
            return Ok(Vec::new());
        }
    }
    let mut found = Vec::new();
    for name in ["ssh.service", "ssh@.service", "sshd.service", "sshd@.service"] {
        for dir in UNITS {
            if has(&format!("{dir}/{name}"))? {
                found.push(name.to_owned());
                break;
            }
        }
    }
    Ok(found)
}

fn body(path: &str, source: io::Error) -> DiskError {
    DiskError::Body { path: path.trim_start_matches('/').to_owned(), source }
}

fn field(release: &str, name: &str) -> String {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = value.unwrap_or_default().trim().trim_matches(['"', '\'']);
    value.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\'' | '\\' | '$' | '`')).take(100).collect()
}

fn kernels(tree: &dyn Tree) -> Result<Vec<Kernel>> {
    let list = |dir: &str| tree.list(dir).map_err(|source| body(dir, source));
    let boot = list("/boot")?;
    let mut found: Vec<Kernel> = Vec::new();
    for name in &boot {
        let version = ["vmlinuz-", "vmlinux-", "Image-"].iter().find_map(|prefix| name.strip_prefix(prefix));
        let Some(version) = version.filter(|v| !v.starts_with("0-rescue") && !v.ends_with(".old")) else { continue };
        found.push(Kernel {
            version: version.to_owned(),
            image: format!("/boot/{name}"),
            initrd: initrd(&boot, version),
            modules: None,
        });
    }
    for modules in ["/usr/lib/modules", "/lib/modules"] {
        for version in list(modules)? {
            if found.iter().any(|k| k.version == version) {
                continue;
            }
            let dir = format!("{modules}/{version}");
            let files = list(&dir)?;
            if files.iter().any(|n| n == "vmlinuz") {
                let own = files.iter().find(|n| *n == "initramfs.img").map(|n| format!("{dir}/{n}"));
                let initrd = own.or_else(|| initrd(&boot, &version));
                found.push(Kernel { version, image: format!("{dir}/vmlinuz"), initrd, modules: None });
            }
        }
    }
    found.retain(|k| k.version.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c)));
    for kernel in &mut found {
        for dir in ["/usr/lib/modules", "/lib/modules"] {
            let dir = format!("{dir}/{}", kernel.version);
            let list = format!("{dir}/modules.dep");
            if kernel.modules.is_none() && tree.has(&list).map_err(|source| body(&list, source))? {
                kernel.modules = Some(dir);
            }
        }
    }
    found.sort_by(|a, b| version::compare(&b.version, &a.version).then_with(|| a.image.cmp(&b.image)));
    Ok(found)
}

/// What Debian, RHEL, Alpine and SUSE call it.
fn initrd(boot: &[String], version: &str) -> Option<String> {
    let names = [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initramfs-{version}"),
        format!("initrd-{version}"),
        format!("initrd-{version}.img"),
    ];
    names.iter().find(|name| boot.contains(name)).map(|name| format!("/boot/{name}"))
}

fn efi(tree: &dyn Tree, arch: Arch) -> Result<Vec<Efi>> {
    let short = arch.efi_name();
    let grub = format!("grub{short}.efi");
    let mut places = vec![
        format!("/usr/lib/grub/{}-efi-signed/{grub}.signed", arch.grub_name()),
        format!("/usr/lib/grub/{}-efi/monolithic/{grub}", arch.grub_name()),
    ];
    let dir = "/boot/efi/EFI";
    let vendors = tree.list(dir).map_err(|source| body(dir, source))?;
    places.extend(vendors.iter().map(|vendor| format!("{dir}/{vendor}/{grub}")));
    let mut found = Vec::new();
    for image in places {
        if let Some(data) = tree.read(&image, MAX_LOADER).map_err(|source| body(&image, source))? {
            // A GRUB that does not say where it looks cannot be told anything.
            found.extend(directory(&data).map(|directory| Efi::Grub { image, directory }));
        }
    }
    for image in [
        format!("/usr/lib/systemd/boot/efi/systemd-boot{short}.efi"),
        format!("/boot/efi/EFI/systemd/systemd-boot{short}.efi"),
    ] {
        if tree.has(&image).map_err(|source| body(&image, source))? {
            found.push(Efi::SystemdBoot { image });
        }
    }
    Ok(found)
}

/// The prefix that is built into a GRUB for UEFI, as `EFI/debian`.
fn directory(image: &[u8]) -> Option<String> {
    let starts =
        (0..image.len().saturating_sub(6)).rev().filter(|at| image[*at] == b'/' && image[*at..].starts_with(b"/EFI/"));
    for at in starts {
        let name: Vec<u8> = image[at + 5..].iter().copied().take(32).take_while(|b| *b != 0).collect();
        let ends = image.get(at + 5 + name.len()) == Some(&0);
        if ends && !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return Some(format!("EFI/{}", String::from_utf8_lossy(&name)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_found() {
        assert_eq!(directory(b"xx/EFI/debian\0yy"), Some("EFI/debian".to_owned()));
        assert_eq!(directory(b"xx/EFI/BOOT/x.efi\0yy"), None);
        assert_eq!(directory(b"/EFI/"), None);
    }

    #[test]
    fn fields_hold_nothing_that_a_configuration_takes_for_more() {
        assert_eq!(field("NAME=x\nPRETTY_NAME=\"De`$b\\ian\"\n", "PRETTY_NAME"), "Debian");
    }

    #[test]
    fn who_makes_host_keys() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let found = || keyless(&crate::boot::DirTree::open(dir.path()).unwrap()).unwrap();
        put("usr/lib/systemd/system/ssh.service", "");
        assert_eq!(found(), Vec::<String>::new(), "nothing here can make keys");
        put("usr/bin/ssh-keygen", "");
        assert_eq!(found(), ["ssh.service"]);
        // What cannot be read says nothing.
        std::os::unix::fs::symlink("/dev/null", dir.path().join("usr/lib/systemd/system/x.service")).unwrap();
        put("etc/systemd/system/a.service/not-a-file", "");
        assert_eq!(found(), ["ssh.service"]);
        put("etc/systemd/system/keys.service", "[Service]\nExecStart=/usr/bin/ssh-keygen -A\n");
        assert_eq!(found(), Vec::<String>::new());
        std::fs::remove_file(dir.path().join("etc/systemd/system/keys.service")).unwrap();
        put("usr/bin/cloud-init", "");
        assert_eq!(found(), Vec::<String>::new());
        put("etc/cloud/cloud-init.disabled", "");
        assert_eq!(found(), ["ssh.service"], "who does nothing makes no keys");
    }
}
