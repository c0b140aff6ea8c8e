//! `shell`: scripts that run on the target.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_oci::Digest;
use kiln_packer::config::Config;
use kiln_packer::render::Text;

use super::environment::{self, Variables};
use super::{Stage, finish, render};
use crate::error::{NodeError, Result};
use crate::target::{Script, pause};

/// As large a script may be.
const MAX_SCRIPT: u64 = 64 << 20;
/// As long a machine is waited for that does not answer.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// A `shell` block.
pub struct Shell {
    what: What,
    binary: bool,
    variables: Variables,
    format: Option<String>,
    variables_in_file: bool,
    command: Option<Text>,
    folder: String,
    file: Option<String>,
    path: Option<String>,
    keep: bool,
    may_disconnect: bool,
    start_timeout: Duration,
    valid: Vec<i32>,
    pause_after: Option<Duration>,
}

enum What {
    Inline { shebang: String, lines: Vec<String> },
    Files(Vec<PathBuf>),
}

impl Shell {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes, or a script is not there.
    pub fn parse(config: &Config) -> Result<Shell> {
        let f = config.fields();
        let inline = f.strings("inline")?;
        let script = f.string("script")?;
        let scripts = f.strings("scripts")?;
        let shebang = f.string("inline_shebang")?.unwrap_or_else(|| "/bin/sh -e".to_owned());
        let remote_path = f.string("remote_path")?;
        let shell = Shell {
            what: what(config, inline, script, scripts, shebang)?,
            binary: f.bool("binary")?.unwrap_or(false),
            variables: environment::given(config, &f)?,
            format: f.string("env_var_format")?,
            variables_in_file: f.bool("use_env_var_file")?.unwrap_or(false),
            command: f.verbatim("execute_command")?,
            folder: f.string("remote_folder")?.unwrap_or_else(|| "/tmp".to_owned()),
            file: f.string("remote_file")?,
            path: remote_path,
            keep: f.bool("skip_clean")?.unwrap_or(false),
            may_disconnect: f.bool("expect_disconnect")?.unwrap_or(false),
            start_timeout: f.duration("start_retry_timeout")?.unwrap_or(START_TIMEOUT),
            valid: exit_codes(config, f.ints("valid_exit_codes")?)?,
            pause_after: f.duration("pause_after")?,
        };
        finish(f)?;
        shell.check(config)?;
        Ok(shell)
    }

    /// What is wrong before anything runs.
    fn check(&self, config: &Config) -> Result<()> {
        if let What::Files(paths) = &self.what {
            for path in paths {
                if !path.is_file() {
                    let message = format!("Bad script '{}': there is no such file", path.display());
                    return Err(config.place().error("NoScript", message).into());
                }
            }
        }
        Ok(())
    }

    /// Runs its scripts, one after the other.
    ///
    /// # Errors
    /// The first that fails.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        match &self.what {
            What::Inline { shebang, lines } => {
                let text = format!("#!{shebang}\n{}\n", lines.join("\n"));
                self.one(stage, "inline", text.into_bytes())?;
            }
            What::Files(paths) => {
                for path in paths {
                    let content = read_script(path)?;
                    self.one(stage, &path.display().to_string(), content)?;
                }
            }
        }
        match self.pause_after {
            Some(time) => {
                stage.ui.say(&format!("Pausing {} after this provisioner...", crate::ui::words(time)));
                pause(time, stage.cancel)
            }
            None => Ok(()),
        }
    }

    fn one(&self, stage: &mut Stage<'_>, title: &str, content: Vec<u8>) -> Result<()> {
        stage.ui.say(&format!("Provisioning with shell script: {title}"));
        let content = if self.binary { content } else { without_carriage_returns(&content) };
        for advice in full_upgrades(&content) {
            stage.ui.message(&format!("warning: {advice}"));
        }
        // Packer takes a random number; a number of the content lets a step be found again.
        // Without what is sensitive in it, which no name may follow from.
        // With the build's name: several builds may be on one machine at once.
        let number = number_of(stage.build, &stage.ui.whole().masks().apply_bytes(&content), stage.position);
        let variables = environment::with_build(&self.variables, stage.build, stage.kind, stage.facts);
        let path = match (&self.path, &self.file) {
            (Some(path), _) => path.clone(),
            (None, Some(file)) => format!("{}/{file}", self.folder),
            (None, None) => format!("{}/script_{number}.sh", self.folder),
        };
        let default = if self.variables_in_file { "export %s='%s'\n" } else { "%s='%s' " };
        let formatted = environment::formatted(&variables, self.format.as_deref().unwrap_or(default));
        let file = format!("{}/varfile_{number}.sh", self.folder);
        let command = match (&self.command, self.variables_in_file) {
            (Some(text), in_file) => {
                let vars = if in_file { "" } else { &formatted };
                let env_file = if in_file { &file } else { "" };
                render(text, &[("Vars", vars), ("Path", &path), ("EnvVarFile", env_file)])?
            }
            (None, false) => format!("chmod +x {path}; {formatted} {path}"),
            (None, true) => format!("chmod +x {path}; . {file} && {path}"),
        };
        stage.target.run(&Script {
            title: title.to_owned(),
            content,
            path,
            command,
            variables: self.variables_in_file.then(|| (file, formatted.into_bytes())),
            remove: !self.keep,
            valid: self.valid.clone(),
            may_disconnect: self.may_disconnect,
            start_timeout: self.start_timeout,
        })
    }
}

