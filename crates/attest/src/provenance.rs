//! SLSA provenance: how an image was made, of what, and by which builder. The fields of [`Run`] go where BuildKit puts
//! them, so that what reads its provenance reads this too; docs/provenance.md says for people what each means.
//!
//! ```text
//! mode   says
//! min    what the build was made from (bases, URLs, commits), its Dockerfile's name, the target, platforms, times
//! max    also: values of arguments and labels, ids of secrets and agents, the Dockerfile, every step
//! ```
//! A secret's value is never known here. Values of arguments whose names say that they are secrets, which should not have
//! been arguments, are hidden wherever they occur.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::Platform;
use serde_json::{Map, Value, json};

/// What defines the fields that SLSA leaves to the builder.
pub const BUILD_TYPE: &str = "https://github.com/kiln-build/kiln/blob/main/docs/provenance.md";
/// Who builds, if nobody says.
pub const BUILDER: &str = "https://github.com/kiln-build/kiln";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What cannot hold anything private.
    Min,
    /// Everything that is known.
    Max,
}

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// SLSA 0.2.
    V0_2,
    /// SLSA 1.
    V1,
}

impl Version {
    /// Its predicate type.
    #[must_use]
    pub fn predicate_type(self) -> &'static str {
        match self {
            Version::V0_2 => "https://slsa.dev/provenance/v0.2",
            Version::V1 => "https://slsa.dev/provenance/v1",
        }
    }
}

/// Something the image was made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Where it was.
    pub uri: String,
    /// What it was: digests by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// A build.
#[derive(Debug, Clone)]
pub struct Run {
    /// How much is to be said.
    pub mode: Mode,
    /// Who built.
    pub builder: String,
    /// The version of Kiln.
    pub kiln: String,
    /// Whether the user says that it is reproducible.
    pub reproducible: bool,
    /// Where the context was, if it was not a directory here.
    pub source: Option<Material>,
    /// The Dockerfile's name in the context.
    pub path: String,
    /// The Dockerfile.
    pub dockerfile: Vec<u8>,
    /// The stage that was asked for.
    pub target: Option<String>,
    /// Arguments.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Ids of secrets.
    pub secrets: Vec<String>,
    /// Ids of agents.
    pub ssh: Vec<String>,
    /// Names of contexts that are directories here.
    pub locals: Vec<String>,
    /// Names of other contexts, and what they are.
    pub contexts: BTreeMap<String, String>,
    /// The machine's platform.
    pub machine: Platform,
    /// The image's platform.
    pub platform: Platform,
    /// What it was made from.
    pub materials: Vec<Material>,
    /// Whether nothing else can have gone into it: no local context, and no command had a network.
    pub complete: bool,
    /// Whether no command had a network.
    pub hermetic: bool,
    /// The steps.
    pub steps: Value,
    /// When it began and ended.
    pub times: Option<(String, String)>,
    /// Texts that are not to be seen.
    pub hidden: Vec<String>,
}

/// What stands for a text that is not to be seen.
const HIDDEN: &str = "xxxxx";
/// Shorter texts are too likely to be part of something else.
const MIN_HIDDEN: usize = 4;

impl Run {
    /// The predicate.
    #[must_use]
    pub fn predicate(&self, version: Version) -> Value {
        match version {
            Version::V1 => self.v1(),
            Version::V0_2 => self.v0_2(),
        }
    }

