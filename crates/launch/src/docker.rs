//! Docker on a host, for the kubelets before 1.24 that run pods with it: its configuration, and the images that it has to
//! have before they are asked for.
//!
//! Docker asks the registry that an image is named by, and no other one instead: what the cluster's registry has is pulled
//! from there when the host is prepared, and tagged with its name. The daemon's file stays as it is but for what is wanted.

use std::collections::BTreeSet;

use kiln_host::command::quote;
use kiln_oci::Reference;
use serde_json::{Map, Value, json};

/// The socket of the kubelet's part for Docker. By this path kubeadm knows that Docker is meant.
pub const SOCKET: &str = "/var/run/dockershim.sock";
/// The last minor release whose kubelet runs pods with Docker.
pub const LAST: u32 = 23;
/// The file of the daemon.
pub const CONFIG: &str = "/etc/docker/daemon.json";
/// The directory with a directory for each registry.
pub const CERTS: &str = "/etc/docker/certs.d";
/// Where the kubelet finds who it is for registries.
pub const LOGINS: &str = "/var/lib/kubelet/config.json";
/// The directory of Docker's command while it pulls, and of what is noted of images.
const HOME: &str = "/var/lib/kiln/docker";

/// What of the daemon is asked, and how: who manages control groups, and its release.
pub const QUESTION: &str = "docker info -f '{{.CgroupDriver}} {{.ServerVersion}}'";

const DRIVER: &str = "native.cgroupdriver=";

/// What the daemon is to be set to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who manages control groups, if it is another one now.
    pub driver: Option<String>,
    /// Registries that speak no TLS: `10.0.0.1:5000`.
    pub insecure: Vec<String>,
}

/// The daemon's file with these settings, over what is there; none if nothing of it changes.
///
/// # Errors
/// What of the text cannot be used.
pub fn merge(text: Option<&str>, settings: &Settings) -> Result<Option<String>, String> {
    let mut root = read(text)?;
    let before = root.clone();
    if let Some(driver) = &settings.driver {
        let mut options = list(&root, "exec-opts")?;
        options.retain(|option| !option.starts_with(DRIVER));
        options.push(format!("{DRIVER}{driver}"));
        root.insert("exec-opts".to_owned(), json!(options));
    }
    let mut insecure = list(&root, "insecure-registries")?;
    let new: Vec<String> = settings.insecure.iter().filter(|name| !insecure.contains(name)).cloned().collect();
    if !new.is_empty() {
        insecure.extend(new);
        root.insert("insecure-registries".to_owned(), json!(insecure));
    }
    if root == before {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string_pretty(&root).unwrap_or_default() + "\n"))
}

/// Reads the daemon's file.
fn read(text: Option<&str>) -> Result<Map<String, Value>, String> {
    let text = text.unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(root) = value else { return Err("it is no object".to_owned()) };
    match root.get("userns-remap") {
        None | Some(Value::Null) => {}
        Some(Value::String(user)) if user.is_empty() => {}
        Some(_) => return Err("`userns-remap`: pods of the control plane need the host's own users".to_owned()),
    }
    Ok(root)
}

