//! `kiln-preload`: `images`, `archives`, `mode`, `namespace`, `pinned`, `directory`.
//!
//! | mode | does |
//! |---|---|
//! | `content` | puts blobs and names where containerd has them ([`crate::preload`]); offline only, and what is taken there when nothing is said |
//! | `archive` | puts archives on the node; a unit gives them to containerd before kubelet starts, once |
//!
//! A machine that runs has a containerd that holds its database: there it is always `archive`.

use std::path::Path;

use kiln_checks::LookError;
use kiln_oci::Reference;
use kiln_packer::config::Config;

use super::{Image, Own};
use crate::error::{NodeError, Result};
use crate::preload::{BLOBS, DATABASE, MAX_DATABASE, ROOT, write_database};
use crate::provision::Stage;
use crate::target::Upload;

/// As many images a node may bring.
const MAX_IMAGES: usize = 1000;

/// How images come to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Content,
    Archive,
}

/// The provisioner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    images: Vec<Image>,
    mode: Option<Mode>,
    namespace: String,
    directory: String,
    pinned: bool,
}

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or an archive is not there.
pub fn preload(config: &Config) -> Result<Preload> {
    let f = config.fields();
    let names = f.strings("images")?.unwrap_or_default();
    let archives = f.strings("archives")?.unwrap_or_default();
    let mode = match f.string("mode")?.as_deref() {
        None => None,
        Some("content") => Some(Mode::Content),
        Some("archive") => Some(Mode::Archive),
        Some(other) => {
            let fault = f.fault("mode", "BadMode", format!("there is no mode `{other}`"));
            return Err(fault.suggest(other, ["content", "archive"]).into());
        }
    };
    let directory = f.string("directory")?;
    if directory.is_some() && mode == Some(Mode::Content) {
        return Err(f.fault("directory", "NotUsed", "archives lie in a directory, and this is `content`").into());
    }
    let directory = directory.unwrap_or_else(|| "/var/lib/kiln/preload".to_owned());
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
    let pinned = f.bool("pinned")?.unwrap_or(true);
    for name in &names {
        if let Err(e) = name.parse::<Reference>() {
            return Err(f.fault("images", "BadImage", format!("`{name}`: {e}")).into());
        }
    }
    for archive in &archives {
        let path = Path::new(archive);
        if !path.is_file() && (mode == Some(Mode::Archive) || !kiln_engine::archive::is_layout(path)) {
            let message = format!("`{archive}`: there is no such file, and no OCI layout");
            return Err(f.fault("archives", "NoArchive", message).into());
        }
    }
    f.finish()?;
    let images = names.into_iter().map(Image::Name).chain(archives.into_iter().map(Image::Archive)).collect();
    Ok(Preload { images, mode, namespace, directory, pinned })
}

impl Preload {
    /// Does it.
    ///
    /// # Errors
    /// When an image cannot be had, or cannot be put there.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let offline = stage.target.is_offline();
        match self.mode {
            Some(Mode::Content) if !offline => Err(NodeError::Unsupported {
                what: "mode `content` writes containerd's database, which belongs to the containerd that runs"
                    .to_owned(),
                hint: Some("mode = \"archive\", or build offline: -builder offline".to_owned()),
            }),
            None | Some(Mode::Content) if offline => self.put(stage),
            _ => self.archives()?.run(stage),
        }
    }

    fn title(&self) -> String {
        format!("Preloading {} container image(s)", self.images.len())
    }

    /// Blobs and names where containerd has them.
    fn put(&self, stage: &mut Stage<'_>) -> Result<()> {
        stage.ui.say(&self.title());
        let dir = tempfile::tempdir().map_err(NodeError::file("make", std::env::temp_dir()))?;
        let blobs = dir.path().join(BLOBS);
        std::fs::create_dir_all(&blobs).map_err(NodeError::file("make", &blobs))?;
        let mut stored = Vec::new();
        for image in &self.images {
            let (Image::Name(name) | Image::Archive(name)) = image;
            stage.ui.message(&format!("fetching {name}"));
            stored.extend(stage.images.content(image, &blobs, stage.cancel)?);
        }
        let database = format!("{ROOT}/{DATABASE}");
        let mut before = None;
        stage.target.system(&mut |system| {
            let failed = |e: LookError| NodeError::Unsupported { what: e.to_string(), hint: None };
            before = system.read(&database, MAX_DATABASE).map_err(failed)?;
            Ok(())
        })?;
        write_database(dir.path(), before.as_deref(), &self.namespace, &stored, self.pinned)?;
        stage.target.upload(&Upload::Path(format!("{}/", dir.path().display())), ROOT)?;
        stage.target.keep(dir);
        for image in &stored {
            for name in &image.names {
                stage.ui.message(&format!("in containerd: {name}"));
            }
        }
        Ok(())
    }

    /// Archives, and what loads them when the node boots.
    fn archives(&self) -> Result<Own> {
        let mut own = Own::new(self.title(), script(&self.directory));
        for image in &self.images {
            if let Image::Archive(path) = image
                && !Path::new(path).is_file()
            {
                let what = format!("`{path}` is an OCI layout, and a node is given archives");
                let hint = Some("skopeo copy oci:DIR docker-archive:FILE, or build offline".to_owned());
                return Err(NodeError::Unsupported { what, hint });
            }
            own.images.push((image.clone(), file_of(&self.directory, own.images.len())));
        }
        let load = loader(&self.directory, &self.namespace, self.pinned).into_bytes();
        own.files.push((load, format!("{}/load", self.directory)));
        let unit = unit(&self.directory).into_bytes();
        own.files.push((unit, "/etc/systemd/system/kiln-preload.service".to_owned()));
        Ok(own)
    }
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
fn loader(directory: &str, namespace: &str, pinned: bool) -> String {
    let label = if pinned { "io.cri-containerd.pinned=pinned" } else { "io.cri-containerd.pinned=" };
    format!(
        r#"#!/bin/sh
# Gives the images beside this file to containerd; kubelet does not collect what is pinned.
status=0
for archive in {directory}/image-*.tar; do
    [ -f "$archive" ] || continue
    if names=$(ctr -n {namespace} images import "$archive"); then
        printf '%s\n' "$names"
        printf '%s\n' "$names" | sed -n 's/^unpacking \([^ ]*\).*/\1/p' | while read -r name; do
            ctr -n {namespace} images label "$name" {label} || :
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
