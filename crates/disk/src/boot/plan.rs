//! The decision: facts and a wish in, what is written out; or what is missing, and which package brings it.

use super::{Arch, Efi, Facts, Kernel};
use crate::error::{DiskError, Result};
use crate::part::Guid;

/// What a disk shall boot as.
#[derive(Debug, Clone)]
pub struct Wish {
    /// By a BIOS.
    pub bios: bool,
    /// By UEFI.
    pub uefi: bool,
    /// On which machines.
    pub arch: Arch,
    /// The root file system as `/etc/fstab` and the kernel name it: ext4, xfs, btrfs.
    pub filesystem: &'static str,
    /// The identifier of the root file system.
    pub root: Guid,
    /// The identifier of the root's partition, for a kernel without initramfs.
    pub root_partition: Guid,
    /// The serial number of the ESP.
    pub esp: u32,
    /// What is added to the kernel's command line.
    pub cmdline: String,
    /// The host's name, when it is given.
    pub hostname: Option<String>,
    /// Where the initramfs comes from.
    pub initramfs: Initramfs,
}

/// Where a disk's initramfs comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Initramfs {
    /// It is the image's; one that has none gets Kiln's.
    #[default]
    Auto,
    /// It is the image's.
    Keep,
    /// Kiln makes it, in the place of the image's if there is one.
    Make,
    /// There is none: the drivers are built into the kernel.
    None,
}

/// A change to the tree while it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file with these bytes, with directories above it, replacing what is there.
    Write {
        /// From the root, with `/` in front.
        path: String,
        /// Its permissions.
        mode: u32,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// Nothing is there, nor below.
    Remove {
        /// From the root, with `/` in front.
        path: String,
    },
    /// A directory, when there is none.
    Directory {
        /// From the root, with `/` in front.
        path: String,
        /// Its permissions.
        mode: u32,
    },
}

/// Where a file of the ESP comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EspSource {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file of the tree.
    Tree(String),
}

/// A file of the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspFile {
    /// Where it goes, with no `/` in front.
    pub path: String,
    /// What it is.
    pub source: EspSource,
}

/// How a disk boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The kernel that boots, with the initramfs it will have.
    pub kernel: Kernel,
    /// The directory of modules that the initramfs is made of, when Kiln makes it.
    pub made_of: Option<String>,
    /// GRUB's directory, modules and first configuration for a BIOS.
    pub bios: Option<(String, Vec<&'static str>, String)>,
    /// What is on the ESP.
    pub esp: Vec<EspFile>,
    /// Which loader UEFI starts.
    pub efi: Option<Efi>,
    /// What is changed in the tree.
    pub changes: Vec<Change>,
}

fn missing(what: impl Into<String>, hint: impl Into<String>) -> DiskError {
    DiskError::Boot { what: what.into(), hint: hint.into() }
}

/// Decides how a tree with these facts boots.
///
/// # Errors
/// When it cannot: what is missing, and what brings it.
pub fn plan(facts: &Facts, wish: &Wish) -> Result<Plan> {
    check_words(wish)?;
    let (kernel, made_of) = kernel(facts, wish)?;
    if !facts.init {
        let hint =
            "install `systemd-sysv` (Debian, Ubuntu), `systemd` (RHEL) or `openrc` and `busybox-openrc` (Alpine)";
        return Err(missing(
            "the image has no init: none of /sbin/init, /usr/lib/systemd/systemd, /init is there",
            hint,
        ));
    }
    let bios = if wish.bios { Some(bios(facts, wish)?) } else { None };
    let efi = if wish.uefi { Some(efi(facts, wish)?.clone()) } else { None };
    let grub = bios.is_some() || matches!(efi, Some(Efi::Grub { .. }));
    let esp = efi.as_ref().map(|efi| esp(facts, wish, &kernel, efi)).unwrap_or_default();
    Ok(Plan { bios, esp, changes: changes(facts, wish, &kernel, grub), kernel, made_of, efi })
}

