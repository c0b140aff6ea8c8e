//! Deleting what a ledger has open, and finding what carries the mark of a build.
//!
//! Before anything is deleted by its name it is looked at: only what carries the mark of the build in the ledger is
//! deleted, because somebody else may have made something under the same name meanwhile.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_ledger::Resource;
use kiln_ledger::poll::Backoff;
use kiln_ledger::sweep::{Cloud, Gone, SweepError};

use crate::auth::{Credentials, Source};
use crate::client::{Cancelled, Client};
use crate::compute::address;
use crate::endpoints::Endpoints;
use crate::error::{GceError, Result};
use crate::marks::{self, BUILD, CLOUD, IMAGE, Thing};
use crate::operation::{Scope, stopped};
use crate::{Environment, names, publish};

/// How long a deletion may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often what was perhaps never made is looked for: a call whose answer was lost may have its effect late.
const LATE: u32 = 3;

/// A project, as one account sees it.
#[derive(Debug)]
pub struct Account {
    client: Client,
    project: String,
}

/// The account that a build's book was begun with, with credentials that are found now.
///
/// # Errors
/// What in the book is no project, endpoint or file; proxies that are not addresses.
pub fn account(about: &BTreeMap<String, String>, environment: impl Borrow<Environment>) -> Result<Box<dyn Cloud>> {
    let project = about.get("project").filter(|project| names::is_project(project));
    let why = || GceError::Input { what: "the ledger".to_owned(), why: "it names no project".to_owned(), hint: None };
    let project = project.ok_or_else(why)?;
    let endpoints = Endpoints::recalled(about)?;
    let client = Client::new(recalled(about), endpoints, environment.borrow())?;
    Ok(Box::new(Account::new(client, project)))
}

/// What a book keeps so that [`account`] can ask again: places, no secrets.
pub fn remembered(project: &str, credentials: &Credentials, endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut about = endpoints.remembered();
    about.insert("project".to_owned(), project.to_owned());
    if let Source::File(path) = &credentials.source {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        about.insert("credentials_file".to_owned(), path.display().to_string());
    }
    if let Some(account) = &credentials.impersonate {
        about.insert("impersonate_service_account".to_owned(), account.clone());
    }
    about
}

fn recalled(about: &BTreeMap<String, String>) -> Credentials {
    let file = about.get("credentials_file").map(PathBuf::from);
    Credentials {
        source: file.map_or(Source::Default, Source::File),
        impersonate: about.get("impersonate_service_account").filter(|a| names::is_email(a)).cloned(),
    }
}

impl Account {
    /// A project, asked by this client.
    pub fn new(client: Client, project: &str) -> Account {
        Account { client, project: project.to_owned() }
    }

    fn by_name(&self, resource: &Resource, cancelled: Cancelled<'_>) -> Result<Gone> {
        let scope = marks::scope_of(resource);
        let project = resource.scope.get("project").map_or(&*self.project, |p| p);
        let (kind, name) = (&*resource.kind, &*resource.name);
        let what = format!("{kind} {name}");
        let place = address(project, &scope, &format!("{kind}s"), name);
        let mut backoff = Backoff::new(LIMIT);
        let mut looks = if resource.id.is_some() { 1 } else { LATE };
        let labels = loop {
            match self.client.labels(&place, &what, cancelled)? {
                Some(labels) => break labels,
                None if looks <= 1 => return Ok(Gone::WasNotThere),
                None => looks -= 1,
            }
            backoff.wait(cancelled).map_err(|stop| stopped(stop, &what))?;
        };
        let mark = if kind == "image" { IMAGE } else { BUILD };
        let build = resource.scope.get("build");
        if build.is_none() || labels.get(mark) != build {
            let why = format!("it is there, but not marked with {mark}={}", build.map_or("?", |b| b));
            let hint = Some("somebody else made it; it is not deleted".to_owned());
            return Err(GceError::Input { what, why, hint });
        }
        match self.client.delete(project, &scope, (kind, name), LIMIT, cancelled)? {
            true => Ok(Gone::Deleted),
            false => Ok(Gone::WasNotThere),
        }
    }

