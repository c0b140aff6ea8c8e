//! A tar of files becomes an image of one layer, as `docker import` makes it.
//!
//! The tar is read and written once: entries come out of whatever wrote them and go into a layer of Kiln's own form.

use std::io::Read;

use kiln_oci::compress::Compression;
use kiln_oci::config::{ContainerConfig, History};
use kiln_oci::layer::{LayerReader, ReadOptions};
use kiln_oci::{Descriptor, Digest, ImageConfig, Mtime, Platform, Reference, time};
use kiln_plan::{Facts, Options, Outcome};
use kiln_spec::source::Source;

use super::{Input, archive_error, docker};
use crate::error::{EngineError, Result};
use crate::packed;
use crate::rootfs::chain_text;
use crate::transfer::Mover;

/// What an import is to become.
pub struct Wanted<'a> {
    /// Dockerfile instructions, as in `--change`.
    pub changes: &'a [String],
    /// The remark in the history.
    pub message: Option<&'a str>,
    /// What it is for.
    pub platform: &'a Platform,
    /// When it is made, in seconds since the epoch.
    pub created: i64,
    /// How the layer is compressed.
    pub compression: Compression,
}

/// The instructions `--change` may give.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Makes an image of a tar, under a name if one is given. `title` is where the tar is from, for messages and history.
///
/// # Errors
/// When the changes have mistakes, it is no tar of files, or the store fails.
pub fn import(
    mover: &Mover<'_>,
    input: Box<dyn Read + Send>,
    title: &str,
    wanted: &Wanted<'_>,
    name: Option<&Reference>,
) -> Result<Descriptor> {
    let defaults = defaults(wanted)?;
    let (layer, diff_id) = layer(mover, input, title, wanted.compression)?;
    let created = Some(time::rfc3339(Mtime::secs(wanted.created)));
    let comment = wanted.message.map_or_else(|| format!("Imported from {title}"), str::to_owned);
    let mut config = ImageConfig::scratch(wanted.platform);
    config.created.clone_from(&created);
    config.config = defaults;
    config.rootfs.diff_ids = vec![diff_id];
    config.history = vec![History { created, comment: Some(comment), ..History::default() }];
    let bytes = serde_json::to_vec(&config).unwrap_or_default();
    let called = name.map_or_else(|| title.to_owned(), Reference::familiar);
    let selection = docker::assemble(mover, &called, &bytes, vec![layer])?;
    if let Some(name) = name {
        mover.store.set_ref(&name.to_string(), &selection.root)?;
    }
    Ok(selection.root)
}

/// An input as a stream with a name.
///
/// # Errors
/// When it cannot be opened.
pub fn open(input: &Input) -> Result<Box<dyn Read + Send>> {
    input.open()
}

fn layer(
    mover: &Mover<'_>,
    input: Box<dyn Read + Send>,
    title: &str,
    compression: Compression,
) -> Result<(Descriptor, Digest)> {
    let tar = super::tar_of(title, input)?;
    let bad = |e: kiln_oci::LayerError| {
        EngineError::of_disk(&e, mover.store.dir()).unwrap_or_else(|| archive_error(title, chain_text(&e)))
    };
    let mut reader = LayerReader::with_options(tar, ReadOptions::archive());
    let mut writer = packed::writer(mover, compression)?;
    while let Some(mut entry) = reader.next_entry().map_err(bad)? {
        mover.check()?;
        let described = entry.entry.clone();
        writer.append(&described, &mut entry).map_err(bad)?;
    }
    let (sink, index) = writer.finish_indexed().map_err(bad)?;
    packed::commit(mover, sink, &index)
}

/// The defaults for containers that the changes give, planned as the Dockerfile they are.
fn defaults(wanted: &Wanted<'_>) -> Result<ContainerConfig> {
    for change in wanted.changes {
        let word = change.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !CHANGES.contains(&&*word) || change.contains('\n') {
            let all = CHANGES.join(", ");
            return Err(EngineError::Unsupported(format!("--change `{change}`: expected one line of one of {all}")));
        }
    }
    let text = std::iter::once("FROM scratch")
        .chain(wanted.changes.iter().map(|c| &**c))
        .fold(String::new(), |text, line| text + line + "\n");
    let source = Source { name: "--change".to_owned(), text };
    let (file, found) = kiln_spec::dockerfile::parse(&source);
    let wrong = |d: &kiln_spec::diag::Diagnostic| {
        let (line, _) = source.position(d.span.start);
        let change = line.checked_sub(2).and_then(|l| wanted.changes.get(l));
        let change = change.map_or("", |c| &**c);
        EngineError::Unsupported(format!("--change `{change}`: {}", d.message))
    };
    if let Some(first) = found.iter().find(|d| d.is_error()) {
        return Err(wrong(first));
    }
    match kiln_plan::build(&file, &Options::new(wanted.platform.clone()), &Facts::default()) {
        Ok(Outcome::Plan(plan)) => {
            let mut config = plan.config.config;
            // A Dockerfile without a base gets a PATH; files from elsewhere get what the changes say, and no more.
            if !wanted.changes.iter().any(|c| c.contains("PATH")) {
                config.env.retain(|e| !e.starts_with("PATH="));
            }
            Ok(config)
        }
        Ok(Outcome::Questions(_)) => {
            Err(EngineError::Unsupported("--change: nothing of it may depend on other images".to_owned()))
        }
        Err(found) => Err(found
            .first()
            .map_or_else(|| EngineError::Unsupported("--change: it cannot be planned".to_owned()), wrong)),
    }
}
