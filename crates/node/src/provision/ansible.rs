//! `ansible-local`: a playbook that the image's own ansible applies to it, without any connection.

use kiln_packer::config::Config;

use super::{Stage, finish};
use crate::error::Result;
use crate::target::{Script, Upload};
use kiln_host::command::quote;

/// An `ansible-local` block.
pub struct AnsibleLocal {
    command: String,
    playbooks: Vec<String>,
    directories: Vec<(String, &'static str)>,
    inventory: Option<String>,
    groups: Vec<String>,
    arguments: Vec<String>,
    galaxy: Option<(String, String)>,
    staging: String,
    clean: bool,
}

/// Keys that name a directory, and what it is called beside the playbook.
const DIRECTORIES: [(&str, &str); 3] = [("playbook_dir", ""), ("group_vars", "group_vars"), ("host_vars", "host_vars")];

impl AnsibleLocal {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<AnsibleLocal> {
        let f = config.fields();
        let one = f.string("playbook_file")?;
        let several = f.strings("playbook_files")?.unwrap_or_default();
        let both = one.is_some() && !several.is_empty();
        let mut directories = Vec::new();
        for (key, name) in DIRECTORIES {
            directories.extend(f.string(key)?.map(|path| (path, name)));
        }
        let roles = f.strings("role_paths")?.unwrap_or_default();
        directories.extend(roles.into_iter().map(|path| (path, "roles")));
        let collections = f.strings("collection_paths")?.unwrap_or_default();
        directories.extend(collections.into_iter().map(|path| (path, "collections")));
        let galaxy_command = f.string("galaxy_command")?.unwrap_or_else(|| "ansible-galaxy".to_owned());
        let local = AnsibleLocal {
            command: f
                .string("command")?
                .unwrap_or_else(|| "ANSIBLE_FORCE_COLOR=1 PYTHONUNBUFFERED=1 ansible-playbook".to_owned()),
            playbooks: one.into_iter().chain(several).collect(),
            directories,
            inventory: f.string("inventory_file")?,
            groups: f.strings("inventory_groups")?.unwrap_or_default(),
            arguments: f.strings("extra_arguments")?.unwrap_or_default(),
            galaxy: f.string("galaxy_file")?.map(|file| (galaxy_command, file)),
            staging: f
                .string("staging_directory")?
                .unwrap_or_else(|| "/tmp/packer-provisioner-ansible-local".to_owned()),
            clean: f.bool("clean_staging_directory")?.unwrap_or(false),
        };
        finish(f)?;
        let wrong = |message: String| Err(config.place().error("BadPlaybook", message).into());
        if local.playbooks.is_empty() || both {
            return wrong("exactly one of playbook_file and playbook_files must be specified".to_owned());
        }
        let files = local.playbooks.iter().chain(&local.inventory).chain(local.galaxy.iter().map(|(_, file)| file));
        let paths = files.chain(local.directories.iter().map(|(path, _)| path));
        for path in paths {
            if !std::path::Path::new(path).exists() {
                return wrong(format!("`{path}`: there is no such file or directory"));
            }
        }
        Ok(local)
    }

    /// Uploads it all and runs it.
    ///
    /// # Errors
    /// When a file cannot be uploaded, or a playbook fails.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        stage.ui.say("Provisioning with Ansible...");
        for (path, name) in &self.directories {
            let to = match *name {
                "" => format!("{}/", self.staging),
                "roles" | "collections" => format!("{}/{name}/{}/", self.staging, base(path)),
                name => format!("{}/{name}/", self.staging),
            };
            stage.ui.message(&format!("Uploading {path}"));
            stage.target.upload(&Upload::Path(format!("{}/", path.trim_end_matches('/'))), &to)?;
        }
        let files = self.playbooks.iter().chain(&self.inventory).chain(self.galaxy.iter().map(|(_, file)| file));
        for file in files {
            stage.ui.message(&format!("Uploading {file}"));
            stage.target.upload(&Upload::Path(file.clone()), &format!("{}/{}", self.staging, base(file)))?;
        }
        if self.inventory.is_none() {
            let groups: Vec<String> = self.groups.iter().map(|g| format!("[{g}]\n127.0.0.1\n")).collect();
            let text = if groups.is_empty() { "127.0.0.1\n".to_owned() } else { groups.concat() };
            let to = format!("{}/packer-inventory", self.staging);
            stage.target.upload(&Upload::Content(text.into_bytes()), &to)?;
        }
        let (build, kind) = (quote(stage.build), quote(stage.kind));
        let script = self.script(&build, &kind);
        stage.target.run(&Script {
            title: format!("ansible-local {}", self.playbooks.join(", ")),
            content: script.into_bytes(),
            path: format!("{}/run-{}.sh", self.staging, stage.position),
            command: format!("/bin/sh {}/run-{}.sh", self.staging, stage.position),
            variables: None,
            remove: true,
            valid: vec![0],
            may_disconnect: false,
            start_timeout: std::time::Duration::ZERO,
        })
    }

    fn script(&self, build: &str, kind: &str) -> String {
        let staging = quote(&self.staging);
        let mut text = format!("set -e\ncd {staging}\n");
        if let Some((command, file)) = &self.galaxy {
            text += &format!("{command} install -r {} -p {staging}/roles\n", quote(base(file)));
        }
        let inventory = self.inventory.as_deref().map_or("packer-inventory", base);
        let known = format!("--extra-vars \"packer_build_name={build} packer_builder_type={kind}\"");
        for playbook in &self.playbooks {
            let arguments = self.arguments.join(" ");
            let command = &self.command;
            text +=
                &format!("{command} {} {known} {arguments} -c local -i {}\n", quote(base(playbook)), quote(inventory));
        }
        if self.clean {
            text += &format!("cd /\nrm -rf {staging}\n");
        }
        text
    }
}

fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}
