//! containerd: its configuration, and the images that are in it.

use std::collections::BTreeMap;

use super::{bolt, lines};
use crate::system::{LookError, Result, System};

/// The file of configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";
/// Its database.
const DATABASE: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
/// The largest database that is read.
const MAX_DATABASE: u64 = 256 << 20;

/// What of the configuration matters to the kubelet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether runc leaves control groups to systemd.
    pub systemd_cgroup: Option<bool>,
    /// The image of the pause container.
    pub sandbox_image: Option<String>,
    /// Where registries are configured.
    pub config_path: Option<String>,
    /// Whether the plugin that the kubelet talks to is turned off.
    pub cri_disabled: bool,
    /// Files that are included, and are not read here.
    pub imports: Vec<String>,
}

impl Config {
    /// The configuration of a system; `None` when there is no file.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML.
    pub fn of(system: &dyn System) -> Result<Option<Config>> {
        let Some(text) = lines::text(system, CONFIG)? else { return Ok(None) };
        let table: toml::Table = toml::from_str(&text).map_err(|e: toml::de::Error| {
            let line =
                e.span().map_or(1, |span| text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1));
            LookError::form(lines::place(CONFIG, line), e.message().to_owned())
        })?;
        Ok(Some(Config::read(&table)))
    }

    fn read(table: &toml::Table) -> Config {
        let strings = |key: &str| match table.get(key) {
            Some(toml::Value::Array(all)) => all.iter().filter_map(|v| v.as_str()).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        // Versions 2 and 3 of the file name the plugins differently.
        let old = |path: &[&str]| at(table, &[&["plugins", "io.containerd.grpc.v1.cri"], path].concat()).cloned();
        let runtime =
            |path: &[&str]| at(table, &[&["plugins", "io.containerd.cri.v1.runtime"], path].concat()).cloned();
        let images = |path: &[&str]| at(table, &[&["plugins", "io.containerd.cri.v1.images"], path].concat()).cloned();
        let cgroup = ["containerd", "runtimes", "runc", "options", "SystemdCgroup"];
        let text = |value: Option<toml::Value>| value.and_then(|value| value.as_str().map(str::to_owned));
        Config {
            systemd_cgroup: runtime(&cgroup).or_else(|| old(&cgroup)).and_then(|value| value.as_bool()),
            sandbox_image: text(images(&["pinned_images", "sandbox"]).or_else(|| old(&["sandbox_image"]))),
            config_path: text(images(&["registry", "config_path"]).or_else(|| old(&["registry", "config_path"]))),
            cri_disabled: strings("disabled_plugins").iter().any(|name| name.contains("cri")),
            imports: strings("imports"),
        }
    }
}

fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(*key))
}

/// An image in containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// The digest it points to.
    pub digest: String,
    /// Whether it is marked so that the kubelet does not remove it.
    pub pinned: bool,
}

/// The images of the namespace that the kubelet uses; `None` when there is no database.
///
/// # Errors
/// The database cannot be read.
pub fn images(system: &dyn System) -> Result<Option<Vec<Image>>> {
    let Some(bytes) = system.read(DATABASE, MAX_DATABASE)? else { return Ok(None) };
    let failed = |e: bolt::BoltError| LookError::form(DATABASE, e.to_string());
    let database = bolt::Database::open(&bytes).map_err(failed)?;
    let Some(all) = database.bucket(&[b"v1", b"k8s.io", b"images"]).map_err(failed)? else {
        return Ok(Some(Vec::new()));
    };
    let mut found = Vec::new();
    for name in database.buckets(all).map_err(failed)? {
        let target = database.child(all, &name).and_then(|image| match image {
            Some(image) => Ok((database.child(image, b"target")?, database.child(image, b"labels")?)),
            None => Ok((None, None)),
        });
        let (target, labels) = target.map_err(failed)?;
        let get = |bucket: Option<bolt::Bucket>, key: &[u8]| match bucket {
            Some(bucket) => database.value(bucket, key),
            None => Ok(None),
        };
        let text = |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let pinned = get(labels, b"io.cri-containerd.pinned").map_err(failed)?;
        found.push(Image {
            name: String::from_utf8_lossy(&name).into_owned(),
            digest: text(get(target, b"digest").map_err(failed)?),
            pinned: pinned.as_deref() == Some(b"pinned"),
        });
    }
    Ok(Some(found))
}

/// Archives of images that a script of the first boot loads: their paths, by directory.
///
/// # Errors
/// A directory cannot be read.
pub fn archives(system: &dyn System) -> Result<BTreeMap<String, Vec<String>>> {
    const DIRS: [&str; 4] = ["/preheated", "/var/lib/kiln/preload", "/opt/images", "/var/lib/rancher/k3s/agent/images"];
    let mut found = BTreeMap::new();
    for dir in DIRS {
        let names = system.list(dir)?.unwrap_or_default();
        let tars: Vec<String> = names.into_iter().filter(|n| n.ends_with(".tar") || n.contains(".tar.")).collect();
        if !tars.is_empty() {
            found.insert(dir.to_owned(), tars);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn both_forms_of_the_configuration_are_read() {
        let two = "version = 2\nimports = [\"/etc/x.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"p:1\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n";
        let config = Config::of(&Memory::new().file(CONFIG, two)).unwrap().unwrap();
        assert_eq!((config.systemd_cgroup, config.sandbox_image.as_deref()), (Some(true), Some("p:1")));
        assert_eq!(config.imports, ["/etc/x.toml"]);
        let three = "version = 3\ndisabled_plugins = [\"cri\"]\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'p:2'\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = false\n";
        let config = Config::of(&Memory::new().file(CONFIG, three)).unwrap().unwrap();
        assert_eq!(
            (config.systemd_cgroup, config.sandbox_image.as_deref(), config.cri_disabled),
            (Some(false), Some("p:2"), true)
        );
        let bad = Config::of(&Memory::new().file(CONFIG, "a = 1\nb = = 2\n")).unwrap_err();
        assert!(bad.to_string().starts_with("/etc/containerd/config.toml:2: "), "{bad}");
        assert_eq!(Config::of(&Memory::new()).unwrap(), None);
        assert!(images(&Memory::new().file(DATABASE, "garbage")).is_err());
        assert_eq!(images(&Memory::new()).unwrap(), None);
    }
}
