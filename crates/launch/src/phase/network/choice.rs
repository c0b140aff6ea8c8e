//! Which network an image brings, and which of its files are of it.

use kiln_clusterfile::model::{Cluster, Cni};

use crate::bundle::Bundle;
use crate::error::{LaunchError, Result};
use crate::launch::Launch;

/// Where manifests are.
const DIRECTORY: &str = "manifests";
/// What the file of Calico's operator is called.
const OPERATOR: &str = "tigera-operator";
/// What makes a network of an operator.
const RESOURCES: &str = "custom-resources";
/// Words in names of files that are needed before the network's own, in this order.
const BEFORE: [&str; 5] = ["namespace", "ns", "crds", "crd", "rbac"];
/// Networks that are known by the names of their files.
const KNOWN: [&str; 6] = ["flannel", "calico", "canal", "weave", "cilium", OPERATOR];

/// What makes the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Manifests of the root file system, in the order in which they are applied.
    Manifests(Vec<String>),
    /// An application of the image, by name; it is launched as the image says.
    App(String),
    /// Nothing that Kiln knows: the image's commands may install one, or the user does.
    None,
}

/// Which network: what the user names, then what the image's builder named, then manifests whose name is one's.
///
/// # Errors
/// When the user names one that the image does not bring, and when files of several could be meant.
pub fn choose(launch: &Launch) -> Result<Network> {
    of(&launch.bundle, &launch.cluster)
}

/// The same, of an image before it is launched.
///
/// # Errors
/// The same.
pub fn of(bundle: &Bundle, cluster: &Cluster) -> Result<Network> {
    let said = cluster.network.cni.as_ref().map(|cni| match &cni.value {
        Cni::Flannel => "flannel".to_owned(),
        Cni::Calico => "calico".to_owned(),
        Cni::Weave => "weave".to_owned(),
        Cni::None => String::new(),
        Cni::Other(name) => name.to_lowercase(),
    });
    let app = |word: &str| {
        let found = bundle.spec.apps.iter().find(|app| app.role == "cni" && app.name.to_lowercase().contains(word));
        found.map(|app| Network::App(app.name.clone()))
    };
    let words: &[&str] = match said.as_deref() {
        Some("") => return Ok(Network::None),
        Some(word) => &[word],
        None => &KNOWN,
    };
    if let Some(app) = app(if said.is_some() { words[0] } else { "" }) {
        return Ok(app);
    }
    let operator = (said.as_deref() == Some("calico")).then_some(OPERATOR);
    for word in words.iter().copied().chain(operator) {
        if let Some(files) = files(bundle, word)? {
            return Ok(Network::Manifests(files));
        }
    }
    match said {
        Some(word) => Err(LaunchError::Wanted {
            what: format!("the image brings no pod network called {word}"),
            hint: "put its manifest into manifests/ of the image, or choose `none` and install one afterwards"
                .to_owned(),
        }),
        None => Ok(Network::None),
    }
}

/// A manifest of the image.
#[derive(Clone, Copy)]
struct File<'b> {
    path: &'b str,
    directory: &'b str,
    /// Its name without what it ends with.
    stem: &'b str,
}

impl<'b> File<'b> {
    fn of(path: &'b str) -> Option<File<'b>> {
        // Templates lose their ending on hosts.
        let path = path.strip_suffix(".tmpl").unwrap_or(path);
        let (directory, name) = path.rsplit_once('/')?;
        let stem = [".yml", ".yaml", ".json"].iter().find_map(|end| name.strip_suffix(end))?;
        (stem != "kustomization").then_some(File { path, directory, stem })
    }

    fn words(&self) -> impl Iterator<Item = &'b str> {
        self.stem.split(['-', '_', '.'])
    }

    /// When it is needed: some before the network's own file, and resources behind it.
    fn turn(&self) -> (usize, &'b str) {
        let before = BEFORE.iter().position(|before| self.words().any(|word| word.eq_ignore_ascii_case(before)));
        let turn = before.unwrap_or(BEFORE.len() + usize::from(self.stem.starts_with(RESOURCES)));
        (turn, self.path)
    }

