//! The client, the clean-up and publishing against the double of Alibaba Cloud, which verifies every signature.

#![expect(missing_docs, reason = "tests")]

mod calls;
mod credentials;
mod publish;
mod sweep;

use kiln_alicloud::{Account, Client};
use kiln_clouds::{Config, Environment};
use kiln_ledger::{About, Book, Ledger};
use kiln_testkit::ecs::{Ecs, Faults, REGION};

/// A double in which nothing is pending: nobody waits.
pub fn quick() -> Ecs {
    Ecs::with(Faults { pending: 0, ..Faults::default() })
}

/// What a user of the double has in the environment.
pub fn environment(double: &Ecs) -> Environment {
    let all = double.environment();
    let known = all.iter().filter(|(name, _)| name != "KILN_CLOUD_POLL");
    known.fold(Environment::empty(), |environment, (name, value)| environment.with(name, value.clone()))
}

pub fn account() -> Account {
    Account { region: Some(REGION.to_owned()), ..Account::default() }
}

pub fn config(environment: Environment) -> Config {
    Config { environment, ..Config::default() }
}

pub fn client(double: &Ecs) -> Client {
    Client::new(&account(), config(environment(double))).unwrap()
}

pub fn never() -> bool {
    false
}

/// A ledger, and the directory it is in.
pub struct Kept {
    pub book: Book,
    pub dir: tempfile::TempDir,
}

pub fn book(build: &str) -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("books")).unwrap();
    let about = About { build: build.to_owned(), cloud: "alicloud-ecs".to_owned(), ..About::default() };
    Kept { book: ledger.begin(about).unwrap(), dir }
}
