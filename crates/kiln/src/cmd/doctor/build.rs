//! `kiln doctor build`: how RUN can be isolated here, and what is missing.

use kiln_engine::isolation::Isolation;
use kiln_sandbox::{Confinement, Init, RungReport, Standing, strongest};
use kiln_store::{ErrorKind, StoreError};
use serde_json::{Value, json};

use super::remedy::{self, Remedy};
use crate::cli::Global;
use crate::error::CliError;
use crate::surroundings;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln doctor build          each rung of isolation: whether it works, why not, and what would bring it
  kiln doctor build --json   the same for scripts

`kiln build` takes the strongest that works; --isolation takes another one.
In a pod it also prints the lines of the pod's specification that are missing.";

/// A rung, and what would bring it if it is missing.
struct Row {
    report: RungReport,
    taken: bool,
    remedy: Option<Remedy>,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    // The kubelet sets it in every container.
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let rows = rows(global, in_pod)?;
    if args.json {
        let rows: Vec<Value> = rows.iter().map(as_json).collect();
        println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
    } else {
        rows.iter().rev().for_each(|row| print!("{}", as_text(row, in_pod)));
    }
    Ok(())
}

/// Each rung, weakest first. Without a store nothing can be built, on whichever.
fn rows(global: &Global, in_pod: bool) -> Result<Vec<Row>, CliError> {
    let isolation = Isolation::new(None, Standing::default(), Init::default());
    let held = Confinement::here();
    match surroundings::open_store_or_why(global)? {
        Ok(store) => {
            let reports = isolation.reports(&store.dir().join("kiln/tmp"));
            let best = strongest(&reports);
            let row = |report: RungReport| {
                let remedy = remedy::of(&report, &held, in_pod);
                Row { taken: report.rung == best, remedy, report }
            };
            Ok(reports.into_iter().map(row).collect())
        }
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::Permission) => {
            let reports = isolation.reports_without_store().into_iter();
            Ok(reports.map(|report| without_store(report, &error, &held, in_pod)).collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// A rung that would work with a store is missing for the lack of it.
fn without_store(report: RungReport, error: &StoreError, held: &Confinement, in_pod: bool) -> Row {
    if !report.available {
        return Row { taken: false, remedy: remedy::of(&report, held, in_pod), report };
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let errno = source.and_then(std::io::Error::raw_os_error);
    let report = RungReport { available: false, why: error.to_string(), part: None, call: None, errno, ..report };
    Row { taken: false, remedy: Some(remedy::store()), report }
}

fn as_json(row: &Row) -> Value {
    let RungReport { rung, available, why, call, errno, .. } = &row.report;
    json!({
        "rung": rung.to_string(),
        "available": available,
        "taken": row.taken,
        "reason": why,
        "syscall": call,
        "errno": errno.map(errno_name),
        "remedy": row.remedy.as_ref().map(|remedy| &remedy.words),
        "podSpec": row.remedy.as_ref().map(|remedy| &remedy.pod_spec),
    })
}

/// One line, and below it what a missing rung needs.
fn as_text(row: &Row, in_pod: bool) -> String {
    let report = &row.report;
    let state = match (report.available, row.taken) {
        (true, true) => "taken",
        (true, false) => "works",
        (false, _) => "missing",
    };
    let mut text = format!("{:<8} {state:<8} {}\n", report.rung.to_string(), report.why);
    let mut more = |title: &str, said: &str| text += &format!("{:<18}{title}: {said}\n", "");
    match (&report.call, report.errno) {
        (Some(call), Some(errno)) => more("system call", &format!("{call}, {}", errno_name(errno))),
        (None, Some(errno)) => more("error", &errno_name(errno)),
        _ => {}
    }
    if let Some(remedy) = &row.remedy {
        more("needs", &remedy.words);
        if in_pod {
            remedy.pod_spec.iter().for_each(|line| more("pod spec", line));
        }
    }
    text
}

/// Errors that probes meet, by the names that manuals and search engines know.
fn errno_name(errno: i32) -> String {
    use rustix::io::Errno;
    let names = [
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::BUSY, "EBUSY"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ROFS, "EROFS"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::USERS, "EUSERS"),
        (Errno::NODATA, "ENODATA"),
        (Errno::NOTSUP, "ENOTSUP"),
    ];
    let found = names.iter().find(|(known, _)| known.raw_os_error() == errno);
    found.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}
