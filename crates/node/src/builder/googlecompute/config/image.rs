//! The image that a build starts from, and the one that comes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_clouds::date::parse_rfc3339;
use kiln_clouds::transport::read_file;
use kiln_gce::names;
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;
use serde_json::{Value, json};

use super::account::project;
use super::{NAME, disks, labels, name, text, there, word};
use crate::error::{NodeError, Result};

/// Projects with public images, in the order in which Packer looks.
const PUBLIC: [&str; 23] = [
    "almalinux-cloud",
    "centos-cloud",
    "cloud-hpc-image-public",
    "cos-cloud",
    "coreos-cloud",
    "debian-cloud",
    "fedora-cloud",
    "fedora-coreos-cloud",
    "freebsd-org-cloud-dev",
    "rhel-cloud",
    "rhel-sap-cloud",
    "rocky-linux-cloud",
    "suse-cloud",
    "suse-sap-cloud",
    "suse-byos-cloud",
    "ubuntu-os-cloud",
    "windows-cloud",
    "windows-sql-cloud",
    "gce-nvme",
    "google-containers",
    "opensuse-cloud",
    "ubuntu-os-pro-cloud",
    "ml-images",
];
/// No certificate is larger.
const MAX_CERTIFICATE: u64 = 64 << 10;

/// Where a build starts from.
#[derive(Debug, Clone)]
pub struct SourceImage {
    /// The name of an image or a family.
    pub name: String,
    /// Whether it is a family's.
    pub family: bool,
    /// Where it is looked for; its own project and the public ones when nothing is said.
    pub projects: Vec<String>,
}

impl SourceImage {
    /// Projects to look in, the most likely first.
    pub fn places(&self, own: &str) -> Vec<String> {
        if !self.projects.is_empty() {
            return self.projects.clone();
        }
        // Families are called like the project they are in: that one needs no others to be asked before.
        let word = self.name.split(['-', '_']).next().unwrap_or_default();
        let mut public = PUBLIC.to_vec();
        public.sort_by_key(|project| !project.starts_with(word));
        std::iter::once(own).chain(public).map(str::to_owned).collect()
    }
}

/// Keys and certificates that an image's machines begin with.
#[derive(Debug, Clone, Default)]
pub struct Shielded {
    parts: Vec<(&'static str, Vec<PathBuf>)>,
}

impl Shielded {
    /// As the service has it; `None` when there are none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn value(&self) -> Result<Option<Value>> {
        let mut all = serde_json::Map::new();
        for (name, files) in self.parts.iter().filter(|(_, files)| !files.is_empty()) {
            let read: Vec<Value> = files.iter().map(|path| content(path)).collect::<Result<_>>()?;
            let value = if *name == "pk" { read.into_iter().next().unwrap_or_default() } else { Value::from(read) };
            all.insert((*name).to_owned(), value);
        }
        Ok((!all.is_empty()).then_some(Value::Object(all)))
    }
}

fn content(path: &Path) -> Result<Value> {
    let failed = |why: String| NodeError::file("read", path)(std::io::Error::other(why));
    let bytes = read_file(path, MAX_CERTIFICATE).map_err(failed)?;
    // A certificate is PEM, or one sequence of DER as long as the file.
    let der = matches!(bytes[..], [0x30, 0x82, high, low, ..] if usize::from(high) << 8 | usize::from(low) == bytes.len() - 4);
    let pem = bytes.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----");
    let kind = if der || pem { "X509" } else { "BIN" };
    Ok(json!({ "content": STANDARD.encode(&bytes), "fileType": kind }))
}

/// What comes of a build.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// Its name.
    pub name: String,
    /// Its project, if it is another.
    pub project: Option<String>,
    /// Whether there is none.
    pub skip: bool,
    /// In words.
    pub description: String,
    /// Its family.
    pub family: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What is paid for.
    pub licenses: Vec<String>,
    /// What it needs of a machine.
    pub features: Vec<String>,
    /// Where it is kept.
    pub locations: Vec<String>,
    /// Its architecture.
    pub architecture: Option<&'static str>,
    /// What it is encrypted with.
    pub key: Option<disks::Key>,
    /// What its machines begin with.
    pub shielded: Shielded,
    /// From when on it is deprecated, obsolete, deleted, as the service has it.
    pub deprecation: Option<Value>,
}

pub fn source(f: &Fields<'_>) -> Result<SourceImage> {
    let (image, family) = (name(f, "source_image")?, name(f, "source_image_family")?);
    let projects = f.strings("source_image_project_id")?.unwrap_or_default();
    if let Some(project) = projects.iter().find(|project| !names::is_project(project)) {
        let message = format!("`{project}` is no identifier of a project");
        return Err(f.fault("source_image_project_id", "BadProject", message).into());
    }
    match (image, family) {
        (Some(name), _) => Ok(SourceImage { name, family: false, projects }),
        (None, Some(name)) => Ok(SourceImage { name, family: true, projects }),
        (None, None) => {
            let fault = f.missing("source_image_family");
            Err(fault.hint("a family, such as \"debian-12\", or one image: source_image").into())
        }
    }
}

