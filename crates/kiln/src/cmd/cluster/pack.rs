//! What verbs that make cluster images have in common: which images are contained, and what is done with the result.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kiln_attest::PrivateKey;
use kiln_cluster::assemble::{Assembled, Attest, Request, assemble};
use kiln_cluster::list;
use kiln_cluster::scan;
use kiln_engine::attest;
use kiln_engine::build::Built;
use kiln_engine::images::Pull;
use kiln_engine::sign;
use kiln_engine::transfer::push::check_target;
use kiln_engine::transfer::{Mover, Origin, Platforms};
use kiln_oci::cluster::Type;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{Config, Credential};
use kiln_spec::kubefile::Kubefile;
use kiln_spec::source::Source;

use crate::cmd::build::inputs::{read_to_end, text};
use crate::cmd::build::{Build, attest as options};
use crate::error::CliError;
use crate::keys;

/// Which images are contained.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Contained images")]
pub struct Options {
    /// Contain the images that FILE lists, too, one a line (repeat)
    #[arg(long, value_name = "FILE")]
    pub image_list: Vec<PathBuf>,
    /// The same for registries with logins: a YAML list of registry, username, password and images (repeat)
    #[arg(long, value_name = "FILE")]
    pub image_list_with_auth: Vec<PathBuf>,
    /// Do not contain the images that FILE lists; names may have * and ? in them (repeat)
    #[arg(long, value_name = "FILE")]
    pub ignored_image_list: Vec<PathBuf>,
    /// Take images from this directory of a registry (with docker/registry/v2 in it) before anywhere else (repeat)
    #[arg(long, value_name = "DIR")]
    pub registry_dir: Vec<PathBuf>,
    /// Take images from this archive (docker's or OCI's) or OCI layout (repeat)
    #[arg(long, value_name = "PATH")]
    pub images: Vec<PathBuf>,
    /// Contain no images
    #[arg(long)]
    pub no_images: bool,
    /// Do not contain what kubeadm of the root file system runs, unless it is named elsewhere
    #[arg(long)]
    pub no_kubernetes_images: bool,
    /// The version of Kubernetes that charts are rendered for [default: the image's]
    #[arg(long, value_name = "VERSION")]
    pub kube_version: Option<String>,
    /// Fail if a chart cannot be rendered, instead of finding its images by other means
    #[arg(long)]
    pub strict: bool,
}

/// Files that list images, read.
pub struct Lists {
    options: scan::Options,
    logins: Vec<list::Login>,
}

fn source(path: &Path) -> Result<Source, CliError> {
    let shown = path.display().to_string();
    let failed = |e| CliError::input(format!("cannot read the list of images {shown}: {e}"));
    let bytes = read_to_end(std::fs::File::open(path).map_err(failed)?, &shown, list::MAX_LENGTH + 1)?;
    if bytes.len() as u64 > list::MAX_LENGTH {
        return Err(CliError::input(format!("{shown} is larger than {} MiB", list::MAX_LENGTH >> 20)));
    }
    Ok(text(&shown, bytes))
}

impl Options {
    /// Reads the files.
    pub fn read(&self) -> Result<Lists, CliError> {
        let mut options =
            scan::Options { strict: self.strict, kubernetes: self.kube_version.clone(), ..scan::Options::default() };
        let mut logins = Vec::new();
        let ignored = self.ignored_image_list.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
        options.rules = scan::rules(&ignored)?;
        for path in &self.image_list {
            let source = source(path)?;
            options.lists.push((source.name.clone(), list::parse(&source, &options.rules)?));
        }
        for path in &self.image_list_with_auth {
            let source = source(path)?;
            let (lines, own) = list::parse_with_logins(&source)?;
            options.lists.push((source.name, lines));
            logins.extend(own);
        }
        Ok(Lists { options, logins })
    }
}

impl Lists {
    /// The configuration of registries, with the logins of the lists.
    pub fn configure(&self, config: Config) -> Config {
        let mut credentials = config.credentials;
        for login in &self.logins {
            credentials = credentials.with(&login.registry, Credential::basic(&login.username, &login.password));
        }
        Config { credentials, ..config }
    }
}

/// What is said of the image, and who signs it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Attestations")]
pub struct Said {
    /// Say how the root file system was made: mode=min|max, version=v1|v0.2, builder-id=URI
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Say what is installed in the root file system and in each contained image: format=spdx or format=cyclonedx
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Attestation (repeat): type=provenance or type=sbom, [,FIELD=VALUE]
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Sign what is pushed with this private key: a file, or env://NAME (password in COSIGN_PASSWORD)
    #[arg(long, value_name = "KEY", requires = "push")]
    pub sign: Option<String>,
}

