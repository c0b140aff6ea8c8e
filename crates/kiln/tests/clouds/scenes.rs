//! What is cut and killed: builds and publications in doubles of both clouds.

use std::sync::{Arc, Mutex};

use kiln_testkit::TestContext;
use kiln_testkit::compute::{BUCKET, Compute, FAMILY, PROJECT, ZONE};
use kiln_testkit::ecs::{self, Ecs, REGION};

use crate::gc::{Scene, Wire, matrix};
use crate::sshd::Sshd;

/// A kiln that asks often, as doubles are fast.
fn context() -> TestContext {
    TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("KILN_CLOUD_POLL", "0.01")
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

/// A disk with something on it.
fn disk(t: &TestContext) {
    let mut bytes = vec![0_u8; 3 << 20];
    bytes[..4].copy_from_slice(b"boot");
    t.write("node.raw", 0o644, bytes);
}

/// What a template says beside its builder: a step on the machine, whose files go with the server's own disk.
fn provisioner(server: &Sshd) -> String {
    let folder = server.path("small").display().to_string();
    format!(r#""provisioners": [{{"type": "shell", "inline": ["echo here"], "remote_folder": "{folder}"}}]"#)
}

fn google(double: &Compute, wire: &Wire<'_>) -> (TestContext, String) {
    let endpoints = double.endpoints().replace(&double.host(), &wire(&double.host()));
    (context(), endpoints)
}

pub fn google_build(wire: &Wire<'_>) -> Scene {
    let (double, server) = (Compute::start(), Sshd::start());
    let (t, endpoints) = google(&double, wire);
    double.keys_into(&server.path("keys/root"));
    double.host_key(&server.host_key.line());
    let (account, port, steps) = (double.account(), server.port, provisioner(&server));
    let account = account.display();
    let template = format!(
        r#"{{"builders": [{{"type": "googlecompute", "project_id": "{PROJECT}", "zone": "{ZONE}", "image_name": "node-1",
            "source_image_family": "{FAMILY}", "source_image_project_id": ["debian-cloud"], "ssh_username": "root",
            "ssh_port": {port}, "credentials_file": "{account}", "custom_endpoints": {endpoints}}}], {steps}}}"#
    );
    t.write("t.json", 0o644, template);
    of_google(t, words(&["node", "build", "-color=false", "t.json"]), double, Box::new(server))
}

fn google_publish(wire: &Wire<'_>) -> Scene {
    let double = Compute::start();
    let (t, endpoints) = google(&double, wire);
    disk(&t);
    let endpoints: std::collections::BTreeMap<String, String> = serde_json::from_str(&endpoints).unwrap();
    let account = double.account().display().to_string();
    let mut args = words(&["node", "publish", "--to", "googlecompute", "--project", PROJECT, "--bucket", BUCKET]);
    args.extend(words(&["--name", "node-1", "--credentials-file", &account, "--share-with", "group:ops@example.org"]));
    for (service, address) in &endpoints {
        args.extend(words(&["--custom-endpoint", &format!("{service}={address}")]));
    }
    args.push("node.raw".to_owned());
    of_google(t, args, double, Box::new(()))
}

fn of_google(t: TestContext, args: Vec<String>, double: Compute, keep: Box<dyn std::any::Any + Send>) -> Scene {
    let double = Arc::new(double);
    let seen = double.clone();
    Scene { t, args, left: Box::new(move || (double.left(), double.images())), _keep: Box::new((keep, seen)) }
}

/// A kiln that asks the double, and how its services are called.
fn alibaba(double: &Ecs, wire: &Wire<'_>) -> TestContext {
    let host = double.http().trim_start_matches("http://").to_owned();
    let tapped = format!("http://{}", wire(&host));
    let mut t = context();
    for (name, value) in double.environment() {
        let value = if name.ends_with("_ENDPOINT") { tapped.clone() } else { value };
        t = t.env(&name, &value);
    }
    t
}

fn alibaba_build(wire: &Wire<'_>) -> Scene {
    let (double, server) = (Ecs::start(), Sshd::start());
    let t = alibaba(&double, wire);
    let (port, steps) = (server.port, provisioner(&server));
    let (source, kind) = (ecs::SOURCE, ecs::KIND);
    let template = format!(
        r#"{{"builders": [{{"type": "alicloud-ecs", "region": "{REGION}", "image_name": "node-1", "source_image": "{source}",
            "instance_type": "{kind}", "io_optimized": true, "internet_charge_type": "PayByTraffic",
            "associate_public_ip_address": true, "ssh_username": "root", "ssh_port": {port},
            "temporary_key_pair_type": "ecdsa"}}], {steps}}}"#
    );
    t.write("t.json", 0o644, template);
    let server = Arc::new(Mutex::new(server));
    let boots = server.clone();
    double.on_boot(move |boot| {
        let mut server = boots.lock().unwrap();
        server.write("keys/root", boot.public_key.as_deref().unwrap_or_default(), 0o644);
        if let Some(key) = &boot.host_key {
            server.down();
            server.write("host_key", key, 0o600);
            server.up();
        }
    });
    let double = Arc::new(double);
    let machine = Machine { double: double.clone(), server };
    of_alibaba(t, words(&["node", "build", "-color=false", "t.json"]), double, Box::new(machine))
}

fn alibaba_publish(wire: &Wire<'_>) -> Scene {
    let double = Ecs::start();
    double.allow_import(true);
    let t = alibaba(&double, wire);
    disk(&t);
    let mut args = words(&["node", "publish", "--to", "alicloud", "--region", REGION, "--bucket", "kiln-images"]);
    args.extend(words(&[
        "--name",
        "node-1",
        "--copy-to",
        "cn-beijing",
        "--share-with",
        "1234567890123456",
        "node.raw",
    ]));
    of_alibaba(t, args, Arc::new(double), Box::new(()))
}

/// The server of SSH that the double's machines are. The double outlives its test, so it must let go of it.
struct Machine {
    double: Arc<Ecs>,
    server: Arc<Mutex<Sshd>>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.double.on_boot(|_| {});
        self.server.lock().unwrap().down();
    }
}

fn of_alibaba(t: TestContext, args: Vec<String>, double: Arc<Ecs>, keep: Box<dyn std::any::Any + Send>) -> Scene {
    let seen = double.clone();
    let images =
        move || double.images().into_iter().map(|(region, id, name)| format!("{region} {name} {id}")).collect();
    let left = seen.clone();
    Scene { t, args, left: Box::new(move || (left.left(), images())), _keep: Box::new((keep, seen)) }
}

#[test]
fn a_build_in_googles_cloud_leaves_nothing_wherever_it_is_cut() {
    matrix("googlecompute", &google_build);
}

#[test]
fn a_publication_in_googles_cloud_leaves_nothing_wherever_it_is_cut() {
    matrix("publish --to googlecompute", &google_publish);
}

#[test]
fn a_build_in_alibabas_cloud_leaves_nothing_wherever_it_is_cut() {
    matrix("alicloud-ecs", &alibaba_build);
}

#[test]
fn a_publication_in_alibabas_cloud_leaves_nothing_wherever_it_is_cut() {
    matrix("publish --to alicloud", &alibaba_publish);
}
