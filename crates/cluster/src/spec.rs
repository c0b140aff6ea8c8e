//! What a launcher must know, put together: what the base image says, and what the Kubefile adds.

use std::collections::BTreeMap;

use kiln_oci::cluster::{App, AppKind, Launch, SPEC, Spec, Type};
use kiln_spec::ast::ArgDecl;
use kiln_spec::expand::Expander;
use kiln_spec::kubefile::{APPS, Dialect, Kubefile, whole_commands};

use crate::error::{ClusterError, Result};

/// Labels by which sealer and sealos say what an image is.
const SEALOS_TYPE: &str = "sealos.io.type";
const SEALOS_VERSION: &str = "version";
const SEALER_TYPE: &str = "sealer.image.type";
const SEALER_KUBERNETES: &str = "cluster.alpha.sealer.io/cluster-runtime-version";

/// What is asked about files of the root file system.
pub trait Files {
    /// Whether there is something at a path.
    fn exists(&self, path: &str) -> bool;

    /// The content of a small file.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

/// What the labels of a base image say; `None` where it is an image like any other.
///
/// # Errors
/// When its label is no spec.
pub fn of_labels(labels: &BTreeMap<String, String>) -> Result<Option<Spec>> {
    let Some(text) = labels.get(SPEC) else { return Ok(None) };
    Spec::parse(text).map(Some).map_err(|e| ClusterError::NotACluster {
        name: "the base image".to_owned(),
        message: format!("its label {SPEC} cannot be read: {e}"),
    })
}

/// The values of a Kubefile's arguments: what was given, else the defaults, in which earlier ones may be used.
pub fn arguments(args: &[ArgDecl], given: &BTreeMap<String, String>, escape: char) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for arg in args {
        let name = arg.name.text.clone();
        let known = given.get(&name).cloned();
        let default = || {
            let word = arg.default.as_ref()?;
            Some(Expander::new(escape).word(&word.text, &|name| values.get(name).cloned()).ok()?.value)
        };
        if let Some(value) = known.or_else(default) {
            values.insert(name, value);
        }
    }
    values
}

/// What the image says: the base's launch first, then the Kubefile's.
pub struct Compose<'a> {
    /// The Kubefile.
    pub kubefile: &'a Kubefile,
    /// `--build-arg`s.
    pub given: &'a BTreeMap<String, String>,
    /// `--type`.
    pub kind: Option<Type>,
    /// The labels of the image, the base's among them.
    pub labels: &'a BTreeMap<String, String>,
    /// The image's command in Docker's sense, for sealos: entry point and arguments.
    pub command: Vec<String>,
}

