//! By what images are found.

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name: an argument of `kiln explain`.
    pub id: &'static str,
    /// What it finds, in a few words.
    pub line: &'static str,
    /// Its page: what, how sure, an example.
    pub page: &'static str,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.id == other.id
    }
}

macro_rules! rules {
    ($($name:ident $id:literal $line:literal $page:literal;)*) => {
        $(
            #[doc = $line]
            pub static $name: Rule = Rule { id: $id, line: $line, page: concat!("# ", $id, "\n\n", $line, ".\n\n", $page) };
        )*
        /// All rules.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
CONTAINER "images.container" "image of a container in a pod or in the template of one"
"`containers`, `initContainers` and `ephemeralContainers` of Pod, PodTemplate, ReplicationController, ReplicaSet,
Deployment, StatefulSet, DaemonSet, Job, CronJob and lists of them, and of the same maps in custom resources.
Nothing else in these objects counts, whatever its key is. Found images are part of the cluster image.

A node selector by `kubernetes.io/arch` or `kubernetes.io/os` says for which platform the image is wanted.
`image: auto` is what a mesh puts in later: a warning, no image.
";
VOLUME "images.volume" "image mounted as a volume"
"`volumes[].image.reference` of a pod. Found images are part of the cluster image.
";
KEY "images.key" "value of a key `image` or `…Image` of a custom resource"
"Kiln does not know the types of custom resources, so it goes by keys: `image`, and keys that end in `Image`. A value
behind `…Image` without any of `/`, `:` and `@` is only possible. URLs, data, names of pictures and disks are not
images. Types in a CustomResourceDefinition are never images.

    kind: Prometheus
    spec:
      image: quay.io/prometheus/prometheus:v3.5.0
";
PARTS "images.parts" "image in parts: repository, tag or digest, registry"
"A map with `repository` (or `repo`, `name`) and `tag` or `digest`, with or without `registry`; pairs such as
`imageRepository` and `imageTag`, `sidecarImage` and `sidecarImageTag`, `baseImage` and `version`. Without a tag it is
only possible: the operator may have one of its own. A tag that YAML reads as a number is used as it is written, with
a warning, because Kubernetes reads `1.10` as `1.1`.

    image:
      registry: quay.io
      repository: cilium/cilium
      tag: v1.18.0
";
LIST "images.list" "entry of a list `images` of a custom resource"
"Texts in a list behind `images` or `…Images`, and maps with a key `image` or with parts. A kustomization's
`images` are possible only: they change what other files name.
";
FLUX "images.flux" "artifact that Flux pulls"
"`spec.url: oci://…` with `spec.ref.tag` or `spec.ref.digest` of an OCIRepository. A range of versions
(`spec.ref.semver`) cannot be packed: a warning.
";
ARGUMENT "images.argument" "argument of a container that looks like an image"
"`--sidecar-image=NAME`, `--sidecar-image NAME` and any `--x=NAME` whose value has a registry, a path, and a tag or a
digest. Possible: the program may never run it.
";
ENVIRONMENT "images.environment" "environment variable that looks like an image"
"A variable whose name has IMAGE in it, or whose value has a registry, a path, and a tag or a digest; in containers and
in the data of ConfigMaps. Possible: the program may never run it.
";
ANNOTATION "images.annotation" "annotation that looks like an image"
"An annotation whose key has `image` in it, or whose value has a registry, a path, and a tag or a digest. Possible.
What kubectl notes of the last configuration is left out.
";
CHART "images.chart" "image that a chart's annotation or lock file lists"
"`helm.sh/images`, `artifacthub.io/images` and `images` in the annotations of a Chart.yaml: YAML, a list of maps with
`image`, and perhaps with `condition`, a path in the chart's values that must be true. The author of the chart says that
it runs them: an operator's images are often named nowhere else. Lock files are `images.lock`, `images-lock.yaml` and
the like beside the Chart.yaml.
";
VALUES "images.values" "image in the values of a chart"
"The keys and parts of other rules in a values.yaml; without a tag, the chart's appVersion is the tag. Possible: only
rendering the chart says whether they are used.
";
KUBEADM "images.kubeadm" "image that kubeadm runs"
"A ClusterConfiguration's `kubernetesVersion` and `imageRepository` say which images of the control plane, kube-proxy,
CoreDNS, etcd and pause kubeadm of that version pulls; `dns` and `etcd.local` may name others.
";
SCHEMA "images.default" "default of a key `image` in the types of a custom resource"
"`default:` below a property `image` of a CustomResourceDefinition: the API server fills it in. Possible. Nothing else
in the types is looked at.
";
LINE "images.line" "key `image` on a line of a file that is no YAML"
"Templates and files with mistakes are searched line by line for `image: NAME`, with a warning that names the line
which could not be read. Names with `{{` in them are warnings.
";
REGISTRY "images.registry" "image that came along in the directory of a registry"
"Images of `registry/docker/registry/v2` in the root file system that nothing else names. sealer and sealos leave the
registry's host out of names there, and so these have that of the cluster's own registry, `sea.hub:5000`.
";
BASE "images.base" "image that the base contains"
"What a base contains, its children contain, unless the list of ignored images has it.
";
FILE "images.list-file" "line of a list of images"
"One image a line; `#` starts a comment, quotes do not matter, and `--platform=linux/amd64,linux/arm64` before the name
says for which platforms.

    # what a custom resource starts
    quay.io/coreos/etcd:v3.5.21
    --platform=linux/arm64 \"busybox@sha256:…\"
";
}

/// The rule of an id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}
