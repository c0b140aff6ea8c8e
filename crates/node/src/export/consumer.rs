//! The texts, one function for each who asks.
//!
//! `kube_up`: variables of `cluster/gce/config-default.sh` of Kubernetes. `cluster_api`: the fields of the providers'
//! `MachineTemplate`s (`image` of GCP, `ami.id` of AWS, `image.id` of Azure, `image` of Metal3). `kubeadm`: `JoinConfiguration`
//! of `kubeadm.k8s.io`, v1beta4 from Kubernetes 1.31 on and v1beta3 before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{ExportError, Record};
use kiln_host::command::quote;

/// `kube-up`: what `cluster/kube-up.sh` reads from its environment, for the master as for nodes.
///
/// # Errors
/// When it is no image of Google's cloud, or its project or distribution is not known.
pub fn kube_up(record: &Record, json: bool) -> Result<String, ExportError> {
    const WHO: &str = "kube-up";
    if record.builder != "googlecompute" {
        let why = "kube-up.sh starts machines of Google's cloud";
        return Err(ExportError::Wrong { builder: record.builder.clone(), consumer: WHO, why });
    }
    let project = record.said(WHO, "project_id")?;
    let distribution = record.said(WHO, "os_distribution")?;
    let image = google_name(&record.id)?;
    let lines = [
        ("KUBE_OS_DISTRIBUTION", distribution),
        ("KUBE_GCE_MASTER_PROJECT", project),
        ("KUBE_GCE_MASTER_IMAGE", image),
        ("KUBE_GCE_NODE_PROJECT", project),
        ("KUBE_GCE_NODE_IMAGE", image),
    ];
    if json {
        return Ok(pretty(&json!(BTreeMap::from(lines))));
    }
    Ok(lines.iter().map(|(name, value)| format!("export {name}={}\n", quote(value))).collect())
}

/// The name of an image of Google's cloud, as it may be.
fn google_name(name: &str) -> Result<&str, ExportError> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.len() <= 63
        && !name.ends_with('-');
    match good {
        true => Ok(name),
        false => Err(ExportError::Bad {
            key: "artifact_id",
            value: name.to_owned(),
            why: "it is no name of an image: a letter, then letters, digits and dashes, 63 at most",
        }),
    }
}

/// `terraform`: values for variables.
///
/// # Errors
/// When the artifact is none that can be named.
pub fn terraform(record: &Record, json: bool) -> Result<String, ExportError> {
    // Sorted, so that the same image gives the same text.
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    values.insert("image_builder".to_owned(), json!(record.builder));
    match &*record.builder {
        "googlecompute" => {
            let name = google_name(&record.id)?;
            values.insert("image_name".to_owned(), json!(name));
            if let Some(project) = record.data.get("project_id") {
                values.insert("image_self_link".to_owned(), json!(format!("projects/{project}/global/images/{name}")));
            }
        }
        kind if regional(kind) => {
            let regions = record.regions()?;
            if let [(_, only)] = &regions[..] {
                values.insert("image_id".to_owned(), json!(only));
            }
            let all: BTreeMap<String, String> = regions.into_iter().collect();
            values.insert("image_ids".to_owned(), json!(all));
        }
        _ if !record.files.is_empty() => {
            let files: Vec<String> = record.files.iter().map(|file| file.display().to_string()).collect();
            if let [only] = &files[..] {
                values.insert("image_file".to_owned(), json!(only));
            }
            values.insert("image_files".to_owned(), json!(files));
        }
        _ if !record.id.is_empty() => {
            values.insert("image_id".to_owned(), json!(record.id));
        }
        _ => return Err(ExportError::Missing { consumer: "terraform", key: "artifact_id" }),
    }
    if !record.data.is_empty() {
        values.insert("image_data".to_owned(), json!(record.data));
    }
    if json {
        return Ok(pretty(&json!(values)));
    }
    let mut out = String::new();
    for (name, value) in &values {
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{name} = {}", hcl(value, 0));
    }
    Ok(kiln_hcl::format::format(&out).unwrap_or(out))
}

