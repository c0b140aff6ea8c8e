//! Object stores by their wire protocols: emulators that others wrote, and servers that lie.

mod credentials;
mod hostile;
mod stores;

use std::cell::Cell;
use std::time::Duration;

use kiln_objects::{Client, Config, Environment, Head, Location, ObjectError};

/// Settings for tests: hardly any waiting, nothing from the environment.
fn config(environment: Environment) -> Config {
    Config { environment, retries: 3, backoff: Duration::from_millis(1), ..Config::default() }
}

fn client(environment: Environment) -> Client {
    Client::new(config(environment)).unwrap()
}

/// An S3 server at `address`, asked with the given key.
fn s3(address: &str, id: &str, secret: &str) -> Environment {
    Environment::empty()
        .with("S3_ENDPOINT", format!("http://{address}"))
        .with("AWS_ACCESS_KEY_ID", id)
        .with("AWS_SECRET_ACCESS_KEY", secret)
}

fn at(url: &str) -> Location {
    Location::parse(url).unwrap().unwrap()
}

/// Bytes that do not repeat within any part a test uses.
fn bytes(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// Reads an object, and checks that progress adds up to its size.
fn get(client: &Client, location: &Location) -> Result<(Vec<u8>, Head), ObjectError> {
    let (mut sink, told) = (Vec::new(), Cell::new(0));
    let head = client.get(location, &mut sink, &|n| told.set(told.get() + n))?;
    assert_eq!((told.get(), head.size), (sink.len() as u64, sink.len() as u64));
    Ok((sink, head))
}

/// Writes an object, and checks that progress adds up to its size.
fn put(client: &Client, location: &Location, content: &[u8]) -> Result<(), ObjectError> {
    let told = Cell::new(0);
    client.put(location, &content.to_vec(), content.len() as u64, &|n| told.set(told.get() + n))?;
    assert_eq!(told.get(), content.len() as u64);
    Ok(())
}
