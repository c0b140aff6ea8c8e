//! `kiln cluster base`: an image of Kubernetes' own binaries.

use std::path::{Path, PathBuf};

use kiln_cluster::base::{self, Wanted as Parts};
use kiln_oci::Platform;
use kiln_spec::kubefile::{self, Dialect};
use kiln_spec::source::Source;

use super::pack::{self, Options, Wanted};
use crate::cli::Global;
use crate::cmd::build::{self, Build};
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::progress::{Progress, Style};

const EXAMPLES: &str = "\
Examples:
  kiln cluster base --kubernetes v1.30.2 --from ./binaries -t kubernetes:v1.30.2
  kiln cluster base --kubernetes v1.30.2 --download -t kubernetes:v1.30.2
  kiln cluster base --kubernetes v1.30.2 --download --kubernetes-url https://mirror.example/k8s \\
    --github-url https://mirror.example/github -t kubernetes:v1.30.2

The directory has kubeadm, kubelet and kubectl, here or in bin/; and what else there is of crictl, runc, containerd and
CNI plugins, as programs or as the archives of their projects. etc/, scripts/, manifests/, charts/ and statics/ are taken
as they are. Contained are the images that kubeadm pulls for this version.";

/// The longest file with a checksum.
const MAX_CHECKSUM: u64 = 1 << 20;

/// Make an image of Kubernetes' own binaries.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("place").required(true).args(["from", "download"])))]
pub struct Args {
    /// The version of Kubernetes
    #[arg(long, value_name = "VERSION")]
    kubernetes: String,
    /// Take the binaries from a directory
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Fetch the binaries, and compare them with their checksums
    #[arg(long)]
    download: bool,
    /// Name for the image (repeat)
    #[arg(short = 't', long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// Platform of the binaries [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The version of containerd to fetch
    #[arg(long, value_name = "VERSION", default_value = "1.7.27")]
    containerd: String,
    /// The version of runc to fetch
    #[arg(long, value_name = "VERSION", default_value = "1.2.6")]
    runc: String,
    /// The version of the CNI plugins to fetch
    #[arg(long, value_name = "VERSION", default_value = "1.6.2")]
    cni: String,
    /// The version of crictl to fetch [default: that of Kubernetes' minor version]
    #[arg(long, value_name = "VERSION")]
    crictl: Option<String>,
    /// Where Kubernetes' binaries are fetched from
    #[arg(long, value_name = "URL", default_value = base::KUBERNETES_URL)]
    kubernetes_url: String,
    /// Where the releases of the others are fetched from
    #[arg(long, value_name = "URL", default_value = base::GITHUB_URL)]
    github_url: String,
    /// Repository of Kubernetes' images [default: registry.k8s.io, k8s.gcr.io before 1.25]
    #[arg(long, value_name = "REPOSITORY")]
    image_repository: Option<String>,
    /// Push the image under its names
    #[arg(long)]
    push: bool,
    /// Ask registries even if the store has an image
    #[arg(long)]
    pull: bool,
    /// Print the Dockerfile that is built, and stop
    #[arg(long)]
    print: bool,
    /// Print only the digest of the image
    #[arg(short, long)]
    quiet: bool,
    /// Which images are contained.
    #[command(flatten)]
    contained: Options,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

impl Args {
    fn platform(&self) -> Result<Platform, CliError> {
        let parse = |text: &String| text.parse().map_err(|e| CliError::usage(format!("--platform {text}: {e}")));
        self.platform.as_ref().map_or_else(|| Ok(Platform::host()), parse)
    }

    fn parts(&self, platform: &Platform) -> Result<Parts, CliError> {
        let (kubernetes, major, minor) = base::version(&self.kubernetes)?;
        let plain = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
        Ok(Parts {
            kubernetes,
            arch: platform.architecture.clone(),
            containerd: plain(&self.containerd),
            runc: plain(&self.runc),
            cni: plain(&self.cni),
            crictl: self.crictl.as_deref().map_or_else(|| format!("{major}.{minor}.0"), plain),
            kubernetes_url: self.kubernetes_url.clone(),
            github_url: self.github_url.clone(),
            repository: self.image_repository.clone(),
            // A list that is given stands for the one that Kiln knows.
            images: !self.contained.no_images
                && !self.contained.no_kubernetes_images
                && self.contained.image_list.is_empty(),
        })
    }

