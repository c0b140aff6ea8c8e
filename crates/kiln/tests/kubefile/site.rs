//! A directory with charts and manifests, a registry that stands for Docker Hub, and one to push to.

use kiln_oci::{Descriptor, ImageConfig, Index, Platform, media};
use kiln_testkit::layout::busybox_config;
use kiln_testkit::rootfs::busybox_layer;
use kiln_testkit::{Auth, Layout, Output, Registry, Rootfs, TestContext};

/// A site.
pub struct Site {
    pub t: TestContext,
    /// What stands for Docker Hub and others.
    pub registry: Registry,
    /// Where images are pushed.
    pub target: Registry,
}

const DASHBOARD: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: dash
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: dash
  namespace: dash
spec:
  selector:
    matchLabels: {app: dash}
  template:
    metadata:
      labels: {app: dash}
    spec:
      containers:
        - name: dash
          image: example/dash:v2.4.0
";

const CHART: &str = "apiVersion: v2\nname: apollo\nversion: 0.3.0\nappVersion: \"1.9\"\n";
const VALUES: &str = "image:\n  repository: example/apollo\n  tag: \"1.9\"\nportal:\n  replicas: 2\n";
const TEMPLATE: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-apollo
spec:
  selector:
    matchLabels: {app: apollo}
  template:
    metadata:
      labels: {app: apollo}
    spec:
      containers:
        - name: apollo
          image: {{ .Values.image.repository }}:{{ .Values.image.tag }}
";
const SUB_CHART: &str = "apiVersion: v2\nname: portal\nversion: 0.1.0\n";
const SUB_TEMPLATE: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: portal
spec:
  containers:
    - name: portal
      image: \"{{ .Values.registry }}/portal:{{ .Values.replicas }}\"
";

impl Default for Site {
    fn default() -> Self {
        Site::new()
    }
}

impl Site {
    pub fn new() -> Site {
        // Images are dated, and so the same wherever they are built.
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("SOURCE_DATE_EPOCH", "1700000000");
        let site = Site { t, registry: Registry::start(Auth::None), target: Registry::start(Auth::None) };
        for (name, text) in [
            ("imageList", "nginx:latest\nmysql:5.6\n"),
            ("recommended.yaml", DASHBOARD),
            ("helm", "#!/bin/sh\n"),
            ("apollo/Chart.yaml", CHART),
            ("apollo/values.yaml", VALUES),
            ("apollo/templates/deployment.yaml", TEMPLATE),
            ("apollo/charts/portal/Chart.yaml", SUB_CHART),
            ("apollo/charts/portal/values.yaml", "registry: quay.example\nreplicas: 1\n"),
            ("apollo/charts/portal/templates/pod.yaml", SUB_TEMPLATE),
        ] {
            site.write(name, text);
        }
        for name in ["library/nginx:latest", "library/mysql:5.6", "example/dash:v2.4.0", "example/apollo:1.9"] {
            site.image(name, name);
        }
        site.image("portal:2", "portal");
        site
    }

    /// The image `kubernetes:v1.19.8`, made of a directory with a file for each program.
    pub fn with_kubernetes(self) -> Site {
        for name in ["kubeadm", "kubelet", "kubectl", "runc"] {
            self.write(&format!("binaries/{name}"), &format!("#!/bin/sh\necho {name}\n"));
        }
        let args = ["cluster", "base", "--kubernetes", "v1.19.8", "--from", "binaries", "--no-images"];
        let _ = self.kiln(&[&args[..], &["-t", "kubernetes:v1.19.8", "--quiet"]].concat()).ok();
        self
    }

    pub fn write(&self, path: &str, content: &str) {
        let whole = self.t.context().join(path);
        std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
        self.t.write(path, 0o644, content);
    }

    /// Puts an image of a layer that all share and one small file into the registry.
    pub fn image(&self, name: &str, content: &str) {
        let own = Rootfs::new().file("which", 0o644, content).tar();
        self.push(name, &[shared_layer(), own]);
    }

