//! Going through books and clouds.
//!
//! ```text
//! in a book, its process alive          left alone
//! in a book                             deleted, newest first
//! carries the mark of a build whose process is dead, is in no book
//!   an image or snapshot                shown: it may be what the build was for
//!   anything else                       deleted
//! carries the mark of a build that has no book here
//!   the build was named (--build)       as above
//!   it was not (--find)                 shown: it may be at work on another machine
//! ```

use std::collections::{BTreeMap, BTreeSet};

use kiln_ledger::sweep::{Cloud, Gone, SweepError, sweep_telling};
use kiln_ledger::{Found, Ledger, LedgerError, Resource};

use super::report::{Outcome, Report, State};
use super::{account, failed};
use crate::error::CliError;

/// Where a cloud says whose mark a resource carries.
const MARK: &str = "build";
/// What a build may have been for: never deleted because of a mark alone.
const RESULTS: [&str; 2] = ["image", "snapshot"];

/// A cloud, and what is asked of it.
type Account = (String, BTreeMap<String, String>);

/// What is wanted.
pub struct Order {
    /// Only this one.
    pub build: Option<String>,
    /// Nothing is deleted.
    pub dry_run: bool,
    /// Clouds are asked by mark.
    pub find: bool,
    /// An account that no book need name.
    pub elsewhere: Option<Account>,
}

/// Goes through all that was ordered. What fails is in the report; an error is what kept it from beginning.
pub fn run(order: &Order, ledger: &Ledger, cancelled: &dyn Fn() -> bool, report: &mut Report) -> Result<(), CliError> {
    let all = ledger.books().map_err(|error| failed(&error))?;
    let known: BTreeSet<String> = all.iter().map(|found| found.about.build.clone()).collect();
    let mut accounts: BTreeSet<Account> = order.elsewhere.iter().cloned().collect();
    accounts.extend(all.iter().filter(|found| !found.about.cloud.is_empty()).map(account_of));
    let mut books = all;
    if let Some(build) = &order.build {
        books.retain(|found| found.about.build == *build);
        match (books.first(), &order.elsewhere) {
            (Some(found), _) if found.alive && !order.dry_run => {
                return Err(failed(&LedgerError::Alive { build: build.clone() }));
            }
            (Some(_), _) => {}
            (None, Some(elsewhere)) => return without_book(order, build, elsewhere, cancelled, report),
            (None, None) => {
                let error = ledger.reopen(build).err().map(|error| failed(&error));
                let hint = "a build of another machine is found by its mark: say in which --cloud and --account";
                return Err(error.unwrap_or_else(|| CliError::input("it ended just now")).with_hint(hint));
            }
        }
    }
    for found in books {
        if cancelled() {
            break;
        }
        one(order, ledger, found, cancelled, report)?;
    }
    if order.find && order.build.is_none() {
        for account in accounts {
            strangers(&account, &known, report)?;
        }
    }
    Ok(())
}

fn account_of(found: &Found) -> Account {
    (found.about.cloud.clone(), found.about.account.clone())
}

/// One book.
fn one(
    order: &Order,
    ledger: &Ledger,
    found: Found,
    cancelled: &dyn Fn() -> bool,
    report: &mut Report,
) -> Result<(), CliError> {
    let state = match (found.alive, &found.damaged) {
        (true, _) => State::AtWork,
        (false, Some(_)) => State::Damaged,
        (false, None) => State::Ended,
    };
    report.build(&found.about, Some(&found.path), state)?;
    if let Some(why) = &found.damaged {
        report.trouble(&format!("{} is damaged: {why}", found.path.display()));
    }
    if found.alive || order.dry_run {
        for resource in &found.open {
            report.line(resource, Outcome::Open)?;
        }
        if found.alive || !order.find {
            return Ok(());
        }
    }
    // A build that left nothing needs no account, and so no credentials; one whose head cannot be read has none.
    let cloud = match (found.open.is_empty() && !order.find) || found.about.cloud.is_empty() {
        true => None,
        false => match account::open(&found.about.cloud, &found.about.account) {
            Ok(cloud) => Some(cloud),
            Err(error) => {
                for resource in found.open.iter().filter(|_| !order.dry_run) {
                    report.line(resource, Outcome::Open)?;
                }
                report.trouble(&text(&error));
                return Ok(());
            }
        },
    };
    if !order.dry_run {
        sweep(ledger, &found, cloud.as_deref(), cancelled, report)?;
    }
    match cloud.filter(|_| order.find && !cancelled()) {
        Some(cloud) => marked(order, &*cloud, &found.about.build, &found.open, cancelled, report),
        None => Ok(()),
    }
}

