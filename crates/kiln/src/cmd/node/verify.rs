//! `kiln node verify`: whether a system will work as a node.

use std::io::IsTerminal;
use std::path::PathBuf;

use kiln_checks::profile::BUILT_IN;
use kiln_checks::report::{document, html, log, text};
use kiln_checks::{Profile, Report};

use super::remote::SshArgs;
use super::target;
use super::template::now;
use crate::cli::Global;
use crate::error::{CliError, in_color};
use crate::named::{self, PlatformOption};
use crate::surroundings::said_time;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A root directory or a tar of one, a disk, an image of the store, an OCI layout or archive of an image, `local` for
    /// this host, or ssh://USER@HOST[:PORT]
    #[arg(value_name = "TARGET", required_unless_present = "list")]
    target: Option<String>,
    /// A profile of Kiln's or a file with one; may be repeated
    #[arg(short, long = "profile", value_name = "NAME|FILE")]
    profiles: Vec<String>,
    /// List the profiles; with --profile, their checks
    #[arg(long)]
    list: bool,
    /// How the report is printed: text, json, junit, html, ack (as its verify.sh logs), kubeadm (as its preflight prints)
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = FORMATS)]
    format: String,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the report to this file, too: .json, .xml (JUnit), .html or .txt; may be repeated
    #[arg(short, long = "report", value_name = "FILE")]
    reports: Vec<PathBuf>,
    /// Checks that only warn, by name or id, with commas between; `all` for all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
    /// Show what passes, too
    #[arg(short, long)]
    all: bool,
    /// How hosts are reached.
    #[command(flatten)]
    ssh: SshArgs,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
}

const FORMATS: [&str; 6] = ["text", "json", "junit", "html", "ack", "kubeadm"];

const EXAMPLES: &str = "\
Examples:
  kiln node verify ./rootfs --profile ack          a directory that is a root file system
  kiln node verify node:1 --profile cluster-api    an image of the store
  kiln node verify node.tar --profile sysdig       a tar of a root, an archive of an image, or an OCI layout
  kiln node verify node.qcow2 --profile kubeadm    a disk (raw, qcow2, vhd, vmdk, Google's tar.gz), and whether it boots
  kiln node verify local --profile kubeadm         this host, running
  kiln node verify ssh://admin@node1 --sudo -p kubeadm
  kiln node verify node:1 -p kubeadm -p ours.yaml -r report.html -r junit.xml
  kiln node verify --list                          the profiles
  kiln explain os.sysctl.protected                 what a check looks at, and why

An existing path comes before an image of that name. A disk is asked for the profile `disk`, too. Exit codes: 0 when all is as it must be, 1 when a check of
severity `error` failed, 2 when none failed and one could not be checked, 3 when the target cannot be read. Warnings,
and checks that only have a meaning on a running host, change nothing.

A profile of one's own is a file of YAML:
  name: ours
  include: [kubeadm, cis-basics]         # profiles of Kiln's
  skip: [os.history]                     # checks of these that are left out
  checks:
    - id: os.kernel.btf                  # a check of Kiln's, or one that is included, with another severity
      severity: error
    - id: ours.motd
      title: the message of the day is ours
      file: {path: /etc/motd, contains: \"^Welcome\"}
      hint: cp motd /etc/motd
A check asks one of
  file: {path, exists | contains | lacks | mode, owner}     directory: {path, empty}
  package: {name, absent, version: \">= 1.2\"}                command, user, group: {name, absent}
  sysctl: {key, equals, default}                            service: {name, enabled, running}
  run: {command: [crictl, ps], exit, stdout}                port: {number, listening}
  kernel: {min | config | matches}    systemd: {min}        module: NAME    images: [NAME]";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let wish = super::wish(&args.profiles, &args.ignore_preflight_errors, &args.reports)?;
    let profiles = &wish.profiles;
    let Some(target) = args.target.as_ref().filter(|_| !args.list) else { return list(profiles) };
    if profiles.is_empty() && !target::is_disk(target)? {
        return Err(CliError::usage("--profile is missing: what is the system to be?")
            .with_hint("the profiles: kiln node verify --list"));
    }
    let known = |name: &&String| {
        let of = |profile: &Profile| {
            let same = |rule: &kiln_checks::Rule| {
                rule.id.eq_ignore_ascii_case(name)
                    || rule.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
            };
            profile.rules.iter().any(same)
        };
        name.eq_ignore_ascii_case("all") || profiles.iter().any(of)
    };
    if let Some(unknown) = args.ignore_preflight_errors.iter().find(|name| !known(name)) {
        return Err(CliError::usage(format!("--ignore-preflight-errors: no check is called `{unknown}`"))
            .with_hint("names and ids: kiln node verify --list --profile kubeadm"));
    }
    let said = said_time()?;
    let report = target::with(target, &args.platform, &args.ssh, global, &|system| wish.judge(system))?;
    wish.write(&report).map_err(|e| super::build::failed(&e))?;
    let format = if args.json { "json" } else { &*args.format };
    named::print(&render(&report, format, args, said.unwrap_or_else(now)))?;
    match report.code() {
        0 => Ok(()),
        code => Err(CliError::Told { code }),
    }
}

/// The profiles there are; with some given, their checks.
fn list(profiles: &[Profile]) -> Result<(), CliError> {
    if profiles.is_empty() {
        let rows: Vec<Vec<String>> = BUILT_IN
            .iter()
            .map(|profile| vec![profile.name.to_owned(), profile.rules().len().to_string(), profile.line.to_owned()])
            .collect();
        return named::print(&crate::table::table(&["PROFILE", "CHECKS", "FOR"], &rows));
    }
    let mut rows = Vec::new();
    for profile in profiles {
        for rule in &profile.rules {
            let name = rule.name.clone().unwrap_or_default();
            rows.push(vec![rule.id.clone(), rule.severity.name().to_owned(), name, rule.title.clone()]);
        }
    }
    named::print(&crate::table::table(&["ID", "SEVERITY", "NAME", "WHAT MUST BE TRUE"], &rows))
}

/// The report, made at that time.
fn render(report: &Report, format: &str, args: &Args, now: i64) -> String {
    let color = std::io::stdout().is_terminal() && in_color();
    match format {
        "json" => serde_json::to_string_pretty(&document::json(report)).unwrap_or_default() + "\n",
        "junit" => document::junit(report),
        "html" => html::render(report),
        "ack" => log::ack(report, now, color),
        "kubeadm" => log::kubeadm(report),
        _ => text::render(report, text::Options { color, all: args.all }),
    }
}
