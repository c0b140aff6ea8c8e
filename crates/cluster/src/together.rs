//! Several cluster images that are launched together: the first brings Kubernetes, the others are laid over it in order.
//!
//! They become one image by [`crate::merge`], under a name that is made of what they are: the same images in the same order
//! are the same name, so that who asks again finds it. sealos keeps each application in a directory of its own; in the
//! merged root file system all files are side by side, and so two applications with different files at one path are a
//! mistake ([`replaced`]). Patches are made to replace files.

use std::collections::BTreeMap;
use std::io;

use kiln_engine::rootfs::Root;
use kiln_oci::cluster::Type;
use kiln_oci::digest::HashWriter;
use kiln_oci::tree::{FileRef, NodeKind};
use kiln_oci::{Digest, Hasher};

use crate::error::{ClusterError, Result};
use crate::inventory::Inventory;

/// Before the names of images that are made of several.
pub const PREFIX: &str = "localhost/launch";
/// Counts up when the same images would become another one.
const EPOCH: u8 = 1;
/// Files that are named in a message.
const MOST: usize = 5;

fn wrong<T>(message: String, hint: impl Into<String>) -> Result<T> {
    Err(ClusterError::Together { message, hint: hint.into() })
}

/// Looks whether images can be launched together.
///
/// # Errors
/// When one is there twice, the first brings no Kubernetes, or another one does.
pub fn check(parts: &[Inventory]) -> Result<()> {
    for (at, part) in parts.iter().enumerate() {
        let Some(before) = parts.iter().take(at).find(|other| other.root.digest == part.root.digest) else { continue };
        return match before.title == part.title {
            true => wrong(format!("`{}` is named twice", part.title), "name each image once"),
            false => wrong(format!("`{}` and `{}` are one image", before.title, part.title), "name it once"),
        };
    }
    let version = |part: &Inventory| part.spec.kubernetes.clone().unwrap_or_else(|| "of no known version".to_owned());
    let mut bring = parts.iter().filter(|part| part.spec.kind == Type::Rootfs);
    let (first, second) = (bring.next(), bring.next());
    match (parts.first(), first, second) {
        (Some(start), Some(first), _) if start.title != first.title => wrong(
            format!(
                "`{}` is the first image, and brings no Kubernetes: it is of the type {}",
                start.title,
                start.spec.kind.name()
            ),
            format!("name `{}` first: the others are laid over it in their order", first.title),
        ),
        (_, Some(first), Some(second)) if version(first) != version(second) => wrong(
            format!(
                "`{}` brings Kubernetes {}, and `{}` {}",
                first.title,
                version(first),
                second.title,
                version(second)
            ),
            "name one of them; a cluster gets another release by kiln cluster upgrade",
        ),
        (_, Some(first), Some(second)) => wrong(
            format!("`{}` and `{}` both bring Kubernetes {}", first.title, second.title, version(first)),
            "name one of them; one that is built from the other has all that the other has",
        ),
        (Some(_), None, _) => wrong(
            format!("none of the images brings Kubernetes: {}", titles(parts)),
            "name one first that does: kiln cluster base makes them",
        ),
        _ => Ok(()),
    }
}

fn titles(parts: &[Inventory]) -> String {
    parts.iter().map(|part| part.title.as_str()).collect::<Vec<_>>().join(", ")
}

/// What the merged image is called: the first one's last word, and a digest of what all are.
pub fn name(parts: &[Inventory]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(&[EPOCH]);
    parts.iter().for_each(|part| hasher.update(part.root.digest.to_string().as_bytes()));
    let mut hex = hasher.finish().hex();
    hex.truncate(16);
    let title = parts.first().map_or("", |part| part.title.as_str());
    let last = title.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let word = if !last.is_empty()
        && last.chars().all(|c| fits(c) || c == '-')
        && last.starts_with(fits)
        && last.ends_with(fits)
    {
        last
    } else {
        "cluster"
    };
    format!("{PREFIX}/{word}:{hex}")
}

/// A part with its files.
pub struct Files<'a> {
    /// What it is.
    pub part: &'a Inventory,
    /// Its root file system, of the platform that is looked at.
    pub root: &'a Root,
}

