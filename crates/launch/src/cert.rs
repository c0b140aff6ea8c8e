//! Certificates of the control plane: when they end, new ones, and further names for the API server's.
//!
//! New names go into the configuration that kubeadm keeps in the cluster, as masters that join later take them from there,
//! and into a new certificate on each master, one after the other. The old certificate is kept until the new one is there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use kiln_clusterfile::config;
use kiln_clusterfile::model::{Config, Said, Strategy};
use kiln_host::Stdin;
use kiln_host::command::quote;
use serde_json::Value;

use crate::error::{LaunchError, Result};
use crate::facts::HOME;
use crate::kubectl::KUBECTL;
use crate::launch::Member;
use crate::machine::{Machine, printable};
use crate::phase::init::cri_socket;
use crate::preflight::{is_node_name, minor};

/// How long a master may take.
const LIMIT: Duration = Duration::from_secs(300);
/// What kubeadm reads on each master.
const FILE: &str = "/etc/kubernetes/kiln-sans.yaml";
/// Names in one certificate.
const NAMES: usize = 1000;

/// Static pods start anew when their file has gone and comes back: kubelet looks every 20 seconds.
fn restart(pods: &[&str]) -> String {
    format!(
        "set -e; d=/etc/kubernetes/kiln-manifests; mkdir -p $d; for p in {}; do \
         [ ! -e /etc/kubernetes/manifests/$p.yaml ] || mv /etc/kubernetes/manifests/$p.yaml $d/; done; sleep 25; mv $d/*.yaml /etc/kubernetes/manifests/; rmdir $d; \
         n=0; until {KUBECTL} get --raw /healthz >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 90 ] || {{ echo 'the API server does not answer' >&2; exit 1; }}; sleep 2; done",
        pods.join(" ")
    )
}

/// `kubeadm certs`, as a release calls it.
fn certs(kubernetes: &str) -> &'static str {
    if minor(kubernetes) >= 20 { "kubeadm certs" } else { "kubeadm alpha certs" }
}

/// When certificates of a master end, in kubeadm's words.
///
/// # Errors
/// When it does not say.
pub fn expiration(machine: &Machine, kubernetes: &str) -> Result<String> {
    let line = format!("{} check-expiration 2>/dev/null", certs(kubernetes));
    Ok(machine.succeed_with("ask for certificates", &line, Stdin::Empty, LIMIT)?.text())
}

/// Renews all certificates of a master, and starts its control plane anew.
///
/// # Errors
/// When kubeadm fails, or the API server does not come back.
pub fn renew(machine: &Machine, kubernetes: &str) -> Result<()> {
    // Root's own configuration stays as it is, if it is another's.
    let same = "cmp -s /etc/kubernetes/admin.conf /root/.kube/config";
    let ours = machine.run("ask whose configuration of kubectl root has", same, Stdin::Empty, LIMIT)?;
    machine.succeed_with("renew certificates", &format!("{} renew all", certs(kubernetes)), Stdin::Empty, LIMIT)?;
    let all = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
    machine.succeed_with("start the control plane anew", &restart(&all), Stdin::Empty, LIMIT)?;
    if ours.exit.success() {
        machine.succeed("let root use kubectl", "umask 077; cp /etc/kubernetes/admin.conf /root/.kube/config")?;
    }
    Ok(())
}

/// Adds names and addresses to the certificate of the API server, on these masters, the first of the cluster first, which
/// runs this release. Returns those that were not in it.
///
/// # Errors
/// When a word is neither, or a step fails: masters before it have the new certificate, and the same again goes on.
pub fn add_sans(masters: &[Member], kubernetes: &str, sans: &[String]) -> Result<Vec<String>> {
    sans.iter().try_for_each(|word| valid(word))?;
    let first = masters.first().ok_or_else(|| LaunchError::Wanted {
        what: "no master of the cluster is known".to_owned(),
        hint: "kiln cluster status shows what is".to_owned(),
    })?;
    let named = with_sans(&configuration(&first.machine)?, sans)?;
    for member in masters {
        certificate(member, kubernetes, &named)?;
    }
    let line = format!("kubeadm init phase upload-config kubeadm --config {FILE}; r=$?; rm -f {FILE}; exit $r");
    first.machine.write(FILE, 0o600, named.documents(first, kubernetes))?;
    first.machine.succeed_with("keep the names in the cluster", &line, Stdin::Empty, LIMIT)?;
    Ok(named.new)
}

/// The configuration of the cluster with further names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    text: String,
    /// Its version of kubeadm's API.
    api: String,
    /// Names that it did not have.
    new: Vec<String>,
}

impl Named {
    /// What kubeadm reads on one master: what the cluster has, and what this master is.
    fn documents(&self, member: &Member, kubernetes: &str) -> String {
        let docker = member.facts.marker.as_ref().is_some_and(|marker| marker.docker);
        let socket = cri_socket(member, docker, kubernetes);
        format!(
            "{}\n---\napiVersion: {}\nkind: InitConfiguration\nlocalAPIEndpoint:\n  advertiseAddress: \"{}\"\n\
             nodeRegistration:\n  name: \"{}\"\n  criSocket: {socket}\n",
            self.text.trim_end(),
            self.api,
            member.address,
            member.node
        )
    }
}

/// A name of DNS, `*.` before it at most, or an address.
fn valid(word: &str) -> Result<()> {
    let name = word.strip_prefix("*.").unwrap_or(word);
    if word.parse::<IpAddr>().is_ok() || is_node_name(&name.to_lowercase()) {
        return Ok(());
    }
    Err(LaunchError::Wanted {
        what: format!("`{}` is neither a name of DNS nor an address", printable(word)),
        hint: "such as api.example.com or 10.0.0.9, with commas between".to_owned(),
    })
}