    /// Puts an image with a shell into the registry.
    pub fn busybox(&self, name: &str) {
        self.push(name, &[busybox_layer()]);
    }

    /// Puts an image of these architectures into the registry, as an index.
    pub fn many(&self, name: &str, architectures: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(dir.path().join("layout"));
        let mut entries = Vec::new();
        for arch in architectures {
            let platform = Platform::linux(arch);
            let own = Rootfs::new().file("arch", 0o644, format!("{name} {arch}")).tar();
            let digest = layout.image(arch, ImageConfig::scratch(&platform), &[own]);
            let size = std::fs::metadata(layout.dir().join("blobs/sha256").join(digest.hex())).unwrap().len();
            let descriptor = Descriptor::new(media::OCI_MANIFEST, digest, size);
            entries.push(Descriptor { platform: Some(platform), ..descriptor });
        }
        let index = serde_json::to_vec(&Index::new(entries)).unwrap();
        let descriptor = layout.blob(media::OCI_INDEX, &index);
        layout.add("all:1", descriptor);
        self.registry.push(&layout, "all:1", name);
    }

    /// The platforms that a contained image is there for.
    pub fn platforms(&self, image: &str, name: &str) -> Vec<String> {
        let blob = |digest: &str| -> serde_json::Value {
            let hex = digest.trim_start_matches("sha256:");
            serde_json::from_slice(&std::fs::read(self.t.store().join("blobs/sha256").join(hex)).unwrap()).unwrap()
        };
        let of =
            |v: &serde_json::Value| format!("{}/{}", v["os"].as_str().unwrap(), v["architecture"].as_str().unwrap());
        let root = blob(&self.field(image, name, "digest"));
        match root["manifests"].as_array() {
            Some(all) => all.iter().map(|entry| of(&entry["platform"])).collect(),
            None => vec![of(&blob(root["config"]["digest"].as_str().unwrap()))],
        }
    }

    fn push(&self, name: &str, layers: &[Vec<u8>]) {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(dir.path().join("layout"));
        layout.image("x:1", busybox_config(), layers);
        self.registry.place(&layout, "x:1", name);
    }

    /// Kiln, for which the registry is every registry's mirror.
    pub fn kiln(&self, args: &[&str]) -> Output {
        self.t.kiln(args)
    }

    /// Options by which images of other hosts come from the registry.
    pub fn mirrors(&self) -> Vec<String> {
        let address = self.registry.address();
        let of = |host: &str| format!("--registry-mirror={host}=http://{address}");
        let mut all: Vec<String> = ["docker.io", "quay.example", "registry.k8s.io", "k8s.gcr.io"].map(of).into();
        all.push("--retries=0".to_owned());
        all
    }

    /// Builds a Kubefile.
    pub fn build(&self, kubefile: &str, name: &str, more: &[&str]) -> Output {
        self.write("Kubefile", kubefile);
        let mirrors = self.mirrors();
        let mut args = vec!["cluster", "build", "-t", name];
        args.extend(mirrors.iter().map(String::as_str));
        args.extend(more);
        args.push(".");
        self.kiln(&args)
    }

    /// Names of contained images.
    pub fn names(&self, image: &str) -> Vec<String> {
        let listed = self.kiln(&["cluster", "images", image, "--json"]).ok().json();
        let name = |image: &serde_json::Value| image["name"].as_str().unwrap().to_owned();
        listed["images"].as_array().unwrap().iter().map(name).collect()
    }

    /// A field of the one contained image with this name.
    pub fn field(&self, image: &str, name: &str, field: &str) -> String {
        let listed = self.kiln(&["cluster", "images", image, "--json"]).ok().json();
        let found = listed["images"].as_array().unwrap().iter().find(|i| i["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name}: {listed}"))[field].as_str().unwrap_or_default().to_owned()
    }
}

/// A layer that no compression makes smaller, so that images have some size.
fn shared_layer() -> Vec<u8> {
    let mut state = 7_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(90_000)
    .flatten()
    .collect();
    Rootfs::new().file("shared", 0o644, bytes).tar()
}