/// Builders whose artifact is a list of regions and identifiers.
fn regional(builder: &str) -> bool {
    builder.starts_with("amazon-") || builder == "alicloud-ecs"
}

/// A value as HCL2 writes it.
fn hcl(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth + 1);
    let text = |text: &str| json!(text).to_string().replace("${", "$${").replace("%{", "%%{");
    match value {
        Value::String(value) => text(value),
        Value::Array(items) => {
            let items: String = items.iter().map(|item| format!("{pad}{},\n", hcl(item, depth + 1))).collect();
            format!("[\n{items}{}]", "  ".repeat(depth))
        }
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| format!("{pad}{} = {}\n", text(name), hcl(value, depth + 1));
            format!("{{\n{}{}}}", fields.iter().map(one).collect::<String>(), "  ".repeat(depth))
        }
        other => other.to_string(),
    }
}

/// `cluster-api`: the provider's machine template, as far as it is the image's.
///
/// # Errors
/// When no provider takes such an image, or something that it needs is not known.
pub fn cluster_api(record: &Record, json: bool) -> Result<String, ExportError> {
    const WHO: &str = "cluster-api";
    let (kind, version, spec) = match &*record.builder {
        "googlecompute" => {
            let (project, name) = (record.said(WHO, "project_id")?, google_name(&record.id)?);
            ("GCPMachineTemplate", "v1beta1", json!({"image": format!("projects/{project}/global/images/{name}")}))
        }
        kind if kind.starts_with("amazon-") => {
            let regions = record.regions()?;
            let id = match (&regions[..], record.data.get("region")) {
                ([(_, only)], None) => only,
                (all, Some(wanted)) => match all.iter().find(|(region, _)| region == wanted) {
                    Some((_, id)) => id,
                    None => {
                        let why = "the image is not in this region";
                        return Err(ExportError::Bad { key: "region", value: wanted.clone(), why });
                    }
                },
                _ => return Err(ExportError::Missing { consumer: WHO, key: "region" }),
            };
            ("AWSMachineTemplate", "v1beta2", json!({"ami": {"id": id}}))
        }
        "azure-arm" if !record.id.is_empty() => {
            ("AzureMachineTemplate", "v1beta1", json!({"image": {"id": record.id}}))
        }
        "alicloud-ecs" => {
            let why = "there is no provider of Cluster API for this cloud that is kept up; ACK takes the image's id";
            return Err(ExportError::Wrong { builder: record.builder.clone(), consumer: WHO, why });
        }
        _ => ("Metal3MachineTemplate", "v1beta1", metal3(record)?),
    };
    let name = dns_name(&record.name);
    let document = json!({
        "apiVersion": format!("infrastructure.cluster.x-k8s.io/{version}"),
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": {"spec": spec}},
    });
    Ok(if json { pretty(&document) } else { yaml(&document, 0) })
}

/// The image of Metal3, which machines fetch: its address, its sum, its format.
fn metal3(record: &Record) -> Result<Value, ExportError> {
    const WHO: &str = "cluster-api";
    let disk = record.disk(WHO)?;
    let url = record.said(WHO, "url")?;
    let failed = |e: io::Error| ExportError::Manifest { path: disk.display().to_string(), why: e.to_string() };
    let sum = sum(disk).map_err(failed)?;
    let mut magic = [0; 4];
    let read = File::open(disk).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
    read.map_err(failed)?;
    let format = if &magic == b"QFI\xfb" { "qcow2" } else { "raw" };
    Ok(json!({"image": {"checksum": sum, "checksumType": "sha256", "format": format, "url": url}}))
}