/// [`Said`], read.
#[derive(Default)]
pub struct Statements {
    wanted: attest::Wanted,
    key: Option<PrivateKey>,
}

impl Said {
    /// Reads the options, and the key.
    pub fn read(&self) -> Result<Statements, CliError> {
        let wanted = options::wanted(self.provenance.as_deref(), self.sbom.as_deref(), &self.attest)?;
        let key = self.sign.as_deref().map(|place| keys::private("--sign", place)).transpose()?;
        Ok(Statements { wanted, key })
    }
}

/// What is wanted of a cluster image.
pub struct Wanted<'a> {
    /// Its Kubefile.
    pub kubefile: &'a Kubefile,
    /// `--type`.
    pub kind: Option<Type>,
    /// Which images it contains.
    pub options: &'a Options,
    /// The lists, read.
    pub lists: Lists,
    /// `--annotation`s.
    pub annotations: Annotations,
    /// `--pull`.
    pub pull: bool,
    /// Whether it is pushed under its names.
    pub push: bool,
    /// What is said of it.
    pub said: Statements,
}

/// Builds the root file systems, finds and brings what they name, and names the result.
pub fn make(build: &mut Build, wanted: Wanted<'_>) -> Result<(Assembled, Instant), CliError> {
    let started = Instant::now();
    let made = build.make(None)?;
    let request = Request {
        kubefile: wanted.kubefile,
        given: build.arguments(),
        kind: wanted.kind,
        scan: wanted.lists.options,
        registry_dirs: wanted.options.registry_dir.clone(),
        archives: wanted.options.images.clone(),
        annotations: wanted.annotations,
        without_images: wanted.options.no_images,
        pull: if wanted.pull { Pull::Always } else { Pull::Missing },
        attest: Attest {
            rootfs: &|number: usize, built: &Built| {
                let (options, facts) = &made.planned[number];
                build.attest(&wanted.said.wanted, built, (options, facts))
            },
            sboms: wanted.said.wanted.sboms.clone(),
            kiln: env!("CARGO_PKG_VERSION"),
        },
        without_kubernetes: wanted.options.no_kubernetes_images,
    };
    let assembled = assemble(&build.session, made.built, request)?;
    for name in &build.names {
        build.session.store.set_ref(&name.to_string(), &assembled.root)?;
    }
    if wanted.push {
        push(build, &assembled, wanted.said.key.as_ref())?;
    }
    Ok((assembled, started))
}

fn push(build: &Build, assembled: &Assembled, key: Option<&PrivateKey>) -> Result<(), CliError> {
    let mover = Mover::of(&build.session);
    for name in &build.names {
        check_target(name)?;
        let root = assembled.root.clone();
        let selection = mover.select(&Origin::Store, &name.familiar(), root, &Platforms::All)?;
        mover.push(&selection, name)?;
        if let Some(key) = key {
            // Contained images are signed by who made them; that they are here, the index says.
            let rootfs: Vec<&Descriptor> = assembled.rootfs.iter().collect();
            sign::together(name, &assembled.root, &rootfs, &assembled.attached, key, build.session.images.client())?;
        }
    }
    Ok(())
}

/// That there is a name where one is needed.
pub fn check_names(names: &[Reference], push: bool) -> Result<(), CliError> {
    match push && names.is_empty() {
        true => Err(CliError::usage("--push needs a name to push to").with_hint("-t registry.example/my-cluster:v1")),
        false => Ok(()),
    }
}

/// What was made, for people.
pub fn summary(build: &Build, assembled: &Assembled, started: Instant, wanted: (bool, bool)) {
    let (quiet, pushed) = wanted;
    if quiet {
        println!("{}", assembled.root.digest);
        return;
    }
    let spec = &assembled.spec;
    let kubernetes = spec.kubernetes.as_ref().map(|v| format!(", Kubernetes {v}")).unwrap_or_default();
    eprintln!(
        "{} image ({}){kubernetes}: {} images contained, {} commands at launch; {:.1} s",
        spec.kind.name(),
        spec.dialect,
        assembled.images.len(),
        spec.launch.len(),
        started.elapsed().as_secs_f64(),
    );
    eprintln!("{}", assembled.root.digest);
    for name in &build.names {
        eprintln!("{} {}", if pushed { "pushed" } else { "named" }, name.familiar());
    }
}