    /// Whether it is one that a network may need, but none by itself.
    fn is_beside(&self) -> bool {
        self.turn().0 != BEFORE.len()
    }
}

/// The files of the network of a name: the file that is called so, with definitions and the like that are beside it; or
/// all of a directory that is called so.
fn files(bundle: &Bundle, word: &str) -> Result<Option<Vec<String>>> {
    let mut all: Vec<File<'_>> = bundle.below(DIRECTORY).filter_map(|(path, _)| File::of(path)).collect();
    all.dedup_by_key(|file| file.path);
    let is_named = |file: &&File<'_>| {
        !file.is_beside() && file.stem.to_lowercase().contains(word) && !file.stem.starts_with("calicoctl")
    };
    let named: Vec<File<'_>> = all.iter().filter(is_named).copied().collect();
    let upper: Vec<File<'_>> = named.iter().filter(|file| file.directory == DIRECTORY).copied().collect();
    let own = match (upper.is_empty(), directory(&all, word)) {
        (false, _) => only(&upper, word)?,
        (true, Some(directory)) => return Ok(Some(in_turn(all.iter().filter(|file| file.directory == directory)))),
        (true, None) => only(&named, word)?,
    };
    let Some(own) = own else { return Ok(None) };
    let mut files: Vec<&File<'_>> = all.iter().filter(|file| belongs(file, &own, word)).collect();
    // Of the resources that the operator's makers offer, one.
    let is_resource = |file: &File<'_>| file.stem.starts_with(RESOURCES);
    let has_resources = files.iter().any(|file| file.stem == RESOURCES);
    files.retain(|file| !has_resources || !is_resource(file) || file.stem == RESOURCES);
    Ok(Some(in_turn(files.into_iter())))
}

/// A directory that is called as a network, with a file that can be the network's.
fn directory<'b>(all: &[File<'b>], word: &str) -> Option<&'b str> {
    let is_so = |directory: &&str| directory.rsplit('/').next().is_some_and(|last| last.to_lowercase().contains(word));
    all.iter().filter(|file| !file.is_beside()).map(|file| file.directory).find(is_so)
}

/// The one of several that is called just so, or the only one.
///
/// # Errors
/// When there are several, and none is.
fn only<'b>(named: &[File<'b>], word: &str) -> Result<Option<File<'b>>> {
    let is_so = |file: &&File<'_>| [word.to_owned(), format!("kube-{word}")].contains(&file.stem.to_lowercase());
    match (named.iter().find(is_so), named) {
        (Some(own), _) => Ok(Some(*own)),
        (None, []) => Ok(None),
        (None, [own]) => Ok(Some(*own)),
        (None, [first, ..]) => {
            let names: Vec<&str> = named.iter().map(|file| file.path).collect();
            Err(LaunchError::Wanted {
                what: format!("the image has several manifests that could be the pod network: {}", names.join(", ")),
                hint: format!("say which with its name, `cniName: {}` in the Clusterfile, or `none`", first.stem),
            })
        }
    }
}

/// Whether a file is the network's own, or one beside it that it needs.
fn belongs(file: &File<'_>, own: &File<'_>, word: &str) -> bool {
    if file.path == own.path || file.directory != own.directory || !file.is_beside() {
        return file.path == own.path;
    }
    let is_operator = own.stem.contains(OPERATOR);
    if file.stem.starts_with(RESOURCES) {
        return is_operator;
    }
    let words = if is_operator { &["operator", "tigera", "calico"][..] } else { &[word][..] };
    words.iter().any(|word| file.stem.to_lowercase().contains(word))
}

/// Paths of files in the order in which they are applied.
fn in_turn<'f, 'b: 'f>(files: impl Iterator<Item = &'f File<'b>>) -> Vec<String> {
    let mut files: Vec<&File<'_>> = files.collect();
    files.sort_by_key(|file| file.turn());
    files.into_iter().map(|file| file.path.to_owned()).collect()
}