pub fn parse(f: &Fields<'_>, build: &Build) -> Result<ImageConfig> {
    let given = match text(f, "image_name")? {
        Some(name) => name,
        None => build.config.scope().render("packer-{{timestamp}}", &[], &build.config.place())?,
    };
    if !names::is_name(&given) {
        let message = format!("invalid image name \"{given}\": {NAME}");
        let fault = f.fault("image_name", "BadName", message);
        return Err(fault.hint("`clean_resource_name` makes a name of any text").into());
    }
    let locations = f.strings("image_storage_locations")?.unwrap_or_default();
    if locations.len() > 1 {
        let message = "invalid image storage locations: there can be one only";
        return Err(f.fault("image_storage_locations", "BadLocation", message).into());
    }
    Ok(ImageConfig {
        name: given,
        project: project(f, "image_project_id")?,
        skip: f.bool("skip_create_image")?.unwrap_or(false),
        description: text(f, "image_description")?.unwrap_or_else(|| "Created by Kiln".to_owned()),
        family: name(f, "image_family")?,
        labels: labels(f, "image_labels")?,
        licenses: f.strings("image_licenses")?.unwrap_or_default(),
        features: f.strings("image_guest_os_features")?.unwrap_or_default(),
        architecture: word(f, "image_architecture", &["X86_64", "ARM64"])?,
        key: disks::key(f, "image_encryption_key")?,
        shielded: shielded(f)?,
        deprecation: deprecation(f)?,
        locations,
    })
}

fn shielded(f: &Fields<'_>) -> Result<Shielded> {
    let mut parts = Vec::new();
    for (name, key) in [
        ("pk", "image_platform_key"),
        ("keks", "image_key_exchange_key"),
        ("dbs", "image_signatures_db"),
        ("dbxs", "image_forbidden_signatures_db"),
    ] {
        let files = f.strings(key)?.unwrap_or_default();
        if name == "pk" && files.len() > 1 {
            return Err(f.fault(key, "BadKey", "there is one platform key only").into());
        }
        let files = files.into_iter().filter(|path| !path.is_empty()).map(|path| there(f, key, path.into()));
        parts.push((name, files.collect::<Result<_>>()?));
    }
    Ok(Shielded { parts })
}

fn deprecation(f: &Fields<'_>) -> Result<Option<Value>> {
    let mut all = json!({ "state": "DEPRECATED" });
    let mut any = false;
    for (name, key) in [("deprecated", "deprecate_at"), ("obsolete", "obsolete_at"), ("deleted", "delete_at")] {
        let Some(at) = text(f, key)? else { continue };
        let Some(time) = parse_rfc3339(&at) else {
            let message = format!("`{key}` is `{at}`, which is no time as YYYY-MM-DDTHH:MM:SSZ");
            return Err(f.fault(key, "BadTime", message).into());
        };
        if time < std::time::SystemTime::now() {
            return Err(f.fault(key, "BadTime", format!("`{key}` must be a time to come")).into());
        }
        all[name] = json!(at);
        any = true;
    }
    Ok(any.then_some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_that_has_the_family_is_asked_first_of_the_public_ones() {
        let source = |name: &str, projects: &[&str]| SourceImage {
            name: name.to_owned(),
            family: true,
            projects: projects.iter().map(|p| (*p).to_owned()).collect(),
        };
        let places = source("debian-12", &[]).places("own");
        assert_eq!(places[..3], ["own", "debian-cloud", "almalinux-cloud"]);
        assert_eq!(places.len(), 24);
        assert_eq!(source("x", &[]).places("own")[1], "almalinux-cloud");
        assert_eq!(source("debian-12", &["mine"]).places("own"), ["mine"]);
    }

    #[test]
    fn certificates_are_told_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let kind = |bytes: &[u8]| {
            let path = dir.path().join("f");
            std::fs::write(&path, bytes).unwrap();
            content(&path).unwrap()["fileType"].clone()
        };
        assert_eq!(kind(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), "X509");
        assert_eq!(kind(&[0x30, 0x82, 0, 1, 5]), "X509");
        assert_eq!(kind(&[0x30, 0x82, 0, 9, 5]), "BIN");
        assert_eq!(kind(b""), "BIN");
        let path = dir.path().join("large");
        std::fs::write(&path, vec![0; (64 << 10) + 1]).unwrap();
        assert!(content(&path).unwrap_err().to_string().contains("larger than 65536 bytes"));
    }
}
