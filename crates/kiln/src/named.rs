//! Images as users name them, and what verbs do with them first.

use clap::Args;
use kiln_engine::EngineError;
use kiln_engine::images::Pull;
use kiln_engine::rootfs::{Layer, Root, Roots};
use kiln_engine::stored::{self, Found};
use kiln_engine::transfer::{Mover, Origin, Platforms, Selection};
use kiln_oci::{Digest, ImageConfig, Manifest, Platform, Reference, media};
use kiln_store::{Form, Store};
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::cli::Global;
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::progress::{Progress, Style};
use crate::surroundings::{self, Surroundings};

/// Manifests and configurations larger than this are not read.
const MAX_DOCUMENT: u64 = kiln_engine::images::MAX_DOCUMENT;

/// Which platform of an image is meant.
#[derive(Debug, Clone, Default, Args)]
pub struct PlatformOption {
    /// The platform, where an image has several, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

impl PlatformOption {
    /// The platform, if one was given.
    pub fn given(&self) -> Result<Option<Platform>, CliError> {
        let parse = |t: &String| t.parse::<Platform>().map_err(|e| CliError::usage(format!("--platform {t}: {e}")));
        self.platform.as_ref().map(parse).transpose()
    }

    /// The platform, or this machine's.
    pub fn or_host(&self) -> Result<Platform, CliError> {
        Ok(self.given()?.unwrap_or_else(Platform::host))
    }
}

/// A reference the user typed.
pub fn reference(text: &str) -> Result<Reference, CliError> {
    text.parse().map_err(|e: kiln_oci::reference::ReferenceError| CliError::usage(e.to_string()))
}

/// A reference without tag and digest.
pub fn repository(name: &Reference) -> String {
    let plain = Reference { tag: None, digest: None, ..name.clone() }.familiar();
    plain.strip_suffix(":latest").map(str::to_owned).unwrap_or(plain)
}

/// The surroundings of a verb that reaches no registry, and its progress, which ends before anything is printed.
pub fn offline(global: &Global, quiet: bool, doing: &'static str) -> Result<(Surroundings, Progress), CliError> {
    online(global, &RegistryOptions::default(), quiet, doing)
}

/// The surroundings of a verb that moves images, and its progress, which ends before anything is printed.
pub fn online(
    global: &Global,
    registry: &RegistryOptions,
    quiet: bool,
    doing: &'static str,
) -> Result<(Surroundings, Progress), CliError> {
    let style = if quiet { Style::Quiet } else { global.progress };
    let progress = Progress::start(style, doing);
    let around = surroundings::open(global, registry, Pull::Never, progress.events(), Form::Real)?;
    Ok((around, progress))
}

/// What moves images.
pub fn mover(around: &Surroundings) -> Mover<'_> {
    Mover { store: &around.store, images: &around.images, events: &*around.events, cancel: &around.cancel }
}

/// An image of the store for one platform.
pub struct Chosen {
    /// What people call it.
    pub title: String,
    /// Its manifest's descriptor.
    pub descriptor: kiln_oci::Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
}

impl Chosen {
    /// Its layers, lowest first.
    pub fn layers(&self) -> Vec<Layer> {
        let ids = self.config.rootfs.diff_ids.iter();
        ids.zip(&self.manifest.layers).map(|(id, blob)| Layer { diff_id: id.clone(), blob: blob.clone() }).collect()
    }
}

/// Finds an image of the store for a platform; without one given, the only one there is will do.
pub fn choose(around: &Surroundings, text: &str, platform: &PlatformOption) -> Result<Chosen, CliError> {
    chosen(around, &stored::find(&around.store, text)?, text, platform)
}

/// [`choose`] for an image that was found.
pub fn choose_of(around: &Surroundings, found: &Found, platform: &PlatformOption) -> Result<Chosen, CliError> {
    chosen(around, found, &found.title(), platform)
}

