//! `ansible`: a playbook that the ansible of this machine applies to the build's, over SSH.
//!
//! Packer puts a proxy of its own between the two; here ansible connects to the machine itself, with the login of the
//! build and with the host key that Kiln saw. Keys that are about that proxy say nothing then, and that is told.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_packer::config::Config;
use kiln_packer::fields::Fields;
use kiln_packer::model::BuildFacts;
use kiln_packer::render::Text;

use super::environment::Variables;
use super::{Stage, arguments, finish, local, render};
use crate::error::{NodeError, Result};
use kiln_host::command::quote;

/// An `ansible` block.
pub struct Ansible {
    command: String,
    playbook: String,
    arguments: Vec<Text>,
    variables: Variables,
    user: Option<String>,
    groups: Vec<String>,
    empty_groups: Vec<String>,
    alias: String,
    inventory: Option<String>,
    directory: Option<String>,
    template: Option<Text>,
    keep: bool,
    galaxy: Option<Galaxy>,
    ssh_arguments: Vec<String>,
    /// Keys about Packer's proxy.
    unused: Vec<&'static str>,
}

struct Galaxy {
    command: String,
    file: String,
    force: bool,
    with_dependencies: bool,
    roles: Option<String>,
    collections: Option<String>,
}

/// Keys that are about Packer's proxy, or about asking ansible for its version.
const PROXY: [&str; 9] = [
    "use_proxy",
    "local_port",
    "ssh_host_key_file",
    "ssh_authorized_key_file",
    "ansible_proxy_key_type",
    "ansible_proxy_bind_address",
    "sftp_command",
    "use_sftp",
    "skip_version_check",
];

impl Ansible {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes, or a file is not there.
    pub fn parse(config: &Config) -> Result<Ansible> {
        let f = config.fields();
        let ansible = Ansible {
            command: f.string("command")?.unwrap_or_else(|| "ansible-playbook".to_owned()),
            playbook: f.required("playbook_file")?,
            arguments: f.verbatims("extra_arguments")?.unwrap_or_default(),
            variables: variables(&f)?,
            user: f.string("user")?.filter(|user| !user.is_empty()),
            groups: f.strings("groups")?.unwrap_or_default(),
            empty_groups: f.strings("empty_groups")?.unwrap_or_default(),
            alias: f.string("host_alias")?.unwrap_or_else(|| "default".to_owned()),
            inventory: f.string("inventory_file")?,
            directory: f.string("inventory_directory")?,
            template: f.verbatim("inventory_file_template")?,
            keep: f.bool("keep_inventory_file")?.unwrap_or(false),
            galaxy: galaxy(&f)?,
            ssh_arguments: f.strings("ansible_ssh_extra_args")?.unwrap_or_default(),
            unused: PROXY.into_iter().filter(|key| f.has(key)).collect(),
        };
        if f.bool("ansible_winrm_use_http")?.unwrap_or(false) {
            let message = "WinRM is for Windows guests, and there are none here";
            return Err(f.fault("ansible_winrm_use_http", "UnsupportedKey", message).into());
        }
        ansible.check(&f)?;
        finish(f)?;
        Ok(ansible)
    }