impl Compose<'_> {
    /// Puts it together.
    ///
    /// # Errors
    /// When the base's label is no spec, or a `LAUNCH` names an application that there is not.
    pub fn spec(&self, files: &dyn Files) -> Result<Spec> {
        let base = of_labels(self.labels)?;
        let mut spec = base.clone().unwrap_or_default();
        let content = &self.kubefile.content;
        self.kubefile.dialect.name().clone_into(&mut spec.dialect);
        spec.inherited = spec.launch.len();
        spec.args.extend(arguments(&content.args, self.given, self.kubefile.dockerfile.directives.escape));
        self.add_apps(&mut spec, files);
        for name in content.launch.iter().map(|word| &word.text) {
            if !spec.apps.iter().any(|app| app.name == *name) {
                let names = spec.apps.iter().map(|app| &*app.name).collect::<Vec<_>>().join(", ");
                return Err(ClusterError::NotACluster {
                    name: "LAUNCH".to_owned(),
                    message: format!("there is no application `{name}`, here or in the base; there are: {names}"),
                });
            }
            spec.launch.push(Launch::App(name.clone()));
        }
        spec.launch.extend(content.commands.iter().map(|word| Launch::Run(word.text.clone())));
        if self.kubefile.dialect == Dialect::Sealos {
            let commands = docker_commands(&self.command);
            // The base's own command is there already.
            let is_there = !commands.is_empty() && spec.launch.windows(commands.len()).any(|run| run == commands);
            if !is_there {
                spec.launch.extend(commands);
            }
        }
        spec.kubernetes = self.kubernetes(files).or(spec.kubernetes);
        spec.kind = self.kind(base.as_ref(), files);
        Ok(spec)
    }

    fn add_apps(&self, spec: &mut Spec, files: &dyn Files) {
        let content = &self.kubefile.content;
        for app in &content.apps {
            let name = app.name.text.clone();
            let path = format!("{APPS}/{name}");
            let names: Vec<String> = app.files.iter().map(|file| last(&file.text)).collect();
            let kind = kind_of(&path, &names, files);
            let made = App {
                name: name.clone(),
                role: app.role.name().to_owned(),
                kind,
                path,
                files: names,
                commands: Vec::new(),
                env: BTreeMap::new(),
            };
            spec.apps.retain(|other| other.name != name);
            spec.apps.push(made);
        }
        for app in &mut spec.apps {
            if let Some(commands) = content.app_commands.get(&app.name) {
                app.commands = commands.iter().map(|word| word.text.clone()).collect();
            }
            for pair in content.app_env.get(&app.name).into_iter().flatten() {
                let value = pair.value.text.trim_matches('"').to_owned();
                app.env.insert(pair.key.text.clone(), value);
            }
        }
    }

    /// `KUBEVERSION`, a label, or `Metadata`.
    fn kubernetes(&self, files: &dyn Files) -> Option<String> {
        let with_v = |text: &str| format!("v{}", text.trim().trim_start_matches('v'));
        let own = self.kubefile.content.kubernetes.as_ref().map(|word| &*word.text).filter(|text| !text.contains('$'));
        let sealos = self.labels.get(SEALOS_TYPE).filter(|kind| *kind == "rootfs");
        let label = self.labels.get(SEALER_KUBERNETES).or_else(|| sealos.and(self.labels.get(SEALOS_VERSION)));
        own.or(label.map(String::as_str)).map(with_v).or_else(|| metadata_version(&files.read("Metadata")?))
    }

    fn kind(&self, base: Option<&Spec>, files: &dyn Files) -> Type {
        let label = |name: &str| self.labels.get(name).and_then(|text| Type::parse(text));
        let looks_like = || match files.exists("bin/kubeadm") || files.exists("Metadata") {
            true => Type::Rootfs,
            false => Type::Application,
        };
        self.kind
            .or_else(|| label(SEALOS_TYPE))
            .or_else(|| label(SEALER_TYPE))
            .or_else(|| base.map(|base| base.kind))
            .unwrap_or_else(looks_like)
    }
}

/// What a command in Docker's sense is to a shell.
///
/// ```text
/// ["/bin/sh", "-c", "helm install a"]       the text: it was written without a list
/// ["helm install a", "kubectl get no"]      a command each, as sealos has it
/// ["kubectl", "apply", "-f", "a b"]         one command
/// ```
fn docker_commands(words: &[String]) -> Vec<Launch> {
    let texts = match words {
        [] => Vec::new(),
        [shell, option, text, ..] if shell == "/bin/sh" && option == "-c" => vec![text.trim().to_owned()],
        _ => whole_commands(words)
            .unwrap_or_else(|| vec![words.iter().map(|word| argument(word)).collect::<Vec<_>>().join(" ")]),
    };
    texts.into_iter().map(Launch::Run).collect()
}

/// An argument that stays one, in which variables are still replaced.
fn argument(word: &str) -> String {
    if !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "\"'`\\;&|<>()#".contains(c)) {
        return word.to_owned();
    }
    let escaped = word.chars().flat_map(|c| if "\"`\\".contains(c) { vec!['\\', c] } else { vec![c] });
    format!("\"{}\"", escaped.collect::<String>())
}

/// The version in `Metadata`, sealer's file about a root file system.
fn metadata_version(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = value.get("version").or_else(|| value.get("kubeVersion"))?.as_str()?;
    (!text.is_empty() && text.len() < 64).then(|| text.to_owned())
}

fn last(text: &str) -> String {
    let text = text.strip_prefix("local://").unwrap_or(text).trim_end_matches('/');
    text.rsplit('/').next().unwrap_or_default().to_owned()
}

