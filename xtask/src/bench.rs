//! Kiln beside other builders, on one machine, in one run: the ratio is the result, the seconds are not.
//!
//! | mode | before | measured |
//! |---|---|---|
//! | cold | nothing local | build with the base pulled from a loopback registry, and push of the result |
//! | no-cache | base present | build with `--no-cache` |
//! | warm | just built | the same build again |
//! | changed | just built | the same build after one file of the context changed |
//! | shared | nothing local, all steps in a registry cache | build with that cache, and push of the result |
//!
//! Tools take turns within each repetition, so that a slow minute of the machine hits all of them. A builder that fails
//! is a row that says so. Everything is below one directory, which is removed; daemons and mounts are in namespaces that
//! end with this process.
//!
//! [`workload`] what is built, of [`content`]     [`builder`] who builds     [`measure`] what it costs, by [`process`]
//! [`nodes`] node images beside Packer's
//! [`told`] where Kiln's time went     [`target`] what is meant to be reached     [`report`] the tables

mod builder;
mod content;
mod interrupt;
mod machine;
mod measure;
mod nodes;
pub(crate) mod process;
mod proxy;
mod report;
mod target;
mod told;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kiln_testkit::{Auth, Layout, Registry};

use crate::cargo;
use crate::error::Error;
use crate::peers::Peers;
use builder::{Builder, Cache, Request, Site, Tool};
use interrupt::Interrupt;
use machine::Machine;
use measure::Meter;
use proxy::Proxy;
use report::{Report, Row, Run};
use told::Told;
use workload::Workload;

/// `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workloads, w1 to w10 for container images and n1, n2 for node images; all of the former if none is named. w6 is
    /// w2 built again
    workloads: Vec<String>,
    /// Repetitions; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Whom to measure beside kiln
    #[arg(long, value_delimiter = ',', default_value = "buildkit,buildah,buildah-sid,podman")]
    peers: Vec<Tool>,
    /// Measure kiln alone
    #[arg(long)]
    alone: bool,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_value = "cold,no-cache,warm,changed,shared")]
    modes: Vec<Mode>,
    /// The kiln binary; built in release mode if not given
    #[arg(long)]
    kiln: Option<PathBuf>,
    /// Root filesystem tar of the base image; scripts/debian-base.sh makes one if not given
    #[arg(long)]
    base: Option<PathBuf>,
    /// Directory for contexts and stores, on the disk to measure; a temporary one if not given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Seconds a build may take
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Stop a peer that takes this many times as long as kiln did, and a minute at least: it is a row that says so
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(2..))]
    patience: Option<u32>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write the tables into this document too
    #[arg(long, num_args = 0..=1, default_missing_value = "docs/performance.md")]
    markdown: Option<PathBuf>,
}

/// How a build is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Nothing local, result pushed.
    Cold,
    /// Base present, `--no-cache`.
    NoCache,
    /// Nothing changed.
    Warm,
    /// One file of the context changed.
    Changed,
    /// Nothing local, all steps in a registry cache, result pushed.
    Shared,
}

impl Mode {
    /// As printed, in the order they are measured.
    const ALL: [Mode; 5] = [Mode::Cold, Mode::NoCache, Mode::Warm, Mode::Changed, Mode::Shared];

    fn name(self) -> &'static str {
        match self {
            Mode::Cold => "cold",
            Mode::NoCache => "no-cache",
            Mode::Warm => "warm",
            Mode::Changed => "changed",
            Mode::Shared => "shared",
        }
    }
}

