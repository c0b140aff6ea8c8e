//! Which subvolume of a btrfs is the root, and which others a system mounts in it.
//!
//! The one that names itself is: by `rootflags=` of its own boot entries, or by `subvol=` of `/` in its own `fstab`.
//! Otherwise it is the default one, if it has a system; otherwise the only one that has.

use super::fstab::{self, Mount, Names};
use super::{Disk, has_system, nothing_there};
use crate::btrfs;
use crate::error::{DiskError, Result};
use crate::fs::Fs;
use crate::io::Window;

/// Where boot entries of a system are.
const ENTRIES: &[u8] = b"boot/loader/entries";
/// Other files in which the words are that its kernel is started with.
const FILES: [&[u8]; 4] = [b"boot/grub2/grub.cfg", b"boot/grub/grub.cfg", b"etc/kernel/cmdline", b"etc/default/grub"];
/// Longer files are not looked into, and not more entries than so many.
const MAX_BYTES: u64 = 1 << 20;
const MAX_ENTRIES: usize = 64;

/// Makes the subvolume of the system the root. Says which one that is, for people.
pub(super) fn enter(fs: &mut Fs<Window<Disk>>) -> Result<Option<String>> {
    let Some(all) = image(fs).map(|image| image.roots()) else { return Ok(None) };
    let (mut themselves, mut silent, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for tree in &all {
        show(fs, *tree)?;
        if !has_system(fs)? {
            continue;
        }
        match says(fs)? {
            Some(true) => themselves.push(*tree),
            None => silent.push(*tree),
            Some(false) => others.push(*tree),
        }
    }
    let default = all.first().copied().unwrap_or_default();
    let best = if !themselves.is_empty() {
        themselves
    } else if silent.contains(&default) {
        vec![default]
    } else if !silent.is_empty() {
        silent
    } else if others.contains(&default) || others.is_empty() {
        vec![default]
    } else {
        others
    };
    let chosen = if best.contains(&default) { default } else { best[0] };
    if best.len() > 1 && chosen != default {
        let mut names = Vec::new();
        for tree in best.iter().take(8) {
            show(fs, *tree)?;
            names.extend(image(fs).and_then(|image| image.title_of_root()));
        }
        let what = format!("more than one system, of which none is the default: {}", names.join(", "));
        return Err(DiskError::Unsupported { format: fs.format(), what });
    }
    show(fs, chosen)?;
    Ok(image(fs).and_then(|image| image.title_of_root()))
}

/// Shows what `mounts` mount of the same file system where they mount it, and takes that out of them.
pub(super) fn mount(fs: &mut Fs<Window<Disk>>, names: &Names, mounts: &mut Vec<Mount>) -> Result<()> {
    let Fs::Btrfs(image) = fs else { return Ok(()) };
    // What is mounted below another comes after it.
    let mut sorted: Vec<Mount> = mounts.iter().filter(|mount| mount.target.starts_with('/')).cloned().collect();
    sorted.sort_by(|a, b| a.target.cmp(&b.target));
    for mount in sorted {
        let own = matches!(&*mount.kind, "btrfs" | "auto") && mount.names(names) != Some(false);
        if own && mount.target != "/" && image.mount(mount.target.as_bytes(), &mount.options)? {
            mounts.retain(|other| *other != mount);
        }
    }
    Ok(())
}

fn image(fs: &Fs<Window<Disk>>) -> Option<&btrfs::Image<Window<Disk>>> {
    match fs {
        Fs::Btrfs(image) => Some(image),
        _ => None,
    }
}

fn show(fs: &mut Fs<Window<Disk>>, tree: usize) -> Result<()> {
    match fs {
        Fs::Btrfs(image) => image.show(tree),
        _ => Ok(()),
    }
}

/// Whether the system in the subvolume that is shown says that this one is its root; `None` when it says nothing.
fn says(fs: &Fs<Window<Disk>>) -> Result<Option<bool>> {
    let Some(image) = image(fs) else { return Ok(None) };
    let mut said = None;
    for text in boot_entries(fs)? {
        let text = String::from_utf8_lossy(&text);
        let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        for options in words.filter_map(|word| word.strip_prefix("rootflags=")) {
            if let Some(own) = image.is_named(options)? {
                said = Some(own || said == Some(true));
            }
        }
    }
    if said.is_some() {
        return Ok(said);
    }
    let text = nothing_there(fs.read(b"etc/fstab", fstab::MAX))?.flatten().unwrap_or_default();
    match fstab::parse(&text).iter().find(|mount| mount.target == "/") {
        Some(mount) => image.is_named(&mount.options),
        None => Ok(None),
    }
}

/// The files of a system that say what its kernel is started with.
fn boot_entries(fs: &Fs<Window<Disk>>) -> Result<Vec<Vec<u8>>> {
    let mut paths: Vec<Vec<u8>> = FILES.iter().map(|path| path.to_vec()).collect();
    if let Some(dir) = nothing_there(fs.lookup(ENTRIES))?.flatten() {
        let names = fs.list(&dir)?.into_iter().filter(|name| name.ends_with(b".conf"));
        paths.extend(names.take(MAX_ENTRIES).map(|name| kiln_oci::name::join(ENTRIES, &name)));
    }
    let mut found = Vec::new();
    for path in paths {
        found.extend(nothing_there(fs.read(&path, MAX_BYTES))?.flatten());
    }
    Ok(found)
}
