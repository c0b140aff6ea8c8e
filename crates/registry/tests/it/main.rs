//! The client against a scripted server that lies, and against a real registry.

mod clouds;
mod hostile_auth;
mod hostile_pull;
mod hostile_push;
mod hostile_wire;
mod real;
mod resume;

use std::io::Read;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, Reference, media};
use kiln_registry::{Client, Config, RegistryError};
use kiln_testkit::server;

/// Settings for tests: plain http where said, hardly any waiting, nothing from the environment.
fn config(plain: &[&str]) -> Config {
    Config {
        plain_http: plain.iter().map(|&h| h.to_owned()).collect(),
        certs_dirs: Vec::new(),
        retries: 3,
        backoff: Duration::from_millis(1),
        ..Config::default()
    }
}

fn client(host: &str) -> Client {
    Client::new(config(&[host])).unwrap()
}

fn reference(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().unwrap()
}

/// Bytes that do not repeat within any chunk a test uses.
fn blob(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of(media::OCI_LAYER, bytes)
}

fn pull(client: &Client, host: &str, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    let mut sink = Vec::new();
    let told = std::cell::Cell::new(0);
    client.blob(&reference(host, "a/b"), descriptor, &mut sink, &|n| told.set(told.get() + n))?;
    assert_eq!(told.get(), descriptor.size, "progress adds up to the size");
    assert_eq!(Digest::of(&sink), descriptor.digest);
    Ok(sink)
}

fn opener(bytes: &[u8]) -> impl Fn() -> std::io::Result<Box<dyn Read + Send>> {
    let bytes = bytes.to_vec();
    move || Ok(Box::new(std::io::Cursor::new(bytes.clone())))
}