/// The ClusterConfiguration that kubeadm keeps in the cluster.
fn configuration(first: &Machine) -> Result<String> {
    let what = "ask for kubeadm's configuration";
    let said = first.succeed(what, &format!("{KUBECTL} -n kube-system get configmap kubeadm-config -o json"))?;
    let map: Option<Value> = serde_json::from_slice(&said.stdout).ok();
    let text = map.as_ref().and_then(|map| map.pointer("/data/ClusterConfiguration")?.as_str());
    text.map(str::to_owned).ok_or_else(|| first.nonsense(what, "it has no ClusterConfiguration"))
}

/// The configuration with these names too, and which of them it did not have. Everything else in it stays.
fn with_sans(text: &str, sans: &[String]) -> Result<Named> {
    let wrong = |why: String| LaunchError::Wanted {
        what: format!("the configuration that kubeadm keeps in the cluster cannot be changed: {}", printable(&why)),
        hint: "look at it: kubectl -n kube-system get configmap kubeadm-config -o yaml".to_owned(),
    };
    let documents = kiln_yaml::parse(text);
    let root = match documents.iter().map(|document| &document.root).next() {
        Some(Ok(root)) if documents.len() == 1 => root,
        Some(Err(fault)) => return Err(wrong(fault.message.clone())),
        _ => return Err(wrong(format!("it has {} documents", documents.len()))),
    };
    let api = root.at(&["apiVersion"]).and_then(|version| version.text()).unwrap_or_default();
    let version = api
        .strip_prefix("kubeadm.k8s.io/")
        .filter(|version| !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric()));
    if version.is_none() {
        return Err(wrong(format!("its apiVersion is `{api}`")));
    }
    let known = root.at(&["apiServer", "certSANs"]).and_then(|list| list.list()).unwrap_or_default();
    let known: BTreeSet<&str> = known.iter().filter_map(|item| item.text()).collect();
    let new: BTreeSet<&str> = sans.iter().map(String::as_str).filter(|word| !known.contains(word)).collect();
    let all: Vec<&str> = known.iter().chain(&new).copied().collect();
    if all.len() > NAMES {
        return Err(wrong(format!("a certificate with more than {NAMES} names")));
    }
    let data = serde_json::json!({ "apiServer": { "certSANs": all } }).to_string();
    let config = Config {
        name: Said::default_of("certSANs".to_owned()),
        path: Said::default_of("kubeadm-config.yaml".to_owned()),
        strategy: Said::default_of(Strategy::Merge),
        process: Vec::new(),
        data: Said::default_of(data),
        app: None,
        image: None,
    };
    let changed = config::apply(&config, Some(text.as_bytes())).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(changed).map_err(|error| wrong(error.to_string()))?;
    Ok(Named { text, api: api.to_owned(), new: new.into_iter().map(str::to_owned).collect() })
}

/// Gives a master a new certificate for its API server. What it had is put back if kubeadm fails.
fn certificate(member: &Member, kubernetes: &str, named: &Named) -> Result<()> {
    let machine = &member.machine;
    machine.write(FILE, 0o600, named.documents(member, kubernetes))?;
    let kept = quote(&format!("{HOME}/pki-before"));
    let line = format!(
        "umask 077; d=/etc/kubernetes/pki; b={kept}; mkdir -p $b && cp -p $d/apiserver.crt $d/apiserver.key $b/ || exit 1; \
         rm -f $d/apiserver.crt $d/apiserver.key; kubeadm init phase certs apiserver --config {FILE}; r=$?; \
         [ $r = 0 ] || cp -p $b/apiserver.crt $b/apiserver.key $d/; rm -rf $b; rm -f {FILE}; exit $r"
    );
    machine.succeed_with("make a new certificate for the API server", &line, Stdin::Empty, LIMIT)?;
    machine.succeed_with("start the API server anew", &restart(&["kube-apiserver"]), Stdin::Empty, LIMIT).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_added_and_everything_else_stays() {
        let text = "apiServer:\n  certSANs:\n  - 10.0.0.1\n  extraArgs:\n    v: \"2\"\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nx: ~\n";
        let sans = ["api.example.com".to_owned(), "10.0.0.1".to_owned()];
        let named = with_sans(text, &sans).unwrap();
        assert_eq!(
            (named.new.as_slice(), named.api.as_str()),
            (&["api.example.com".to_owned()][..], "kubeadm.k8s.io/v1beta2")
        );
        let changed = named.text;
        for line in ["- 10.0.0.1", "- api.example.com", "v: \"2\"", "kind: ClusterConfiguration"] {
            assert!(changed.contains(line), "{line} is not in {changed}");
        }
        let again = with_sans(&changed, &sans).unwrap();
        assert_eq!((again.text, again.new), (changed.clone(), Vec::new()), "twice is once");
        let none = with_sans("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n", &sans).unwrap().text;
        assert!(none.contains("certSANs"), "{none}");
        for bad in [
            "",
            "a: [",
            "a: 1\n---\nb: 1\n",
            "- a\n",
            "kind: ClusterConfiguration\n",
            "apiVersion: kubeadm.k8s.io/x y\n",
        ] {
            assert!(with_sans(bad, &sans).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for good in ["api.example.com", "*.example.com", "10.0.0.9", "fd00::1", "A.example"] {
            assert!(valid(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "*", "-x", "a;b", "$(x)", "http://a", "a:6443"] {
            assert!(valid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_commands_are_shell() {
        let output = std::process::Command::new("sh").arg("-n").arg("-c").arg(restart(&["a", "b"])).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
