//! What a template says, whichever dialect it is written in: builds, each with its own blocks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::fault::{Fault, Place};

/// A template's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Legacy JSON.
    Json,
    /// HCL2, whether written as `.pkr.hcl` or `.pkr.json`.
    Hcl2,
}

/// A template with the command line applied.
#[derive(Debug)]
pub struct Template {
    /// How it is written.
    pub dialect: Dialect,
    /// Its own description.
    pub description: Option<String>,
    /// The builds which `-only` and `-except` leave, in the template's order.
    pub builds: Vec<Build>,
    /// Its variables, by name.
    pub variables: Vec<Variable>,
    /// Values that must not be seen in logs, artefacts or process lists.
    pub sensitive: Vec<String>,
    /// What is probably not what was meant.
    pub warnings: Vec<Fault>,
    /// Every builder and provisioner as written, whatever is selected: what `inspect` shows.
    pub outline: Outline,
}

/// A variable of a template.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it says it is for.
    pub description: Option<String>,
    /// The value in effect as text; none while a required variable is not set.
    pub value: Option<String>,
    /// The default as written; none when one must be given.
    pub default: Option<String>,
    /// Whether its value must not be shown.
    pub sensitive: bool,
}

/// What a template consists of, before anything is selected.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// Name and type of each builder or source.
    pub builders: Vec<(String, String)>,
    /// The type of each provisioner.
    pub provisioners: Vec<String>,
    /// The types of post-processors, one list a pipeline.
    pub post_processors: Vec<Vec<String>>,
}

/// One image to build.
#[derive(Debug)]
pub struct Build {
    /// How it is called: in JSON the builder's `name` or type, in HCL2 `type.name`, after the name of the build block
    /// if that has one.
    pub name: String,
    /// The builder's type, such as `qemu`.
    pub kind: String,
    /// Where the builder stands.
    pub place: Place,
    /// The builder's configuration.
    pub config: Config,
    /// What is done to the machine, in order.
    pub provisioners: Vec<Block>,
    /// What is done to it when something failed.
    pub error_cleanup: Option<Block>,
    /// What is done with the artefact: pipelines, each starting from what the builder made.
    pub post_processors: Vec<Vec<Block>>,
}

/// A provisioner or post-processor of one build: `only`, `except` and `override` are already applied.
#[derive(Clone)]
pub struct Block {
    /// Its type, such as `shell`.
    pub kind: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// What is asked of every block, whatever its type.
    pub common: Common,
    /// Its own configuration, not evaluated yet.
    pub body: Arc<dyn Body>,
}

/// What every provisioner and post-processor may say. These keys are not in its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// How long to wait before it starts.
    pub pause_before: Option<Duration>,
    /// How often it is tried again after a failure.
    pub max_retries: u64,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Of a post-processor: whether the artefact it starts from is kept.
    pub keep_input_artifact: Option<bool>,
}

/// A configuration that can be evaluated only when the machine runs.
pub trait Body: Send + Sync {
    /// The configuration, with what is known now filled in.
    ///
    /// # Errors
    /// When it cannot be evaluated.
    fn evaluate(&self, facts: &BuildFacts) -> Result<Config, Fault>;
}

impl Block {
    /// The configuration, with what is known only now — `build.*` of HCL2, `{{build "Host"}}` of JSON — filled in.
    ///
    /// # Errors
    /// When it cannot be evaluated.
    pub fn config(&self, facts: &BuildFacts) -> Result<Config, Fault> {
        self.body.evaluate(facts)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("place", &self.place.to_string())
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

/// What is known about a build only while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildFacts {
    /// The machine's identifier, as its builder calls it.
    pub id: String,
    /// Its address.
    pub host: String,
    /// The port that is connected to.
    pub port: String,
    /// Who is logged in.
    pub user: String,
    /// The password used.
    pub password: String,
    /// `ssh`, `winrm`, `none`.
    pub conn_type: String,
    /// The identifier of this run.
    pub uuid: String,
    /// `host:port` of the builder's web server.
    pub http_addr: String,
    /// Its address alone.
    pub http_ip: String,
    /// Its port alone.
    pub http_port: String,
    /// The public key of the connection.
    pub ssh_public_key: String,
    /// The private key of the connection, in PEM.
    pub ssh_private_key: String,
    /// What only some builders know, such as `SourceImageName`.
    pub other: Vec<(String, String)>,
}

impl BuildFacts {
    /// The names of the facts that every build has, as templates write them.
    pub const NAMES: [&'static str; 12] = [
        "ID",
        "Host",
        "Port",
        "User",
        "Password",
        "ConnType",
        "PackerRunUUID",
        "PackerHTTPAddr",
        "PackerHTTPIP",
        "PackerHTTPPort",
        "SSHPublicKey",
        "SSHPrivateKey",
    ];

    /// Facts to check a template with before a machine exists: each value names itself.
    pub fn placeholders() -> BuildFacts {
        let [id, host, port, user, password, conn_type, uuid, http_addr, http_ip, http_port, public, private] =
            BuildFacts::NAMES.map(|name| format!("<build {name}>"));
        BuildFacts {
            id,
            host,
            port,
            user,
            password,
            conn_type,
            uuid,
            http_addr,
            http_ip,
            http_port,
            ssh_public_key: public,
            ssh_private_key: private,
            other: Vec::new(),
        }
    }

    /// The fact a template calls `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "ID" => &self.id,
            "Host" => &self.host,
            "Port" => &self.port,
            "User" => &self.user,
            "Password" => &self.password,
            "ConnType" => &self.conn_type,
            "PackerRunUUID" => &self.uuid,
            "PackerHTTPAddr" => &self.http_addr,
            "PackerHTTPIP" => &self.http_ip,
            "PackerHTTPPort" => &self.http_port,
            "SSHPublicKey" => &self.ssh_public_key,
            "SSHPrivateKey" => &self.ssh_private_key,
            other => return self.other.iter().find(|(name, _)| name == other).map(|(_, value)| value.as_str()),
        })
    }
}