/// Runs the benchmark and prints its tables.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let (of_nodes, of_images): (Vec<_>, Vec<_>) =
        args.workloads.iter().cloned().partition(|name| nodes::NAMES.contains(&name.as_str()));
    // Who names node images only wants no others.
    let workloads = if of_images.is_empty() && !of_nodes.is_empty() { vec![] } else { workload::named(&of_images)? };
    let interrupt = Interrupt::listen();
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let unwritable = |cause| Error::Write { path: parent.clone(), cause };
    fs::create_dir_all(&parent).map_err(unwritable)?;
    let temp = tempfile::Builder::new().prefix("kiln-bench-").tempdir_in(&parent).map_err(unwritable)?;
    let dir = temp.path().canonicalize().map_err(unwritable)?;
    let kiln = args.kiln.clone().map_or_else(cargo::build_kiln, Ok)?;
    let mut report =
        Report { machine: Machine::here(&dir), command: command_line(), repetitions: args.runs, ..Report::default() };
    let meter = Meter { limit: Duration::from_secs(args.timeout), interrupt };
    if !of_nodes.is_empty() {
        measure_nodes(args, &kiln, &of_nodes, &dir, &meter, &mut report)?;
    }
    if !workloads.is_empty() {
        measure_images(args, kiln, workloads, dir, meter, &mut report)?;
    }
    if let Some(document) = &args.markdown {
        write_into(document, &report.markdown())?;
    }
    print!("{}", if args.json { report.json() + "\n" } else { report.markdown() });
    Ok(())
}

/// Node images: Kiln and Packer.
fn measure_nodes(
    args: &Args,
    kiln: &Path,
    names: &[String],
    dir: &Path,
    meter: &Meter,
    report: &mut Report,
) -> Result<(), Error> {
    let base = nodes::base(args.base.as_deref())?;
    let names: Vec<&'static str> = nodes::NAMES.into_iter().filter(|n| names.iter().any(|name| name == n)).collect();
    if !args.alone && names.contains(&"n1") {
        report.tools.push(("packer", nodes::packer_version()?));
    }
    let nodes = nodes::Nodes { kiln, base: &base, dir, meter, runs: args.runs, peers: !args.alone };
    nodes.run(&names, report)
}

/// Container images: Kiln and all builders that are asked for.
fn measure_images(
    args: &Args,
    kiln: PathBuf,
    workloads: Vec<&Workload>,
    dir: PathBuf,
    meter: Meter,
    report: &mut Report,
) -> Result<(), Error> {
    let tools: &[Tool] = if args.alone { &[] } else { &args.peers };
    let peers = tools.iter().any(|t| t.in_chroot()).then(|| Peers::start(&dir)).transpose();
    let builders = builders(kiln, tools, &peers, report)?;
    let bench = Bench { args, builders, meter, base: base(args.base.as_deref(), &dir)?, dir };
    for workload in workloads {
        bench.workload(workload, report)?;
    }
    Ok(())
}

/// Kiln and the peers that are here; who is not is in the report.
fn builders<'a>(
    kiln: PathBuf,
    tools: &[Tool],
    peers: &'a Result<Option<Peers>, Error>,
    report: &mut Report,
) -> Result<Vec<Builder<'a>>, Error> {
    let mut builders = vec![Builder::kiln(Tool::Kiln, kiln.clone())?];
    for tool in tools {
        let peer = match peers {
            _ if tool.rung().is_some() => Builder::kiln(*tool, kiln.clone()).map_err(|e| e.brief()),
            Err(e) if tool.in_chroot() => Err(e.brief()),
            peers => Builder::peer(*tool, peers.as_ref().ok().and_then(Option::as_ref)).map_err(|e| e.brief()),
        };
        match peer {
            Ok(peer) => builders.push(peer),
            Err(why) => {
                eprintln!("{}: not run: {why}", tool.name());
                report.tools.push((tool.name(), format!("not run: {why}")));
            }
        }
    }
    report.tools.extend(builders.iter().map(|b| (b.tool.name(), b.version.clone())));
    Ok(builders)
}

/// A file that changed just now may change again without another time, so a builder that goes by times has to read it
/// again; contexts that people build have been left alone for longer.
const AT_REST: Duration = Duration::from_secs(3);

/// What stays the same from workload to workload.
struct Bench<'a> {
    args: &'a Args,
    builders: Vec<Builder<'a>>,
    meter: Meter,
    base: Layout,
    dir: PathBuf,
}