    fn check(&self, f: &Fields<'_>) -> Result<()> {
        let files = [
            ("playbook_file", Some(&self.playbook)),
            ("inventory_file", self.inventory.as_ref()),
            ("inventory_directory", self.directory.as_ref()),
            ("galaxy_file", self.galaxy.as_ref().map(|galaxy| &galaxy.file)),
        ];
        for (key, path) in files {
            if let Some(path) = path.filter(|path| !Path::new(path).exists()) {
                return Err(f.fault(key, "NoFile", format!("{key}: {path} is invalid: there is no such file")).into());
            }
        }
        for (key, names) in [("groups", &self.groups), ("empty_groups", &self.empty_groups)] {
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return Err(f.fault(key, "BadGroup", format!("`{name}` is no name of a group")).into());
            }
        }
        match is_name(&self.alias) {
            true => Ok(()),
            false => Err(f.fault("host_alias", "BadAlias", format!("`{}` is no name of a host", self.alias)).into()),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When ansible is not installed, there is no machine, or the playbook fails.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        if stage.facts.conn_type != "ssh" {
            let what = "the provisioner `ansible` connects to a machine over SSH, and this build has none".to_owned();
            let hint = Some("`ansible-local` runs in the image, with the builder `offline` too".to_owned());
            return Err(NodeError::Unsupported { what, hint });
        }
        stage.ui.say("Provisioning with Ansible...");
        if !self.unused.is_empty() {
            stage.ui.message(&format!("ansible connects without a proxy; not needed: {}", self.unused.join(", ")));
        }
        let dir = tempfile::Builder::new().prefix("kiln-ansible-").tempdir();
        let dir = dir.map_err(NodeError::file("make a directory below", std::env::temp_dir()))?;
        if let Some(galaxy) = &self.galaxy {
            galaxy.install(stage, &self.variables)?;
        }
        let login = login(stage.facts, dir.path())?;
        let inventory = match &self.inventory {
            Some(file) => file.clone(),
            None => self.write_inventory(stage.facts, &login, dir.path())?,
        };
        let words = self.words(stage, &login, &inventory, dir.path())?;
        let shown: Vec<String> = words.iter().map(|word| quote(word)).collect();
        stage.ui.say(&format!("Executing Ansible: {}", shown.join(" ")));
        let mut variables = self.variables.clone();
        variables.entry("ANSIBLE_FORCE_COLOR".to_owned()).or_insert_with(|| "0".to_owned());
        variables.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| "1".to_owned());
        execute(&words, &variables, stage)?;
        if self.keep && self.inventory.is_none() {
            let kept = dir.keep();
            stage.ui.message(&format!("the inventory is kept: {}", kept.join("inventory").display()));
        }
        Ok(())
    }

    fn write_inventory(&self, facts: &BuildFacts, login: &LoginFiles, dir: &Path) -> Result<String> {
        let user = self.user.as_deref().unwrap_or(&facts.user);
        let line = match &self.template {
            Some(text) => {
                let data = [("HostAlias", &*self.alias), ("Host", &facts.host), ("User", user), ("Port", &facts.port)];
                render(text, &data)?
            }
            None => {
                format!("{} ansible_host={} ansible_user={user} ansible_port={}\n", self.alias, facts.host, facts.port)
            }
        };
        let mut text = line.clone();
        for group in &self.groups {
            let _ = write!(text, "[{group}]\n{line}");
        }
        for group in &self.empty_groups {
            let _ = writeln!(text, "[{group}]");
        }
        if let Some(password) = &login.password {
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            let _ = writeln!(text, "[all:vars]\nansible_password='{quoted}'");
        }
        let place = self.directory.as_deref().map_or(dir, Path::new);
        let path = place.join(if self.directory.is_some() { "kiln-inventory" } else { "inventory" });
        private_file(&path, &text)?;
        let shown = self.directory.clone().unwrap_or_else(|| path.display().to_string());
        Ok(shown)
    }

    fn words(&self, stage: &Stage<'_>, login: &LoginFiles, inventory: &str, dir: &Path) -> Result<Vec<String>> {
        let facts = stage.facts;
        let mut words = vec![self.command.clone()];
        let mut extra = |name: &str, value: &str| words.extend(["-e".to_owned(), format!("{name}={}", quote(value))]);
        extra("packer_build_name", stage.build);
        extra("packer_builder_type", stage.kind);
        if !facts.http_port.is_empty() {
            extra("packer_http_addr", &facts.http_addr);
        }
        if let Some(key) = &login.key {
            extra("ansible_ssh_private_key_file", &key.display().to_string());
        }
        let mut options = vec!["-o IdentitiesOnly=yes".to_owned()];
        if login.key.is_none() {
            options.clear();
        }
        options.push(format!("-o UserKnownHostsFile={}", login.known_hosts.display()));
        options.push("-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes".to_owned());
        options.extend(self.ssh_arguments.iter().cloned());
        words.extend(["--ssh-common-args".to_owned(), options.join(" ")]);
        let data = [("Host", &*facts.host), ("Port", &*facts.port), ("User", &*facts.user)];
        let given = self.arguments.iter().map(|text| render(text, &data)).collect::<Result<_>>()?;
        let path = dir.join("variables.json");
        let (given, hidden) = arguments::of_ansible(given, stage.ui.whole().masks(), &path.display().to_string())?;
        if let Some(text) = hidden {
            private_file(&path, &text)?;
        }
        words.extend(given);
        words.extend(["-i".to_owned(), inventory.to_owned(), self.playbook.clone()]);
        Ok(words)
    }
}

impl Galaxy {
    fn install(&self, stage: &Stage<'_>, variables: &Variables) -> Result<()> {
        stage.ui.say("Executing Ansible Galaxy");
        let text = std::fs::read_to_string(&self.file).map_err(NodeError::file("read", &self.file))?;
        let has = |key: &str| text.lines().any(|line| line.trim_start().starts_with(&format!("{key}:")));
        let force = if self.with_dependencies { Some("--force-with-deps") } else { self.force.then_some("--force") };
        let mut runs: Vec<(&str, Option<&String>)> = Vec::new();
        if has("roles") || !has("collections") {
            runs.push(("role", self.roles.as_ref()));
        }
        if has("collections") {
            runs.push(("collection", self.collections.as_ref()));
        }
        for (what, path) in runs {
            let mut words = vec![self.command.clone(), what.to_owned(), "install".to_owned()];
            words.extend(["-r".to_owned(), self.file.clone()]);
            words.extend(path.into_iter().flat_map(|path| ["-p".to_owned(), path.clone()]));
            words.extend(force.map(str::to_owned));
            execute(&words, variables, stage)?;
        }
        Ok(())
    }
}