/// Looks for files of applications that would take the place of other images' files.
///
/// # Errors
/// When there are some, or files cannot be read.
pub fn replaced(all: &[Files<'_>]) -> Result<()> {
    let mut owners: BTreeMap<Vec<u8>, &Files<'_>> = BTreeMap::new();
    for (at, files) in all.iter().enumerate() {
        let mut found: Vec<(String, &str)> = Vec::new();
        for (path, node) in files.root.tree.walk(b"") {
            let is_dir_of = |other: &&Files<'_>| other.root.tree.at(&path).is_some_and(|node| node.is_dir());
            let other = match node.is_dir() {
                true => owners.get(&path).copied(),
                false => owners.get(&path).copied().or_else(|| all[..at].iter().find(is_dir_of)),
            };
            if let (Type::Application, Some(other)) = (files.part.spec.kind, other)
                && !is_of_builds(&path)
                && !is_same(files, other, &path)?
            {
                found.push((String::from_utf8_lossy(&path).trim_start_matches('/').to_owned(), &other.part.title));
            }
            if !node.is_dir() {
                owners.insert(path, files);
            }
        }
        let Some((_, other)) = found.first() else { continue };
        let names: Vec<&str> = found.iter().take(MOST).map(|(path, _)| path.as_str()).collect();
        let more = found.len().saturating_sub(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return wrong(
            format!(
                "`{}` has other files than `{other}` at the same places, which its commands or those of the other image would meet: {}{more}",
                files.part.title,
                names.join(", ")
            ),
            "build one of them with its files in a directory of their own; if the later ones are to replace the others: \
             kiln cluster merge",
        );
    }
    Ok(())
}

/// Files that images are built from, lists of images, and directories of registries: no launch reads them.
fn is_of_builds(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    let path = path.trim_start_matches('/');
    if ["registry/", "images/"].iter().any(|dir| path.starts_with(dir)) || path == "manifests/imageList" {
        return true;
    }
    let start = |word: &&str| {
        path.len() >= word.len() && path.is_char_boundary(word.len()) && path[..word.len()].eq_ignore_ascii_case(word)
    };
    !path.contains('/')
        && (path.starts_with('.')
            || ["Kubefile", "Sealfile", "Dockerfile", "Containerfile", "Makefile", "Metadata"].contains(&path)
            || ["readme", "license", "notice", "changelog"].iter().any(start))
}

fn is_same(one: &Files<'_>, other: &Files<'_>, path: &[u8]) -> Result<bool> {
    let node = |files: &Files<'_>| files.root.tree.at(path).map(|node| node.kind.clone());
    Ok(match (node(one), node(other)) {
        (Some(NodeKind::File(a)), Some(NodeKind::File(b))) => {
            a.size == b.size && ((a.layer == b.layer && a.offset == b.offset) || digest(one, &a)? == digest(other, &b)?)
        }
        (Some(NodeKind::Symlink { target: a }), Some(NodeKind::Symlink { target: b })) => a == b,
        _ => false,
    })
}

fn digest(files: &Files<'_>, file: &FileRef) -> Result<Digest> {
    let failed = |e: io::Error| ClusterError::NotACluster {
        name: files.part.title.clone(),
        message: format!("its file {} cannot be read: {e}", String::from_utf8_lossy(&file.path)),
    };
    let mut from = files.root.open_file(file).map_err(failed)?;
    let mut hashed = HashWriter::new(io::sink());
    io::copy(&mut from, &mut hashed).map_err(failed)?;
    let (_, digest, _) = hashed.finish();
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_images_are_built_from_is_in_nobodys_way() {
        for path in ["/Kubefile", "README.md", "License", "/.dockerignore", "/registry/docker/x", "manifests/imageList"]
        {
            assert!(is_of_builds(path.as_bytes()), "{path}");
        }
        for path in ["/entrypoint.sh", "/manifests/app.yaml", "/charts/a/README.md", "/etc/Kubefile", "é"] {
            assert!(!is_of_builds(path.as_bytes()), "{path}");
        }
    }
}