/// How an application is installed: a chart where there is one, else what its files are called.
fn kind_of(path: &str, names: &[String], files: &dyn Files) -> Option<AppKind> {
    if files.exists(&format!("{path}/Chart.yaml")) {
        return Some(AppKind::Helm);
    }
    let all = |endings: &[&str]| !names.is_empty() && names.iter().all(|n| endings.iter().any(|e| n.ends_with(e)));
    if all(&[".tgz"]) {
        return Some(AppKind::Helm);
    }
    if all(&[".sh"]) {
        return Some(AppKind::Shell);
    }
    all(&[".yaml", ".yml", ".json"]).then_some(AppKind::Kube)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_spec::kubefile;
    use kiln_spec::source::Source;

    struct Tree(Vec<(&'static str, &'static str)>);

    impl Files for Tree {
        fn exists(&self, path: &str) -> bool {
            self.0.iter().any(|(name, _)| *name == path)
        }

        fn read(&self, path: &str) -> Option<Vec<u8>> {
            self.0.iter().find(|(name, _)| *name == path).map(|(_, text)| text.as_bytes().to_vec())
        }
    }

    fn spec(text: &str, labels: &BTreeMap<String, String>, tree: &Tree) -> Result<Spec> {
        let source = Source { name: "Kubefile".to_owned(), text: text.to_owned() };
        let (kubefile, found) = kubefile::parse(&source, None);
        assert!(!found.iter().any(kiln_spec::diag::Diagnostic::is_error), "{found:?}");
        let given = BTreeMap::from([("B".to_owned(), "given".to_owned())]);
        Compose { kubefile: &kubefile, given: &given, kind: None, labels, command: Vec::new() }.spec(tree)
    }

    #[test]
    fn commands_follow_those_of_the_base() {
        let rootfs = Tree(vec![("bin/kubeadm", ""), ("Metadata", r#"{"version":"v1.19.8","arch":"x86_64"}"#)]);
        let base = spec("FROM scratch\nARG A=1\nCMD one\n", &BTreeMap::new(), &rootfs).unwrap();
        assert_eq!((base.kind, base.kubernetes.as_deref(), base.inherited), (Type::Rootfs, Some("v1.19.8"), 0));
        let labels = BTreeMap::from([(SPEC.to_owned(), base.text())]);
        let next = spec("FROM x\nARG B=$A\nARG C=${B}c\nCMD two $C\nCMD three\n", &labels, &rootfs).unwrap();
        let run = |text: &str| Launch::Run(text.to_owned());
        assert_eq!(next.launch, [run("one"), run("two $C"), run("three")]);
        assert_eq!((next.inherited, next.kind), (1, Type::Rootfs));
        let args: Vec<(&str, &str)> = next.args.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(args, [("A", "1"), ("B", "given"), ("C", "givenc")]);
    }

    #[test]
    fn applications_know_their_kind_and_their_base_s() {
        let tree = Tree(vec![("application/apps/apollo/Chart.yaml", "")]);
        let text =
            "FROM scratch\nCNI calico local://calico.sh\nAPP apollo local://charts/apollo\nLAUNCH [\"calico\"]\n";
        let base = spec(text, &BTreeMap::new(), &tree).unwrap();
        let kinds: Vec<_> = base.apps.iter().map(|app| (&*app.name, app.kind)).collect();
        assert_eq!(kinds, [("calico", Some(AppKind::Shell)), ("apollo", Some(AppKind::Helm))]);
        assert_eq!(base.kind, Type::Application);
        let labels = BTreeMap::from([(SPEC.to_owned(), base.text())]);
        let next = spec("FROM x\nAPPENV apollo N=3\nLAUNCH [\"apollo\"]\n", &labels, &tree).unwrap();
        assert_eq!(next.launch, [Launch::App("calico".into()), Launch::App("apollo".into())]);
        assert_eq!(next.apps[1].env["N"], "3");
        let wrong = spec("FROM x\nLAUNCH [\"appollo\"]\n", &labels, &tree).unwrap_err().to_string();
        assert!(wrong.contains("calico, apollo"), "{wrong}");
    }

    #[test]
    fn commands_of_docker_are_commands_of_a_shell() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let text = |launch| match launch {
                Launch::Run(text) => text,
                Launch::App(name) => panic!("an application: {name}"),
            };
            docker_commands(&words).into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), Vec::<String>::new());
        assert_eq!(of(&["/bin/sh", "-c", "helm install a && kubectl get no"]), ["helm install a && kubectl get no"]);
        assert_eq!(
            of(&["kubectl apply -f a.yaml", "", "helm install b"]),
            ["kubectl apply -f a.yaml", "helm install b"]
        );
        assert_eq!(of(&["bash", "-c", "echo \"$A\" b", ""]), ["bash -c \"echo \\\"$A\\\" b\" \"\""]);
        assert_eq!(of(&["kubectl", "apply", "-f", "$DIR/a.yaml"]), ["kubectl apply -f $DIR/a.yaml"]);
    }

    #[test]
    fn a_label_that_is_no_spec_is_an_error() {
        let labels = BTreeMap::from([(SPEC.to_owned(), "{}x".to_owned())]);
        assert!(spec("FROM x\nCMD a\n", &labels, &Tree(Vec::new())).unwrap_err().to_string().contains(SPEC));
    }
}
