//! Names of pods and services, as the hosts know them: libcni's results and the runtime have pods, kube-proxy's rules have
//! services. The API knows more, where it was asked: services without an address of their own, pods of hosts that were
//! not looked at.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::Fleet;
use crate::checks::logs::printable;
use crate::fleet::uplink_addresses;

/// Where a path begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it was called.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port, if one was named, or the service has only one.
    pub port: Option<u16>,
}

/// Names that are shown when none fits.
const SHOWN: usize = 8;

/// `IP`, `IP:PORT`, or a name: `[pod/|svc/|host/][NAMESPACE/]NAME[:PORT]`.
///
/// # Errors
/// When nobody has the name, or more than one.
pub fn find(fleet: &Fleet, text: &str) -> Result<Place, String> {
    let place = |ip, port| Place { name: text.to_owned(), ip, port };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(place(ip, None));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(place(socket.ip(), Some(socket.port())));
    }
    let (whole, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| format!("`{text}` ends with no port"))?)),
        None => (text, None),
    };
    let (kind, wanted) = kind(whole);
    let mut found: BTreeSet<(String, IpAddr, Option<u16>)> = BTreeSet::new();
    for (of, name, ip, own) in all(fleet) {
        if kind.is_none_or(|kind| kind == of)
            && fits(&name, wanted, of)
            && port.is_none_or(|port| own.is_none_or(|own| own == port))
        {
            found.insert((format!("{of}/{name}"), ip, port.or(own)));
        }
    }
    // Ports of one service are one place, if nobody asked for one of them.
    let ips: BTreeSet<IpAddr> = found.iter().map(|(_, ip, _)| *ip).collect();
    match (ips.len(), found.first()) {
        (1, Some((name, ip, port))) => Ok(Place { name: name.clone(), ip: *ip, port: *port }),
        (0, _) => Err(unknown(fleet, text)),
        _ => {
            let names: Vec<String> =
                found.iter().take(SHOWN).map(|(name, ip, _)| format!("{} ({ip})", printable(name))).collect();
            Err(format!("`{text}` has more than one address: {}", names.join(", ")))
        }
    }
}

/// `pod/default/web` → `pod`, `default/web`.
fn kind(text: &str) -> (Option<&'static str>, &str) {
    let kinds = [("pod/", "pod"), ("svc/", "svc"), ("service/", "svc"), ("host/", "host"), ("node/", "host")];
    let found = kinds.into_iter().find_map(|(start, kind)| Some((Some(kind), text.strip_prefix(start)?)));
    found.unwrap_or((None, text))
}

/// Whether `default/web:http` or `default/web` is meant by `web`, `default/web`, `web.default` or `web.default.svc`.
fn fits(name: &str, wanted: &str, kind: &str) -> bool {
    if kind == "host" {
        return name.eq_ignore_ascii_case(wanted);
    }
    let whole = name.split(':').next().unwrap_or_default();
    let Some((namespace, bare)) = whole.split_once('/') else { return false };
    let mut labels = wanted.split('.');
    let of_dns = kind == "svc" && labels.next() == Some(bare) && labels.next() == Some(namespace);
    whole == wanted || bare == wanted || of_dns
}

