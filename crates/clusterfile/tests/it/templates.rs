//! Variables in templates and shells.

use kiln_clusterfile::template::{Variables, render, target};

use super::cluster;

fn variables() -> Variables {
    let cluster = cluster(
        "apiVersion: sealer.io/v2
kind: Cluster
spec:
  env: [Mode=prod, SANs=a;b, RegistryPort=443]
  containerRuntime: {type: docker}
  hosts: [{ips: [10.0.0.1], roles: [master], env: [Mode=test, Say=it's $HOME]}]
",
    );
    Variables::of(&cluster, &cluster.hosts[0], [192, 168, 0, 1].into())
}

#[test]
fn the_host_wins_over_the_cluster_over_kiln() {
    let all: Vec<String> = variables().environment().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        all,
        [
            "ContainerRuntime=docker",
            "HostIP=192.168.0.1",
            "Mode=test",
            "RegistryDomain=sea.hub",
            "RegistryPort=443",
            "RegistryURL=sea.hub:5000",
            "SANs=a b",
            "Say=it's $HOME"
        ]
    );
}

#[test]
fn a_shell_takes_each_value_for_one_word() {
    let mut variables = Variables::default();
    variables.set("A", ["it's; $(x)\n`y`".to_owned()]);
    variables.set("b;c", ["no".to_owned()]);
    variables.set("D", []);
    assert_eq!(variables.exports(), "export A='it'\\''s; $(x)\n`y`'; ");
}

#[test]
fn templates_are_go_s() {
    let render = |text: &str| render("etc/a.tmpl", text, &variables()).map_err(|found| Box::new(found.diagnostic));
    assert_eq!(render("{{ .Mode }} {{ range .SANs }}<{{ . }}>{{ end }}").unwrap(), "test <a><b>");
    assert_eq!(
        render("{{ .Mode | b64enc }} {{ base64encode .Mode }} {{ base64decode \"YQ==\" }} {{ .Mode | upper }}")
            .unwrap(),
        "dGVzdA== dGVzdA== a TEST"
    );
    assert_eq!(render("{{ if .Unset }}x{{ end }}{{ .Other | default \"d\" }}").unwrap(), "d", "asking is allowed");
    let unset = render("a\n{{ .Mode }} {{ .Modus }} {{ upper .Mode }}").unwrap_err();
    assert_eq!((&*unset.message, unset.span.start), ("the variable `Modus` is not set", 18));
    assert_eq!(render("{{ .A }}{{ .B }}").unwrap_err().message, "these variables are not set: `A`, `B`");
    assert_eq!(render("<no value> {{ .Mode }}").unwrap(), "<no value> test");
    for bad in [
        "{{ .Mode",
        "{{ nothing .Mode }}",
        "{{ now }}",
        "{{ randAlpha 3 }}",
        "{{ range }}",
        "{{ index .SANs 9 }}",
        "{{ env \"HOME\" }}",
    ] {
        assert_eq!(render(bad).unwrap_err().code, "BadTemplate", "{bad}");
    }
}

#[test]
fn which_files_are_templates() {
    assert_eq!(target("etc/a/kubeadm.yml.tmpl"), Some("etc/a/kubeadm.yml"));
    assert_eq!((target("charts/x.tmpl"), target("manifests/y.tmpl")), (Some("charts/x"), Some("manifests/y")));
    for path in ["etc/a.yml", "bin/a.tmpl", "etc/.tmpl", ".tmpl", "a.tmpl"] {
        assert_eq!(target(path), None, "{path}");
    }
}
