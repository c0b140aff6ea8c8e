//! What a cluster says of itself, beside what its hosts have: nodes, pods, services and warnings of the API server.
//!
//! [`Api::of`] takes the objects as the API has them; nothing here asks for them but [`ask`]. What is not a part of an
//! object as it should be is left out: an API server may be of another version.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kiln_kube::{Cluster, KubeError, Listed};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::Network;
use crate::netlink::route::Mac;
use crate::{Fleet, HostFacts};

/// Endpoints that are kept of a service.
const ENDPOINTS: usize = 1000;
/// Warnings that are kept, and letters of each.
const EVENTS: usize = 2000;
const LETTERS: usize = 600;

/// What a cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Api {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its pods, but for those that ended.
    pub pods: Vec<Pod>,
    /// Its services.
    pub services: Vec<Service>,
    /// Warnings, as many as it keeps.
    pub events: Vec<Event>,
    /// What it did not tell, and why.
    pub untold: Vec<(String, String)>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The networks of its pods.
    pub pod_cidrs: Vec<Network>,
    /// Its addresses of the kind `InternalIP`.
    pub internal: Vec<IpAddr>,
    /// `flannel.alpha.coreos.com/public-ip`: where flanneld says that its tunnel is.
    pub public_ip: Option<IpAddr>,
    /// The address of its tunnel on the link, of `flannel.alpha.coreos.com/backend-data`.
    pub vtep_mac: Option<Mac>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A condition of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `DiskPressure`, `NetworkUnavailable`, …
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why, in the kubelet's or a controller's words.
    pub message: String,
}

impl Node {
    /// A condition, by its kind.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Whether its addresses are its node's.
    pub host: bool,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Its address; nothing for a service without one of its own ("headless").
    pub ip: Option<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Addresses of those behind it that are ready.
    pub endpoints: Vec<IpAddr>,
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The number of the pods' port, where it is a number.
    pub target: Option<u16>,
}

/// A warning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `FailedCreatePodSandBox` and the like.
    pub reason: String,
    /// `NAMESPACE/NAME` of what it is about.
    pub about: String,
    /// The node that saw it.
    pub node: String,
    /// What it says.
    pub message: String,
}

/// Asks a cluster. What it refuses is told in [`Api::untold`].
///
/// # Errors
/// When it does not answer the first question.
pub fn ask(cluster: &Cluster) -> Result<Api, KubeError> {
    let nodes = cluster.list(Listed::Nodes)?;
    let mut untold = Vec::new();
    let mut more = |what: Listed| {
        cluster.list(what).unwrap_or_else(|error| {
            untold.push((what.name().to_owned(), error.to_string()));
            Vec::new()
        })
    };
    let (pods, services) = (more(Listed::Pods), more(Listed::Services));
    let (slices, events) = (more(Listed::EndpointSlices), more(Listed::Warnings));
    Ok(Api { untold, ..Api::of(&nodes, &pods, (&services, &slices), &events) })
}

