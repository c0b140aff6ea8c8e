//! How a launch goes over many hosts: real SSH to hosts that are namespaces of this machine, with stand-ins for Kubernetes.
//!
//! | command | what is measured |
//! |---|---|
//! | run | a first launch: each phase, from its first line to the next one's |
//! | apply | the same Clusterfile again, with nothing to do |
//! | reset | all hosts given back |
//!
//! One machine is all hosts and the launcher at once. So beside the time there is what of the processors was Kiln's, and what
//! the hosts': their SSH servers and what these start. On hosts of their own the latter happens at once.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use kiln_testkit::Crowd;
use wait4::Wait4;

use crate::bench::process;
use crate::cargo;
use crate::error::Error;

/// `cargo xtask crowd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Numbers of hosts
    #[arg(long, value_delimiter = ',', default_value = "3,50,100,200")]
    hosts: Vec<usize>,
    /// How often nothing is done; the median is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// MiB of the image, which cannot be compressed
    #[arg(long, default_value_t = 4)]
    mib: u64,
    /// The kiln binary; built in release mode if not given
    #[arg(long)]
    kiln: Option<PathBuf>,
    /// Print what kiln says
    #[arg(long)]
    verbose: bool,
}

/// What a command cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    wall: f64,
    /// Of the launcher.
    own: f64,
    /// Of the hosts.
    theirs: f64,
    /// Bytes that the launcher had resident at most.
    memory: u64,
}

/// Measures and prints tables.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let kiln = args.kiln.clone().map_or_else(cargo::build_kiln, Ok)?;
    let mut rows = Vec::new();
    let mut phases = Vec::new();
    for &hosts in &args.hosts {
        let began = Instant::now();
        let crowd = Crowd::start(hosts);
        crowd.image(&kiln, args.mib << 20);
        let file = crowd.clusterfile();
        eprintln!("{hosts} hosts are up after {:.1} s", began.elapsed().as_secs_f64());
        let verb = |verb: &str, words: &[&str]| {
            let mut command = crowd.command(&kiln);
            command.args(["--progress", "json", "cluster", verb, "-f"]).arg(&file).args(words);
            measured(&mut command, &crowd, args.verbose)
        };
        let (first, said) = verb("run", &["--wait", "5", "--ignore-preflight-errors=DiskSpace"])?;
        rows.push(row(hosts, "run", first));
        phases.push((hosts, phases_of(&said)));
        let mut again = Vec::new();
        for _ in 0..args.runs {
            again.push(verb("apply", &[])?.0);
        }
        again.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        rows.push(row(hosts, "apply", again.get(again.len() / 2).copied().unwrap_or_default()));
        rows.push(row(hosts, "reset", verb("reset", &[])?.0));
    }
    println!(
        "| hosts | command | s | of processors: Kiln, s | the hosts, s | Kiln's memory, MiB |\n|---|---|---|---|---|---|"
    );
    rows.iter().for_each(|row| println!("{row}"));
    for (hosts, phases) in phases {
        println!("\nthe first launch of {hosts} hosts, by phase:");
        phases.iter().for_each(|(name, took)| println!("  {name:<14} {took:6.1} s"));
    }
    Ok(())
}

fn row(hosts: usize, verb: &str, cost: Cost) -> String {
    let Cost { wall, own, theirs, memory } = cost;
    format!("| {hosts} | {verb} | {wall:.1} | {own:.2} | {theirs:.1} | {} |", memory >> 20)
}

/// Runs a command that has to succeed; its lines, each with when it came.
fn measured(command: &mut Command, crowd: &Crowd, verbose: bool) -> Result<(Cost, Vec<(f64, String)>), Error> {
    use std::io::BufRead as _;
    let shown = format!("{command:?}");
    let cannot = |cause| Error::Start { program: shown.clone(), cause };
    let before = process::tree_usage(crowd.init());
    let began = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let mut said = Vec::new();
    for line in std::io::BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok) {
        if verbose {
            eprintln!("{:7.2} {line}", began.elapsed().as_secs_f64());
        }
        said.push((began.elapsed().as_secs_f64(), line));
    }
    let used = child.wait4().map_err(cannot)?;
    let wall = began.elapsed().as_secs_f64();
    said.push((wall, String::new()));
    if !used.status.success() {
        let last: Vec<String> = said.into_iter().map(|(_, line)| line).collect();
        let last = last[last.len().saturating_sub(20)..].join("\n");
        return Err(Error::Failed { command: shown, status: used.status.to_string(), said: last });
    }
    // Sessions end behind the answer.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let theirs = process::tree_usage(crowd.init()).cpu - before.cpu;
    let own = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    Ok((Cost { wall, own, theirs, memory: used.rusage.maxrss }, said))
}

/// How long each phase took: from its line to that of the next.
fn phases_of(said: &[(f64, String)]) -> Vec<(String, f64)> {
    let mut out: Vec<(String, f64)> = vec![("reading".to_owned(), 0.0)];
    let mut since = 0.0;
    for (at, line) in said {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let is_phase = event["event"] == "phase" || event["event"] == "nothing";
        if is_phase || line.is_empty() {
            if let Some(last) = out.last_mut() {
                last.1 = at - since;
            }
            since = *at;
        }
        if is_phase {
            out.push((event["phase"].as_str().unwrap_or_default().to_owned(), 0.0));
        }
    }
    out.retain(|(_, took)| *took >= 0.05);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_lasts_until_the_next_one() {
        let line = |at: f64, text: &str| (at, text.to_owned());
        let said = [
            line(0.5, r#"{"event":"phase","phase":"connect","hosts":2}"#),
            line(1.0, r#"{"event":"done","phase":"connect","host":"a","seconds":0.5}"#),
            line(1.5, r#"{"event":"nothing","phase":"leftovers"}"#),
            line(1.5, r#"{"event":"phase","phase":"runtime","hosts":2}"#),
            line(4.0, ""),
        ];
        let took: Vec<(String, f64)> = phases_of(&said);
        assert_eq!(took, [("reading".to_owned(), 0.5), ("connect".to_owned(), 1.0), ("runtime".to_owned(), 2.5)]);
    }
}