fn sum(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let (mut file, mut buf) = (File::open(path)?, vec![0; 1 << 20]);
    loop {
        match io::Read::read(&mut file, &mut buf)? {
            0 => break,
            n => hasher.update(&buf[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name as Kubernetes takes it.
fn dns_name(name: &str) -> String {
    let lower = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let name: String = lower.take(63).collect();
    match name.trim_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// `kubeadm`: how a machine of this image joins: through which socket, with which images.
///
/// # Errors
/// When the version of Kubernetes on the image is not known.
pub fn kubeadm(record: &Record, json: bool) -> Result<String, ExportError> {
    const WHO: &str = "kubeadm";
    let version = record.said(WHO, "kubernetes_version")?;
    let bad = || ExportError::Bad {
        key: "kubernetes_version",
        value: version.to_owned(),
        why: "it is no version: write 1.31.2",
    };
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    let (Some(Ok(1)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return Err(bad()) };
    if minor < 22 {
        let why = "Kiln writes v1beta3 and v1beta4, which kubeadm has from 1.22 on";
        return Err(ExportError::Bad { key: "kubernetes_version", value: version.to_owned(), why });
    }
    let socket = record.data.get("cri_socket").map_or("unix:///run/containerd/containerd.sock", |socket| &**socket);
    let mut registration = json!({
        "criSocket": socket,
        // What came with the image is not pulled again.
        "imagePullPolicy": "IfNotPresent",
    });
    if let Some(labels) = record.data.get("node_labels") {
        registration["kubeletExtraArgs"] = match minor >= 31 {
            true => json!([{"name": "node-labels", "value": labels}]),
            false => json!({"node-labels": labels}),
        };
    }
    let form = if minor >= 31 { "v1beta4" } else { "v1beta3" };
    let document = json!({
        "apiVersion": format!("kubeadm.k8s.io/{form}"),
        "kind": "JoinConfiguration",
        "nodeRegistration": registration,
    });
    match json {
        true => Ok(pretty(&document)),
        false => {
            // A comment, for `kubeadm join` needs what no image can know.
            let head = format!("# Kubernetes {version}; add `discovery`: kubeadm token create --print-join-command\n");
            Ok(head + &yaml(&document, 0))
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Block YAML; texts are quoted as JSON, which is YAML too.
fn yaml(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let mut out = String::new();
    let mut field = |head: String, value: &Value| match value {
        Value::Object(_) | Value::Array(_) => out += &format!("{head}\n{}", yaml(value, depth + 1)),
        other => out += &format!("{head} {other}\n"),
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| field(format!("{pad}{name}:"), value)),
        Value::Array(items) => {
            for item in items {
                let inner = yaml(item, depth + 1);
                out += &format!("{pad}- {}", inner.trim_start());
            }
        }
        other => out += &format!("{pad}{other}\n"),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn google(data: &[(&str, &str)]) -> Record {
        Record {
            name: "gce".to_owned(),
            builder: "googlecompute".to_owned(),
            id: "node-1".to_owned(),
            data: data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn kube_up_gets_its_lines_or_is_told_what_is_missing() {
        let whole = google(&[("project_id", "my-project"), ("os_distribution", "ubuntu")]);
        assert_eq!(
            kube_up(&whole, false).unwrap(),
            "export KUBE_OS_DISTRIBUTION=ubuntu\nexport KUBE_GCE_MASTER_PROJECT=my-project\n\
             export KUBE_GCE_MASTER_IMAGE=node-1\nexport KUBE_GCE_NODE_PROJECT=my-project\nexport KUBE_GCE_NODE_IMAGE=node-1\n"
        );
        let error = kube_up(&google(&[("project_id", "p")]), false).unwrap_err();
        assert_eq!(error.to_string(), "kube-up needs `os_distribution`, and the manifest does not say it");
        assert!(error.hint().unwrap().contains("--set os_distribution="));
        let odd = google(&[("project_id", "p; rm -rf /"), ("os_distribution", "ubuntu")]);
        assert!(kube_up(&odd, false).unwrap().contains("='p; rm -rf /'\n"));
        assert!(kube_up(&Record { id: "Bad_Name".to_owned(), ..whole }, false).is_err());
        let qemu = Record { builder: "qemu".to_owned(), ..Record::default() };
        assert!(kube_up(&qemu, false).unwrap_err().to_string().contains("not for kube-up"));
    }

    #[test]
    fn terraform_gets_variables_in_both_forms() {
        let ali = Record {
            builder: "alicloud-ecs".to_owned(),
            id: "cn-hangzhou:m-1".to_owned(),
            data: [("note".to_owned(), "${x}".to_owned())].into(),
            ..Record::default()
        };
        assert_eq!(
            terraform(&ali, false).unwrap(),
            "image_builder = \"alicloud-ecs\"\nimage_data = {\n  \"note\" = \"$${x}\"\n}\nimage_id = \"m-1\"\n\
             image_ids = {\n  \"cn-hangzhou\" = \"m-1\"\n}\n"
        );
        let json: Value = serde_json::from_str(&terraform(&ali, true).unwrap()).unwrap();
        assert_eq!(json["image_ids"]["cn-hangzhou"], "m-1");
        let google = terraform(&google(&[("project_id", "p")]), false).unwrap();
        assert!(google.contains("\"projects/p/global/images/node-1\""), "{google}");
        assert!(terraform(&Record::default(), false).is_err());
    }

    #[test]
    fn cluster_api_gets_the_field_of_its_provider() {
        let text = cluster_api(&google(&[("project_id", "p")]), false).unwrap();
        assert_eq!(
            text,
            "apiVersion: \"infrastructure.cluster.x-k8s.io/v1beta1\"\nkind: \"GCPMachineTemplate\"\nmetadata:\n  \
             name: \"gce\"\nspec:\n  template:\n    spec:\n      image: \"projects/p/global/images/node-1\"\n"
        );
        let aws =
            Record { builder: "amazon-ebs".to_owned(), id: "eu-1:ami-1,us-1:ami-2".to_owned(), ..Record::default() };
        assert!(cluster_api(&aws, false).unwrap_err().to_string().contains("`region`"));
        let of = |region: &str| Record { data: [("region".to_owned(), region.to_owned())].into(), ..aws.clone() };
        assert!(cluster_api(&of("us-1"), false).unwrap().contains("id: \"ami-2\""));
        assert!(cluster_api(&of("xx"), false).is_err());
        let ali = Record { builder: "alicloud-ecs".to_owned(), ..Record::default() };
        assert!(cluster_api(&ali, false).unwrap_err().to_string().contains("no provider"));
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("d.qcow2");
        std::fs::write(&disk, b"QFI\xfbrest").unwrap();
        let files = Record { builder: "qemu".to_owned(), files: vec![disk], ..Record::default() };
        assert!(cluster_api(&files, false).unwrap_err().to_string().contains("`url`"));
        let served = Record { data: [("url".to_owned(), "http://x/d".to_owned())].into(), ..files };
        let text = cluster_api(&served, false).unwrap();
        assert!(text.contains("format: \"qcow2\"") && text.contains("checksumType: \"sha256\""), "{text}");
    }

    #[test]
    fn kubeadm_gets_the_form_of_its_version() {
        let of = |version: &str| google(&[("kubernetes_version", version), ("node_labels", "a=b")]);
        let text = kubeadm(&of("v1.31.2"), false).unwrap();
        assert!(text.contains("kubeadm.k8s.io/v1beta4"), "{text}");
        assert!(text.contains("  kubeletExtraArgs:\n    - name: \"node-labels\"\n      value: \"a=b\"\n"), "{text}");
        assert!(kubeadm(&of("1.28"), false).unwrap().contains("v1beta3"));
        for bad in ["2.0", "1", "x", "1.21.3"] {
            assert!(kubeadm(&of(bad), false).is_err(), "{bad}");
        }
        assert!(kubeadm(&google(&[]), false).is_err());
    }
}
