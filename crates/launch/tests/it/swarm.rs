//! Hosts that bring each other an image: real agents at loopback addresses, with faults between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_host::Cancel;
use kiln_launch::event::{Event, Events};
use kiln_launch::journal::Marker;
use kiln_launch::phase::distribute;
use kiln_launch::{Bundle, Launch, Machine, Peers, Result, run};
use kiln_oci::{Descriptor, Digest};
use kiln_store::Store;

use crate::double::{Double, Odd};
use crate::world::World;

/// What is told.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Events for Told {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Bed {
    world: World,
    dir: tempfile::TempDir,
    hosts: Vec<Arc<Double>>,
    told: Arc<Told>,
    blobs: BTreeMap<Digest, u64>,
    root: Descriptor,
}

/// Bytes that no compression makes small, of a seed.
fn noise(size: usize, mut seed: u64) -> Vec<u8> {
    (0..size)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .collect()
}

impl Bed {
    fn new(odd: &[Odd]) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(1, odd.len() - 1);
        // A binary that a shell of a host can look at by its digest; small, for a slow host may be the first to have it.
        std::fs::write(&world.options.binary, noise(20_000, 3)).unwrap();
        world.options.binary_digest = Digest::of(&std::fs::read(&world.options.binary).unwrap()).hex();
        world.options.peers = Some(Peers { patience: Duration::from_millis(700), ..Peers::default() });
        let store = Store::open(dir.path().join("here")).unwrap();
        let mut blobs = BTreeMap::new();
        let sizes = [0, 5, 700, 40_000, 900_000, 1_500_000, 6_000_000];
        for (seed, size) in sizes.into_iter().enumerate() {
            blobs.insert(store.put(&noise(size, seed as u64 + 1)).unwrap(), size as u64);
        }
        let index = b"{\"manifests\":[]}";
        let root = Descriptor::of("application/vnd.oci.image.index.v1+json", index);
        blobs.insert(store.put(index).unwrap(), root.size);
        let hosts = odd.iter().enumerate().map(|(n, odd)| {
            let (name, address) = (format!("10.0.0.{}", n + 1), format!("127.0.0.{}", n + 11));
            Arc::new(Double::new(&name, &address, &dir.path().join(&name), *odd))
        });
        Bed { hosts: hosts.collect(), told: Arc::default(), blobs, root, world, dir }
    }

    fn bundle(&self) -> Bundle {
        let store = Store::open(self.dir.path().join("here")).unwrap();
        Bundle { store, blobs: self.blobs.clone(), root: self.root.clone(), ..self.world.bundle() }
    }

    fn launch(&self) -> Launch {
        let mut launch = self.world.launch().unwrap();
        launch.bundle = self.bundle();
        launch.events = self.told.clone();
        for (n, host) in self.hosts.iter().enumerate() {
            let member = launch.members.iter_mut().find(|member| member.name() == format!("10.0.0.{}", n + 1)).unwrap();
            member.address = format!("127.0.0.{}", n + 11).parse().unwrap();
            member.machine = Machine::new(member.name().to_owned(), host.clone(), None, launch.cancel.clone());
        }
        launch
    }

    fn run(&self) -> Result<()> {
        run::one(&self.launch(), &distribute::PHASE).map(drop)
    }

    fn size(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// Bytes that came from the launcher, to all hosts.
    fn received(&self) -> u64 {
        self.hosts.iter().map(|host| host.received.load(Ordering::Acquire)).sum()
    }

    fn notes(&self) -> String {
        let told = self.told.0.lock().unwrap();
        let notes = told.iter().filter_map(|event| match event {
            Event::Note { host, text } => Some(format!("{}: {text}\n", host.as_deref().unwrap_or("all"))),
            _ => None,
        });
        notes.collect()
    }

    /// Every host has the same, by its digest and by its name; no agent is left.
    fn all_well(&self) {
        for host in &self.hosts {
            let store = host.store();
            for (digest, size) in &self.blobs {
                assert_eq!(store.read_blob(digest, *size).unwrap().len() as u64, *size);
            }
            let named = store.get_ref("docker.io/library/shop:1").unwrap();
            assert_eq!(named.map(|root| root.digest), Some(self.root.digest.clone()));
            assert_eq!(host.agents.load(Ordering::Acquire), 0, "an agent is left");
        }
    }
}