    fn gone(&self, resource: &Resource, cancelled: Cancelled<'_>) -> Result<Gone> {
        let at = |key: &str| resource.scope.get(key).map(String::as_str).unwrap_or_default();
        let was_there = |there| if there { Gone::Deleted } else { Gone::WasNotThere };
        match &*resource.kind {
            "instance" | "disk" | "image" => self.by_name(resource, cancelled),
            "ssh-key" => self.client.remove_key(at("account"), &resource.name, cancelled).map(was_there),
            "object" => publish::remove(&self.client, at("bucket"), &resource.name, cancelled).map(was_there),
            kind => {
                let why = "this version of Kiln knows no such kind".to_owned();
                let hint = Some(format!("delete it by hand: {}", resource.delete));
                Err(GceError::Input { what: format!("{kind} {}", resource.name), why, hint })
            }
        }
    }

    fn marked(&self, build: Option<&str>, cancelled: Cancelled<'_>) -> Result<Vec<Resource>> {
        let filter = match build {
            Some(build) if names::is_label_value(build) => format!("labels.{BUILD}={build}"),
            Some(_) => return Ok(Vec::new()),
            None => format!("labels.{BUILD}:*"),
        };
        let mut all = Vec::new();
        // An instance holds its disks.
        for kind in ["instances", "disks"] {
            for found in self.client.list(&self.project, kind, &filter, cancelled)? {
                let Some(build) = found.labels.get(BUILD).filter(|b| build.is_none_or(|want| *b == want)) else {
                    continue;
                };
                let scope: &Scope = &found.scope;
                let thing =
                    Thing { kind: kind.trim_end_matches('s'), name: &found.name, project: &self.project, scope };
                all.push(Resource { id: Some(found.id), ..marks::resource(thing, build) });
            }
        }
        Ok(all)
    }
}

fn told(error: &GceError) -> SweepError {
    SweepError { message: error.to_string(), hint: error.hint() }
}

impl Cloud for Account {
    fn delete(&self, resource: &Resource, cancelled: &dyn Fn() -> bool) -> Result<Gone, SweepError> {
        if resource.cloud != CLOUD {
            return Err(SweepError { message: format!("{} is another cloud", resource.cloud), hint: None });
        }
        self.gone(resource, cancelled).map_err(|e| told(&e))
    }

    fn find(&self, build: Option<&str>) -> Result<Vec<Resource>, SweepError> {
        self.marked(build, &|| false).map_err(|e| told(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn a_book_keeps_places_and_no_secrets() {
        let endpoints = Endpoints::default();
        let token = Credentials { source: Source::Token(Secret::new("hunter2")), impersonate: None };
        let about = remembered("p", &token, &endpoints);
        assert_eq!(about.into_iter().collect::<Vec<_>>(), [("project".to_owned(), "p".to_owned())]);
        let file = Credentials { source: Source::File("/k.json".into()), impersonate: Some("a@b".to_owned()) };
        let about = remembered("p", &file, &endpoints);
        assert_eq!(about["credentials_file"], "/k.json");
        let back = recalled(&about);
        assert!(matches!(back.source, Source::File(path) if path == std::path::Path::new("/k.json")));
        assert_eq!(back.impersonate.as_deref(), Some("a@b"));
    }

    #[test]
    fn a_book_without_a_project_is_an_error() {
        for project in [None, Some("a/../b")] {
            let about: BTreeMap<String, String> =
                project.map(|p| ("project".to_owned(), p.to_owned())).into_iter().collect();
            let error = account(&about, Environment::empty()).err().unwrap();
            assert_eq!(error.to_string(), "the ledger: it names no project");
        }
    }
}
