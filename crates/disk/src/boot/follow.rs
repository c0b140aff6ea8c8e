//! A boot loader's entries that were there already, when kernels come and go.
//!
//! `update-grub` writes the same entries for every kernel, with another version in them. So the entries for a new kernel
//! are those of the old one with the new version in the old one's place.

use super::compare_versions;
use crate::error::{DiskError, Result};

const KERNEL: &str = "vmlinuz-";
const INITRAMFS: [(&str, &str); 2] = [("initrd.img-", ""), ("initramfs-", ".img")];

/// GRUB's configuration `config` for the kernels among the names `after` that `/boot` has now, of which it had `before`.
/// `None` when it is right as it is: the newest kernel is the same, or it does not name kernels by their versions.
///
/// # Errors
/// [`DiskError::Boot`] when it starts kernels with an initramfs, and the new one has none.
pub fn follow(config: &str, before: &[String], after: &[String]) -> Result<Option<String>> {
    let (Some(old), Some(new)) = (newest(before), newest(after)) else { return Ok(None) };
    if old == new || !mentions(config, old) {
        return Ok(None);
    }
    for (start, end) in INITRAMFS {
        let (needs, has) = (format!("{start}{old}{end}"), format!("{start}{new}{end}"));
        if config.contains(&needs) && !after.contains(&has) {
            return Err(DiskError::Boot {
                what: format!("the kernel {new} is new, and `/boot/{has}` is not there"),
                hint: "let a script make it: update-initramfs -c -k VERSION, or dracut --kver VERSION".to_owned(),
            });
        }
    }
    Ok(Some(replaced(config, old, new)))
}

fn newest(names: &[String]) -> Option<&str> {
    let versions = names.iter().filter_map(|name| name.strip_prefix(KERNEL)).filter(|v| !v.contains("rescue"));
    versions.max_by(|a, b| compare_versions(a, b))
}

fn mentions(config: &str, version: &str) -> bool {
    replaced(config, version, "\0").contains('\0')
}

/// Every mention of a whole version; `6.1.0-1` is none in `6.1.0-18`.
fn replaced(config: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(config.len());
    let mut rest = config;
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '~' | '+');
    while let Some(at) = rest.find(old) {
        let (ahead, behind) = (&rest[..at], &rest[at + old.len()..]);
        let whole = !ahead.ends_with(goes_on) && !behind.starts_with(goes_on);
        // A version with a suffix is another one, but `.img` and `.efi` are of files.
        let suffix = behind.starts_with(['-', '.']) && behind[1..].starts_with(|c: char| c.is_ascii_alphanumeric());
        let file = [".img", ".efi", "-advanced", "-recovery"].iter().any(|end| behind.starts_with(end));
        out.push_str(ahead);
        out.push_str(if whole && (!suffix || file) { new } else { old });
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "menuentry 'Debian' $menuentry_id_option 'gnulinux-simple-1' {\n\techo 'Loading Linux 6.1.0-9-amd64 ...'\n\
        \tlinux /boot/vmlinuz-6.1.0-9-amd64 root=UUID=1 ro quiet\n\tinitrd /boot/initrd.img-6.1.0-9-amd64\n}\n\
        menuentry 'gnulinux-6.1.0-9-amd64-advanced-1' { linux /boot/vmlinuz-6.1.0-9-amd64-rt }\n";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn a_new_kernel_takes_the_place_of_the_old_one() {
        let before = names(&["vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64", "grub"]);
        let after = names(&["vmlinuz-6.1.0-21-amd64", "initrd.img-6.1.0-21-amd64", "vmlinuz-6.1.0-9-amd64"]);
        let new = follow(CONFIG, &before, &after).unwrap().unwrap();
        assert!(new.contains("linux /boot/vmlinuz-6.1.0-21-amd64 root=UUID=1 ro quiet\n"), "{new}");
        assert!(new.contains("initrd /boot/initrd.img-6.1.0-21-amd64\n") && new.contains("Linux 6.1.0-21-amd64 ..."));
        assert!(new.contains("gnulinux-6.1.0-21-amd64-advanced-1"), "{new}");
        assert!(new.contains("/boot/vmlinuz-6.1.0-9-amd64-rt }"), "another kernel is not this one: {new}");
    }

    #[test]
    fn what_is_right_stays_and_what_would_not_boot_is_told() {
        let before = names(&["vmlinuz-6.1.0-9-amd64"]);
        assert_eq!(follow(CONFIG, &before, &before).unwrap(), None);
        assert_eq!(follow("linux /vmlinuz root=LABEL=x", &before, &names(&["vmlinuz-6.1.0-21-amd64"])).unwrap(), None);
        assert_eq!(follow(CONFIG, &[], &before).unwrap(), None);
        let error = follow(CONFIG, &before, &names(&["vmlinuz-6.1.0-21-amd64"])).unwrap_err();
        assert!(error.to_string().contains("`/boot/initrd.img-6.1.0-21-amd64` is not there"), "{error}");
        // A kernel that is gone, with an older one left.
        let both = names(&["vmlinuz-6.1.0-9-amd64", "vmlinuz-5.10.0-1-amd64"]);
        let older = names(&["vmlinuz-5.10.0-1-amd64", "initrd.img-5.10.0-1-amd64"]);
        assert!(follow(CONFIG, &both, &older).unwrap().unwrap().contains("vmlinuz-5.10.0-1-amd64 root"));
    }
}
