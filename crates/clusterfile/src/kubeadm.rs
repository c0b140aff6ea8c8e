//! What a cluster says to kubeadm besides the documents that the user wrote for it.
//!
//! | layer | who makes it | what it says |
//! |---|---|---|
//! | of a host | [`of_host`], for `kubeadm init` and `join` there | name, node address, advertised address |
//! | certSANS | [`crate::read()`], if both say names | those of the documents and those of the Cluster |
//! | Clusterfile | the user | documents of kubeadm |
//! | Cluster | [`crate::read()`] | `network`, `certSANS` |
//!
//! The image's `etc/kubeadm.yml` and the default are below all.

use std::net::IpAddr;

use kiln_kubeadm::value::Lines;
use kiln_kubeadm::{Content, Kind, Layer, Origin as Place, Value};
use kiln_spec::diag::Diagnostic;
use kiln_yaml::Node;

use crate::model::{Cidr, Cluster, Host, Origin, Said};

/// An origin as kubeadm's layers have it.
pub fn place(origin: &Origin) -> Place {
    match origin {
        Origin::File { name, line, .. } => Place { layer: name.to_string(), line: *line, changed: false },
        other => Place { layer: other.to_string(), ..Place::default() },
    }
}

fn text(text: impl Into<String>, origin: &Origin) -> Value {
    Value { content: Content::Text(text.into()), origin: place(origin) }
}

fn map() -> Value {
    Value { content: Content::Map(Vec::new()), origin: Place { layer: "Cluster".to_owned(), ..Place::default() } }
}

/// Names for the API server's certificate, of both who say some: the documents of kubeadm in `roots` and the Cluster.
/// A list of an upper layer replaces one below, and here both are meant.
pub(crate) fn sans<'n>(
    cluster: &Cluster,
    roots: impl Iterator<Item = &'n Node>,
    name: &str,
    file: &str,
) -> Option<Layer> {
    let is_cluster = |root: &&Node| root.at(&["kind"]).and_then(Node::text) == Some("ClusterConfiguration");
    let documents: Vec<&Node> = roots.filter(is_cluster).collect();
    let written = documents.iter().find_map(|root| root.at(&["apiServer", "certSANs"])?.list());
    let written = written.filter(|items| !items.is_empty() && !cluster.cert_sans.is_empty())?;
    let lines = Lines::new(file);
    let mut items: Vec<Value> = written.iter().map(|item| Value::of(item, name, &lines)).collect();
    for said in &cluster.cert_sans {
        if !items.iter().any(|item| item.as_text() == Some(&said.value)) {
            items.push(text(&*said.value, &said.origin));
        }
    }
    let mut configuration = map();
    let origin = place(&cluster.cert_sans.first()?.origin);
    configuration.put(&["apiServer", "certSANs"], Value { content: Content::List(items), origin });
    Some(Layer::made("certSANS", vec![(Kind::ClusterConfiguration, configuration)]))
}

/// What the Cluster says of the network and of names.
pub(crate) fn of_spec(cluster: &Cluster) -> Option<Layer> {
    let mut configuration = map();
    for (field, ranges) in
        [("podSubnet", &cluster.network.pod_cidrs), ("serviceSubnet", &cluster.network.service_cidrs)]
    {
        if let Some(first) = ranges.first() {
            configuration.put(&["networking", field], text(joined(ranges), &first.origin));
        }
    }
    if let Some(first) = cluster.cert_sans.first() {
        let items = cluster.cert_sans.iter().map(|said| text(&*said.value, &said.origin)).collect();
        let list = Value { content: Content::List(items), origin: place(&first.origin) };
        configuration.put(&["apiServer", "certSANs"], list);
    }
    let is_empty = configuration.map().is_none_or(Vec::is_empty);
    (!is_empty).then(|| Layer::made("Cluster", vec![(Kind::ClusterConfiguration, configuration)]))
}

fn joined(ranges: &[Said<Cidr>]) -> String {
    ranges.iter().map(|range| range.value.to_string()).collect::<Vec<_>>().join(",")
}

/// Warnings where documents of kubeadm say something else than the Cluster, whose word is then lost.
pub(crate) fn overridden<'n>(cluster: &Cluster, roots: impl Iterator<Item = &'n Node>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for root in roots.filter(|root| root.at(&["kind"]).and_then(Node::text) == Some("ClusterConfiguration")) {
        for (field, name, ranges) in [
            ("podSubnet", "podCIDR", &cluster.network.pod_cidrs),
            ("serviceSubnet", "svcCIDR", &cluster.network.service_cidrs),
        ] {
            let Some(written) = root.at(&["networking", field]) else { continue };
            if let Some(said) = ranges.first()
                && written.text() != Some(&*joined(ranges))
            {
                let message = format!("`networking.{field}` wins over `spec.network.{name}` of {}", said.origin);
                let diagnostic = Diagnostic::warning("Overridden", written.span, message);
                found.push(diagnostic.hint("remove one of the two"));
            }
        }
    }
    found
}

/// What kubeadm and the kubelet are told on one host: it belongs above all other layers. `addresses` are those that
/// [`crate::address::choose`] gave, one of each family that the cluster has, the main one first.
pub fn of_host(host: &Host, addresses: &[(IpAddr, Origin)]) -> Layer {
    let (mut init, mut join) = (map(), map());
    for document in [&mut init, &mut join] {
        if let Some(name) = &host.name {
            document.put(&["nodeRegistration", "name"], text(&*name.value, &name.origin));
        }
        if let Some((_, origin)) = addresses.first() {
            let all: Vec<String> = addresses.iter().map(|(address, _)| address.to_string()).collect();
            document.put(&["nodeRegistration", "kubeletExtraArgs", "node-ip"], text(all.join(","), origin));
        }
    }
    if let Some((address, origin)) = addresses.first() {
        init.put(&["localAPIEndpoint", "advertiseAddress"], text(address.to_string(), origin));
        let path = ["controlPlane", "localAPIEndpoint", "advertiseAddress"];
        if host.is_master() {
            join.put(&path, text(address.to_string(), origin));
        }
    }
    if !host.is_master() {
        // The default has this part, and with it a host joins as a master.
        join.put(&["controlPlane"], Value { content: Content::Null, origin: place(&Origin::Default) });
    }
    Layer::made("host", vec![(Kind::InitConfiguration, init), (Kind::JoinConfiguration, join)])
}
