//! Programs that stand before the image's own while a script runs offline.
//!
//! They are shell scripts, not the kiln binary called by other names: they must run in any image, on any rung, and a
//! reader of a build log can read them. They lie in `/dev/kiln/bin`, first in `PATH`, and are in no layer.
//!
//! | program | offline it |
//! |---|---|
//! | `systemctl enable disable mask preset set-default …` | changes the image's files, by the image's own `systemctl --root=/` |
//! | `systemctl start stop restart daemon-reload …`, `service`, `invoke-rc.d` | succeeds and is noted |
//! | `systemctl status`, `is-active` | says inactive (code 3): nothing runs |
//! | `reboot`, `shutdown`, `poweroff`, `halt`, `init 6` | is noted as the end of a phase; the script goes on |
//! | `sleep` after one of these | is noted, and waits for nothing: the script waits for the machine's end |
//! | `sysctl -w` | goes into `/etc/sysctl.d/90-captured.conf`, past the guard |
//! | `modprobe` | goes into `/etc/modules-load.d/captured.conf` |
//! | `hostname`, `hostnamectl`, `timedatectl set-timezone` | changes `/etc/hostname`, `/etc/localtime` |
//! | `uname -r` | names the image's newest kernel |
//! | `chattr` | is told to the writer of the disk, for layers have no such flags |
//! | `swapon`, `swapoff`, `udevadm`, `journalctl`, `fstrim`, `update-grub`, `grub-install` … | succeeds and is noted |
//! | `sudo` | runs its command as it is: scripts are root's |
//!
//! A program that the image does not have is not found, as on the machine. An absolute path (`/sbin/reboot`) passes the
//! shims by.
//!
//! Adding a shim: its file in `shims/`, its names in [`SHIMS`], its row above.

/// What every shim reads.
pub const LIB: &str = include_str!("shims/lib.sh");
/// What runs a script.
pub const STEP: &str = include_str!("shims/step.sh");
/// What keeps packages from starting services.
pub const POLICY: &str = include_str!("shims/policy-rc.d.sh");

const REBOOT: &str = include_str!("shims/reboot.sh");
const SKIP: &str = include_str!("shims/skip.sh");
const SERVICE: &str = include_str!("shims/service.sh");
const HOSTNAME: &str = include_str!("shims/hostname.sh");
const MODPROBE: &str = include_str!("shims/modprobe.sh");

/// Names and what they run.
pub const SHIMS: [(&str, &str); 41] = [
    ("systemctl", include_str!("shims/systemctl.sh")),
    ("reboot", REBOOT),
    ("shutdown", REBOOT),
    ("poweroff", REBOOT),
    ("halt", REBOOT),
    ("init", REBOOT),
    ("telinit", REBOOT),
    ("service", SERVICE),
    ("invoke-rc.d", SERVICE),
    ("rc-service", SERVICE),
    ("initctl", SERVICE),
    ("sysctl", include_str!("shims/sysctl.sh")),
    ("modprobe", MODPROBE),
    ("insmod", MODPROBE),
    ("rmmod", MODPROBE),
    ("hostname", HOSTNAME),
    ("hostnamectl", HOSTNAME),
    ("timedatectl", include_str!("shims/timedatectl.sh")),
    ("uname", include_str!("shims/uname.sh")),
    ("chattr", include_str!("shims/chattr.sh")),
    ("sleep", include_str!("shims/sleep.sh")),
    ("sudo", include_str!("shims/sudo.sh")),
    ("swapon", SKIP),
    ("swapoff", SKIP),
    ("udevadm", SKIP),
    ("journalctl", SKIP),
    ("fstrim", SKIP),
    ("loginctl", SKIP),
    ("localectl", SKIP),
    ("networkctl", SKIP),
    ("resolvectl", SKIP),
    ("hwclock", SKIP),
    ("ntpdate", SKIP),
    ("setenforce", SKIP),
    ("update-grub", SKIP),
    ("update-grub2", SKIP),
    ("grub-install", SKIP),
    ("grub2-install", SKIP),
    ("grub-mkconfig", SKIP),
    ("grub2-mkconfig", SKIP),
    ("chronyc", SKIP),
];