impl Api {
    /// Of objects as the API has them; services with their EndpointSlices.
    pub fn of(nodes: &[Value], pods: &[Value], (services, slices): (&[Value], &[Value]), events: &[Value]) -> Api {
        let mut endpoints: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for slice in slices {
            let label = string(slice, "/metadata/labels/kubernetes.io~1service-name");
            let of = format!("{}/{label}", string(slice, "/metadata/namespace"));
            let ready = list(slice, "/endpoints")
                .filter(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
            let found = ready.flat_map(|endpoint| list(endpoint, "/addresses")).filter_map(ip);
            endpoints.entry(of).or_default().extend(found.take(ENDPOINTS));
        }
        let with = |value: &Value| {
            let name = name(value);
            Service { endpoints: endpoints.get(&name).cloned().unwrap_or_default(), name, ..service(value) }
        };
        Api {
            nodes: nodes.iter().map(node).collect(),
            pods: pods.iter().filter(|pod| alive(pod)).map(pod).collect(),
            services: services.iter().map(with).collect(),
            events: events.iter().rev().take(EVENTS).map(event).collect(),
            untold: Vec::new(),
        }
    }

    /// The node that a host is: by the name that its kubelet gives it, or by an address.
    pub fn node_of(&self, host: &HostFacts) -> Option<&Node> {
        let name = host.node_name();
        let named = self.nodes.iter().find(|node| node.name == name);
        let own = |ip: &IpAddr| host.tables().is_some_and(|tables| tables.owner(*ip).is_some());
        named.or_else(|| self.nodes.iter().find(|node| node.internal.iter().any(own)))
    }
}

impl Fleet {
    /// Hosts that are nodes of the cluster that was asked, with what it says of them.
    pub fn with_nodes(&self) -> impl Iterator<Item = (&HostFacts, &Node)> {
        let api = self.api.iter();
        api.flat_map(|api| self.hosts.iter().filter_map(|host| Some((host, api.node_of(host)?))))
    }
}

fn string(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    text.chars().take(LETTERS).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn name(value: &Value) -> String {
    format!("{}/{}", string(value, "/metadata/namespace"), string(value, "/metadata/name"))
}

fn node(value: &Value) -> Node {
    let mut cidrs: Vec<Network> =
        list(value, "/spec/podCIDRs").filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
    if cidrs.is_empty() {
        cidrs.extend(string(value, "/spec/podCIDR").parse::<Network>().ok());
    }
    let annotation = |key: &str| string(value, &format!("/metadata/annotations/flannel.alpha.coreos.com~1{key}"));
    // {"VNI":1,"VtepMAC":"0a:58:…"}
    let backend: Value = serde_json::from_str(&annotation("backend-data")).unwrap_or_default();
    let internal = list(value, "/status/addresses").filter(|address| string(address, "/type") == "InternalIP");
    let conditions = list(value, "/status/conditions").take(50).map(|condition| Condition {
        kind: string(condition, "/type"),
        status: string(condition, "/status"),
        message: string(condition, "/message"),
    });
    Node {
        name: string(value, "/metadata/name"),
        pod_cidrs: cidrs,
        internal: internal.filter_map(|address| ip(address.get("address")?)).collect(),
        public_ip: annotation("public-ip").parse().ok(),
        vtep_mac: string(&backend, "/VtepMAC").parse().ok(),
        conditions: conditions.collect(),
    }
}

fn alive(value: &Value) -> bool {
    !matches!(string(value, "/status/phase").as_str(), "Succeeded" | "Failed")
}

fn pod(value: &Value) -> Pod {
    let ips = list(value, "/status/podIPs").filter_map(|entry| ip(entry.get("ip")?));
    Pod {
        name: name(value),
        node: string(value, "/spec/nodeName"),
        ips: ips.take(8).collect(),
        host: value.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn service(value: &Value) -> Service {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let port = |value: &Value| {
        let protocol = string(value, "/protocol");
        Some(Port {
            port: number(value.get("port")?)?,
            protocol: if protocol.is_empty() { "TCP".to_owned() } else { protocol },
            target: value.get("targetPort").and_then(number),
        })
    };
    Service {
        ip: string(value, "/spec/clusterIP").parse().ok(),
        ports: list(value, "/spec/ports").take(100).filter_map(port).collect(),
        ..Service::default()
    }
}

fn event(value: &Value) -> Event {
    let about = |key: &str| string(value, &format!("/involvedObject/{key}"));
    Event {
        reason: string(value, "/reason"),
        about: format!("{}/{}", about("namespace"), about("name")),
        node: string(value, "/source/host"),
        message: string(value, "/message"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_become_facts() {
        let nodes = [json!({
            "metadata": {"name": "node0", "annotations": {
                "flannel.alpha.coreos.com/public-ip": "192.168.77.10",
                "flannel.alpha.coreos.com/backend-data": "{\"VNI\":1,\"VtepMAC\":\"0a:58:0a:f4:00:00\"}"}},
            "spec": {"podCIDR": "10.244.0.0/24"},
            "status": {"addresses": [{"type": "Hostname", "address": "node0"}, {"type": "InternalIP", "address": "192.168.77.10"}],
                "conditions": [{"type": "Ready", "status": "True", "message": "kubelet is posting ready status"}]},
        })];
        let pods = [
            json!({"metadata": {"namespace": "a", "name": "x"}, "spec": {"nodeName": "node0"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.2"}]}}),
            json!({"metadata": {"namespace": "a", "name": "done"}, "status": {"phase": "Succeeded"}}),
        ];
        let services = [
            json!({"metadata": {"namespace": "a", "name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 5432, "targetPort": 5433}]}}),
        ];
        let slices = [json!({"metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": [{"addresses": ["10.244.0.2"]}, {"addresses": ["10.244.0.3"], "conditions": {"ready": false}}]})];
        let events = [
            json!({"reason": "FailedCreatePodSandBox", "message": "m", "source": {"host": "node0"}, "involvedObject": {"namespace": "a", "name": "x"}}),
        ];
        let api = Api::of(&nodes, &pods, (&services, &slices), &events);
        assert_eq!(api.nodes[0].pod_cidrs, ["10.244.0.0/24".parse().unwrap()]);
        assert_eq!(api.nodes[0].vtep_mac.unwrap().to_string(), "0a:58:0a:f4:00:00");
        assert_eq!(api.nodes[0].internal, ["192.168.77.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(api.pods.len(), 1);
        assert_eq!((api.services[0].ip, api.services[0].endpoints.len()), (None, 1));
        assert_eq!(api.services[0].ports[0].target, Some(5433));
        assert_eq!((api.events[0].node.as_str(), api.events[0].about.as_str()), ("node0", "a/x"));
    }

    #[test]
    fn garbage_is_left_out() {
        let bad = [
            json!(null),
            json!([]),
            json!({"metadata": 7, "spec": {"ports": [7, {"port": 99999}], "podCIDRs": [1]}, "status": {"addresses": {}, "podIPs": [{}]}, "endpoints": [{"addresses": [7]}]}),
        ];
        let api = Api::of(&bad, &bad, (&bad, &bad), &bad);
        assert_eq!((api.nodes.len(), api.services[2].ports.len(), api.pods[2].ips.len()), (3, 0, 0));
    }
}