impl Bench<'_> {
    fn workload(&self, workload: &Workload, report: &mut Report) -> Result<(), Error> {
        eprintln!("{}: {}", workload.name, workload.about);
        let registry = Registry::start(Auth::None);
        registry.push(&self.base, "base:1", "base:1");
        let context = self.dir.join(workload.name);
        workload.write(&context, &registry.reference("base:1"))?;
        thread::sleep(AT_REST);
        if workload.name == "w2" {
            measure::stat_walk(&context);
            report.walk = Some(measure::stat_walk(&context));
        }
        let proxy = workload.packages.then(|| self.warm_proxy(workload, &context)).transpose();
        match proxy {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(why) => self.not_run(workload, &why, report),
            Ok(proxy) => {
                let url = proxy.as_ref().map(Proxy::url);
                for run in 1..=self.args.runs {
                    for builder in &self.builders {
                        self.turn(workload, builder, run, url.as_deref(), &registry, report)?;
                    }
                }
            }
        }
        drop(registry);
        fs::remove_dir_all(&context).map_err(|cause| Error::Write { path: context, cause })
    }

    /// One tool with one workload: the modes in their order, in a store of its own.
    fn turn(
        &self,
        workload: &Workload,
        builder: &Builder<'_>,
        run: u32,
        proxy: Option<&str>,
        registry: &Registry,
        report: &mut Report,
    ) -> Result<(), Error> {
        let tool = builder.tool.name();
        let target = registry.reference(&format!("{tool}/{}:{run}", workload.name));
        let context = self.dir.join(workload.name);
        let cache = registry.reference(&format!("{tool}/{}-cache", workload.name));
        let mut failed = None;
        let mut site = match builder.site(&self.dir) {
            Ok(site) => Some(site),
            Err(e) => {
                eprintln!("  {run}/{} {tool:11} failed: {e}", self.args.runs);
                failed = Some((Mode::Cold, e));
                None
            }
        };
        for mode in Mode::ALL {
            let wanted = self.args.modes.contains(&mode) && workload.has(mode);
            if (!wanted && mode != Mode::Cold) || (mode == Mode::Shared && !builder.tool.shares()) {
                continue;
            }
            let mut request = Request { workload, mode, context: &context, target: &target, proxy, cache: None };
            if let Some(site) = site.as_mut().filter(|_| failed.is_none()) {
                workload.change(&context, if mode == Mode::Changed { run } else { 0 })?;
                let meter = self.meter.within(self.patience(workload, mode, builder.tool, report));
                let built = match mode {
                    Mode::Shared => self.share(site, &mut request, &cache, &meter),
                    _ => build(site, &request, &meter),
                };
                match built {
                    Ok(done) if wanted => {
                        let runs = self.args.runs;
                        eprintln!("  {run}/{runs} {tool:11} {:8} {}", mode.name(), done.cost);
                        row(report, workload, mode, tool).runs.push(done);
                    }
                    Ok(_) => {}
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(e) => {
                        eprintln!("  {run}/{} {tool:11} {:8} failed: {}", self.args.runs, mode.name(), e.brief());
                        failed = Some((mode, e));
                    }
                }
            }
            match &failed {
                Some((first, Error::Late(seconds))) if *first == mode => {
                    row(report, workload, mode, tool).stopped = Some(*seconds);
                }
                Some((first, e)) if *first != mode => {
                    let why = format!("not run: {}: {}", first.name(), e.brief());
                    row(report, workload, mode, tool).failed = Some(why);
                }
                Some((_, e)) => row(report, workload, mode, tool).failed = Some(format!("failed: {}", e.brief())),
                None => {}
            }
        }
        Ok(())
    }

    /// How long a peer may take: as often as long as Kiln, once it is known what that is. Other rungs of Kiln are no
    /// peers.
    fn patience(&self, workload: &Workload, mode: Mode, tool: Tool, report: &Report) -> Option<Duration> {
        let times = self.args.patience.filter(|_| tool != Tool::Kiln && tool.rung().is_none())?;
        let is_ours = |r: &&Row| (r.workload, r.mode, r.tool) == (workload.label(mode), mode, Tool::Kiln.name());
        let ours = report.rows.iter().find(is_ours)?.median()?.wall;
        Some(Duration::from_secs_f64((ours * f64::from(times)).max(60.0)))
    }

    /// Brings all steps to a repository, forgets them here, and builds with those of the repository. What is measured,
    /// and may be late, is the second build.
    fn share<'s>(
        &self,
        site: &mut Site<'_>,
        request: &mut Request<'s>,
        cache: &'s str,
        meter: &Meter,
    ) -> Result<Run, Error> {
        request.cache = Some(Cache::To(cache));
        build(site, request, &self.meter)?;
        request.cache = Some(Cache::From(cache));
        site.prepare()?;
        build(site, request, meter)
    }

    /// A proxy that has all packages, because Kiln has built with it once.
    fn warm_proxy(&self, workload: &Workload, context: &Path) -> Result<Proxy, Error> {
        let started = Instant::now();
        let proxy = Proxy::start(&self.dir.join("proxy"))?;
        let site = self.builders[0].site(&self.dir)?;
        let url = proxy.url();
        let request =
            Request { workload, mode: Mode::NoCache, context, target: "warm-up", proxy: Some(&url), cache: None };
        build(&site, &request, &self.meter)?;
        eprintln!("  packages fetched in {:.1} s", started.elapsed().as_secs_f64());
        Ok(proxy)
    }

    fn not_run(&self, workload: &Workload, why: &Error, report: &mut Report) {
        eprintln!("  not run: {why}");
        for mode in Mode::ALL.into_iter().filter(|m| self.args.modes.contains(m) && workload.has(*m)) {
            for builder in &self.builders {
                row(report, workload, mode, builder.tool.name()).failed = Some(format!("not run: {}", why.brief()));
            }
        }
    }
}

