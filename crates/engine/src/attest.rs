//! What is said of an image that was built, as attestations beside it.
//!
//! Each image gets one manifest that lists its statements. It goes where the image goes: into the index, whose entry
//! BuildKit's readers look for, and to registries as a referrer of the image. [`sign`](crate::sign) makes signed
//! statements of them.

use std::collections::BTreeMap;

use kiln_attest::provenance::{BUILDER, Material, Mode, Run, Version};
use kiln_attest::statement::{self, Statement, digest_set, purl};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Mtime, Platform, Reference, media, time};
use kiln_plan::facts::{ContextId, Facts, ImageName, ImageQuery};
use kiln_plan::lint::names_a_secret;
use kiln_plan::options::NamedContext;
use kiln_plan::policy::Policy;
use kiln_plan::step::{Network, Op, RunOp};
use kiln_plan::{Options, Plan, explain};
use kiln_sbom::{Created, Inventory, Scanner, Subject, cyclonedx, spdx};
use kiln_spec::login;

use crate::build::{Built, Image};
use crate::error::Result;
use crate::fetch::http;
use crate::rootfs::{Layer, Roots};
use crate::session::Session;

/// The attestations that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How the image was made.
    pub provenance: Option<Provenance>,
    /// What is in it, in each of these formats.
    pub sboms: Vec<Format>,
}

/// A format of lists of what is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SPDX 2.3.
    Spdx,
    /// CycloneDX 1.6.
    CycloneDx,
}

impl Format {
    /// The document.
    #[must_use]
    pub fn document(self, inventory: &Inventory, subject: &Subject, created: &Created) -> serde_json::Value {
        match self {
            Format::Spdx => spdx::document(inventory, subject, created),
            Format::CycloneDx => cyclonedx::document(inventory, subject, created),
        }
    }

    fn predicate_type(self) -> &'static str {
        match self {
            Format::Spdx => statement::SPDX,
            Format::CycloneDx => statement::CYCLONEDX,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Format::Spdx => "sbom.spdx.json",
            Format::CycloneDx => "sbom.cdx.json",
        }
    }
}

/// What is installed in an image of these layers. All of them are read, those of the base too.
///
/// # Errors
/// When a layer cannot be had or read.
pub fn inventory(layers: &[Layer], roots: &Roots) -> Result<Inventory> {
    let mut scanner = Scanner::default();
    for layer in layers {
        roots.show(layer, |tar| Ok(scanner.layer(&layer.diff_id, tar)?))?;
    }
    Ok(scanner.finish())
}

/// What is to be said of how an image was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// How much.
    pub mode: Mode,
    /// In which version of the format.
    pub version: Version,
    /// Who builds, as a URI.
    pub builder: Option<String>,
    /// Whether the user says that it is reproducible.
    pub reproducible: bool,
}

/// Where a Dockerfile and its context came from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Address and digest of a context that is not a directory of this machine.
    pub context: Option<(String, BTreeMap<String, String>)>,
    /// The Dockerfile's name in the context.
    pub path: String,
    /// The Dockerfile.
    pub dockerfile: Vec<u8>,
    /// The version of Kiln.
    pub kiln: String,
    /// When the build began, in seconds since the epoch.
    pub started: i64,
}

/// Statements about one image, in a manifest of their own. All of it is in the store.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The image.
    pub image: Digest,
    /// The manifest's entry in an index.
    pub entry: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
    /// The statements, each with the name of a file for it.
    pub statements: Vec<(&'static str, Statement)>,
}

impl Attached {
    /// The entry for a list of referrers.
    #[must_use]
    pub fn as_referrer(&self) -> Descriptor {
        self.manifest.as_referrer(&self.entry)
    }
}

/// Makes the attestations of an image; none if none were asked for.
///
/// # Errors
/// When the store cannot be written, or a layer cannot be read.
pub fn attach(
    wanted: &Wanted,
    built: &Built,
    (options, facts): (&Options, &Facts),
    source: &Source,
    names: &[Reference],
    session: &Session,
) -> Result<Option<Attached>> {
    let image = Pictured::of(&built.image);
    let mut statements = Vec::new();
    if let Some(provenance) = &wanted.provenance {
        let run = provenance_of(provenance, &built.plan, options, facts, source, session);
        let predicate = run.predicate(provenance.version);
        statements.push(("provenance.json", image.about(names, provenance.version.predicate_type(), predicate)));
    }
    statements.extend(image.sboms(&wanted.sboms, names, &source.kiln, session)?);
    keep(image.descriptor, statements, session)
}