    fn build(&self, platform: &Platform, dockerfile: Source) -> Result<build::Args, CliError> {
        Ok(build::Args {
            context: self.from.as_ref().map_or_else(|| ".".to_owned(), |dir| dir.display().to_string()),
            tags: self.tags.clone(),
            platform: vec![platform.to_string()],
            pull: self.pull,
            quiet: self.quiet,
            registry: self.registry.clone(),
            dockerfile: Some(dockerfile),
            ..build::Args::defaults()?
        })
    }
}

/// Runs the verb.
pub fn run(args: &Args, global: &mut Global) -> Result<(), CliError> {
    let platform = args.platform()?;
    let (parts, lists) = (args.parts(&platform)?, args.contained.read()?);
    // Namespaces are entered before there are threads, and a client of registries has some.
    let standing = build::take_standing(&build::Args::defaults()?, global)?;
    let config = lists.configure(args.registry.config()?);
    let text = match &args.from {
        Some(dir) => base::of_directory(&parts, &listing(dir)?)?,
        None => base::of_downloads(&parts, &checksums(&parts, config.clone())?)?,
    };
    if args.print {
        return crate::named::print(&text);
    }
    let dockerfile = Source { name: "(base)".to_owned(), text };
    let build_args = args.build(&platform, dockerfile.clone())?;
    let style = if args.quiet { Style::Quiet } else { global.progress };
    let progress = Progress::start(style, "Building");
    let (kubefile, found) = kubefile::parse(&dockerfile, Some(Dialect::Sealos));
    let parsed = kubefile.dockerfile.clone();
    let mut build = Build::prepare_as(&build_args, global, config, progress.events(), standing, &mut |_| {
        (parsed.clone(), found.clone())
    })?;
    build.report_mistakes()?;
    pack::check_names(&build.names, args.push)?;
    let wanted = Wanted {
        kubefile: &kubefile,
        kind: Some(kiln_oci::cluster::Type::Rootfs),
        options: &args.contained,
        lists,
        annotations: Default::default(),
        pull: args.pull,
        push: args.push,
        said: Default::default(),
    };
    let (assembled, started) = pack::make(&mut build, wanted)?;
    progress.finish();
    pack::summary(&build, &assembled, started, (args.quiet, args.push));
    Ok(())
}

/// The files and directories of a directory, and what is in its `bin/`.
fn listing(dir: &Path) -> Result<Vec<String>, CliError> {
    let failed = |e: std::io::Error| CliError::input(format!("cannot read {}: {e}", dir.display()));
    let mut all = Vec::new();
    let mut add = |dir: &Path, before: &str| -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|_| std::io::Error::other("a name is no text"))?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            all.push(format!("{before}{name}{slash}"));
        }
        Ok(())
    };
    add(dir, "").map_err(failed)?;
    for below in ["bin", "etc", "manifests"] {
        if dir.join(below).is_dir() {
            add(&dir.join(below), &format!("{below}/")).map_err(failed)?;
        }
    }
    // Only documents that stand for Kiln's own are of interest there.
    all.retain(|name| {
        !["etc/", "manifests/"].iter().any(|dir| name.starts_with(dir) && name.len() > dir.len())
            || matches!(&**name, "etc/kubeadm.yml" | "manifests/imageList")
    });
    all.sort();
    Ok(all)
}

/// What is fetched, with the SHA-256 that stands beside each.
fn checksums(parts: &Parts, config: kiln_registry::Config) -> Result<Vec<(base::Download, String)>, CliError> {
    let client = kiln_registry::Client::new(config)?;
    let mut all = Vec::new();
    for download in base::downloads(parts) {
        let mut bytes = Vec::new();
        client.fetch_url(&download.checksum_url, None, MAX_CHECKSUM, &mut bytes, &|_| {})?;
        let sum = base::checksum(&String::from_utf8_lossy(&bytes), &download.url)?;
        all.push((download, sum));
    }
    Ok(all)
}
