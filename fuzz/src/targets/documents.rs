//! The JSON documents of images: what is read and written again reads the same.

use std::fmt::Debug;

use kiln_oci::archive::{LayoutFile, LegacyLayer, Part, parse_repositories, parse_saved, part};
use kiln_oci::{ImageConfig, Index, Manifest, Platform};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Tries the bytes as each document.
pub fn run(bytes: &[u8]) {
    round_trip::<Manifest>(bytes);
    round_trip::<ImageConfig>(bytes);
    if let Some(index) = round_trip::<Index>(bytes) {
        let wanted = Platform::linux("arm64");
        if let Some(chosen) = index.select(&wanted) {
            assert!(chosen.platform.as_ref().is_some_and(|p| p.serves(&wanted)), "what is selected fits");
        }
    }
    let _ = (LayoutFile::parse(bytes), parse_repositories(bytes), LegacyLayer::parse("id", bytes));
    if let Ok(saved) = parse_saved(bytes) {
        saved.iter().flat_map(|image| image.layers.iter().flatten()).for_each(|name| member(name.as_bytes()));
    }
    member(bytes);
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, read, "{}", String::from_utf8_lossy(&written));
    Some(read)
}

/// The name of an archive's member becomes the name of a blob only if it is one.
fn member(name: &[u8]) {
    match part(name) {
        Part::Blob(digest) => assert_eq!(kiln_oci::archive::blob_path(&digest).as_bytes(), name),
        Part::LegacyJson(id) | Part::LegacyLayer(id) => assert!(!id.contains('/'), "{id}"),
        _ => {}
    }
}
