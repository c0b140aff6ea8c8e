//! The client against the double of Compute Engine: who asks, what is told of refusals, operations, objects, ledgers.

#![expect(missing_docs, reason = "tests")]

mod auth;
mod calls;
mod publishing;
mod sweeps;

use std::path::Path;

use kiln_gce::{Client, Credentials, Endpoints, Environment, Scope, Source};
use kiln_ledger::{About, Book, Ledger};
use kiln_testkit::Compute;
use kiln_testkit::compute::{PROJECT, ZONE};

/// Nobody wants to stop.
pub fn never() -> bool {
    false
}

pub fn endpoints(double: &Compute) -> Endpoints {
    let own: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&double.endpoints()).unwrap();
    let own: Vec<(String, String)> = own.into_iter().map(|(k, v)| (k, v.as_str().unwrap().to_owned())).collect();
    Endpoints::new("googleapis.com", &own).unwrap()
}

pub fn with(double: &Compute, credentials: Credentials, environment: &Environment) -> Client {
    Client::new(credentials, endpoints(double), environment).unwrap()
}

pub fn client(double: &Compute) -> Client {
    let credentials = Credentials { source: Source::File(double.account()), impersonate: None };
    with(double, credentials, &Environment::empty())
}

pub fn zone() -> Scope {
    Scope::Zone(ZONE.to_owned())
}

pub fn book(dir: &Path, build: &str) -> Book {
    let about =
        About { build: build.to_owned(), cloud: "googlecompute".to_owned(), name: "n".to_owned(), ..About::default() };
    Ledger::open(&dir.join("books")).unwrap().begin(about).unwrap()
}

/// An instance as small as the service takes it.
pub fn instance(name: &str, build: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "labels": { "kiln-build": build },
        "machineType": format!("projects/{PROJECT}/zones/{ZONE}/machineTypes/e2-standard-2"),
        "networkInterfaces": [{ "network": "global/networks/default" }],
        "disks": [{ "boot": true, "initializeParams": {
            "sourceImage": "projects/debian-cloud/global/images/debian-12-bookworm-v1",
            "diskName": name, "labels": { "kiln-build": build } } }],
    })
}