/// What is put into configurations must not be more than a word.
fn check_words(wish: &Wish) -> Result<()> {
    let bad = |c: char| c.is_control() || "'\"\\$`{};#&|<>".contains(c);
    if let Some(c) = wish.cmdline.chars().find(|c| bad(*c)) {
        let what = format!("the kernel's command line has {c:?}, which a boot loader would take for something else");
        return Err(missing(what, "leave it out of `kernel_cmdline`"));
    }
    let good = |name: &str| {
        (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    match &wish.hostname {
        Some(name) if !good(name) => {
            let what = format!("`{}` is no name of a host", name.escape_debug());
            Err(missing(what, "up to 64 letters, digits, `-` and `.`"))
        }
        _ => Ok(()),
    }
}

/// The kernel that boots; and what its initramfs is made of, when that is not there.
fn kernel(facts: &Facts, wish: &Wish) -> Result<(Kernel, Option<String>)> {
    let Some(newest) = facts.kernels.first() else {
        let hint = "install one: `apt-get install linux-image-amd64` (or `linux-image-cloud-amd64`), `dnf install kernel`, \
                    `apk add linux-virt`";
        return Err(missing("the image has no kernel: no /boot/vmlinuz-* and no /usr/lib/modules/*/vmlinuz", hint));
    };
    let mut kernel = newest.clone();
    match (wish.initramfs, &newest.modules) {
        (Initramfs::None, _) => kernel.initrd = None,
        (Initramfs::Auto | Initramfs::Keep, _) if newest.initrd.is_some() => {}
        (Initramfs::Auto | Initramfs::Make, Some(modules)) if wish.arch == Arch::X86_64 => {
            let name = match facts.os.as_str() {
                "debian" | "ubuntu" => format!("/boot/initrd.img-{}", newest.version),
                _ => format!("/boot/initramfs-{}.img", newest.version),
            };
            kernel.initrd.get_or_insert(name);
            return Ok((kernel, Some(modules.clone())));
        }
        (wanted, modules) => return Err(no_initramfs(facts, newest, wanted, modules.is_some())),
    }
    Ok((kernel, None))
}

fn no_initramfs(facts: &Facts, kernel: &Kernel, wanted: Initramfs, modules: bool) -> DiskError {
    let v = &kernel.version;
    let hint = match facts.os.as_str() {
        "alpine" => format!("make one in the image: `mkinitfs -o /boot/initramfs-{v} VERSION`"),
        "debian" | "ubuntu" => {
            format!("make one in the image: `apt-get install initramfs-tools && update-initramfs -c -k {v}`")
        }
        _ => format!("make one in the image: `dracut --no-hostonly --kver {v} /boot/initramfs-{v}.img`"),
    };
    let hint = hint + "; or say `initramfs=none` if all drivers are built into the kernel";
    let why = match (wanted, modules) {
        (Initramfs::Keep, _) => String::new(),
        (_, true) => ", and Kiln makes none for arm64 yet".to_owned(),
        (_, false) => format!(", and Kiln cannot make one: there is no /lib/modules/{v}/modules.dep"),
    };
    missing(format!("the kernel {v} has no initramfs in /boot{why}"), hint)
}

fn bios(facts: &Facts, wish: &Wish) -> Result<(String, Vec<&'static str>, String)> {
    if wish.arch != Arch::X86_64 {
        return Err(missing("only x86-64 has a BIOS", "say `boot=uefi`"));
    }
    let Some(dir) = &facts.grub_bios else {
        let hint = "install `grub-pc-bin` (Debian, Ubuntu), `grub2-pc-modules` (RHEL) or `grub-bios` (Alpine), or say `boot=uefi`";
        return Err(missing("the image has no boot loader for a BIOS: no /usr/lib/grub/i386-pc", hint));
    };
    let own = match wish.filesystem {
        "xfs" => "xfs",
        "btrfs" => "btrfs",
        _ => "ext2",
    };
    let modules = vec![
        "biosdisk",
        "part_gpt",
        "part_msdos",
        own,
        "normal",
        "linux",
        "search",
        "search_fs_uuid",
        "search_label",
        "configfile",
        "serial",
        "terminal",
        "test",
        "echo",
        "gzio",
    ];
    Ok((dir.clone(), modules, find_root(wish)))
}

/// GRUB's first lines: the root file system is found on whatever disk it is.
fn find_root(wish: &Wish) -> String {
    format!("search.fs_uuid {} root\nset prefix=($root)/boot/grub\n", wish.root)
}

fn efi<'a>(facts: &'a Facts, wish: &Wish) -> Result<&'a Efi> {
    facts.efi.first().ok_or_else(|| {
        let (grub, systemd) = match wish.arch {
            Arch::X86_64 => ("grub-efi-amd64-bin", "systemd-boot-efi"),
            Arch::Arm64 => ("grub-efi-arm64-bin", "systemd-boot-efi"),
        };
        let hint = format!("install `{grub}` or `{systemd}` (Debian, Ubuntu), `grub2-efi-x64` (RHEL) or `systemd-boot` (Alpine), or say `boot=bios`");
        missing("the image has no boot loader for UEFI: neither GRUB as one file nor systemd-boot", hint)
    })
}

