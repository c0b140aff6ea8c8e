//! Files with mistakes.

use super::wrong;

const CLUSTER: &str = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\n";

fn cluster(rest: &str) -> Vec<String> {
    wrong(&format!("{CLUSTER}{rest}"), None)
}

#[test]
fn unknown_fields_are_errors_that_ask_what_was_meant() {
    assert_eq!(
        cluster("imageRepositry: a\n"),
        ["E UnknownField ClusterConfiguration has no field `imageRepositry` | did you mean `imageRepository`?"]
    );
    assert_eq!(
        cluster("apiServer: {extraVolumes: [{nam: a}]}\n"),
        ["E UnknownField ClusterConfiguration.apiServer.extraVolumes[] has no field `nam` | did you mean `name`?"]
    );
    assert_eq!(cluster("apiServer: {extraEnvs: []}\n").len(), 1, "v1beta2 has no extraEnvs");
}

#[test]
fn fields_of_kubelets_that_kiln_does_not_know_are_passed_on_with_a_warning() {
    let kubelet = |field: &str| {
        wrong(&format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{field}\n"), None)
    };
    assert_eq!(
        kubelet("somethingQuiteNew: 1"),
        ["W UnknownField KubeletConfiguration has no field `somethingQuiteNew`"]
    );
    assert_eq!(
        kubelet("failSwapOm: false"),
        ["E UnknownField KubeletConfiguration has no field `failSwapOm` | did you mean `failSwapOn`?"]
    );
}

#[test]
fn values_of_other_types_are_errors() {
    assert_eq!(
        cluster("apiServer: {extraArgs: {audit-log-maxage: 7}}\n"),
        ["E WrongType `apiServer.extraArgs.audit-log-maxage` is a string; this is a number | put it in quotes"]
    );
    assert_eq!(cluster("apiServer: {certSANs: a}\n"), ["E WrongType `apiServer.certSANs` is a list; this is a string"]);
    assert_eq!(cluster("networking: [a]\n"), ["E WrongType `networking` is a map; this is a list"]);
    assert_eq!(
        cluster("featureGates: {A: maybe}\n"),
        ["E WrongType `featureGates.A` is true or false; this is a string"]
    );
    let init =
        wrong("apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nlocalAPIEndpoint: {bindPort: 1.5}\n", None);
    assert_eq!(init, ["E WrongType `localAPIEndpoint.bindPort` is an integer; this is a number"]);
}

#[test]
fn documents_of_other_kinds_and_versions_are_errors() {
    let one = |text: &str| wrong(text, None).remove(0);
    assert!(
        one("apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfig\n")
            .starts_with("E UnknownKind `InitConfig` is no kind of kubeadm.k8s.io")
    );
    assert!(one("apiVersion: kubeadm.k8s.io/v1alpha3\nkind: InitConfiguration\n").contains("kubeadm config migrate"));
    assert!(one("apiVersion: v1\nkind: Pod\n").starts_with("E UnknownKind Pod of"));
    assert!(one("a: 1\n").contains("a document without a kind"));
    assert!(
        one("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ResetConfiguration\n")
            .contains("no ResetConfiguration before v1beta4")
    );
    assert!(one("apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n").starts_with("E UnknownApi"));
    assert!(one(&format!("{CLUSTER}---\n{CLUSTER}")).starts_with("E DuplicateKind"));
    assert!(
        one(&format!("{CLUSTER}clusterName: a\nclusterName: b\n"))
            .starts_with("E DuplicateKey `clusterName` is there already, in line 3")
    );
    assert!(one("a: [\n").starts_with("E BadYaml"));
    assert!(
        one("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n")
            .contains("newer than Kubernetes v1.19.8, which has v1beta2")
    );
}

#[test]
fn versions_that_are_none_are_errors() {
    for version in ["stable", "1.19.8", "v1.19", "v1.14.0", "v2.0.0", "v1.x.y", ""] {
        assert!(wrong("", Some(version))[0].starts_with("E BadVersion"), "{version}");
    }
}

#[test]
fn sizes_and_mistakes_have_limits() {
    let keys: String = (0..3000).map(|i| format!("k{i}: a\n")).collect();
    assert_eq!(cluster(&keys), ["E TooLarge more than 2000 entries in one list or map"]);
    let keys: String = (0..1900).map(|i| format!("k{i}: a\n")).collect();
    assert_eq!(cluster(&keys).len(), 200);
    assert!(cluster(&format!("x: {}", "[".repeat(10_000)))[0].starts_with("E BadYaml"));
}

#[test]
fn what_is_quoted_has_no_tokens() {
    let text = format!(
        "{CLUSTER}x: 1\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\ncertificateKey: 0123abcd\nbootstrapTokens: [{{token: abcdef.0123456789abcdef, tll: 1h}}]\n"
    );
    let layers = [kiln_kubeadm::Layer::file("f", text.clone())];
    let found = kiln_kubeadm::resolve(&layers, None).unwrap_err();
    assert!(!found.is_empty());
    let shown = layers[0].shown();
    assert_eq!(shown.text.len(), text.len(), "places stay");
    let all: String = found.iter().map(|(_, found)| kiln_spec::diag::render(found, &shown, false)).collect();
    assert!(all.contains("tll") && !all.contains("0123"), "{all}");
}
