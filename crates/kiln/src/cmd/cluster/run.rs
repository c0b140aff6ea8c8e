//! `kiln cluster run`: from a cluster image to a running cluster.

use kiln_launch::preflight::Finding;
use kiln_launch::{Launch, run as launching};
use serde_json::json;

use super::fleet::{self, Hosts, Known, Wish};
use super::{network, together};
use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  kiln cluster run kubernetes:v1.30.2 --masters 10.0.0.1 --nodes 10.0.0.2-10.0.0.4
  kiln cluster run kubernetes:v1.30.2 calico:v3 shop:v1 --masters 10.0.0.1    several images, the first has Kubernetes
  kiln cluster run shop:v1 --masters 10.0.0.1 --plan     what would be done, and what is wrong with the hosts
  kiln cluster run shop:v1 -f Clusterfile                hosts and configuration of a Clusterfile
  kiln cluster run shop:v1 -f Clusterfile --resume       go on where it stopped
  kiln cluster status                                    how it is
  kiln cluster reset                                     give the hosts back as they were

An image that the store does not have is pulled; kiln cluster load brings one from a file. Nothing has to be on hosts but
SSH and systemd, and containerd, if the image does not bring it. Hosts must be known to SSH, or --accept-new-host-keys.";

/// Launch a cluster on hosts over SSH
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster image, and applications and patches that are laid over it in order [default: those of the Clusterfile]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    how: How,
}

/// How a launch goes.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct How {
    /// A variable for templates and commands of the image (repeat)
    #[arg(short = 'e', long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A command to run on the first master in place of the image's (repeat)
    #[arg(long, value_name = "COMMAND")]
    cmds: Vec<String>,
    /// A value for an argument of the image (ARG), for its commands (repeat)
    #[arg(long, value_name = "NAME=VALUE")]
    cmd_args: Vec<String>,
    /// Print what would be done, and what is wrong with the hosts; change nothing
    #[arg(long)]
    pub plan: bool,
    /// Print the plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,
    /// Go on with a launch that stopped
    #[arg(long)]
    resume: bool,
    /// Do this phase again, and those behind it: distribute, rootfs, reach, leftovers, prepare, registry, runtime, init,
    /// network, before-join, join-masters, join-workers, labels, guest, after-join, verify
    #[arg(long, value_name = "PHASE")]
    from: Option<String>,
    /// Run `kubeadm reset` first on hosts where an earlier kubeadm, which was not Kiln's, left something
    #[arg(long)]
    reset_leftovers: bool,
    #[command(flatten)]
    launching: fleet::Launching,
}

impl How {
    /// What is wanted, on these hosts.
    pub fn wish(&self, images: &[String], hosts: &Hosts) -> Wish {
        Wish {
            images: images.to_vec(),
            hosts: hosts.clone(),
            env: self.env.clone(),
            commands: self.cmds.clone(),
            args: self.cmd_args.clone(),
            resume: self.resume,
            from: self.from.clone(),
            reset_leftovers: self.reset_leftovers,
            launching: Some(self.launching.clone()),
            may_lack_masters: false,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let wish = args.how.wish(&args.images, &args.hosts);
    launch(&args.fleet, args.fleet.cluster(&wish)?, &wish, &args.how, global)
}

/// Launches, or prints what would be done.
pub fn launch(fleet: &fleet::Args, known: Known, wish: &Wish, how: &How, global: &Global) -> Result<(), CliError> {
    let launch = fleet.launch(
        known,
        wish,
        |cluster, record| {
            let images = match &cluster.image {
                Some(_) => together::of_cluster(cluster),
                None => record.map(|record| record.images()).unwrap_or_default(),
            };
            if images.is_empty() {
                return Err(CliError::usage("no cluster image is named")
                    .with_hint("kiln cluster run IMAGE, or `image` in the Clusterfile"));
            }
            together::read(global, &images, cluster, &how.launching.registry)
        },
        global,
    )?;
    if how.plan {
        return plan(&launch, how.json);
    }
    let did = launching::run(&launch)?;
    let network = if did && launch.members.len() > 1 { network::check(&launch)? } else { None };
    if let (Some(found), false) = (network, matches!(global.progress, Style::Quiet | Style::Json)) {
        eprintln!("of its pod network: {found}");
    }
    told(&launch, launch.first()?.name(), global.progress);
    Ok(())
}

/// Tells what there is now, and how long it took.
pub fn told(launch: &Launch, first: &str, style: Style) {
    let (name, kubernetes, hosts) = (&launch.cluster.name.value, &launch.bundle.kubernetes, launch.members.len());
    let took = launch.clock.took();
    let (all, waiting, own) = (took.all.as_secs_f64(), took.waiting.as_secs_f64(), took.own().as_secs_f64());
    match style {
        Style::Quiet => {}
        Style::Json => eprintln!(
            "{}",
            json!({"event": "launched", "cluster": name, "kubernetes": kubernetes, "hosts": hosts, "seconds": all, "waited": waiting, "own": own})
        ),
        _ => {
            eprintln!("{name} runs Kubernetes {kubernetes} on {hosts} hosts; kubectl works as root on {first}");
            eprintln!("it took {all:.1} s: {waiting:.1} s kubeadm, kubelet and pods, {own:.1} s Kiln");
        }
    }
}

fn plan(launch: &Launch, as_json: bool) -> Result<(), CliError> {
    let found = launching::check(launch)?;
    let plan = launching::plan(launch)?;
    if as_json {
        let phases = plan.iter().map(|(phase, hosts)| {
            let hosts = hosts.iter().map(|(host, work)| json!({"host": host, "work": work.lines}));
            json!({"phase": phase.name, "hosts": hosts.collect::<Vec<_>>()})
        });
        let findings = found
            .iter()
            .map(|f| json!({"name": f.name, "host": f.host, "error": f.is_error(), "text": f.text, "hint": f.hint}));
        let hosts = launch.members.iter().map(|member| {
            let choice = member.chosen.first();
            json!({
                "host": member.name(), "node": member.node, "address": member.address,
                "interface": choice.map(|choice| &choice.interface),
                "why": choice.map(|choice| choice.reason.to_string()),
                "others": choice.map(|choice| &choice.others),
            })
        });
        named::print_json(
            &json!({"hosts": hosts.collect::<Vec<_>>(), "phases": phases.collect::<Vec<_>>(), "preflight": findings.collect::<Vec<_>>()}),
        )?;
    } else {
        let mut text = launching::hosts_text(launch);
        text.push_str("preflight: what must be true before anything is changed\n");
        if found.is_empty() {
            text.push_str("  nothing is wrong\n");
        }
        found.iter().flat_map(Finding::lines).for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str(&launching::plan_text(&plan));
        named::print(&text)?;
    }
    match found.iter().any(Finding::is_error) {
        true => Err(CliError::Told { code: 3 }),
        false => Ok(()),
    }
}