fn cmdline(wish: &Wish) -> String {
    let root = if wish.initramfs == Initramfs::None {
        format!("PARTUUID={} rootwait", wish.root_partition)
    } else {
        format!("UUID={}", wish.root)
    };
    // Kernels try ext4 by themselves; of others it is said what they are, for those that have no initramfs.
    let kind = match wish.filesystem {
        "ext4" => String::new(),
        other => format!(" rootfstype={other}"),
    };
    let line = format!("root={root}{kind} ro console=tty0 console={} {}", wish.arch.serial(), wish.cmdline);
    line.trim_end().to_owned()
}

fn esp(facts: &Facts, wish: &Wish, kernel: &Kernel, efi: &Efi) -> Vec<EspFile> {
    let file = |path: &str, source| EspFile { path: path.to_owned(), source };
    let text = |path: &str, text: String| file(path, EspSource::Bytes(text.into_bytes()));
    let loader = format!("EFI/BOOT/BOOT{}.EFI", wish.arch.efi_name().to_ascii_uppercase());
    match efi {
        Efi::Grub { image, directory } => {
            let config = find_root(wish) + "configfile $prefix/grub.cfg\n";
            vec![file(&loader, EspSource::Tree(image.clone())), text(&format!("{directory}/grub.cfg"), config)]
        }
        Efi::SystemdBoot { image } => {
            let mut files = vec![file(&loader, EspSource::Tree(image.clone()))];
            files.push(text(
                "loader/loader.conf",
                "timeout 1\ndefault kiln.conf\nconsole-mode keep\neditor no\n".into(),
            ));
            let mut entry = format!("title {}\nversion {}\nlinux /kiln/vmlinuz\n", title(facts), kernel.version);
            files.push(file("kiln/vmlinuz", EspSource::Tree(kernel.image.clone())));
            if let Some(initrd) = kernel.initrd.as_ref() {
                files.push(file("kiln/initrd", EspSource::Tree(initrd.clone())));
                entry += "initrd /kiln/initrd\n";
            }
            entry += &format!("options {}\n", cmdline(wish));
            files.push(text("loader/entries/kiln.conf", entry));
            files
        }
    }
}

fn title(facts: &Facts) -> &str {
    if facts.title.is_empty() { "Linux" } else { &facts.title }
}

/// Without host keys of its own no SSH server starts, and keys of an image are no secret.
const HOST_KEYS: &str = "\
[Unit]
Description=SSH host keys of this machine
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
";
const NEEDS_HOST_KEYS: &str = "[Unit]\nWants=kiln-host-keys.service\nAfter=kiln-host-keys.service\n";

fn changes(facts: &Facts, wish: &Wish, kernel: &Kernel, grub: bool) -> Vec<Change> {
    let write = |path: &str, data: String| Change::Write { path: path.into(), mode: 0o644, data: data.into_bytes() };
    let remove = |path: String| Change::Remove { path };
    let mut all = vec![write("/etc/fstab", fstab(facts, wish)), write("/etc/machine-id", String::new())];
    all.extend(facts.host_keys.iter().map(|name| remove(format!("/etc/ssh/{name}"))));
    if !facts.keyless.is_empty() {
        all.push(write("/etc/systemd/system/kiln-host-keys.service", HOST_KEYS.into()));
    }
    for unit in &facts.keyless {
        all.push(write(&format!("/etc/systemd/system/{unit}.d/10-host-keys.conf"), NEEDS_HOST_KEYS.into()));
    }
    all.extend(facts.leftovers.iter().map(|path| remove(path.clone())));
    match &wish.hostname {
        Some(name) => all.push(write("/etc/hostname", format!("{name}\n"))),
        None if !facts.hostname => all.push(write("/etc/hostname", "localhost\n".into())),
        None => {}
    }
    if !facts.hosts {
        let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        all.push(write("/etc/hosts", hosts.into()));
    }
    // What a kernel and an init need to be there, and a container image may lack.
    for (path, mode) in [("/dev", 0o755), ("/proc", 0o555), ("/sys", 0o555), ("/run", 0o755), ("/tmp", 0o1777)] {
        all.push(Change::Directory { path: path.into(), mode });
    }
    if wish.uefi {
        all.push(Change::Directory { path: "/boot/efi".into(), mode: 0o755 });
    }
    if grub {
        all.push(write("/boot/grub/grub.cfg", grub_cfg(facts, wish, kernel)));
    }
    all
}

