//! `kiln cluster build`: a Kubefile and a context go in, a cluster image comes out.

use std::path::Path;

use kiln_oci::cluster::Type;
use kiln_spec::kubefile::{self, Dialect, Kubefile, Reason};

use super::pack::{self, Options, Said, Wanted};
use crate::cli::Global;
use crate::cmd::build::{self, Build};
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::progress::{Progress, Style};

const EXAMPLES: &str = "\
Examples:
  kiln cluster build -t my-cluster:v1.19.9 .              the Kubefile here, and every image that it names
  kiln cluster build -t app:1 --type app-installer .      charts and manifests for a cluster that runs
  kiln cluster build -t c --platform linux/amd64,linux/arm64 .
  kiln cluster build -t c --image-list more.txt .         images that nothing names, one a line
  kiln cluster build -t c --registry-dir ./registry .     images of a directory that sealer or sealos made
  kiln cluster build -t registry.example/c:1 --push .
  kiln cluster build -t registry.example/c:1 --push --sbom --provenance=mode=max --sign cosign.key .

The file is read in the dialect it looks like: sealer up to 0.8, sealer from 0.9, or sealos. `# kiln:dialect=sealer-v1`
in its first lines, or --dialect, decides. docs/cluster-images.md has what each of them means.";

/// Build a cluster image from a Kubefile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The build context: a directory, an archive, a Git repository, a URL of an archive
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,
    /// The Kubefile [default: CONTEXT/Kubefile, else CONTEXT/Sealfile]; - reads it from standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<String>,
    /// Name for the image (repeat)
    #[arg(short = 't', long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// Value for an ARG; without a value, from the environment (repeat)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Platform to build for (repeat)
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// What the image is for: rootfs (kube-installer), application (app-installer) or patch [default: what its files say]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Read the file in this dialect: sealer-v1, sealer-v2 or sealos
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<Dialect>,
    /// Label for the root file system (repeat)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Annotation for the index (repeat)
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Secret for RUN --mount=type=secret (repeat): id=ID[,src=FILE|env=VAR]
    #[arg(long = "secret", value_name = "SPEC")]
    secrets: Vec<String>,
    /// Do not look steps up in the cache
    #[arg(long)]
    no_cache: bool,
    /// Ask registries even if the store has an image
    #[arg(long)]
    pull: bool,
    /// Push the image under its names
    #[arg(long)]
    push: bool,
    /// How RUN is isolated: auto, root, userns, userns1, chroot, emulated or none
    #[arg(long, value_name = "RUNG", default_value = "auto", env = "KILN_ISOLATION", hide_env_values = true)]
    isolation: String,
    /// Compression of new layers: gzip, zstd or none
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    compression: String,
    /// Print only the digest of the image
    #[arg(short, long)]
    quiet: bool,
    /// What is said of it.
    #[command(flatten)]
    said: Said,
    /// Which images are contained.
    #[command(flatten)]
    contained: Options,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

impl Args {
    /// The build of the root file system.
    fn build(&self) -> Result<build::Args, CliError> {
        Ok(build::Args {
            context: self.context.clone(),
            file: self.file.clone().or_else(|| default_file(&self.context)),
            tags: self.tags.clone(),
            build_args: self.build_args.clone(),
            platform: self.platform.clone(),
            labels: self.labels.clone(),
            secrets: self.secrets.clone(),
            no_cache: self.no_cache,
            pull: self.pull,
            isolation: self.isolation.clone(),
            compression: self.compression.clone(),
            quiet: self.quiet,
            registry: self.registry.clone(),
            ..build::Args::defaults()?
        })
    }

    fn kind(&self) -> Result<Option<Type>, CliError> {
        let parse = |text: &String| {
            Type::parse(text).ok_or_else(|| {
                CliError::usage(format!("--type {text}: there is no such type of image"))
                    .with_hint("there are rootfs (or kube-installer), application (or app-installer) and patch")
            })
        };
        self.kind.as_ref().map(parse).transpose()
    }
}

/// The names that are looked for in a context. Of one that is not here yet, the first is meant.
fn default_file(context: &str) -> Option<String> {
    if context == "-" {
        return None;
    }
    let dir = Path::new(context);
    if !dir.is_dir() {
        return Some("Kubefile".to_owned());
    }
    let there = |name: &&&str| dir.join(name).is_file();
    let name = ["Kubefile", "Sealfile"].iter().find(there).copied().unwrap_or("Kubefile");
    Some(dir.join(name).display().to_string())
}

/// Runs the verb.
pub fn run(args: &Args, global: &mut Global) -> Result<(), CliError> {
    let (kind, lists, build_args) = (args.kind()?, args.contained.read()?, args.build()?);
    let (annotations, said) = (annotations(&args.annotations)?, args.said.read()?);
    let standing = build::take_standing(&build_args, global)?;
    let style = if args.quiet { Style::Quiet } else { global.progress };
    let progress = Progress::start(style, "Building");
    let config = lists.configure(args.registry.config()?);
    let mut parsed: Option<Kubefile> = None;
    let mut build = Build::prepare_as(&build_args, global, config, progress.events(), standing, &mut |source| {
        let (kubefile, found) = kubefile::parse(source, args.dialect);
        let dockerfile = kubefile.dockerfile.clone();
        parsed = Some(kubefile);
        (dockerfile, found)
    })?;
    build.report_mistakes()?;
    pack::check_names(&build.names, args.push)?;
    let kubefile = parsed.ok_or_else(|| CliError::input("there is no Kubefile"))?;
    let wanted = Wanted {
        kubefile: &kubefile,
        kind,
        options: &args.contained,
        lists,
        annotations,
        pull: args.pull,
        push: args.push,
        said,
    };
    let (assembled, started) = pack::make(&mut build, wanted)?;
    progress.finish();
    if !args.quiet {
        eprintln!("{}", why(&kubefile, &build));
    }
    pack::summary(&build, &assembled, started, (args.quiet, args.push));
    Ok(())
}

fn annotations(texts: &[String]) -> Result<kiln_oci::manifest::Annotations, CliError> {
    let parse = |text: &String| {
        let pair = crate::options::key_value(text);
        let pair = pair.filter(|(name, _)| !name.starts_with("dev.kiln.cluster."));
        let (name, value) = pair.ok_or_else(|| {
            CliError::usage(format!("--annotation {text}: expected NAME=VALUE"))
                .with_hint("names that start with dev.kiln.cluster. are the format's own")
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(parse).collect()
}

/// In which dialect the file was read, and why.
fn why(kubefile: &Kubefile, build: &Build) -> String {
    let source = build.source();
    let why = match &kubefile.reason {
        Reason::Given => "as --dialect says".to_owned(),
        Reason::Directive => "as its first lines say".to_owned(),
        Reason::Uses(what, span) => format!("for it uses {what} in line {}", source.position(span.start).0),
        Reason::Default => "for nothing in it is of another dialect".to_owned(),
    };
    format!("{} was read as {}, {why}", source.name, kubefile.dialect)
}