#[test]
fn two_and_eight_hosts_get_the_same_and_the_launcher_sends_it_once() {
    for hosts in [2, 8] {
        let bed = Bed::new(&vec![Odd::No; hosts]);
        bed.run().unwrap();
        bed.all_well();
        let (received, size) = (bed.received(), bed.size());
        assert!(received > size && received < size + size / 10, "{received} of {size}\n{}", bed.notes());
        assert!(bed.notes().contains("came from other hosts"), "{}", bed.notes());
        // The binary, too, came from a host where one had it: bash and a digest.
        let lines: Vec<String> = bed.hosts.iter().flat_map(|host| host.lines.lock().unwrap().clone()).collect();
        let sent = lines
            .iter()
            .filter(|line| line.contains("cat > ") && line.contains("bin/kiln.kiln-new") && !line.contains("/dev/tcp"))
            .count();
        assert!(hosts == 2 || sent < hosts, "{sent} of {hosts} got it from here\n{}", bed.notes());
        // Keys are in the first line of the input, and nowhere else.
        assert!(!lines.iter().any(|line| line.contains("PRIVATE KEY") || line.contains("BEGIN")));
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    let bed = Bed::new(&[Odd::No, Odd::No, Odd::No]);
    bed.run().unwrap();
    let before = bed.received();
    // The marker is not looked at: hosts are asked again.
    bed.run().unwrap();
    bed.all_well();
    let more = bed.received() - before;
    assert!(more < 2000, "{more} bytes: streams without blobs");
}

#[test]
fn hosts_that_have_the_image_serve_a_host_that_comes() {
    let bed = Bed::new(&[Odd::No, Odd::No, Odd::No]);
    let mut launch = bed.launch();
    let whole = launch.members.split_off(2);
    run::one(&launch, &distribute::PHASE).unwrap();
    let before = bed.received();
    launch.members.extend(whole);
    for member in &mut launch.members[..2] {
        member.facts.agent = launch.options.binary_digest.clone();
    }
    let markers: Vec<Option<Marker>> = launch.members.iter().map(|member| launch.marker(member)).collect();
    *launch.markers.lock().unwrap() = markers;
    run::one(&launch, &distribute::PHASE).unwrap();
    bed.all_well();
    let more = bed.received() - before;
    assert!(more < 2000, "{more} bytes came from here\n{}", bed.notes());
}

#[test]
fn without_peers_everything_comes_from_here() {
    let mut bed = Bed::new(&[Odd::No, Odd::No]);
    bed.world.options.peers = None;
    bed.run().unwrap();
    bed.all_well();
    assert!(bed.received() > 2 * bed.size());
    assert!(!bed.hosts.iter().any(|host| host.lines.lock().unwrap().iter().any(|line| line.contains("agent peer"))));
}

#[test]
fn a_host_that_has_other_bytes_is_found_out() {
    let bed = Bed::new(&[Odd::No, Odd::No, Odd::No, Odd::No]);
    // It has a blob of the right name and size, and other bytes.
    let (digest, size) = bed.blobs.iter().max_by_key(|(_, size)| **size).unwrap();
    let store = bed.hosts[0].store();
    store.put(b"x").unwrap();
    std::fs::write(store.blob_path(digest), noise(usize::try_from(*size).unwrap(), 99)).unwrap();
    bed.run().unwrap();
    for host in &bed.hosts[1..] {
        assert_eq!(host.store().read_blob(digest, *size).unwrap().len() as u64, *size, "{}", bed.notes());
    }
    assert!(bed.received() < 3 * bed.size(), "the others serve each other: {}", bed.notes());
}

#[test]
fn what_a_host_began_to_send_wrongly_is_sent_again() {
    use std::io::Write;
    let mut bed = Bed::new(&[Odd::No]);
    bed.world.options.peers = None;
    let (digest, size) = bed.blobs.iter().max_by_key(|(_, size)| **size).unwrap();
    let store = bed.hosts[0].store();
    let mut writer = store.download(digest, *size, &|| false).unwrap().unwrap();
    writer.write_all(&noise(1_000_000, 99)).unwrap();
    drop(writer);
    bed.run().unwrap();
    bed.all_well();
}

#[test]
fn a_host_that_cannot_be_reached_serves_nobody_and_all_get_everything() {
    let bed = Bed::new(&[Odd::Walled, Odd::No, Odd::No, Odd::No]);
    bed.run().unwrap();
    bed.all_well();
    let bed = Bed::new(&[Odd::Walled; 3]);
    bed.run().unwrap();
    bed.all_well();
    let notes = bed.notes();
    assert!(notes.contains("what it lacks comes from here"), "{notes}");
}

#[test]
fn connections_that_break_are_gone_on_with_elsewhere() {
    let bed = Bed::new(&[Odd::Breaks(2_500_000), Odd::Breaks(2_500_000), Odd::Breaks(2_500_000), Odd::No]);
    bed.run().unwrap();
    bed.all_well();
}

#[test]
fn a_slow_host_is_replaced() {
    let bed = Bed::new(&[Odd::Slow(1000), Odd::No, Odd::No, Odd::No]);
    bed.run().unwrap();
    bed.all_well();
}

#[test]
fn a_host_without_an_agent_gets_it_from_here() {
    let bed = Bed::new(&[Odd::No, Odd::No, Odd::No]);
    bed.hosts[1].no_agent.store(true, Ordering::Release);
    bed.run().unwrap();
    bed.all_well();
    assert!(bed.notes().contains("exec format error"), "{}", bed.notes());
}

#[test]
fn who_stops_leaves_no_agents() {
    let bed = Bed::new(&[Odd::Slow(1000), Odd::Slow(1000), Odd::Slow(1000)]);
    let launch = bed.launch();
    let cancel: Cancel = launch.cancel.clone();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run::one(&launch, &distribute::PHASE));
        crate::double::wait("an agent", || bed.hosts.iter().any(|host| host.agents.load(Ordering::Acquire) > 0));
        cancel.cancel();
        assert!(running.join().unwrap().unwrap_err().is_cancelled());
    });
    assert!(bed.hosts.iter().all(|host| host.agents.load(Ordering::Acquire) == 0));
    assert!(Path::new(bed.dir.path()).exists());
}

#[test]
fn a_plan_says_that_hosts_serve_each_other() {
    let bed = Bed::new(&[Odd::No, Odd::No]);
    let text = run::plan_text(&run::plan(&bed.launch()).unwrap());
    assert!(text.contains("serve others, 1 at a time, at any port, until all are done"), "{text}");
}
