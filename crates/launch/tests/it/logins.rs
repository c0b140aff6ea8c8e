//! A registry that wants to know who asks.

use kiln_clusterfile::{Said, Secret};
use kiln_launch::run;

use crate::world::World;

const PASSWORD: &str = "not:to'be \"seen";
/// `ops` with the password, as RFC 7617 has it.
const HEADER: &str = "Basic b3BzOm5vdDp0bydiZSAic2Vlbg==";

/// The registry asks for a password, which may be one of somebody else's.
fn with(world: &World, password: &'static str, external: bool) {
    world.wish(move |cluster, _| {
        let registry = &mut cluster.registry;
        registry.user = Some(Said::default_of("ops".to_owned()));
        registry.password = Some(Said::default_of(Secret::new(password)));
        registry.external = external;
        if external {
            registry.domain = Said::default_of("r.example".to_owned());
        }
    });
}

/// A `hosts.toml` that a host got, by the registry's name: its permission bits and its text.
fn toml(world: &World, n: usize, name: &str) -> Option<(u64, String)> {
    let all = world.host(n).ran();
    let orders = all.iter().filter(|ran| ran.line.contains("agent install"));
    let mut items = orders.flat_map(|ran| serde_json::from_slice::<Vec<serde_json::Value>>(&ran.stdin).unwrap());
    let item = items.find(|item| item["to"] == format!("/etc/containerd/certs.d/{name}/hosts.toml"))?;
    Some((item["mode"].as_u64()?, item["content"]["text"].as_str()?.to_owned()))
}

/// Lines that a host ran with the password on its standard input.
fn told(world: &World, n: usize, password: &str) -> Vec<String> {
    let all = world.host(n).ran();
    all.into_iter().filter(|ran| ran.stdin == password.as_bytes()).map(|ran| ran.line).collect()
}

#[test]
fn hosts_say_who_they_are_and_nobody_reads_the_password() {
    let world = World::new(1, 1);
    with(&world, PASSWORD, false);
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("images, for ops"), "{plan}");
    world.run().unwrap();
    let lines = told(&world, 1, PASSWORD);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let words = "registry passwd --password-stdin /var/lib/kiln/registry/users ops";
    assert!(line.ends_with(words) && line.contains("rm -f /var/lib/kiln/registry/users "), "{line}");
    assert_eq!(told(&world, 2, PASSWORD), Vec::<String>::new(), "it has no registry");
    for n in [1, 2] {
        let (mode, text) = toml(&world, n, "sea.hub:5000").unwrap();
        assert!(mode == 0o600 && text.contains(&format!("Authorization = [\"{HEADER}\"]")), "{mode:o} {text}");
    }
    let orders = world.host(1).ran();
    let unit = orders.iter().map(|ran| String::from_utf8_lossy(&ran.stdin).into_owned());
    assert!(unit.filter(|text| text.contains("--htpasswd /var/lib/kiln/registry/users")).count() == 1);
    // Nowhere but there.
    let mut kept = Vec::new();
    let mut left = vec![world.dir.path().join("state")];
    while let Some(path) = left.pop() {
        match path.is_dir() {
            true => left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => kept.push(std::fs::read_to_string(path).unwrap()),
        }
    }
    assert!(kept.len() > 2, "there are a record and journals");
    kept.extend([1, 2].into_iter().flat_map(|n| world.host(n).lines()));
    kept.push(plan);
    for text in kept {
        assert!(!text.contains("be \"seen") && !text.contains(HEADER.trim_start_matches("Basic ")), "{text}");
    }
    assert!(!world.run().unwrap(), "a second run does nothing");
    assert_eq!(told(&world, 1, PASSWORD).len(), 1);
    with(&world, "another", false);
    assert!(world.run().unwrap());
    assert_eq!(told(&world, 1, "another").len(), 1);
}

#[test]
fn a_registry_that_all_may_ask_again_forgets_its_users() {
    let world = World::new(1, 0);
    world.run().unwrap();
    let (mode, text) = toml(&world, 1, "sea.hub:5000").unwrap();
    assert!(mode == 0o644 && !text.contains("Authorization"), "{mode:o} {text}");
    assert!(world.host(1).lines().iter().any(|line| line == "rm -f /var/lib/kiln/registry/users"));
}

#[test]
fn a_registry_elsewhere_is_told_who_asks() {
    let world = World::new(1, 1);
    with(&world, PASSWORD, true);
    world.run().unwrap();
    for n in [1, 2] {
        assert_eq!(told(&world, n, PASSWORD), Vec::<String>::new());
        let (mode, text) = toml(&world, n, "r.example:5000").unwrap();
        assert!(mode == 0o600 && text.contains("server = \"https://r.example:5000\""), "{mode:o} {text}");
        assert!(text.contains(HEADER) && !text.contains("sea.hub"), "{text}");
    }
}