    /// A text without what is not to be seen. What the image was made from is not looked through: a Dockerfile decides
    /// which variables are called secrets, and is not to blot out its bases with them.
    fn shown(&self, text: &str) -> String {
        let mut hidden: Vec<&String> = self.hidden.iter().filter(|text| text.len() >= MIN_HIDDEN).collect();
        // The longest first, for one may be part of another.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        hidden.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }

    /// A value with no hidden text in any of its strings.
    fn shown_in(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.shown(text)),
            Value::Array(list) => list.iter().map(|value| self.shown_in(value)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.shown_in(value))).collect(),
            other => other.clone(),
        }
    }

    fn v1(&self) -> Value {
        let mut internal = json!({ "builderPlatform": self.machine.to_string() });
        if self.mode == Mode::Max {
            internal["buildConfig"] = self.build_config();
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": self.config_source("path"),
                    "request": self.request(),
                },
                "internalParameters": internal,
                "resolvedDependencies": self.materials(),
            },
            "runDetails": {
                "builder": { "id": self.builder, "version": { "kiln": self.kiln } },
                "metadata": self.metadata(Version::V1),
            },
        })
    }

    fn v0_2(&self) -> Value {
        let mut made = json!({
            "builder": { "id": self.builder },
            "buildType": BUILD_TYPE,
            "materials": self.materials(),
            "invocation": {
                "configSource": self.config_source("entryPoint"),
                "parameters": self.request(),
                "environment": { "platform": self.machine.to_string(), "kiln": self.kiln },
            },
        });
        if self.mode == Mode::Max {
            made["buildConfig"] = self.build_config();
        }
        made["metadata"] = self.metadata(Version::V0_2);
        made
    }

    fn materials(&self) -> Vec<Value> {
        self.source.iter().chain(&self.materials).map(|m| json!({ "uri": m.uri, "digest": m.digest })).collect()
    }

    fn config_source(&self, path: &str) -> Value {
        let mut made = Map::new();
        if let Some(source) = &self.source {
            made.insert("uri".to_owned(), json!(source.uri));
            made.insert("digest".to_owned(), json!(source.digest));
        }
        made.insert(path.to_owned(), json!(self.path));
        Value::Object(made)
    }

    /// What was asked for.
    fn request(&self) -> Value {
        let mut args = BTreeMap::from([("platform".to_owned(), self.platform.to_string())]);
        args.extend(self.target.iter().map(|target| ("target".to_owned(), target.clone())));
        let mut made = json!({ "frontend": "dockerfile.v0" });
        if self.mode == Mode::Max {
            args.extend(self.args.iter().map(|(name, value)| (format!("build-arg:{name}"), self.shown(value))));
            args.extend(self.labels.iter().map(|(name, value)| (format!("label:{name}"), self.shown(value))));
            args.extend(self.contexts.iter().map(|(name, what)| (format!("context:{name}"), self.shown(what))));
            let ids = |ids: &[String]| ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>();
            made["secrets"] = json!(ids(&self.secrets));
            made["ssh"] = json!(ids(&self.ssh));
        }
        made["locals"] = self.locals.iter().map(|name| json!({ "name": name })).collect();
        made["args"] = json!(args);
        made
    }

    fn build_config(&self) -> Value {
        let dockerfile = self.shown(&String::from_utf8_lossy(&self.dockerfile));
        let source = json!({ "filename": self.path, "data": STANDARD.encode(dockerfile) });
        json!({ "source": source, "steps": self.shown_in(&self.steps) })
    }

    fn metadata(&self, version: Version) -> Value {
        let [started, finished, completeness, reproducible, hermetic] = match version {
            Version::V1 => {
                ["startedOn", "finishedOn", "buildkit_completeness", "buildkit_reproducible", "buildkit_hermetic"]
            }
            Version::V0_2 => {
                let hermetic = "https://mobyproject.org/buildkit@v1#hermetic";
                ["buildStartedOn", "buildFinishedOn", "completeness", "reproducible", hermetic]
            }
        };
        let mut made = Map::new();
        if let Some((from, to)) = &self.times {
            made.insert(started.to_owned(), json!(from));
            made.insert(finished.to_owned(), json!(to));
        }
        let parameters = self.mode == Mode::Max;
        let complete = json!({ "parameters": parameters, "environment": true, "materials": self.complete });
        made.insert(completeness.to_owned(), complete);
        made.insert(reproducible.to_owned(), json!(self.reproducible));
        made.insert(hermetic.to_owned(), json!(self.hermetic));
        Value::Object(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: Mode) -> Run {
        let digest = BTreeMap::from([("sha256".to_owned(), "ab".repeat(32))]);
        Run {
            mode,
            builder: BUILDER.to_owned(),
            kiln: "1".to_owned(),
            reproducible: false,
            source: None,
            path: "Dockerfile".to_owned(),
            dockerfile: b"FROM debian\nARG TOKEN\nRUN use hunter22".to_vec(),
            target: Some("app".to_owned()),
            args: BTreeMap::from([("TOKEN".to_owned(), "hunter22".to_owned()), ("V".to_owned(), "1".to_owned())]),
            labels: vec![("l".to_owned(), "value".to_owned())],
            secrets: vec!["npm".to_owned()],
            ssh: vec!["default".to_owned()],
            locals: vec!["context".to_owned()],
            contexts: BTreeMap::new(),
            machine: Platform::linux("amd64"),
            platform: Platform::linux("arm64"),
            materials: vec![Material { uri: "pkg:docker/debian@12".to_owned(), digest }],
            complete: false,
            hermetic: false,
            steps: json!([{ "details": { "argv": ["use hunter22"] } }]),
            times: Some(("2026-01-01T00:00:00Z".to_owned(), "2026-01-01T00:00:01Z".to_owned())),
            hidden: vec!["hunter".to_owned(), "hunter22".to_owned(), "1".to_owned(), "debian".to_owned()],
        }
    }

    #[test]
    fn little_is_said_unless_more_is_asked_for() {
        for version in [Version::V1, Version::V0_2] {
            let min = run(Mode::Min).predicate(version).to_string();
            for absent in ["build-arg", "label:", "npm", "buildConfig", "hunter22"] {
                assert!(!min.contains(absent), "{absent} in {min}");
            }
            for there in ["pkg:docker/debian@12", "linux/arm64", "linux/amd64", "\"app\"", "2026-01-01T00:00:01Z"] {
                assert!(min.contains(there), "{there} not in {min}");
            }
            let max = run(Mode::Max).predicate(version).to_string();
            for there in ["build-arg:V", "label:l", "npm", "buildConfig", "build-arg:TOKEN"] {
                assert!(max.contains(there), "{there} not in {max}");
            }
        }
    }

    #[test]
    fn what_names_call_a_secret_is_hidden_everywhere() {
        for version in [Version::V1, Version::V0_2] {
            let max = run(Mode::Max).predicate(version);
            assert!(!max.to_string().contains("hunter22"), "{max}");
            let config = match version {
                Version::V1 => &max["buildDefinition"]["internalParameters"]["buildConfig"],
                Version::V0_2 => &max["buildConfig"],
            };
            let text = STANDARD.decode(config["source"]["data"].as_str().unwrap()).unwrap();
            assert_eq!(text, b"FROM xxxxx\nARG TOKEN\nRUN use xxxxx");
            assert_eq!(config["steps"][0]["details"]["argv"][0], "use xxxxx");
            assert!(max.to_string().contains("2026-01-01T00:00:01Z"), "a short value is not hidden within others");
            assert!(max.to_string().contains("pkg:docker/debian@12"), "what it was made from stays: {max}");
        }
    }

    #[test]
    fn without_times_it_is_the_same_every_time() {
        let run = Run { times: None, ..run(Mode::Min) };
        assert!(!run.predicate(Version::V1).to_string().contains("startedOn"));
    }
}