fn build(site: &Site<'_>, request: &Request<'_>, meter: &Meter) -> Result<Run, Error> {
    let ran = site.build(request, meter)?;
    Ok(Run { cost: ran.cost, told: Told::read(&ran.said) })
}

/// The row of a tool, which is made when it is first needed.
fn row<'a>(report: &'a mut Report, workload: &Workload, mode: Mode, tool: &'static str) -> &'a mut Row {
    row_of(report, workload.label(mode), mode, tool)
}

fn row_of<'a>(report: &'a mut Report, label: &'static str, mode: Mode, tool: &'static str) -> &'a mut Row {
    let same = |r: &Row| r.workload == label && r.tool == tool && r.mode == mode;
    let at = report.rows.iter().position(same).unwrap_or_else(|| {
        // Rows of one mode are together.
        let after = report.rows.iter().rposition(|r| r.workload == label && r.mode == mode);
        let at = after.map_or(report.rows.len(), |at| at + 1);
        report.rows.insert(at, Row { workload: label, mode, tool, runs: Vec::new(), stopped: None, failed: None });
        at
    });
    &mut report.rows[at]
}

/// The base image, as a layout to push from.
fn base(tar: Option<&Path>, dir: &Path) -> Result<Layout, Error> {
    let tar = nodes::base(tar)?;
    let bytes = fs::read(&tar).map_err(|cause| Error::Read { path: tar.clone(), cause })?;
    let mut layout = Layout::new(dir.join("base"));
    layout.image("base:1", kiln_testkit::layout::busybox_config(), &[bytes]);
    Ok(layout)
}

/// The command as someone would type it: without the paths of this machine.
fn command_line() -> String {
    let mut words = vec!["cargo".to_owned(), "xtask".to_owned()];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.split_once('=').map_or(&*arg, |(name, _)| name) {
            "--kiln" | "--base" | "--dir" if arg.contains('=') => {}
            "--kiln" | "--base" | "--dir" => drop(args.next()),
            _ => words.push(arg),
        }
    }
    words.join(" ")
}

fn write_into(document: &Path, tables: &str) -> Result<(), Error> {
    let text = fs::read_to_string(document).map_err(|cause| Error::Read { path: document.to_owned(), cause })?;
    let placed = report::placed(&text, tables).ok_or_else(|| Error::NoPlace(document.to_owned()))?;
    fs::write(document, placed).map_err(|cause| Error::Write { path: document.to_owned(), cause })
}