fn list(root: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{name}` is no list of texts");
    match root.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Images of a cluster for Docker: those that it can be given, as a registry of the cluster names them and by their own
/// names; and those that it cannot, as they are named by a digest, which belongs to the registry that it was pulled from.
pub fn images(all: &[Reference], wanted: impl Fn(&Reference) -> bool) -> (Vec<(String, String)>, BTreeSet<String>) {
    let (mut given, mut not) = (Vec::new(), BTreeSet::new());
    for image in all.iter().filter(|image| wanted(image)) {
        match (&image.digest, image.tag_or_latest()) {
            (None, Some(tag)) => {
                // No part of a path may have a colon: then the repository alone says which it is.
                let registry = Some(&image.registry).filter(|registry| !registry.contains(':'));
                let path: Vec<&str> =
                    registry.map(String::as_str).into_iter().chain([image.repository.as_str()]).collect();
                given.push((format!("{}:{tag}", path.join("/")), format!("{}:{tag}", image.name())));
            }
            _ => {
                not.insert(image.to_string());
            }
        }
    }
    (given, not)
}

/// What Docker's command and the kubelet are told of who asks registries.
pub fn logins(registries: &[String], login: &str) -> String {
    let auth = login.trim_start_matches("Basic ");
    let auths: Map<String, Value> = registries.iter().map(|name| (name.clone(), json!({ "auth": auth }))).collect();
    json!({ "auths": auths }).to_string() + "\n"
}

/// A line that makes Kiln's directory of Docker's command, and writes there what the standard input says of logins.
pub fn log_in() -> String {
    format!("umask 077; mkdir -p {HOME} && cat > {HOME}/config.json")
}

/// A line that pulls the images that its standard input lists, from the first of these registries that has each, and gives
/// them their names. What a name meant before is noted first, and what came, for [`forget`].
pub fn pull(registries: &[String]) -> String {
    let registries: Vec<String> = registries.iter().map(|name| quote(name)).collect();
    format!(
        "umask 077; mkdir -p {HOME} && noted={HOME}/images && touch $noted || exit 1; id() {{ docker image inspect -f '{{{{.Id}}}}' \"$1\" 2>/dev/null; }}; \
         while read -r path name; do from=; for r in {}; do docker --config {HOME} pull -q \"$r/$path\" </dev/null >/dev/null 2>{HOME}/why && from=$r/$path && break; done; \
         [ -n \"$from\" ] || {{ echo \"$name cannot be pulled from the cluster's registry:\" >&2; cat {HOME}/why >&2; exit 1; }}; \
         new=$(id \"$from\") || exit 1; old=$(id \"$name\"); \
         grep -qsxF \"id $new\" $noted || echo \"id $new\" >> $noted || exit 1; \
         [ \"$from\" != \"$name\" ] || continue; \
         if [ \"$new\" != \"$old\" ]; then grep -qsF \"tag $name \" $noted || echo \"tag $name $old\" >> $noted || exit 1; docker tag \"$from\" \"$name\" || exit 1; fi; \
         docker rmi --no-prune \"$from\" >/dev/null || exit 1; done",
        registries.join(" ")
    )
}

/// A line that removes the socket of a kubelet that is gone, and images: those that came have their names no more, which
/// mean again what they meant before, and those that pods had pulled by the names of these registries. It says what is left.
pub fn forget(registries: &[String]) -> String {
    let registries: Vec<String> = registries.iter().map(|name| quote(&format!("{name}/"))).collect();
    format!(
        "rm -f {SOCKET}; noted={HOME}/images; [ -e $noted ] || exit 0; \
         docker version >/dev/null 2>&1 || {{ echo 'images of the cluster: Docker does not answer'; exit 0; }}; \
         gone() {{ why=$(docker rmi \"$1\" 2>&1 >/dev/null) || echo \"the image $1: $why\"; }}; \
         while read -r kind name old; do [ \"$kind\" = tag ] || continue; \
         if [ -n \"$old\" ] && docker image inspect \"$old\" >/dev/null 2>&1; then docker tag \"$old\" \"$name\"; \
         elif docker image inspect \"$name\" >/dev/null 2>&1; then gone \"$name\"; fi; done < $noted; \
         docker images --no-trunc --format '{{{{.Repository}}}} {{{{.Tag}}}} {{{{.ID}}}}' | while read -r name tag id; do for r in {}; do \
         case $name in \"$r\"*) if [ \"$tag\" = '<none>' ]; then gone \"$id\"; else gone \"$name:$tag\"; fi;; esac; done; done; \
         while read -r kind id rest; do [ \"$kind\" = id ] || continue; \
         names=$(docker image inspect -f '{{{{len .RepoTags}}}}' \"$id\" 2>/dev/null) || continue; [ \"$names\" = 0 ] || continue; \
         gone \"$id\"; done < $noted; rm -f $noted",
        registries.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(driver: Option<&str>, insecure: &[&str]) -> Settings {
        let insecure = insecure.iter().map(|name| (*name).to_owned()).collect();
        Settings { driver: driver.map(str::to_owned), insecure }
    }

    #[test]
    fn the_daemons_file_keeps_what_its_owner_wrote() {
        let text = r#"{"data-root": "/data", "exec-opts": ["native.cgroupdriver=cgroupfs", "isolation=x"], "log-opts": {"max-size": "1m"}}"#;
        let merged = merge(Some(text), &settings(Some("systemd"), &["10.0.0.1:5000"])).unwrap().unwrap();
        let value: Value = serde_json::from_str(&merged).unwrap();
        assert_eq!(
            value,
            json!({
                "data-root": "/data", "exec-opts": ["isolation=x", "native.cgroupdriver=systemd"],
                "log-opts": {"max-size": "1m"}, "insecure-registries": ["10.0.0.1:5000"]
            })
        );
        assert!(merged.find("data-root") < merged.find("log-opts"), "in its owner's order");
        assert_eq!(
            merge(Some(&merged), &settings(Some("systemd"), &["10.0.0.1:5000"])).unwrap(),
            None,
            "twice is once"
        );
        assert_eq!(merge(Some(text), &settings(None, &[])).unwrap(), None);
        for nothing in [None, Some(""), Some(" \n")] {
            assert_eq!(merge(nothing, &settings(None, &[])).unwrap(), None);
            let made = merge(nothing, &settings(Some("cgroupfs"), &[])).unwrap().unwrap();
            assert_eq!(made, "{\n  \"exec-opts\": [\n    \"native.cgroupdriver=cgroupfs\"\n  ]\n}\n");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why() {
        for (text, why) in [
            ("{", "EOF"),
            ("[]", "no object"),
            (r#"{"exec-opts": "native.cgroupdriver=systemd"}"#, "`exec-opts` is no list of texts"),
            (r#"{"insecure-registries": [1]}"#, "`insecure-registries` is no list of texts"),
            (r#"{"userns-remap": "default"}"#, "`userns-remap`"),
        ] {
            let said = merge(Some(text), &settings(Some("systemd"), &["a:1"])).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert_eq!(merge(Some(r#"{"userns-remap": ""}"#), &settings(None, &[])).unwrap(), None);
    }

    #[test]
    fn images_have_the_names_that_the_registry_knows() {
        let digest = format!("quay.io/a@sha256:{}", "0".repeat(64));
        let both = format!("quay.io/a:1@sha256:{}", "0".repeat(64));
        let all = ["k8s.gcr.io/pause:3.2", "nginx", "r.example:5443/team/app:2", &digest, &both, "k8s.gcr.io/etcd:3"];
        let all: Vec<Reference> = all.iter().map(|name| name.parse().unwrap()).collect();
        let (given, not) = images(&all, |image| image.repository != "etcd");
        let given: Vec<(&str, &str)> = given.iter().map(|(from, name)| (from.as_str(), name.as_str())).collect();
        assert_eq!(
            given,
            [
                ("k8s.gcr.io/pause:3.2", "k8s.gcr.io/pause:3.2"),
                ("docker.io/library/nginx:latest", "docker.io/library/nginx:latest"),
                ("team/app:2", "r.example:5443/team/app:2"),
            ]
        );
        assert_eq!(not, BTreeSet::from([digest, both]));
    }

    #[test]
    fn logins_are_for_their_registries() {
        let text = logins(&["sea.hub:5000".to_owned(), "10.0.0.1:5000".to_owned()], "Basic b3BzOng=");
        let value: Value = serde_json::from_str(&text).unwrap();
        let auth = json!({"auth": "b3BzOng="});
        assert_eq!(value, json!({"auths": {"sea.hub:5000": auth, "10.0.0.1:5000": auth}}));
    }

    #[test]
    fn the_lines_are_shell() {
        let registries = ["sea.hub:5000".to_owned(), "10.0.0.1:5000".to_owned()];
        for line in [pull(&registries), log_in(), forget(&registries), forget(&[])] {
            let output = std::process::Command::new("sh").arg("-n").arg("-c").arg(&line).output().unwrap();
            assert!(output.status.success() && !line.contains('\n'), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
