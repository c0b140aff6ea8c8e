//! What kinds of checks there are, for people: `kiln explain ID`.
//!
//! A family is a row. A check of a profile is of the family that its id is, or begins with: `os.tools.required.wget` is
//! of `os.tools.required`. Families with a [`Family::ask`] can be named alone in a profile file; the others need the
//! parameters of a [`Test`](crate::Test).

use crate::Severity::{self, Error, Warning};
use crate::test::{Special, boot, clean, disk, host, kernel, net, node, service, sysctl};

/// A kind of checks.
#[derive(Debug)]
pub struct Family {
    /// Its id.
    pub id: &'static str,
    /// How bad it is when it fails, where a profile does not say.
    pub severity: Severity,
    /// What must be true.
    pub line: &'static str,
    /// What is looked at in a tree of files; empty when only a running host can tell.
    pub offline: &'static str,
    /// What a running host is asked besides; empty when it is asked nothing more.
    pub running: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do when it fails.
    pub hint: &'static str,
    /// The question, where it takes no parameters.
    pub ask: Option<Special>,
}

const fn family(
    id: &'static str,
    severity: Severity,
    line: &'static str,
    [offline, running]: [&'static str; 2],
    why: &'static str,
    hint: &'static str,
    ask: Option<Special>,
) -> Family {
    Family { id, severity, line, offline, running, why, hint, ask }
}

/// Where the kernel that counts comes from.
const KERNEL: [&str; 2] = [
    "the kernel that the boot loader's default entry starts, else the newest in /boot and /lib/modules",
    "/proc/sys/kernel/osrelease",
];
const IMAGE: [&str; 2] = ["the kernel in its image, decompressed in memory", "files in /sys/kernel"];
const UNITS: [&str; 2] = [
    "units, links in *.wants and *.requires, aliases, masks; presets when the next boot is the first",
    "systemctl is-active",
];
const FILES: [&str; 2] = ["files", ""];
/// What nothing but a disk has.
const DISK: [&str; 2] =
    ["the bytes of a disk (raw, qcow2, VHD, VMDK, tar.gz of Google's cloud); not of files alone", ""];
const ASKED: [&str; 2] = ["", "the host itself"];

/// All families, in the order of `kiln explain`.
pub const FAMILIES: &[Family] = &[
    family(
        "os.kernel.min",
        Error,
        "the kernel is new enough",
        KERNEL,
        "platforms give up on kernels older than they test with.",
        "install a newer kernel, and make it the default of the boot loader",
        None,
    ),
    family(
        "os.kernel.regex",
        Error,
        "the kernel is one of the versions that kubeadm accepts",
        KERNEL,
        "kubeadm accepts 5.4, 5.10, 5.15 and everything from 6.0 on, and needs three numbers: a kernel that calls itself `6.8` is refused.",
        "install a kernel of a version with long-term support",
        None,
    ),
    family(
        "os.kernel.config",
        Error,
        "the kernel was configured with what containers need",
        ["config-RELEASE in /boot and the other places kubeadm looks in", "/proc/config.gz"],
        "an option that is missing is found out when a pod does not start.",
        "use the distribution's kernel, or build yours with the option",
        None,
    ),
    family(
        "os.kernel.headers",
        Warning,
        "headers of exactly the kernel that starts are there",
        ["/lib/modules/RELEASE/build, /usr/src", ""],
        "probes that are kernel modules, as sysdig's, are compiled on the node, against headers of its kernel; those of another do not do.",
        "install the headers of the same version as the kernel",
        Some(kernel::headers),
    ),
    family(
        "os.kernel.btf",
        Warning,
        "the kernel describes its types (BTF)",
        IMAGE,
        "modern eBPF probes find fields of the kernel's structures by it, without headers and compilers.",
        "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
        Some(kernel::btf),
    ),
    family(
        "os.kernel.tracepoints",
        Warning,
        "the kernel has the tracepoints that probes attach to",
        IMAGE,
        "a driver gives up when one is missing (`failed to find page_fault_user tracepoint`), and then nothing of the node is seen.",
        "use a kernel with CONFIG_TRACEPOINTS and CONFIG_FTRACE_SYSCALLS, or a probe that does without",
        Some(kernel::tracepoints),
    ),
    family(
        "os.kernel.default-boot-entry",
        Error,
        "the boot loader starts a kernel that is installed",
        ["grub.cfg with grubenv, entries of the Boot Loader Specification, loader.conf", ""],
        "after a kernel was added the loader may still start the old one, or one that was removed.",
        "grub2-set-default, or GRUB_DEFAULT and update-grub",
        Some(kernel::default_boot_entry),
    ),
    family(
        "os.systemd.min",
        Error,
        "systemd is new enough",
        ["the package systemd, else the name of its library", "systemctl --version"],
        "the services of a node are written for it.",
        "use a newer release of the distribution",
        None,
    ),
    family(
        "os.cgroup.version",
        Error,
        "control groups are such that the kubelet can limit pods",
        ["the kernel's command line", "controllers in /sys/fs/cgroup"],
        "without the memory and cpu controllers no pod has limits; version 1 is on its way out.",
        "remove systemd.unified_cgroup_hierarchy=0 and cgroup_disable=… from the command line",
        Some(boot::cgroup),
    ),
    family(
        "os.modules-load",
        Error,
        "a kernel module is loaded at boot",
        ["modules-load.d, /etc/modules, modules.builtin", "/proc/modules and /sys/module"],
        "overlay is what containers' file systems are made with; br_netfilter lets iptables see traffic between pods.",
        "name the module in a file of /etc/modules-load.d",
        None,
    ),
    family(
        "os.sysctl.required",
        Error,
        "a kernel parameter has the value that nodes need",
        ["sysctl.d in the order of systemd, /etc/sysctl.conf last; the line that wins is told", "/proc/sys"],
        "packets between pods are dropped without forwarding, and the kubelet refuses to start with other values of some.",
        "set it in a file of /etc/sysctl.d whose name comes late",
        None,
    ),
    family(
        "os.sysctl.protected",
        Error,
        "no file sets a kernel parameter that the platform owns to something else",
        ["files in /etc and /usr/local; what packages of the distribution bring does not count", ""],
        "ACK tunes 21 parameters when a machine joins. An image that sets them otherwise wins or loses by the order of files: nodes differ, and nobody knows why.",
        "remove the line, or ask the platform to assess it and allow it by name",
        Some(sysctl::protected),
    ),
    family(
        "os.sysctl.protected-values",
        Warning,
        "what the platform owns has the platform's value, if anything sets it",
        ["sysctl.d, whoever wrote it", ""],
        "also a distribution's own file may set what the platform sets otherwise.",
        "override it with the platform's value",
        Some(sysctl::protected_values),
    ),
    family(
        "os.swap",
        Error,
        "swap is off, and stays off",
        ["fstab, swap units, zram", "/proc/swaps"],
        "the kubelet does not start with swap on unless it is told to.",
        "swapoff -a, and remove the line, unit or generator that turns it on",
        Some(boot::swap),
    ),
    family(
        "os.dns.resolvers",
        Warning,
        "the cloud's name servers are asked",
        ["/etc/resolv.conf", ""],
        "names of the cloud's own services (registry, mirrors, metadata) are known only to its servers: 100.x.x.136 and 100.x.x.138.",
        "add them as upstreams of the custom server, and keep one of them among the first three",
        Some(net::dns_servers),
    ),
    family(
        "os.dns.options",
        Warning,
        "the resolver waits and retries as the cloud does",
        ["/etc/resolv.conf", ""],
        "the defaults wait five seconds for a server that lost a packet.",
        "options timeout:2 attempts:3 rotate single-request-reopen",
        Some(net::dns_options),
    ),
    family(
        "os.dns.lock",
        Warning,
        "a resolv.conf that was written stays",
        ["the immutable flag of the file, manage_resolv_conf of cloud-init", "the same"],
        "cloud-init writes the file anew at each boot of an instance.",
        "chattr +i /etc/resolv.conf, or manage_resolv_conf: false",
        Some(net::dns_lock),
    ),
    family(
        "os.time-sync",
        Warning,
        "one service keeps the time",
        UNITS,
        "certificates and etcd need clocks that agree.",
        "enable chronyd, and disable others",
        Some(service::time_sync),
    ),
    family(
        "os.timezone",
        Warning,
        "a time zone is set",
        FILES,
        "logs of nodes in different zones cannot be read together.",
        "timedatectl set-timezone, or a link /etc/localtime",
        Some(host::timezone),
    ),
    family(
        "os.timers.autoupdate",
        Warning,
        "nothing updates packages on its own",
        UNITS,
        "a node that updates its kernel or runtime at night is no longer the image that was tested.",
        "systemctl disable apt-daily.timer apt-daily-upgrade.timer",
        Some(service::no_auto_update),
    ),
    family(
        "os.repo.gpg",
        Warning,
        "signatures of packages are checked",
        ["yum.repos.d, sources.list(.d)", ""],
        "whoever sits between node and mirror could install anything.",
        "gpgcheck=1 and gpgkey=… in the repository's section; no trusted=yes",
        Some(clean::signed_repositories),
    ),
    family(
        "os.ssh.listen",
        Error,
        "the SSH server runs and listens on port 22",
        ["the unit starts at boot; Port in sshd_config with its includes", "/proc/net/tcp"],
        "the platform reaches the machine by SSH.",
        "install openssh-server, enable it, leave Port at 22",
        Some(net::ssh_listens),
    ),
    family(
        "os.ssh.rootlogin",
        Error,
        "root may log in with a key",
        ["sshd_config with its includes and Match blocks", "the same files"],
        "the platform logs in as root, with a key, to install the node.",
        "PermitRootLogin prohibit-password",
        Some(net::root_login),
    ),
    family(
        "os.ssh.hostkeys-absent",
        Error,
        "no SSH host keys are in the image",
        ["/etc/ssh/ssh_host_*", "not asked: a running host has some"],
        "machines with one host key can pose as each other.",
        "rm /etc/ssh/ssh_host_*; cloud-init or a unit makes new ones",
        Some(net::host_keys),
    ),
    family(
        "os.ssh.authorized-keys-absent",
        Error,
        "no authorized keys are in the image",
        ["homes of all users", "not asked"],
        "the key of whoever made the image would open every machine.",
        "rm ~/.ssh/authorized_keys",
        Some(clean::authorized_keys),
    ),
    family(
        "os.machine-id.empty",
        Error,
        "machine-id is empty",
        ["/etc/machine-id, /var/lib/dbus/machine-id", "not asked"],
        "machines with one id get one address by DHCP, and are one node to many programs. A file that is missing makes the next boot a first one, which applies presets.",
        ": > /etc/machine-id",
        Some(clean::machine_id),
    ),
    family(
        "os.random-seed-absent",
        Warning,
        "no seed for random numbers is in the image",
        ["/var/lib/systemd/random-seed", "not asked"],
        "machines would start with the same one.",
        "rm /var/lib/systemd/random-seed",
        Some(clean::random_seed),
    ),
    family(
        "os.cloudinit.clean",
        Error,
        "cloud-init takes the next boot for the first",
        ["/var/lib/cloud, /etc/cloud/cloud-init.disabled", "not asked"],
        "otherwise no keys, no name and no user data arrive.",
        "cloud-init clean --logs --seed",
        Some(clean::cloud_clean),
    ),
    family(
        "os.cloudinit.datasource",
        Warning,
        "cloud-init knows where its data comes from",
        ["datasource_list in cloud.cfg(.d)", ""],
        "it tries every cloud it knows otherwise, for ten seconds and more.",
        "datasource_list: [NoCloud, None], or your cloud, in /etc/cloud/cloud.cfg.d",
        Some(clean::cloud_sources),
    ),
    family(
        "os.tools.required",
        Error,
        "a command is installed",
        ["directories of PATH", "the command says its version"],
        "scripts that make the machine a node call it.",
        "install its package",
        None,
    ),
    family(
        "os.tools.forbidden",
        Error,
        "a command is not installed",
        ["directories of PATH", ""],
        "the platform installs its own, and stops at another's.",
        "remove its package, and files put there by hand",
        None,
    ),
    family(
        "os.packages.required",
        Error,
        "a package is installed",
        ["databases of dpkg, rpm, apk", ""],
        "nodes need what is in it.",
        "install it",
        None,
    ),
    family(
        "os.packages.forbidden",
        Error,
        "a package is not installed",
        ["databases of dpkg, rpm, apk", ""],
        "it works against what nodes have instead.",
        "remove it",
        None,
    ),
    family(
        "os.services",
        Error,
        "a service starts at boot, or does not",
        UNITS,
        "a node is what runs on it after a boot.",
        "systemctl enable or disable it",
        None,
    ),
    family(
        "os.logs.size",
        Warning,
        "logs are short",
        ["sizes of files in /var/log", ""],
        "what was logged while the image was made is of no use to anybody, and is on every disk.",
        "journalctl --rotate --vacuum-time=1s; truncate the files",
        Some(clean::logs),
    ),
    family(
        "os.cores",
        Warning,
        "no dumps of crashed programs are left",
        ["/var/crash, coredumps of systemd, core files in /tmp", ""],
        "they are large, and hold what was in memory.",
        "remove them",
        Some(clean::cores),
    ),
    family(
        "os.history",
        Warning,
        "no shell remembers what was typed",
        ["history files in homes", "not asked"],
        "passwords are typed into shells.",
        "rm ~/.*_history",
        Some(clean::history),
    ),
    family(
        "os.hostname",
        Error,
        "the machine's name is one a node may have",
        ["/etc/hostname", "the kernel's"],
        "the name becomes that of an object in Kubernetes: small letters, digits, dashes and dots.",
        "hostnamectl set-hostname",
        Some(host::hostname),
    ),
    family(
        "os.users",
        Error,
        "a user or group is there, or is not",
        ["/etc/passwd, /etc/group", ""],
        "services run as it, or it was for making the image only.",
        "useradd or userdel",
        None,
    ),
    family(
        "os.files",
        Error,
        "a file is there, or is not, and says what it must",
        FILES,
        "the file is how a part of the system is set up.",
        "make or remove it",
        None,
    ),
    family(
        "fs.fstab.uuid",
        Warning,
        "fstab does not name disks by their order",
        ["/etc/fstab", ""],
        "the first disk of one machine is the second of another.",
        "use UUID=… or LABEL=…",
        Some(boot::fstab_names),
    ),
    family(
        "fs.growroot",
        Warning,
        "the root file system grows into a larger disk",
        ["growpart, systemd-repart", ""],
        "a node with a 100 GB disk has the image's 8 GB otherwise.",
        "install cloud-guest-utils or cloud-utils-growpart",
        Some(boot::grow_root),
    ),
    family(
        "boot.initramfs",
        Error,
        "the kernel that starts has an initial RAM disk",
        ["/boot/initrd.img-RELEASE and other names", ""],
        "drivers of disks are in it.",
        "update-initramfs -c -k RELEASE, dracut",
        Some(boot::initramfs),
    ),
    family(
        "boot.loader",
        Error,
        "there is something that starts the kernel",
        ["GRUB, systemd-boot, extlinux in /boot", ""],
        "without it the machine stops where firmware ends.",
        "install a boot loader, or let Kiln's disk bring one",
        Some(boot::loader),
    ),
    family(
        "disk.table",
        Error,
        "the partition table is whole",
        DISK,
        "firmware reads the first copy, tools that grow a disk write both: one that is damaged is found out on the node.",
        "sgdisk --verify says more; make the disk anew",
        Some(disk::table),
    ),
    family(
        "disk.loader",
        Error,
        "firmware finds something to start",
        DISK,
        "a cloud's image without it is accepted, and its machines never answer.",
        "kiln build -o type=disk,boot=bios+uefi writes both loaders",
        Some(disk::loader),
    ),
    family(
        "disk.esp",
        Warning,
        "UEFI finds a boot loader in the EFI system partition",
        DISK,
        "firmware without entries of its own, as every new machine has, starts EFI/BOOT/BOOTX64.EFI or nothing.",
        "install systemd-boot or grub-efi-amd64, and use boot=bios+uefi",
        Some(disk::esp),
    ),
    family(
        "disk.fstab",
        Error,
        "what fstab mounts at boot is on the disk",
        DISK,
        "systemd waits a minute and a half for it, and then asks for a password on a console that nobody sees.",
        "name the file system by the identifier that it has, or say nofail",
        Some(disk::mounts),
    ),
    family(
        "disk.root",
        Error,
        "the kernel is told to mount the root file system of this disk",
        DISK,
        "after a file system was made anew or copied, the command line may still have the identifier of the old one.",
        "write the menu anew: update-grub, or root=UUID=… in the entry",
        Some(disk::root),
    ),
    family(
        "cri.cgroup-driver",
        Error,
        "containerd leaves control groups to systemd",
        ["/etc/containerd/config.toml, versions 2 and 3", ""],
        "two managers of one tree make pods restart under load.",
        "SystemdCgroup = true in the options of runc",
        Some(node::cgroup_driver),
    ),
    family(
        "cri.socket",
        Error,
        "a container runtime answers the kubelet",
        ["the program, and whether its plugin is on", "the socket"],
        "without one no pod starts.",
        "install containerd, and take cri out of disabled_plugins",
        Some(node::socket),
    ),
    family(
        "cri.sandbox",
        Warning,
        "the pause container's image is set",
        ["config.toml, containerd's database", ""],
        "kubeadm and containerd have different defaults; the node fetches both, or cannot where it has no network.",
        "sandbox_image, or pinned_images.sandbox in version 3",
        Some(node::sandbox),
    ),
    family(
        "cri.images.preloaded",
        Warning,
        "container images are in the machine image",
        ["containerd's database, archives in /preheated", ""],
        "a thousand machines that start at once would fetch the same images at once.",
        "preload them: a provisioner kiln-preload, or archives that the first boot loads",
        Some(node::preloaded),
    ),
    family(
        "cri.images.required",
        Error,
        "these container images are in containerd",
        ["containerd's database", ""],
        "the control plane starts from them.",
        "kubeadm config images pull",
        None,
    ),
    family(
        "k8s.bin.versions",
        Error,
        "kubeadm, kubelet and kubectl are of one version",
        ["packages", "the programs"],
        "a kubelet may be older than the control plane, never newer.",
        "install one version, and hold the packages",
        Some(node::versions_equal),
    ),
    family(
        "k8s.kubelet",
        Error,
        "the kubelet starts at boot and belongs to no cluster yet",
        UNITS,
        "it waits, restarting, until the machine is joined.",
        "systemctl enable kubelet; kubeadm reset",
        Some(clean::kubelet),
    ),
    family(
        "k8s.clean",
        Error,
        "nothing is left of an earlier cluster",
        FILES,
        "kubeadm stops at files it would overwrite.",
        "kubeadm reset",
        None,
    ),
    family(
        "cni.plugins",
        Error,
        "plugins that connect pods are there",
        ["/opt/cni/bin", ""],
        "pods stay in ContainerCreating without them.",
        "install kubernetes-cni",
        Some(node::cni_plugins),
    ),
    family(
        "ports",
        Error,
        "a port is free, or something listens on it",
        ASKED,
        "the kubelet and the control plane listen on fixed ports.",
        "stop what listens there",
        None,
    ),
    family(
        "host.root",
        Error,
        "the checks run as root",
        ASKED,
        "what they cannot see they cannot judge.",
        "run as root",
        Some(host::root_rights),
    ),
    family(
        "host.cpus",
        Error,
        "there are two processors",
        ASKED,
        "a control plane with one falls behind, and etcd with it.",
        "give the machine more",
        Some(host::cpus),
    ),
    family(
        "host.memory",
        Error,
        "there is 1.7 GB of memory",
        ASKED,
        "a control plane does not fit into less.",
        "give the machine more",
        Some(host::memory),
    ),
    family(
        "host.command",
        Error,
        "a command ends as it must",
        ASKED,
        "it asks what files do not tell.",
        "see what it prints",
        None,
    ),
    family(
        "secrets.scan",
        Error,
        "no keys or credentials are in the image",
        ["names and beginnings of files in homes, /etc, /opt, /srv, /tmp", "not asked"],
        "whoever can start the image has them.",
        "remove them; bring them as secrets of a step, which no layer keeps",
        Some(clean::secrets),
    ),
];

impl Family {
    /// The family of an id.
    pub fn of(id: &str) -> Option<&'static Family> {
        let is =
            |family: &&Family| id.strip_prefix(family.id).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        FAMILIES.iter().filter(is).max_by_key(|family| family.id.len())
    }

    /// The page of `kiln explain`.
    pub fn page(&self) -> String {
        let mut out = format!("# {}\n\n{}.\n\nWhy: {}\n", self.id, capital(self.line), self.why);
        if !self.offline.is_empty() {
            out += &format!("\nIn a directory, image or disk: {}\n", self.offline);
        }
        if !self.running.is_empty() {
            out += &format!("{}On a running host: {}\n", if self.offline.is_empty() { "\n" } else { "" }, self.running);
        }
        out += &format!("\nWhen it fails: {}\n", self.hint);
        let profiles: Vec<&str> = crate::profile::BUILT_IN
            .iter()
            .filter(|profile| profile.rules().iter().any(|rule| rule.family().is_some_and(|f| f.id == self.id)))
            .map(|profile| profile.name)
            .collect();
        if !profiles.is_empty() {
            out += &format!("\nProfiles: {}\n", profiles.join(", "));
        }
        if self.ask.is_some() {
            out += &format!(
                "\nIn a profile of your own:\n  checks:\n    - id: {}\n      severity: {}\n",
                self.id,
                self.severity.name()
            );
        }
        out
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_different_and_found_by_their_beginning() {
        let ids: std::collections::BTreeSet<&str> = FAMILIES.iter().map(|family| family.id).collect();
        assert_eq!(ids.len(), FAMILIES.len());
        assert_eq!(Family::of("os.tools.required.wget").unwrap().id, "os.tools.required");
        assert_eq!(Family::of("os.sysctl.protected-values").unwrap().id, "os.sysctl.protected-values");
        assert!(Family::of("os.tools").is_none() && Family::of("os.swapped").is_none());
        for family in FAMILIES {
            assert!(!family.page().contains("\n\n\n") && family.page().starts_with(&format!("# {}\n", family.id)));
            assert!(!family.hint.is_empty() && !family.why.is_empty());
        }
    }
}