type Known = (&'static str, String, IpAddr, Option<u16>);

/// Everything that has a name: kind, `NAMESPACE/NAME`, address, port.
fn all(fleet: &Fleet) -> impl Iterator<Item = Known> + '_ {
    let hosts = fleet.hosts.iter().flat_map(|host| {
        let pods = host
            .cni
            .pods
            .iter()
            .filter_map(|pod| Some(("pod", format!("{}/{}", pod.namespace, pod.name), *pod.ips.first()?, None)));
        let services = host.kernel.iter().flat_map(|kernel| &kernel.services);
        let services = services
            .filter(|service| !service.name.is_empty())
            .filter_map(|service| Some(("svc", service.name.clone(), service.ip?, Some(service.port))));
        let own = host.tables().and_then(|tables| uplink_addresses(tables).next().map(|(_, network)| network.ip));
        let own = own.map(|ip| ("host", host.name.clone(), ip, None));
        pods.chain(services).chain(own)
    });
    let api = fleet.api.iter().flat_map(|api| {
        let pods = api.pods.iter().filter_map(|pod| Some(("pod", pod.name.clone(), *pod.ips.first()?, None)));
        let services = api.services.iter().flat_map(|service| {
            let headless = service.ip.is_none().then(|| service.endpoints.first().copied()).flatten();
            service.ports.iter().filter_map(move |port| match (service.ip, headless) {
                (Some(ip), _) => Some(("svc", service.name.clone(), ip, Some(port.port))),
                // Names of such a service lead to its pods.
                (None, Some(ip)) => Some(("svc", service.name.clone(), ip, Some(port.target.unwrap_or(port.port)))),
                (None, None) => None,
            })
        });
        pods.chain(services)
    });
    hosts.chain(api)
}

fn unknown(fleet: &Fleet, text: &str) -> String {
    let names: BTreeSet<String> = all(fleet).map(|(kind, name, ..)| format!("{kind}/{}", printable(&name))).collect();
    let few: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let known = match names.len() {
        0 => "no names are known".to_owned(),
        count if count > SHOWN => format!("known are {}, and {} more", few.join(", "), count - SHOWN),
        _ => format!("known are {}", few.join(", ")),
    };
    format!("`{text}` is no address, and no pod, service or host has this name; {known}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostFacts;
    use crate::facts::cni::Pod;
    use crate::facts::kernel::Kernel;
    use crate::netlink::services::Service;

    fn fleet() -> Fleet {
        let pod = |namespace: &str, name: &str, ip: &str| Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            sandbox: String::new(),
            ips: vec![ip.parse().unwrap()],
        };
        let service = |name: &str, port| Service {
            name: name.to_owned(),
            protocol: 6,
            ip: Some("10.96.5.5".parse().unwrap()),
            port,
            endpoints: Vec::new(),
        };
        let mut host = HostFacts::default();
        host.cni.pods =
            vec![pod("default", "web-0", "10.244.0.5"), pod("a", "x", "10.244.0.6"), pod("b", "x", "10.244.0.7")];
        let services = vec![service("default/web:http", 80), service("default/web:https", 443)];
        host.kernel = Some(Kernel { services, ..Kernel::default() });
        Fleet::new(vec![host])
    }

    #[test]
    fn who_has_a_name() {
        let fleet = fleet();
        let at = |text: &str| find(&fleet, text).map(|place| (place.ip.to_string(), place.port));
        let place = |ip: &str, port| Ok((ip.to_owned(), port));
        assert_eq!(at("10.0.0.1"), place("10.0.0.1", None));
        assert_eq!(at("10.0.0.1:80"), place("10.0.0.1", Some(80)));
        assert_eq!(at("[fd00::1]:80"), place("fd00::1", Some(80)));
        assert_eq!(at("web-0"), place("10.244.0.5", None));
        assert_eq!(at("pod/default/web-0:8080"), place("10.244.0.5", Some(8080)));
        assert_eq!(at("web"), place("10.96.5.5", Some(80)));
        assert_eq!(at("web.default.svc.cluster.local:443"), place("10.96.5.5", Some(443)));
        assert_eq!(at("b/x"), place("10.244.0.7", None));
    }

    #[test]
    fn who_has_not() {
        let fleet = fleet();
        for (text, why) in [
            ("x", "more than one address: pod/a/x (10.244.0.6), pod/b/x"),
            ("nobody", "known are pod/a/x"),
            ("svc/web-0", "no pod, service or host"),
            ("web:99999", "ends with no port"),
            ("web:81", "no pod, service or host"),
            ("", "no pod, service or host"),
        ] {
            let said = find(&fleet, text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(find(&Fleet::default(), "web").unwrap_err().contains("no names are known"));
    }
}