/// An image that something is said of.
#[derive(Debug, Clone, Copy)]
pub struct Pictured<'a> {
    /// Its manifest.
    pub descriptor: &'a Descriptor,
    /// What it runs on.
    pub platform: &'a Platform,
    /// Its configuration.
    pub config: &'a ImageConfig,
    /// Its layers, lowest first.
    pub layers: &'a [Layer],
}

impl<'a> Pictured<'a> {
    fn of(image: &'a Image) -> Pictured<'a> {
        let Image { descriptor, platform, config, layers, .. } = image;
        Pictured { descriptor, platform, config, layers }
    }

    fn about(&self, names: &[Reference], kind: &str, predicate: serde_json::Value) -> Statement {
        Statement::about(&self.descriptor.digest, self.platform, names, kind, predicate)
    }

    /// What is in it, in each of these formats, with the name of a file for it.
    fn sboms(
        &self,
        formats: &[Format],
        names: &[Reference],
        kiln: &str,
        session: &Session,
    ) -> Result<Vec<(&'static str, Statement)>> {
        if formats.is_empty() {
            return Ok(Vec::new());
        }
        let inventory = inventory(self.layers, &session.roots)?;
        for doubt in &inventory.doubts {
            session.warn(&format!("the SBOM may lack packages: {doubt}"));
        }
        let subject = Subject {
            name: names.first().map(ToString::to_string).unwrap_or_default(),
            digest: Some(self.descriptor.digest.clone()),
            platform: Some(self.platform.clone()),
        };
        let created = created(self.config, kiln);
        let made = formats.iter().map(|format| (*format, format.document(&inventory, &subject, &created)));
        Ok(made.map(|(format, text)| (format.file(), self.about(names, format.predicate_type(), text))).collect())
    }
}

/// Says what is in an image that was not built here; nothing, if no format is given. `kiln` is the version of Kiln.
///
/// # Errors
/// As [`attach`].
pub fn list(
    formats: &[Format],
    image: &Pictured<'_>,
    names: &[Reference],
    kiln: &str,
    session: &Session,
) -> Result<Option<Attached>> {
    keep(image.descriptor, image.sboms(formats, names, kiln, session)?, session)
}

/// Writes statements about an image, and the manifest that lists them, into the store.
fn keep(image: &Descriptor, statements: Vec<(&'static str, Statement)>, session: &Session) -> Result<Option<Attached>> {
    if statements.is_empty() {
        return Ok(None);
    }
    let mut listed = Vec::new();
    for (_, statement) in &statements {
        let bytes = statement.bytes();
        session.store.put(&bytes)?;
        listed.push((statement.clone(), Descriptor::of(statement::MEDIA_TYPE, &bytes)));
    }
    session.store.put(media::EMPTY)?;
    let (manifest, manifest_bytes, entry) = statement::manifest(image, &listed);
    session.store.put(&manifest_bytes)?;
    Ok(Some(Attached { image: image.digest.clone(), entry, manifest, manifest_bytes, statements }))
}

/// An SBOM is as old as its image: it says nothing that was not true then. `kiln` is the version of Kiln.
#[must_use]
pub fn created(image: &ImageConfig, kiln: &str) -> Created {
    let at = image.created.as_deref().and_then(|text| time::parse_rfc3339(text).ok());
    Created { at: at.unwrap_or(Mtime::secs(0)), version: kiln.to_owned() }
}

fn provenance_of(
    wanted: &Provenance,
    plan: &Plan,
    options: &Options,
    facts: &Facts,
    source: &Source,
    session: &Session,
) -> Run {
    let foreign = source.context.is_some();
    let mut locals: Vec<String> =
        facts.files.keys().filter_map(|files| local(&files.context, foreign)).map(str::to_owned).collect();
    locals.dedup();
    let hermetic = commands(plan).all(|run| run.network == Network::None);
    Run {
        mode: wanted.mode,
        builder: wanted.builder.clone().unwrap_or_else(|| BUILDER.to_owned()),
        kiln: source.kiln.clone(),
        reproducible: wanted.reproducible,
        source: source.context.clone().map(|(uri, digest)| Material { uri, digest }),
        path: source.path.clone(),
        dockerfile: login::hidden(&String::from_utf8_lossy(&source.dockerfile)).into_bytes(),
        target: options.target.clone(),
        args: options.build_args.iter().map(|(name, value)| (name.clone(), login::hidden(value))).collect(),
        labels: options.labels.iter().map(|(name, value)| (name.clone(), login::hidden(value))).collect(),
        secrets: options.secrets.iter().cloned().collect(),
        ssh: options.ssh.iter().cloned().collect(),
        complete: locals.is_empty() && hermetic,
        locals,
        contexts: options
            .contexts
            .iter()
            .filter_map(|(name, what)| Some((name.clone(), foreign_tree(what)?)))
            .collect(),
        machine: options.build_platform.clone(),
        platform: plan.platform.clone(),
        materials: materials(facts, &session.policy),
        hermetic,
        steps: explain::json(plan)["steps"].take(),
        times: times(source.started, session),
        hidden: hidden(plan, options, &source.dockerfile),
    }
}

fn commands(plan: &Plan) -> impl Iterator<Item = &RunOp> {
    plan.steps.iter().filter_map(|step| match &step.op {
        Op::Run(run) => Some(&**run),
        _ => None,
    })
}

/// The name of a context that is a directory of this machine.
fn local(id: &ContextId, foreign: bool) -> Option<&str> {
    match id {
        ContextId::Main => (!foreign).then_some("context"),
        ContextId::Named(name) => Some(name),
    }
}

/// What a named context is, if it is no directory.
fn foreign_tree(what: &NamedContext) -> Option<String> {
    match what {
        NamedContext::Dir => None,
        NamedContext::Image(reference) => Some(format!("docker-image://{reference}")),
        NamedContext::OciLayout(layout) => Some(format!("oci-layout://{layout}")),
        NamedContext::Target(stage) => Some(format!("target:{stage}")),
    }
}

/// When the build began and ends: now. Of a build whose result does not depend on the clock, nothing does.
fn times(started: i64, session: &Session) -> Option<(String, String)> {
    let now = crate::schedule::now().secs;
    let text = |secs| time::rfc3339(Mtime::secs(secs));
    session.settings.source_date_epoch.is_none().then(|| (text(started), text(now)))
}

/// Values that names call secrets: of arguments, of variables that commands see, and of those the Dockerfile writes down.
fn hidden(plan: &Plan, options: &Options, dockerfile: &[u8]) -> Vec<String> {
    let seen = commands(plan).flat_map(|run| run.env.iter().map(|(name, value)| (name, value)));
    let all = options.build_args.iter().chain(seen);
    let mut values: Vec<String> =
        all.filter(|(name, _)| names_a_secret(name)).map(|(_, value)| value.clone()).collect();
    values.extend(written(&String::from_utf8_lossy(dockerfile)));
    values.sort();
    values.dedup();
    values
}

/// Values of `NAME=value` in a Dockerfile whose names say that they are secrets, in whatever instruction.
fn written(dockerfile: &str) -> Vec<String> {
    let of_word = |word: &str| {
        let (name, value) = word.split_once('=')?;
        let value = value.trim_matches(['"', '\'']);
        names_a_secret(name.trim_matches(['"', '\''])).then(|| value.to_owned()).filter(|value| !value.starts_with('$'))
    };
    dockerfile.split_whitespace().filter_map(of_word).collect()
}

/// What the image was made from, by where it was.
fn materials(facts: &Facts, policy: &Policy) -> Vec<Material> {
    // What the policy put in the place of another is what was used.
    let images = facts.images.iter().map(|(query, fact)| {
        let used = policy.image(query).unwrap_or_else(|_| query.clone());
        Material { uri: image_uri(&used, &used.platform), digest: digest_set(&fact.digest) }
    });
    let urls = facts.http.iter().map(|(query, fact)| {
        let used = policy.url(query).map_or_else(|_| query.url.clone(), |used| used.url);
        Material { uri: http::shown(&login::removed(&used)), digest: digest_set(&fact.digest) }
    });
    let git = facts.git.iter().map(|(query, fact)| {
        let reference = query.reference.as_ref().map(|r| format!("#{r}")).unwrap_or_default();
        Material { uri: login::removed(&query.remote) + &reference, digest: commit(&fact.commit) }
    });
    let mut all: Vec<Material> = images.chain(urls).chain(git).collect();
    all.sort();
    all.dedup();
    all
}

/// The digest of a commit: SHA-1 or SHA-256 by its length.
#[must_use]
pub fn commit(id: &str) -> BTreeMap<String, String> {
    let algorithm = if id.len() == 64 { "sha256" } else { "sha1" };
    BTreeMap::from([(algorithm.to_owned(), id.to_owned())])
}

fn image_uri(query: &ImageQuery, platform: &Platform) -> String {
    match &query.name {
        ImageName::Reference(text) => {
            text.parse::<Reference>().map_or_else(|_| text.clone(), |reference| purl(&reference, Some(platform)))
        }
        ImageName::OciLayout(text) => format!("oci-layout://{text}"),
    }
}