/// Deletes what a book has open, and the book.
fn sweep(
    ledger: &Ledger,
    found: &Found,
    cloud: Option<&dyn Cloud>,
    cancelled: &dyn Fn() -> bool,
    report: &mut Report,
) -> Result<(), CliError> {
    let book = match ledger.reopen(&found.about.build) {
        Ok(book) => book,
        // Another one was faster, or took it up meanwhile.
        Err(LedgerError::NoSuchBuild { .. } | LedgerError::Alive { .. }) => return Ok(()),
        // What is damaged was told already.
        Err(LedgerError::Damaged { .. }) => return Ok(()),
        Err(error) => {
            report.trouble(&error.to_string());
            return Ok(());
        }
    };
    if let Some(cloud) = cloud {
        let mut printed = Ok(());
        sweep_telling(&book, cloud, cancelled, &mut |resource, outcome| {
            let line = report.line(resource, told(outcome));
            printed = std::mem::replace(&mut printed, Ok(())).and(line);
        });
        printed?;
    }
    match book.close() {
        Err(error) if found.damaged.is_none() => report.trouble(&error.to_string()),
        _ => {}
    }
    Ok(())
}

/// A build that has no book here.
fn without_book(
    order: &Order,
    build: &str,
    (cloud, account): &Account,
    cancelled: &dyn Fn() -> bool,
    report: &mut Report,
) -> Result<(), CliError> {
    let about = kiln_ledger::About {
        build: build.to_owned(),
        cloud: cloud.clone(),
        account: account.clone(),
        ..Default::default()
    };
    let opened = account::open(cloud, account)?;
    report.build(&about, None, State::Unknown)?;
    marked(order, &*opened, build, &[], cancelled, report)
}

/// What carries the mark of a build and is not in its book.
fn marked(
    order: &Order,
    cloud: &dyn Cloud,
    build: &str,
    in_book: &[Resource],
    cancelled: &dyn Fn() -> bool,
    report: &mut Report,
) -> Result<(), CliError> {
    let found = match cloud.find(Some(build)) {
        Ok(found) => found,
        Err(error) => {
            report.trouble(&format!("what carries the mark of the build {build} cannot be found: {error}"));
            return Ok(());
        }
    };
    for resource in found.iter().filter(|resource| !in_book.iter().any(|other| same(resource, other))) {
        let outcome = match (is_result(resource), order.dry_run) {
            (true, _) => Outcome::Kept,
            (false, true) => Outcome::Open,
            (false, false) if cancelled() => Outcome::Open,
            (false, false) => told(cloud.delete(resource, cancelled)),
        };
        report.marked(resource, outcome)?;
    }
    Ok(())
}

/// What carries the mark of a build that has no book here.
fn strangers((name, account): &Account, known: &BTreeSet<String>, report: &mut Report) -> Result<(), CliError> {
    let found = match account::open(name, account).map(|cloud| cloud.find(None)) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            report.trouble(&format!("what carries the mark of a build in {name} cannot be found: {error}"));
            return Ok(());
        }
        Err(error) => {
            report.trouble(&text(&error));
            return Ok(());
        }
    };
    let mut builds: BTreeMap<String, Vec<Resource>> = BTreeMap::new();
    for resource in found.into_iter().filter(|resource| !is_result(resource)) {
        let build = resource.scope.get(MARK).cloned().unwrap_or_default();
        if !known.contains(&build) {
            builds.entry(build).or_default().push(resource);
        }
    }
    for (build, resources) in builds {
        let about = kiln_ledger::About { build, cloud: name.clone(), account: account.clone(), ..Default::default() };
        report.build(&about, None, State::Unknown)?;
        for resource in &resources {
            report.marked(resource, Outcome::Open)?;
        }
    }
    Ok(())
}

fn is_result(resource: &Resource) -> bool {
    RESULTS.contains(&&*resource.kind)
}

/// Whether two say the same thing of the same cloud: by its id, or by its name.
fn same(a: &Resource, b: &Resource) -> bool {
    a.kind == b.kind && (a.name == b.name || (a.id.is_some() && a.id == b.id))
}

fn told(outcome: Result<Gone, SweepError>) -> Outcome {
    match outcome {
        Ok(Gone::Deleted) => Outcome::Deleted,
        Ok(Gone::WasNotThere) => Outcome::WasNotThere,
        Err(error) => Outcome::Failed(error),
    }
}

fn text(error: &CliError) -> String {
    match error {
        CliError::Usage { message, hint }
        | CliError::Input { message, hint }
        | CliError::Environment { message, hint } => match hint {
            Some(hint) => format!("{message} ({hint})"),
            None => message.clone(),
        },
        other => other.render(false).trim().to_owned(),
    }
}
