//! `kiln node build`: a template goes in, images of machines come out.

use std::fs::File;
use std::io::{IsTerminal, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_engine::event::{Events, Silent};
use kiln_engine::images::{Images, Pull};
use kiln_engine::isolation::{self, Isolation};
use kiln_engine::rootfs::Roots;
use kiln_engine::session::NetworkFiles;
use kiln_engine::{Session, Settings};
use kiln_node::NodeError;
use kiln_node::builder::{Choice, Fetcher, Site};
use kiln_node::images::Known;
use kiln_node::offline::Workshop;
use kiln_node::run::ask::Lines;
use kiln_node::run::trouble::OnError;
use kiln_node::run::{self, Surroundings as Around};
use kiln_node::ui::{Look, Ui};
use kiln_oci::Platform;
use kiln_oci::compress::Compression;
use kiln_registry::{BlobSink, Client};
use kiln_sandbox::{Cancel, Confinement, Init, Limits, Rung, Standing};

use super::template::{self, Teller, TemplateOptions};
use crate::cli::Global;
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::surroundings::{self, Surroundings};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The builder to use whatever the template says: offline, or the template's own by its name
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
    /// What the offline builder starts from: a root directory, a tar of one, a disk, the address of one of these files
    /// (http, https), oci-layout://DIR, docker-image://NAME
    #[arg(long, value_name = "DIR|FILE|URL|IMAGE")]
    base: Option<String>,
    /// What the file of --base must be, as iso_checksum says it: sha256:…, file:LIST, none
    #[arg(long, value_name = "SUM", requires = "base")]
    base_checksum: Option<String>,
    /// What the offline builder writes: tar, directory, oci, image, qcow2, raw, vhd, vmdk, gce
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Whether lines are coloured
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    color: Option<bool>,
    /// One build after the other, with a question before each step
    #[arg(long)]
    debug: bool,
    /// Remove what is in the way of the results
    #[arg(long)]
    force: bool,
    /// What to do after a failure: cleanup, abort, ask, run-cleanup-provisioner
    #[arg(long, value_name = "WHAT", default_value = "cleanup")]
    on_error: String,
    /// As many builds at once; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    parallel_builds: usize,
    /// Lines for programs: comma-separated values
    #[arg(long)]
    machine_readable: bool,
    /// Lines begin with the time
    #[arg(long)]
    timestamp_ui: bool,
    /// Run every script, whatever the cache has
    #[arg(long)]
    no_cache: bool,
    /// How scripts of the offline builder are isolated: a rung, or auto
    #[arg(long, value_name = "RUNG", default_value = "auto", env = "KILN_ISOLATION")]
    isolation: String,
    /// Profiles that the result must pass, with commas between; what fails them is not kept
    #[arg(long, value_name = "PROFILE", value_delimiter = ',')]
    verify: Vec<String>,
    /// Write the report of --verify to this file: .json, .xml (JUnit), .html or .txt; may be repeated
    #[arg(long, value_name = "FILE")]
    verify_report: Vec<PathBuf>,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
    /// What the template means.
    #[command(flatten)]
    template: TemplateOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln node build -builder offline -base rootfs.tar node.json     a template for any builder, without a machine
  kiln node build -builder qemu node.json                         the template's own builder, with a machine
  kiln node build -builder offline -base debian-12.qcow2 -format qcow2 node.json   over a disk, which stays as it is
  kiln node build -builder offline -base https://example.org/debian-12.qcow2 -base-checksum sha512:0123… node.json
  kiln node build -var region=eu -only 'qemu*' node.json
  kiln node build -verify ack -verify-report report.html node.json
  kiln node build -on-error=ask node.json                         ask what to do after a failure
  kiln node build -builder offline -base docker-image://debian:12 -format directory node.json";

/// Runs the verb.
pub fn run(args: &Args, global: &mut Global) -> Result<(), CliError> {
    let Some(on_error) = OnError::by_name(&args.on_error) else {
        let names = OnError::NAMES.map(|(name, _)| name).join(", ");
        return Err(CliError::usage(format!("-on-error {}: expected one of {names}", args.on_error)));
    };
    let wish = super::wish(&args.verify, &[], &args.verify_report)?;
    let epoch = surroundings::said_time()?;
    let mut teller = Teller { machine: args.machine_readable, ..Teller::default() };
    let template = teller.load(&args.template)?;
    let choice = Choice {
        builder: args.builder.clone(),
        base: args.base.clone(),
        base_checksum: args.base_checksum.clone(),
        format: args.format.clone(),
    };
    match run::check(&template, &choice) {
        Ok(()) => {}
        Err(NodeError::Template(found)) => return Err(teller.mistakes(&found)),
        Err(error) => return Err(failed(&error)),
    }
    let rung = match &*args.isolation {
        "auto" => None,
        name => Some(name.parse().map_err(|e: String| CliError::usage(format!("--isolation: {e}")))?),
    };
    let standing = surroundings::take_standing(global, rung)?;
    let form = isolation::form(rung, &standing, &Confinement::here());
    let around = surroundings::open(global, &args.registry, Pull::Missing, Arc::new(Silent), form)?;
    let uuid = uuid()?;
    let workshop = workshop(args, &around, (rung, &standing), &uuid, epoch);
    let look = Look {
        color: args.color.unwrap_or_else(in_color) && !args.machine_readable,
        timestamps: args.timestamp_ui,
        machine: args.machine_readable,
    };
    let ui = Arc::new(Ui::new(look, teller.masks, Box::new(std::io::stdout())));
    let settings = run::Settings {
        parallel: args.parallel_builds,
        on_error,
        force: args.force,
        debug: args.debug,
        choice,
        uuid,
        verify: (!args.verify.is_empty()).then_some(wish),
    };
    let images = Known { session: (workshop.sessions)(Arc::new(Silent)), platform: workshop.platform.clone() };
    let asker = Lines::stdin();
    let site = site(global, &around)?;
    let with =
        Around { ui: &ui, workshop: &workshop, site: &site, images: &images, asker: &asker, cancel: &around.cancel };
    let outcome = run::run(&template, &settings, &with);
    match outcome.failed.is_empty() {
        true => Ok(()),
        // Each has been told in its place.
        false => Err(CliError::Told { code: 1 }),
    }
}

/// What builders with a machine find here. Fetched disks are kept in the store's directory, or where Packer has them.
fn site(global: &Global, around: &Surroundings) -> Result<Site, CliError> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = match path("PACKER_CACHE_DIR") {
        Some(dir) => dir,
        None => surroundings::store_dir(global)?.join("kiln/fetched"),
    };
    Ok(Site {
        path: std::env::var_os("PATH"),
        home: path("HOME"),
        agent: path("SSH_AUTH_SOCK"),
        temporary: std::env::temp_dir(),
        cache,
        fetcher: Arc::new(Downloads { client: around.images.client().clone() }),
        clouds: kiln_objects::Environment::of_process(),
        ledger: super::ledger::dir(global)?,
    })
}

