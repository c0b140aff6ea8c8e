//! Who can be told to send and to listen: hosts of this machine, and those over SSH, on which this program is placed
//! while it is needed.

use kiln_doctor::fleet::remote::{Placed, limited};
use kiln_doctor::probe::Agent;
use kiln_doctor::probe::agent::Remote;
use kiln_host::Cancel;

use super::hosts::{Looked, Reached};

/// Hosts that this program is sent to at one time.
const AT_ONCE: usize = 16;

/// Finds who acts on a host, by the host's name.
pub type Find<'a> = dyn Fn(&str) -> Option<&'a dyn Agent> + Sync + 'a;

/// Does something with the hosts that are wanted; says on stderr which of them cannot be told anything.
pub fn with<T>(looked: &Looked, wanted: &dyn Fn(&str) -> bool, work: impl FnOnce(&Find<'_>) -> T) -> Option<T> {
    let none = Cancel::new();
    let cancel = looked.reached.as_ref().map_or(&none, |reached| &reached.cancel);
    let hosts: Vec<_> = looked.reached.iter().flat_map(Reached::all).filter(|(name, ..)| wanted(name)).collect();
    let mut placed: Vec<Placed<'_>> = Vec::new();
    for some in hosts.chunks(AT_ONCE) {
        let sent = std::thread::scope(|scope| {
            let sending: Vec<_> = some
                .iter()
                .map(|(name, host, asking)| {
                    scope.spawn(move || limited(name, asking, |cancel| Placed::new(name, *host, asking, cancel)))
                })
                .collect();
            sending.into_iter().filter_map(|sending| sending.join().ok()).collect::<Vec<_>>()
        });
        for sent in sent {
            match sent {
                Ok(there) => placed.push(there),
                Err(error) => eprintln!("nothing is sent there: {error}"),
            }
        }
    }
    let remote: Vec<Remote<'_>> = placed.iter().map(|placed| placed.agent(cancel)).collect();
    if looked.agents.is_empty() && remote.is_empty() {
        eprintln!("nothing is sent: no host that was looked at can be told to");
        return None;
    }
    let find = |name: &str| {
        let here = looked.agents.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent);
        here.or_else(|| remote.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent))
    };
    Some(work(&find))
}