fn chosen(around: &Surroundings, found: &Found, text: &str, platform: &PlatformOption) -> Result<Chosen, CliError> {
    let given = platform.given()?;
    let selection = select(around, found, given.as_ref())?;
    let [(descriptor, manifest)] = &selection.manifests[..] else {
        return Err(CliError::input(format!("`{text}` has several platforms")).with_hint("choose one with --platform"));
    };
    let (descriptor, manifest) = (descriptor.clone(), manifest.clone());
    let bytes = around.store.read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|e| EngineError::Image {
        name: found.title(),
        message: format!("its configuration cannot be read: {e}"),
    })?;
    if manifest.layers.len() != config.rootfs.diff_ids.len() {
        return Err(CliError::input(format!("image `{text}`: its manifest and configuration do not fit each other")));
    }
    Ok(Chosen { title: found.title(), descriptor, manifest, config })
}

/// The documents of a stored image: of the platform given, else of this machine's, else of the only one there is.
pub fn select(around: &Surroundings, found: &Found, platform: Option<&Platform>) -> Result<Selection, CliError> {
    let title = found.title();
    let one = |p: &Platform| {
        mover(around).select(&Origin::Store, &title, found.descriptor.clone(), &Platforms::One(p.clone()))
    };
    match platform {
        Some(platform) => Ok(one(platform)?),
        None => match one(&Platform::host()) {
            Err(e @ EngineError::NoPlatform { .. }) => {
                let all = mover(around).select(&Origin::Store, &title, found.descriptor.clone(), &Platforms::All);
                match all.ok().as_ref().and_then(only_image) {
                    Some(root) => Ok(mover(around).select(&Origin::Store, &title, root.clone(), &Platforms::All)?),
                    None => Err(e.into()),
                }
            }
            other => Ok(other?),
        },
    }
}

/// The only manifest of an image, attestations aside.
fn only_image(all: &Selection) -> Option<&kiln_oci::Descriptor> {
    let mut images = all.manifests.iter().filter(|(_, manifest)| manifest.subject.is_none());
    images.next().filter(|_| images.next().is_none()).map(|(descriptor, _)| descriptor)
}

/// The files of an image.
pub fn root(around: &Surroundings, image: &Chosen) -> Result<Root, CliError> {
    if image.manifest.layers.iter().any(|l| media::is_foreign(&l.media_type)) {
        return Err(CliError::input(format!("image `{}` has layers that may not be distributed", image.title)));
    }
    let roots = Roots::new(around.store.clone(), around.images.clone(), around.lease.clone(), around.events.clone());
    Ok(Arc::new(roots).tree(&image.layers())?)
}

/// The digest of a file of an image.
pub fn digest(root: &Root, file: &kiln_oci::tree::FileRef) -> io::Result<Digest> {
    let mut hasher = kiln_oci::Hasher::new();
    let mut from = root.open_file(file)?;
    let mut buf = vec![0; 256 << 10];
    loop {
        match from.read(&mut buf)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buf[..n]),
        }
    }
}

/// Prints to standard output. A reader that has gone away wants no more.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::environment(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    print(&(shown_json(value) + "\n"))
}

/// A value as JSON, with all in it escaped that a terminal would obey: JSON itself wants that of some only.
fn shown_json(value: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    if !text.contains(|c: char| c.is_control() && c != '\n') {
        return text;
    }
    let one = |c: char| if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(one).collect()
}

/// That an image is named which the store has, with a name it can go by elsewhere.
pub fn must_have_name(found: &Found, text: &str) -> Result<Reference, CliError> {
    found.name.clone().ok_or_else(|| {
        CliError::usage(format!("`{text}` has no name")).with_hint(format!("give it one: kiln tag {text} NAME"))
    })
}

/// The store alone, for verbs that need no more.
pub fn store(global: &Global) -> Result<Store, CliError> {
    surroundings::open_store(global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_value_with_nothing_for_a_terminal() {
        let value = serde_json::json!({ "a\u{9b}2J": "b\u{7f}\n\u{85}ü" });
        let shown = shown_json(&value);
        assert_eq!(shown, "{\n  \"a\\u009b2J\": \"b\\u007f\\n\\u0085ü\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
