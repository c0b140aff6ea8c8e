//! Ways of nodes to API servers and registries: a master that has left is taken out of them at once.
//!
//! A node would find out by itself that a master does not answer, again and again. What is changed are files on the host,
//! and not what they would be made of: a host may leave where nobody knows the Clusterfile.

use std::net::{IpAddr, SocketAddr};

use kiln_host::Stdin;

use crate::agent::ledger::{Content, Item, own_lines};
use crate::containerd::{self, CERTS, without_mirror};
use crate::error::{LaunchError, Result};
use crate::journal::Entry;
use crate::launch::{Launch, Member, key};
use crate::machine::SHORT;
use crate::phase::runtime;
use crate::run::each;

/// The unit on hosts.
pub const UNIT: &str = "/etc/systemd/system/kiln-balancer.service";
/// Where hosts know the registry by its name.
const HOSTS: &str = "/etc/hosts";
/// The longest file that is read.
const MAX: usize = 1 << 20;
/// What files of Kiln's begin with; others are not touched.
const OURS: &str = "# Written by kiln.";

/// The unit without the ways to an address; none if it has none to it, or no others.
pub fn without(unit: &str, gone: IpAddr) -> Option<String> {
    let (mut left, mut taken) = (0, 0);
    let line = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        let mut rest = line.split(' ');
        while let Some(word) = rest.next() {
            let to = if word == "--to" { rest.next() } else { None };
            match to.map(|to| (to, to.parse::<SocketAddr>())) {
                Some((_, Ok(address))) if address.ip() == gone => taken += 1,
                Some((to, _)) => {
                    left += 1;
                    words.extend([word, to]);
                }
                None => words.push(word),
            }
        }
        words.join(" ") + "\n"
    };
    let text: String = unit.lines().map(line).collect();
    (taken > 0 && left > 0).then_some(text)
}

/// Takes masters that have left out of the ways of these hosts. Hosts where that fails are told and noted: their next launch
/// makes it right, and until then they lose some seconds now and then.
pub fn forget(launch: &Launch, members: &[&Member], gone: &[IpAddr]) {
    each(members, launch.options.parallel, |member| {
        if let Err(error) = one(launch, member, gone) {
            missed(launch, member.name(), gone, &error);
        }
    });
}

/// Notes that a host still has ways to masters that have left.
pub fn missed(launch: &Launch, host: &str, gone: &[IpAddr], why: &LaunchError) {
    let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
    let text = format!("its ways to API servers still lead to {}, too, which has left: {why}", gone.join(", "));
    // That it is not noted is no reason to stop: it is told.
    let _ = note(launch, host, "failed", &gone.join(" "), text.clone());
    launch.events.event(crate::event::Event::Note { host: Some(host.to_owned()), text });
}

/// In the journal it is a part of the phase that makes the unit, whose next run replaces it.
fn note(launch: &Launch, host: &str, state: &str, what: &str, why: String) -> Result<()> {
    let phase = runtime::PHASE.name.to_owned();
    launch.state.note(host, Entry { phase, key: key(["balancer", what]), state: state.to_owned(), why })
}

/// A line that prints the files that have ways in them, each behind a line with its path.
fn question() -> String {
    format!(
        "for f in {UNIT} {HOSTS} {CERTS}/*/hosts.toml; do [ ! -f \"$f\" ] || {{ echo \"@@$f\"; head -c {MAX} \"$f\"; echo; }}; done"
    )
}

/// The names of a host's file that are Kiln's, with the registry's at another address than one that is gone; none where it is
/// at none of these, or nobody else has one.
fn names(text: &str, gone: &[IpAddr], registry: Option<(&str, IpAddr)>) -> Option<Item> {
    let (domain, now) = registry?;
    let mut any = false;
    let line = |line: &str| match line.split_once(' ') {
        Some((address, name)) if name == domain && address.parse().is_ok_and(|address| gone.contains(&address)) => {
            any = true;
            format!("{now} {domain}")
        }
        _ => line.to_owned(),
    };
    let lines: Vec<String> = own_lines(text).map(line).collect();
    any.then(|| Item { to: HOSTS.to_owned(), mode: 0o644, content: Content::Lines(lines) })
}

