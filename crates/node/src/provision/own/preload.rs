//! `kiln-preload`: `images`, `archives`, `directory`, `namespace`.
//!
//! Images lie on the node as archives, and a unit gives them to containerd before kubelet starts, once. Writing them into
//! containerd's content store is not enough: its database, a file of bbolt, must name them, or the first garbage
//! collection removes them.

use kiln_oci::Reference;
use kiln_packer::config::Config;

use super::{Image, Own};
use crate::error::Result;

/// As many images a node may bring.
const MAX_IMAGES: usize = 1000;

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or an archive is not there.
pub fn preload(config: &Config) -> Result<Own> {
    let f = config.fields();
    let names = f.strings("images")?.unwrap_or_default();
    let archives = f.strings("archives")?.unwrap_or_default();
    let directory = f.string("directory")?.unwrap_or_else(|| "/var/lib/kiln/preload".to_owned());
    let namespace = f.string("namespace")?.unwrap_or_else(|| "k8s.io".to_owned());
    let good = |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    if !directory.starts_with('/') || !good(&directory, b"/._-") || directory.contains("..") {
        return Err(f.fault("directory", "BadPath", format!("`{directory}` is no plain absolute path")).into());
    }
    if namespace.is_empty() || !good(&namespace, b".-_") {
        return Err(f.fault("namespace", "BadName", format!("`{namespace}` is no namespace of containerd")).into());
    }
    let count = names.len() + archives.len();
    if count == 0 || count > MAX_IMAGES {
        return Err(f.fault("images", "NoImages", format!("give 1 to {MAX_IMAGES} images or archives")).into());
    }
    let mut own = Own::new(format!("Preloading {count} container image(s)"), script(&directory));
    for name in &names {
        if let Err(e) = name.parse::<Reference>() {
            return Err(f.fault("images", "BadImage", format!("`{name}`: {e}")).into());
        }
        own.images.push((Image::Name(name.clone()), file_of(&directory, own.images.len())));
    }
    for archive in &archives {
        if !std::path::Path::new(archive).is_file() {
            return Err(f.fault("archives", "NoArchive", format!("`{archive}`: there is no such file")).into());
        }
        own.images.push((Image::Archive(archive.clone()), file_of(&directory, own.images.len())));
    }
    f.finish()?;
    own.files.push((loader(&directory, &namespace).into_bytes(), format!("{directory}/load")));
    own.files.push((unit(&directory).into_bytes(), "/etc/systemd/system/kiln-preload.service".to_owned()));
    Ok(own)
}

fn file_of(directory: &str, number: usize) -> String {
    format!("{directory}/image-{number:03}.tar")
}

fn script(directory: &str) -> String {
    format!(
        "chmod 755 {directory}/load\nmkdir -p /etc/systemd/system/multi-user.target.wants\nln -sfn \
         ../kiln-preload.service /etc/systemd/system/multi-user.target.wants/kiln-preload.service\n"
    )
}

/// Runs on the node; what was loaded is removed, so that it runs to its end once.
fn loader(directory: &str, namespace: &str) -> String {
    format!(
        r#"#!/bin/sh
# Gives the images beside this file to containerd, pinned so that kubelet does not collect them.
status=0
for archive in {directory}/image-*.tar; do
    [ -f "$archive" ] || continue
    if names=$(ctr -n {namespace} images import "$archive"); then
        printf '%s\n' "$names"
        printf '%s\n' "$names" | sed -n 's/^unpacking \([^ ]*\).*/\1/p' | while read -r name; do
            ctr -n {namespace} images label "$name" io.cri-containerd.pinned=pinned || :
        done
        rm -f "$archive"
    else
        status=1
    fi
done
exit $status
"#
    )
}

fn unit(directory: &str) -> String {
    format!(
        "[Unit]\nDescription=Container images that came with this node\nAfter=containerd.service\n\
         Requires=containerd.service\nBefore=kubelet.service\nConditionDirectoryNotEmpty={directory}\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={directory}/load\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}
