//! All images of all files, each once.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{Platform, Reference};

use crate::found::{Certainty, Found, Ignored, Scan};

/// The images of any number of files.
#[derive(Debug, Clone, Default)]
pub struct Set {
    images: BTreeMap<Reference, Image>,
    /// Those that are ignored.
    pub ignored: Vec<Ignored>,
}

/// An image, and why it is there.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name.
    pub reference: Reference,
    /// Every place that names it.
    pub places: Vec<Found>,
}

impl Set {
    /// Nothing yet.
    pub fn new() -> Set {
        Set::default()
    }

    /// Adds what a file names; its diagnostics stay with the caller, who has the file.
    pub fn add(&mut self, scan: Scan) {
        self.ignored.extend(scan.ignored);
        for found in scan.images {
            // `busybox` and `docker.io/library/busybox:latest` are one.
            let tag = found.reference.tag_or_latest().map(str::to_owned);
            let reference = Reference { tag, ..found.reference.clone() };
            let image = self.images.entry(reference.clone()).or_insert_with(|| Image { reference, places: Vec::new() });
            if !image.places.contains(&found) {
                image.places.push(found);
            }
        }
    }

    /// The images that are certainly named, by name.
    pub fn named(&self) -> impl Iterator<Item = &Image> {
        self.all().filter(|image| image.certainty() == Certainty::Named)
    }

    /// The images that are only possible, by name.
    pub fn possible(&self) -> impl Iterator<Item = &Image> {
        self.all().filter(|image| image.certainty() == Certainty::Possible)
    }

    /// All images, by name.
    pub fn all(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// The images that somebody means who writes `text`: the full name, the name without registry, tag or digest, or
    /// the last part of it.
    pub fn why(&self, text: &str) -> Vec<&Image> {
        let wanted = text.parse::<Reference>().ok();
        let versioned = wanted.as_ref().is_some_and(|r| r.tag.is_some() || r.digest.is_some());
        let same = |image: &&Image| {
            let Some(wanted) = &wanted else { return false };
            let has = &image.reference;
            let version = !versioned
                || (wanted.digest.is_none() || wanted.digest == has.digest)
                    && (wanted.tag.is_none() || wanted.tag == has.tag);
            version && wanted.name() == has.name()
        };
        let exact: Vec<&Image> = self.all().filter(same).collect();
        if !exact.is_empty() {
            return exact;
        }
        let ends = |image: &&Image| {
            let full = image.reference.to_string();
            let bare = image.reference.name();
            [full, bare].iter().any(|name| name.strip_suffix(text).is_some_and(|before| before.ends_with('/')))
        };
        self.all().filter(ends).collect()
    }
}

impl Image {
    /// Whether any place names it with certainty.
    pub fn certainty(&self) -> Certainty {
        self.places.iter().map(|found| found.certainty).max().unwrap_or(Certainty::Possible)
    }

    /// The platforms it is wanted for: those that its places say, and with `default` those of the cluster image,
    /// where a place says none.
    pub fn platforms(&self, default: &[Platform]) -> BTreeSet<Platform> {
        let said = |found: &Found| if found.platforms.is_empty() { default.to_vec() } else { found.platforms.clone() };
        self.places.iter().filter(|found| found.certainty == self.certainty()).flat_map(said).collect()
    }
}
