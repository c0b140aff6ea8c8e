//! Operations: what the service has begun, and how it ends.

use std::time::Duration;

use kiln_clouds::uuid;
use kiln_http::printable;
use kiln_ledger::poll::{Backoff, Stop};
use kiln_ledger::{Book, Entry};
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Ask, Cancelled, Client, path};
use crate::error::{Complaint, GceError, Result};

/// Where something is in a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: images.
    Global,
    /// In a zone: instances, disks.
    Zone(String),
    /// In a region: disks in several zones, addresses.
    Region(String),
}

impl Scope {
    /// As paths have it.
    pub fn path(&self) -> String {
        match self {
            Scope::Global => "global".to_owned(),
            Scope::Zone(zone) => path(&["zones", zone]),
            Scope::Region(region) => path(&["regions", region]),
        }
    }
}

/// Something that was begun.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The id of what it makes or changes.
    pub target: Option<String>,
    name: String,
    done: bool,
    complaints: Option<Vec<Complaint>>,
    project: String,
    scope: Scope,
    what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    name: String,
    status: String,
    error: Option<Errors>,
    http_error_message: Option<String>,
    target_id: Option<Value>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Words>,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn complaints(told: &Told) -> Option<Vec<Complaint>> {
    let words = |w: &Words| Complaint { code: printable(&w.code), message: printable(&w.message) };
    match (&told.error, &told.http_error_message) {
        (Some(errors), _) if !errors.errors.is_empty() => Some(errors.errors.iter().take(5).map(words).collect()),
        (_, Some(message)) => Some(vec![Complaint { code: String::new(), message: printable(message) }]),
        (Some(_), None) => Some(Vec::new()),
        (None, None) => None,
    }
}

impl Client {
    /// Makes a call that begins an operation in a project, at a place there. However often it has to be sent, it happens
    /// once.
    ///
    /// # Errors
    /// What it refuses.
    pub fn begin(&self, ask: Ask, project: &str, scope: &Scope, cancelled: Cancelled<'_>) -> Result<Operation> {
        let what = ask.what.clone();
        let ask = ask.query("requestId", uuid::random()?);
        let answer = self.call(&ask, cancelled)?;
        let told = told(answer, &what)?;
        Ok(Operation {
            target: told.target_id.as_ref().map(text),
            done: told.status == "DONE",
            complaints: complaints(&told),
            name: told.name,
            project: project.to_owned(),
            scope: scope.clone(),
            what,
        })
    }

    /// Waits until an operation is done.
    ///
    /// # Errors
    /// What the operation complains of; that it takes too long.
    pub fn wait(&self, mut operation: Operation, limit: Duration, cancelled: Cancelled<'_>) -> Result<()> {
        let mut backoff = Backoff::new(limit);
        let place = path(&["projects", &operation.project]);
        let address = format!("{place}/{}/operations/{}", operation.scope.path(), path(&[&operation.name]));
        let ask = Ask::get(address, operation.what.clone());
        while !operation.done {
            backoff.wait(cancelled).map_err(|stop| stopped(stop, &operation.what))?;
            let told = told(self.call(&ask, cancelled)?, &operation.what)?;
            operation.done = told.status == "DONE";
            operation.complaints = complaints(&told);
        }
        match operation.complaints {
            None => Ok(()),
            Some(complaints) => Err(GceError::Failed { what: operation.what, complaints }),
        }
    }

    /// Begins something that is written down, and waits for it. What was refused was not made, and is struck out: what has
    /// its name is somebody else's. The id that it gets is that of the first entry.
    ///
    /// # Errors
    /// What it refuses, what the operation complains of, and those of the ledger.
    pub fn make(
        &self,
        book: &Book,
        entries: &[Entry],
        ask: Ask,
        (project, scope): (&str, &Scope),
        limit: Duration,
        cancelled: Cancelled<'_>,
    ) -> Result<()> {
        let begun = self.begin(ask, project, scope, cancelled);
        let done = begun.and_then(|operation| {
            if let (Some(id), Some(entry)) = (&operation.target, entries.first()) {
                book.made(entry, id)?;
            }
            self.wait(operation, limit, cancelled)
        });
        if let Err(error) = &done
            && error.made_nothing()
        {
            for entry in entries {
                book.strike(entry)?;
            }
        }
        done
    }
}

/// Why a wait ended.
pub fn stopped(stop: Stop, what: &str) -> GceError {
    match stop {
        Stop::Cancelled => GceError::Cancelled,
        Stop::TimedOut(limit) => GceError::Late { what: what.to_owned(), limit },
    }
}

/// The same of a wait for the end of a refusal, which says more than that time ran out.
pub(crate) fn given_up(stop: Stop, refusal: GceError) -> GceError {
    match stop {
        Stop::Cancelled => GceError::Cancelled,
        Stop::TimedOut(_) => refusal,
    }
}

fn told(answer: Value, what: &str) -> Result<Told> {
    let wrong = |_| GceError::Protocol { what: what.to_owned(), why: "it is no operation".to_owned() };
    serde_json::from_value(answer).map_err(wrong)
}

/// Numbers of 64 bits are texts there, and some servers' are numbers.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Option<Vec<Complaint>> {
        complaints(&told(json, "x").unwrap())
    }

    #[test]
    fn every_way_to_fail_is_one() {
        let json = |more: &str| serde_json::from_str(&format!(r#"{{"name":"o","status":"DONE"{more}}}"#)).unwrap();
        assert_eq!(read(json("")), None);
        assert_eq!(
            read(json(r#","error":{"errors":[{"code":"A","message":"b\u001b[1m"}]}"#)).unwrap()[0].message,
            "b [1m"
        );
        assert_eq!(
            read(json(r#","httpErrorMessage":"BAD REQUEST","httpErrorStatusCode":400"#)).unwrap()[0].message,
            "BAD REQUEST"
        );
        assert_eq!(read(json(r#","error":{}"#)), Some(Vec::new()));
        assert!(told(Value::Null, "x").is_err());
    }
}
