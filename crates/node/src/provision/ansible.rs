//! `ansible-local`: a playbook that the image's own ansible applies to it, without any connection.

use kiln_packer::config::Config;

use super::{Stage, arguments, finish};
use crate::error::Result;
use crate::target::{Script, Upload};
use crate::ui::Masks;
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

/// A file of variables that is there while the playbooks run.
const VARIABLES: &str = "kiln-variables.json";

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
        let given = self.given(stage.ui.whole().masks())?;
        let (build, kind) = (quote(stage.build), quote(stage.kind));
        let script = self.script(&build, &kind, &given);
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

    /// The arguments as the script has them, and the text of the file that has the sensitive variables among them.
    fn given(&self, masks: &Masks) -> Result<(String, Option<String>)> {
        let text = self.arguments.join(" ");
        if !masks.is_in(text.as_bytes()) {
            return Ok((text, None));
        }
        let Some(words) = arguments::shell_words(&text) else {
            arguments::refuse("ansible", &self.arguments, masks, "write it without what a shell puts in: $, `, |")?;
            return Ok((text, None));
        };
        let (words, hidden) = arguments::of_ansible(words, masks, VARIABLES)?;
        Ok((words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "), hidden))
    }

    fn script(&self, build: &str, kind: &str, (arguments, hidden): &(String, Option<String>)) -> String {
        let staging = quote(&self.staging);
        let mut text = format!("set -e\ncd {staging}\n");
        if let Some(hidden) = hidden {
            // One line of JSON; gone when the script ends, however it ends.
            text += &format!("trap {} EXIT\n", quote(&format!("rm -f {staging}/{VARIABLES}")));
            text += &format!("(umask 077; cat >{VARIABLES} <<'KILN-END'\n{hidden}\nKILN-END\n)\n");
        }
        if let Some((command, file)) = &self.galaxy {
            text += &format!("{command} install -r {} -p {staging}/roles\n", quote(base(file)));
        }
        let inventory = self.inventory.as_deref().map_or("packer-inventory", base);
        let known = format!("--extra-vars \"packer_build_name={build} packer_builder_type={kind}\"");
        for playbook in &self.playbooks {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensitive_variables_are_in_a_file_while_it_runs() {
        let local = |arguments: &[&str]| AnsibleLocal {
            command: "ansible-playbook".to_owned(),
            playbooks: vec!["a/play.yml".to_owned()],
            directories: Vec::new(),
            inventory: None,
            groups: Vec::new(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            galaxy: None,
            staging: "/tmp/s".to_owned(),
            clean: false,
        };
        let masks = Masks::new(["hunter-2"]);
        let one = local(&["--extra-vars", "\"pw=hunter-2\"", "--diff"]);
        insta::assert_snapshot!(one.script("b", "qemu", &one.given(&masks).unwrap()), @r#"
        set -e
        cd /tmp/s
        trap 'rm -f /tmp/s/kiln-variables.json' EXIT
        (umask 077; cat >kiln-variables.json <<'KILN-END'
        {"pw":"hunter-2"}
        KILN-END
        )
        ansible-playbook play.yml --extra-vars "packer_build_name=b packer_builder_type=qemu" -e @kiln-variables.json --diff -c local -i packer-inventory
        "#);
        let plain = local(&["-e", "x=\"$HOME\""]);
        assert_eq!(plain.given(&masks).unwrap(), ("-e x=\"$HOME\"".to_owned(), None));
        assert!(local(&["-e", "pw=\"$(echo hunter-2)\""]).given(&masks).is_err());
    }
}