/// Runs one of ansible's programs, which has to succeed.
fn execute(words: &[String], variables: &Variables, stage: &Stage<'_>) -> Result<()> {
    match local::run(words, variables, stage.ui, stage.cancel) {
        Ok(0) => Ok(()),
        Ok(code) => {
            let program = words.first().cloned().unwrap_or_default();
            let why = format!("{program} exited with {code}");
            Err(NodeError::Machine { action: "Error executing Ansible".to_owned(), why })
        }
        Err(NodeError::Program { program, source }) if source.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("cannot run `{program}`: it is not installed on this machine");
            let hint = Some("install the package `ansible-core` (or `ansible`), or name it by `command`".to_owned());
            Err(NodeError::Unsupported { what, hint })
        }
        Err(error) => Err(error),
    }
}

/// What ansible logs in with.
struct LoginFiles {
    key: Option<PathBuf>,
    password: Option<String>,
    known_hosts: PathBuf,
}

fn login(facts: &BuildFacts, dir: &Path) -> Result<LoginFiles> {
    let file = facts.get("SSHPrivateKeyFile").unwrap_or_default();
    let known_hosts = dir.join("known_hosts");
    let host = match &*facts.port {
        "" | "22" => facts.host.clone(),
        port => format!("[{}]:{port}", facts.host),
    };
    private_file(&known_hosts, &format!("{host} {}\n", facts.get("SSHHostKey").unwrap_or_default()))?;
    let key = match (file.is_empty(), facts.ssh_private_key.is_empty() || !facts.password.is_empty()) {
        (false, _) => Some(PathBuf::from(file)),
        // A password, or an agent.
        (true, true) => None,
        (true, false) => {
            let path = dir.join("key");
            private_file(&path, &facts.ssh_private_key)?;
            Some(path)
        }
    };
    let password = (key.is_none() && !facts.password.is_empty()).then(|| facts.password.clone());
    Ok(LoginFiles { key, password, known_hosts })
}

/// A file that only its owner can read.
fn private_file(path: &Path, text: &str) -> Result<()> {
    let failed = NodeError::file("write", path);
    let write = || {
        std::fs::write(path, "")?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        std::fs::write(path, text)
    };
    write().map_err(failed)
}

fn variables(f: &Fields<'_>) -> Result<Variables> {
    let mut all = Variables::new();
    for text in f.strings("ansible_env_vars")?.unwrap_or_default() {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                all.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                let message = "environment variable not in format `key=value`";
                return Err(f.fault("ansible_env_vars", "BadVariable", message).into());
            }
        }
    }
    Ok(all)
}

fn galaxy(f: &Fields<'_>) -> Result<Option<Galaxy>> {
    let (command, roles) = (f.string("galaxy_command")?, f.string("roles_path")?);
    let collections = f.string("collections_path")?;
    let force = f.bool("galaxy_force_install")?.unwrap_or(false);
    let with_dependencies = f.bool("galaxy_force_with_deps")?.unwrap_or(false);
    Ok(f.string("galaxy_file")?.map(|file| Galaxy {
        command: command.unwrap_or_else(|| "ansible-galaxy".to_owned()),
        file,
        force,
        with_dependencies,
        roles,
        collections,
    }))
}

/// Names that mean nothing else in an inventory.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_become_files_that_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let facts = BuildFacts {
            host: "127.0.0.1".to_owned(),
            port: "2222".to_owned(),
            ssh_private_key: "KEY\n".to_owned(),
            other: vec![("SSHHostKey".to_owned(), "ssh-ed25519 AAAA".to_owned())],
            ..BuildFacts::default()
        };
        let made = login(&facts, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(made.key.as_ref().unwrap()).unwrap(), "KEY\n");
        assert_eq!(std::fs::metadata(made.key.unwrap()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(made.known_hosts).unwrap(), "[127.0.0.1]:2222 ssh-ed25519 AAAA\n");
        let with_password = BuildFacts { password: "x".to_owned(), ..facts.clone() };
        let made = login(&with_password, dir.path()).unwrap();
        assert_eq!((made.key, made.password.as_deref()), (None, Some("x")));
        let mut with_file = facts;
        with_file.other.push(("SSHPrivateKeyFile".to_owned(), "/k".to_owned()));
        assert_eq!(login(&with_file, dir.path()).unwrap().key, Some(PathBuf::from("/k")));
    }
}