/// What there is, without the lines for `/` and `/boot/efi`, which are new.
fn fstab(facts: &Facts, wish: &Wish) -> String {
    let kept = facts.fstab.lines().filter(|line| {
        let place = line.split_whitespace().nth(1).filter(|_| !line.trim_start().starts_with('#'));
        !line.contains("UNCONFIGURED FSTAB") && !matches!(place, Some("/" | "/boot/efi"))
    });
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    let options = if wish.filesystem == "ext4" { "errors=remount-ro" } else { "defaults" };
    let check = u8::from(wish.filesystem == "ext4");
    text += &format!("UUID={} / {} {options} 0 {check}\n", wish.root, wish.filesystem);
    if wish.uefi {
        let (high, low) = (wish.esp >> 16, wish.esp & 0xffff);
        text += &format!("UUID={high:04X}-{low:04X} /boot/efi vfat umask=0077,nofail 0 2\n");
    }
    text
}

fn grub_cfg(facts: &Facts, wish: &Wish, kernel: &Kernel) -> String {
    let mut text = String::from("set default=0\nset timeout=1\n");
    if wish.arch == Arch::X86_64 {
        text += "if serial --unit=0 --speed=115200; then\n  terminal_input console serial\n  terminal_output console serial\nfi\n";
    }
    text += &format!("search.fs_uuid {} root\n", wish.root);
    let mut entry = format!("menuentry '{} ({})' {{\n", title(facts), kernel.version);
    entry += &format!("  linux {} {}\n", kernel.image, cmdline(wish));
    if let Some(initrd) = kernel.initrd.as_ref() {
        entry += &format!("  initrd {initrd}\n");
    }
    text + &entry + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let kernel = Kernel {
            version: "6.1".into(),
            image: "/boot/vmlinuz-6.1".into(),
            initrd: Some("/boot/initrd.img-6.1".into()),
            modules: None,
        };
        Facts {
            kernels: vec![kernel],
            init: true,
            grub_bios: Some("/usr/lib/grub/i386-pc".into()),
            efi: vec![Efi::Grub { image: "/g.efi".into(), directory: "EFI/debian".into() }],
            os: "debian".into(),
            title: "Debian 12".into(),
            fstab: "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n/dev/sda1 / ext4 x 0 1\ntmpfs /tmp tmpfs x 0 0\n".into(),
            host_keys: vec!["ssh_host_rsa_key".into()],
            ..Facts::default()
        }
    }

    fn wish() -> Wish {
        Wish {
            bios: true,
            uefi: true,
            arch: Arch::X86_64,
            filesystem: "ext4",
            root: Guid([1; 16]),
            root_partition: Guid([2; 16]),
            esp: 0x1234_abcd,
            cmdline: "quiet".into(),
            hostname: None,
            initramfs: Initramfs::Auto,
        }
    }

    fn text<'a>(plan: &'a Plan, wanted: &str) -> &'a str {
        let found = plan.changes.iter().find_map(|c| match c {
            Change::Write { path, data, .. } if path == wanted => Some(data),
            _ => None,
        });
        str::from_utf8(found.unwrap()).unwrap()
    }

    #[test]
    fn what_is_written() {
        let plan = plan(&facts(), &wish()).unwrap();
        let fstab = "tmpfs /tmp tmpfs x 0 0\nUUID=01010101-0101-0101-0101-010101010101 / ext4 errors=remount-ro 0 1\n\
                     UUID=1234-ABCD /boot/efi vfat umask=0077,nofail 0 2\n";
        assert_eq!(text(&plan, "/etc/fstab"), fstab);
        assert_eq!(text(&plan, "/etc/machine-id"), "");
        let grub = text(&plan, "/boot/grub/grub.cfg");
        let line = "  linux /boot/vmlinuz-6.1 root=UUID=01010101-0101-0101-0101-010101010101 ro console=tty0 console=ttyS0,115200 quiet\n";
        assert!(grub.contains(line) && grub.contains("  initrd /boot/initrd.img-6.1\n"), "{grub}");
        assert!(plan.changes.contains(&Change::Remove { path: "/etc/ssh/ssh_host_rsa_key".into() }));
        let paths: Vec<&str> = plan.esp.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["EFI/BOOT/BOOTX64.EFI", "EFI/debian/grub.cfg"]);
    }

    #[test]
    fn an_ssh_server_without_keys_makes_them_when_it_first_starts() {
        let unit = "/etc/systemd/system/kiln-host-keys.service";
        let touches = |plan: &Plan, wanted: &str| {
            plan.changes.iter().any(|c| matches!(c, Change::Write { path, .. } if path == wanted))
        };
        assert!(!touches(&plan(&facts(), &wish()).unwrap(), unit));
        let keyless = Facts { keyless: vec!["ssh.service".into(), "ssh@.service".into()], ..facts() };
        let plan = plan(&keyless, &wish()).unwrap();
        assert!(text(&plan, unit).contains("ssh-keygen -A"));
        for drop_in in ["ssh.service.d", "ssh@.service.d"] {
            let text = text(&plan, &format!("/etc/systemd/system/{drop_in}/10-host-keys.conf"));
            assert!(text.contains("After=kiln-host-keys.service"));
        }
    }

    #[test]
    fn the_file_system_is_named_everywhere() {
        for filesystem in ["xfs", "btrfs"] {
            let plan = plan(&facts(), &Wish { filesystem, ..wish() }).unwrap();
            let line = format!("UUID=01010101-0101-0101-0101-010101010101 / {filesystem} defaults 0 0\n");
            assert!(text(&plan, "/etc/fstab").contains(&line));
            assert!(text(&plan, "/boot/grub/grub.cfg").contains(&format!(" rootfstype={filesystem} ro ")));
            assert!(plan.bios.unwrap().1.contains(&filesystem));
        }
    }

    #[test]
    fn what_is_missing_is_taught() {
        let error = |change: &dyn Fn(&mut Facts, &mut Wish)| {
            let (mut facts, mut wish) = (facts(), wish());
            change(&mut facts, &mut wish);
            match plan(&facts, &wish).unwrap_err() {
                DiskError::Boot { what, hint } => what + "; " + &hint,
                other => panic!("{other}"),
            }
        };
        assert!(error(&|f, _| f.kernels.clear()).contains("linux-image"));
        assert!(error(&|f, _| f.init = false).contains("systemd-sysv"));
        assert!(error(&|f, _| f.grub_bios = None).contains("grub-pc-bin"));
        assert!(error(&|f, _| f.efi.clear()).contains("grub-efi-amd64-bin"));
        assert!(error(&|f, _| f.kernels[0].initrd = None).contains("update-initramfs -c -k 6.1"));
        assert!(error(&|_, w| w.cmdline = "a\nb".into()).contains("kernel_cmdline"));
        assert!(error(&|_, w| w.hostname = Some("a b".into())).contains("host"));
        assert!(error(&|_, w| w.arch = Arch::Arm64).contains("BIOS"));
    }

    #[test]
    fn without_initramfs_the_partition_is_named() {
        let mut facts = facts();
        facts.kernels[0].initrd = None;
        let plan = plan(&facts, &Wish { initramfs: Initramfs::None, ..wish() }).unwrap();
        assert!(text(&plan, "/boot/grub/grub.cfg").contains("root=PARTUUID=02020202-"));
    }

    #[test]
    fn an_initramfs_is_made_where_there_is_none_or_where_it_is_asked_for() {
        let made = |initramfs, modules: bool, there: bool| {
            let mut facts = facts();
            facts.kernels[0].modules = modules.then(|| "/lib/modules/6.1".to_owned());
            if !there {
                facts.kernels[0].initrd = None;
            }
            let plan = plan(&facts, &Wish { initramfs, ..wish() }).ok()?;
            assert!(text(&plan, "/boot/grub/grub.cfg").contains("  initrd /boot/initrd.img-6.1\n"));
            Some(plan.made_of.is_some())
        };
        use Initramfs::{Auto, Keep, Make};
        for (initramfs, modules, there, wanted) in [
            (Auto, true, true, Some(false)),
            (Auto, true, false, Some(true)),
            (Auto, false, false, None),
            (Keep, true, false, None),
            (Keep, true, true, Some(false)),
            (Make, true, true, Some(true)),
            (Make, false, true, None),
        ] {
            assert_eq!(made(initramfs, modules, there), wanted, "{initramfs:?} {modules} {there}");
        }
        let mut other = facts();
        (other.os, other.kernels[0].initrd) = ("fedora".into(), None);
        other.kernels[0].modules = Some("/usr/lib/modules/6.1".into());
        let plan = plan(&other, &wish()).unwrap();
        assert_eq!(plan.kernel.initrd.as_deref(), Some("/boot/initramfs-6.1.img"));
    }
}
