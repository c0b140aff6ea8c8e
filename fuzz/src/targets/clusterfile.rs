//! Clusterfiles: whatever they say, places lie in their text, no password is quoted, and what is read can be used.

use kiln_clusterfile::template::Variables;
use kiln_clusterfile::{Cluster, Flags, config, kubeadm, read, template};
use kiln_spec::diag::render;
use kiln_spec::source::Source;

use super::text;

/// A file of the rootfs that Configs change.
const FILE: &str = "kind: A\nmetadata: {name: a}\ndata: {k: v}\n---\nkind: B\ndata: {k: v}\n";

/// Reads the text as a Clusterfile, with a host on the command line.
pub fn run(bytes: &[u8]) {
    let source = Source { name: "Clusterfile".into(), text: text(bytes) };
    let flags = Flags { nodes: Some("203.0.113.9".into()), ..Flags::default() };
    let read = read(Some(&source), &flags);
    for found in &read.found {
        let span = found.diagnostic.span;
        assert!(found.source.text.get(span.start..span.end).is_some(), "{span:?} lies in the text");
        drop(render(&found.diagnostic, &found.source, false));
    }
    let errors = read.found.iter().filter(|found| found.diagnostic.is_error()).count();
    assert_eq!(read.cluster.is_none(), errors > 0, "either a cluster or errors");
    if let Some(cluster) = read.cluster {
        used(&cluster);
    }
}

fn used(cluster: &Cluster) {
    for host in cluster.hosts.iter().take(20) {
        assert!(!host.addresses.is_empty() && !host.roles.is_empty(), "a host has an address and a role");
        let variables = Variables::of(cluster, host, host.address());
        assert!(variables.exports().matches("export ").count() >= 4, "Kiln's own are there");
        drop(template::render("etc/a.tmpl", "{{ range $k, $v := . }}{{ $k }}={{ $v }} {{ end }}", &variables));
        let layers = std::iter::once(kubeadm::of_host(host, &[])).chain(cluster.kubeadm.iter().cloned());
        drop(kiln_kubeadm::resolve(&layers.collect::<Vec<_>>(), Some("v1.31.0")));
    }
    assert!(cluster.hosts.iter().any(|host| host.address().to_string() == "203.0.113.9"), "options count");
    for change in cluster.configs.iter().take(20) {
        assert!(!change.path.value.split('/').any(|part| part == ".."), "{} lies in the rootfs", change.path.value);
        if let Ok(once) = config::apply(change, Some(FILE.as_bytes()))
            && change.strategy.value == kiln_clusterfile::model::Strategy::Merge
        {
            let twice = config::apply(change, Some(&once));
            assert_eq!(twice.as_ref(), Ok(&once), "merging again changes nothing");
        }
    }
}