/// Disk images by HTTP.
struct Downloads {
    client: Client,
}

/// More than any disk image has.
const LARGEST: u64 = 1 << 40;

impl Fetcher for Downloads {
    fn fetch(&self, address: &str, to: &Path, _: &Cancel) -> Result<(), String> {
        let file = File::create_new(to).map_err(|e| format!("cannot write {}: {e}", to.display()))?;
        // The client has a flag of its own that the same signals set.
        match self.client.fetch_url(address, None, LARGEST, &mut Landing(file), &|_| {}) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("the server says that nothing changed, but nothing was known".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A file that is written from the start again when the connection broke.
struct Landing(File);

impl BlobSink for Landing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    fn reset(&mut self) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(std::io::SeekFrom::Start(0)).map(drop)
    }
}

/// An error of a node image that is told in no other way.
pub fn failed(error: &NodeError) -> CliError {
    let told = match error {
        NodeError::File { .. } | NodeError::Program { .. } | NodeError::Engine(_) => {
            CliError::environment(error.to_string())
        }
        _ => CliError::input(error.to_string()),
    };
    told.with_any_hint(error.hint())
}

fn in_color() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none()
        && std::env::var_os("PACKER_NO_COLOR").is_none()
}

/// An identifier of a run, random.
pub fn uuid() -> Result<String, CliError> {
    Ok(kiln_clouds::uuid::of(template::random()?))
}

/// What the offline builder works with.
fn workshop(
    args: &Args,
    around: &Surroundings,
    (rung, standing): (Option<Rung>, &Standing),
    uuid: &str,
    epoch: Option<i64>,
) -> Workshop {
    let now = template::now();
    let (store, lease, cancel) = (around.store.clone(), around.lease.clone(), around.cancel.clone());
    let (client, standing) = (around.images.clone(), standing.clone());
    let sessions = move |events: Arc<dyn Events>| {
        let images: Arc<Images> = client.clone();
        let roots = Arc::new(Roots::new(store.clone(), images.clone(), lease.clone(), events.clone()));
        let settings = Settings {
            isolation: Isolation::new(rung, standing.clone(), Init::default()),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            compression: Compression::Zstd { level: 3 },
            secrets: Default::default(),
            ssh: Default::default(),
            limits: Limits::default(),
            now,
            source_date_epoch: epoch,
            inline_cache: false,
            single_layer: false,
            network_files: NetworkFiles::Image,
        };
        Session {
            store: store.clone(),
            images,
            roots,
            contexts: Default::default(),
            settings,
            events,
            cancel: cancel.clone(),
            ahead: None,
            remote: None,
            lock: None,
            policy: Default::default(),
            private_roots: Default::default(),
        }
    };
    Workshop {
        sessions: Arc::new(sessions),
        platform: Platform::host(),
        resolv_conf: kiln_sandbox::host_resolv_conf().0,
        salt: args.no_cache.then(|| uuid.to_owned()),
    }
}
