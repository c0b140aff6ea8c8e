//! Which network an image brings, and which of its files are of it.

use kiln_clusterfile::model::Cni;

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
    let said = launch.cluster.network.cni.as_ref().map(|cni| match &cni.value {
        Cni::Flannel => "flannel".to_owned(),
        Cni::Calico => "calico".to_owned(),
        Cni::Weave => "weave".to_owned(),
        Cni::None => String::new(),
        Cni::Other(name) => name.to_lowercase(),
    });
    let bundle = &launch.bundle;
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
    let is_so = |name: &str| [word.to_owned(), format!("kube-{word}")].contains(&name.to_lowercase());
    let named = |file: &&File<'_>| !file.is_beside() && file.stem.to_lowercase().contains(word);
    let calicoctl = |file: &&File<'_>| !file.stem.starts_with("calicoctl");
    let mut found: Vec<&File<'_>> =
        all.iter().filter(|file| file.directory == DIRECTORY).filter(named).filter(calicoctl).collect();
    if found.is_empty()
        && let Some(own) = all
            .iter()
            .filter(|file| !file.is_beside())
            .map(|file| file.directory)
            .find(|directory| directory.rsplit('/').next().is_some_and(|last| last.to_lowercase().contains(word)))
    {
        let is_in = |file: &&File<'_>| file.directory == own;
        let mut own: Vec<File<'_>> = all.iter().filter(is_in).copied().collect();
        own.sort_by_key(File::turn);
        return Ok(Some(own.into_iter().map(|file| file.path.to_owned()).collect()));
    }
    if found.is_empty() {
        found = all.iter().filter(named).filter(calicoctl).collect();
    }
    let exact = found.iter().find(|file| is_so(file.stem));
    let own = match (exact, &found[..]) {
        (Some(own), _) => *own,
        (None, []) => return Ok(None),
        (None, [own]) => *own,
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|file| file.path).collect();
            return Err(LaunchError::Wanted {
                what: format!("the image has several manifests that could be the pod network: {}", names.join(", ")),
                hint: format!("say which with its name, such as `cniName: {}` in the Clusterfile", several[0].stem),
            });
        }
    };
    let is_operator = own.stem.contains(OPERATOR);
    let beside = |file: &&File<'_>| {
        let names = if is_operator { &["operator", "tigera", "calico"][..] } else { &[word][..] };
        let is_resource = file.stem.starts_with(RESOURCES);
        let is_named = names.iter().any(|name| file.stem.to_lowercase().contains(name));
        file.directory == own.directory && file.is_beside() && if is_resource { is_operator } else { is_named }
    };
    let mut files: Vec<File<'_>> = all.iter().filter(beside).copied().chain([*own]).collect();
    // Of the resources that the operator's makers offer, one.
    let resources = files.iter().any(|file| file.stem == RESOURCES);
    files.retain(|file| !resources || !file.stem.starts_with(RESOURCES) || file.stem == RESOURCES);
    files.sort_by_key(File::turn);
    Ok(Some(files.into_iter().map(|file| file.path.to_owned()).collect()))
}