/// The files of an answer that are Kiln's and lead to who is gone, as they are to be. `registry` is a registry that stays.
fn changed(answer: &str, gone: &[IpAddr], registry: Option<(&str, IpAddr)>) -> Vec<Item> {
    let item = |part: &str| {
        let (path, text) = part.split_once('\n')?;
        if path == HOSTS {
            return names(text, gone, registry);
        }
        let text = text.strip_suffix('\n').filter(|text| text.starts_with(OURS))?;
        let take: fn(&str, IpAddr) -> Option<String> = match path.strip_prefix(CERTS) {
            Some(rest) if rest.ends_with("/hosts.toml") && !rest.contains("..") => without_mirror,
            None if path == UNIT => without,
            _ => return None,
        };
        let text = gone
            .iter()
            .fold(None, |done: Option<String>, gone| take(done.as_deref().unwrap_or(text), *gone).or(done))?;
        Some(Item { to: path.to_owned(), mode: containerd::mode(&text), content: Content::Text(text) })
    };
    answer.split("@@").skip(1).filter_map(item).collect()
}

fn one(launch: &Launch, member: &Member, gone: &[IpAddr]) -> Result<()> {
    let machine = &member.machine;
    let said = machine.succeed_with("read its ways to the API servers", &question(), Stdin::Empty, SHORT)?.text();
    let left = launch.registry_members().into_iter().find(|other| !gone.contains(&other.address));
    let registry = left.map(|other| (launch.cluster.registry.domain.value.as_str(), other.address));
    let items = changed(&said, gone, registry);
    if items.is_empty() {
        return Ok(());
    }
    let what = serde_json::to_string(&items).unwrap_or_default();
    let restarts = items.iter().any(|item| item.to == UNIT);
    note(launch, member.name(), "begun", &what, "a master has left".to_owned())?;
    runtime::install(launch, member, items)?;
    // containerd reads its files whenever it asks a registry.
    if restarts {
        let line = format!("{} && {}", launch.service("daemon-reload"), launch.service("restart kiln-balancer"));
        machine.succeed("start the way to the API servers anew", &line)?;
    }
    note(launch, member.name(), "done", &what, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_shell() {
        let output = std::process::Command::new("sh").arg("-n").arg("-c").arg(question()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_way_is_taken_out_and_everything_else_stays() {
        let masters = ["10.0.0.1:6443", "10.0.0.11:6443", "[fd00::1]:6443"].map(str::to_owned);
        let unit = crate::units::balancer(6443, &masters);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let text = without(&unit, address("10.0.0.1")).unwrap();
        assert_eq!(text, unit.replace(" --to 10.0.0.1:6443", ""));
        let text = without(&text, address("fd00::1")).unwrap();
        assert_eq!(text, crate::units::balancer(6443, &masters[1..2]));
        // The listener is no way, and the last one stays.
        for (text, gone) in [(&unit, "127.0.0.1"), (&unit, "10.0.0.2"), (&text, "10.0.0.11")] {
            assert_eq!(without(text, address(gone)), None, "{gone}");
        }
        let answer = format!("@@{UNIT}\n{unit}\n@@{CERTS}/../x/hosts.toml\n{unit}\n@@/etc/passwd\n{unit}\n");
        let gone = [address("10.0.0.1"), address("10.0.0.11")];
        let items = changed(&answer, &gone, None);
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(items[0].content, Content::Text(crate::units::balancer(6443, &masters[2..])));
        let others = unit.replace(OURS, "# Written by hand.");
        assert!(changed(&format!("@@{UNIT}\n{others}\n"), &gone, None).is_empty());
        for bad in ["", "@@", "@@\n", "nonsense"] {
            assert!(changed(bad, &gone, Some(("sea.hub", gone[0]))).is_empty(), "{bad:?}");
        }
        let own = ["127.0.0.1 apiserver.cluster.local", "10.0.0.1 sea.hub", "10.0.0.9 n9"].map(str::to_owned);
        let hosts = crate::agent::ledger::with_lines("127.0.0.1 localhost\n10.0.0.1 sea.hub\n", &own) + "::1 me\n";
        let answer = format!("@@{HOSTS}\n{hosts}\n");
        let lines = |answer: &str, registry| {
            changed(answer, &gone, registry).into_iter().map(|item| item.content).collect::<Vec<_>>()
        };
        let told = ["127.0.0.1 apiserver.cluster.local", "10.0.0.2 sea.hub", "10.0.0.9 n9"].map(str::to_owned).to_vec();
        assert_eq!(
            lines(&answer, Some(("sea.hub", address("10.0.0.2")))),
            [Content::Lines(told)],
            "only what is Kiln's"
        );
        assert!(lines(&answer, None).is_empty() && lines(&answer, Some(("r.hub", gone[0]))).is_empty());
        assert!(lines(&answer.replace("10.0.0.1 sea", "10.0.0.2 sea"), Some(("sea.hub", gone[0]))).is_empty());
        for bad in ["", "--to", "ExecStart=x --to\n", "ExecStart=x --to nonsense --to\n"] {
            assert_eq!(without(bad, address("10.0.0.1")), None, "{bad:?}");
        }
    }
}
