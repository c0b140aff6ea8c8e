//! A launch of hosts that the caller has, with an image of noise.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln_host::Host;
use kiln_launch::event::{Event, Events};
use kiln_launch::{Bundle, Launch, Machine, Peers};
use kiln_oci::{Descriptor, Digest};
use kiln_store::Store;

use crate::world::World;

/// Notes on standard error.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl Events for Notes {
    fn event(&self, event: Event) {
        match event {
            Event::Note { host, text } => {
                eprintln!("note: {}{text}", host.map(|host| format!("{host}: ")).unwrap_or_default());
                self.0.lock().unwrap().push(text);
            }
            Event::Failed { host, why, .. } => eprintln!("{host}: {why}"),
            _ => {}
        }
    }
}

fn noise(size: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap());
    while (bytes.len() as u64) < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(usize::try_from(size).unwrap());
    bytes
}

/// A launch of these hosts, each with the address by which others reach it. `peers` says whether they bring each other
/// the image; `parallel` how many the launcher sends to at a time.
pub fn launch(
    dir: &Path,
    hosts: &[(IpAddr, Arc<dyn Host>)],
    sizes: &[u64],
    peers: Option<Peers>,
    parallel: usize,
    binary: Option<&Path>,
) -> (World, Launch) {
    let store = Store::open(dir.join("here")).unwrap();
    let mut blobs = BTreeMap::new();
    for (seed, size) in sizes.iter().enumerate() {
        blobs.insert(store.put(&noise(*size, seed as u64 + 1)).unwrap(), *size);
    }
    let index = b"{\"manifests\":[]}";
    let root = Descriptor::of("application/vnd.oci.image.index.v1+json", index);
    blobs.insert(store.put(index).unwrap(), root.size);
    let mut world = World::new(1, hosts.len() - 1);
    (world.options.peers, world.options.parallel) = (peers, parallel);
    if let Some(binary) = binary {
        world.options.binary = binary.to_owned();
        world.options.binary_digest = Digest::of(&std::fs::read(binary).unwrap()).hex();
    }
    let mut launch = world.launch().unwrap();
    launch.bundle = Bundle { store, blobs, root, ..world.bundle() };
    launch.events = Arc::new(Notes::default());
    for (member, (address, host)) in launch.members.iter_mut().zip(hosts) {
        member.address = *address;
        member.machine = Machine::new(member.name().to_owned(), host.clone(), None, launch.cancel.clone());
        if binary.is_none() {
            member.facts.agent = launch.options.binary_digest.clone();
        }
    }
    (world, launch)
}