/// Exactly one of three says what runs.
fn what(
    config: &Config,
    inline: Option<Vec<String>>,
    script: Option<String>,
    scripts: Option<Vec<String>>,
    shebang: String,
) -> Result<What> {
    let wrong = |message: &str| Err(config.place().error("BadScripts", message).into());
    let scripts = scripts.filter(|s| !s.is_empty());
    let inline = inline.filter(|l| !l.is_empty());
    match (inline, script, scripts) {
        (Some(lines), None, None) => Ok(What::Inline { shebang, lines }),
        (None, Some(one), None) => Ok(What::Files(vec![one.into()])),
        (None, None, Some(several)) => Ok(What::Files(several.into_iter().map(PathBuf::from).collect())),
        (None, None, None) => wrong("Either a script file or inline script must be specified."),
        (None, Some(_), Some(_)) => wrong("Only one of script or scripts can be specified."),
        _ => wrong("Only a script file or an inline script can be specified, not both."),
    }
}

/// Codes that mean success; 0 if none are given.
///
/// # Errors
/// When one is no exit code.
pub fn exit_codes(config: &Config, given: Option<Vec<i64>>) -> Result<Vec<i32>> {
    let given = given.unwrap_or_default();
    if given.is_empty() {
        return Ok(vec![0]);
    }
    let code = |n: &i64| {
        i32::try_from(*n).ok().filter(|n| *n >= 0).ok_or_else(|| {
            NodeError::from(config.place().error("BadExitCode", format!("`{n}` is no exit code of a program")))
        })
    };
    given.iter().map(code).collect()
}

/// Reads a script of this machine.
///
/// # Errors
/// When it cannot be read or is too large.
pub fn read_script(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = NodeError::file("read the script", path);
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_SCRIPT + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > MAX_SCRIPT {
            true => Err(std::io::Error::other("a script may have 64 MiB at the most")),
            false => Ok(bytes),
        }
    };
    read().map_err(failed)
}

/// Line ends of Windows become those of Unix.
fn without_carriage_returns(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for (i, byte) in content.iter().enumerate() {
        if *byte != b'\r' || content.get(i + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Four digits that a build, a content and a place always give.
fn number_of(build: &str, content: &[u8], position: usize) -> String {
    let digest = Digest::of(&[build.as_bytes(), b"\0".as_slice(), content].concat());
    let number = u32::from_str_radix(&digest.hex()[..6], 16).unwrap_or_default() as usize;
    format!("{:04}", (number + position) % 10_000)
}

/// What upgrades every package of the system: node images should change what they mean to change.
fn full_upgrades(script: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(script);
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        // Whatever follows what looks like a remark upgrades nothing.
        let code = line.split(" #").next().unwrap_or_default();
        for command in code.split([';', '&', '|', '(', ')', '{', '}']) {
            let words: Vec<&str> = command.split_whitespace().collect();
            if upgrades_all(&words) {
                found.push(format!("`{}` upgrades all packages; install what is needed only", words.join(" ")));
            }
        }
    }
    found
}

/// Verbs that upgrade all packages, when no package is named behind them.
const ALL: [(&str, &[&str]); 7] = [
    ("apt-get", &["upgrade", "dist-upgrade"]),
    ("apt", &["upgrade", "full-upgrade", "dist-upgrade"]),
    ("aptitude", &["safe-upgrade", "full-upgrade"]),
    ("yum", &["update", "upgrade", "distro-sync"]),
    ("dnf", &["update", "upgrade", "distro-sync"]),
    ("zypper", &["up", "update", "dup", "dist-upgrade"]),
    ("apk", &["upgrade"]),
];

fn upgrades_all(words: &[&str]) -> bool {
    // Behind `sudo`, variables and the like, but not as a word of another program's: `yum install apt`.
    let program = |word: &str| ALL.iter().find(|(name, _)| word.rsplit('/').next() == Some(name));
    let Some((at, (_, verbs))) = words.iter().enumerate().find_map(|(at, word)| Some((at, program(word)?))) else {
        return false;
    };
    let mut rest = words[at + 1..].iter().filter(|word| !word.starts_with('-') && !word.contains('='));
    rest.next().is_some_and(|verb| verbs.contains(verb)) && rest.all(|word| word.contains(['<', '>']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_of_windows_go() {
        assert_eq!(without_carriage_returns(b"a\r\nb\rc\r"), b"a\nb\rc\r");
    }

    #[test]
    fn full_upgrades_are_seen() {
        let seen = |text: &str| full_upgrades(text.as_bytes()).len();
        for line in [
            "yum update -y",
            "apt-get -y dist-upgrade",
            "sudo dnf upgrade",
            "apt upgrade -y",
            "yum -y update && yum clean all",
            "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y upgrade; apt-get clean",
            "if ! (yum update -y); then exit 1; fi",
            "/usr/bin/yum update -y >/dev/null 2>&1",
            "apt-get -o Dpkg::Options::=--force-confold -y dist-upgrade",
        ] {
            assert_eq!(seen(line), 1, "{line}");
        }
        for line in [
            "yum update -y kernel",
            "apt-get update",
            "# yum update -y",
            "yum install -y x # and no yum update",
            "yum install -y x",
            "apt-get install -y apt upgrade",
            "apt-get upgrade -y openssl && true",
            "pip install --upgrade pip",
        ] {
            assert_eq!(seen(line), 0, "{line}");
        }
    }

    #[test]
    fn names_on_the_machine_follow_from_the_content() {
        assert_eq!(number_of("b", b"a", 0), number_of("b", b"a", 0));
        assert_eq!(number_of("b", b"a", 1).len(), 4);
        assert_ne!(number_of("b", b"a", 0), number_of("c", b"a", 0));
        assert_ne!(number_of("b", b"a", 0), number_of("b", b"a", 1));
    }
}
