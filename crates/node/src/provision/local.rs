//! `shell-local`, as provisioner and as post-processor: commands on this machine.
//!
//! Values of variables that are sensitive are given to the command in its environment, never in its arguments, which
//! every user of the machine could read.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_packer::config::Config;
use kiln_packer::model::BuildFacts;
use kiln_packer::render::Text;
use kiln_sandbox::Cancel;

use super::environment::{self, Variables};
use super::shell::exit_codes;
use super::{Stage, arguments, finish, render};
use crate::error::{NodeError, Result};
use crate::ui::{BuildUi, Masks, Stream};

/// A `shell-local` block.
pub struct Local {
    what: What,
    shebang: String,
    variables: Variables,
    format: String,
    command: Option<Vec<Text>>,
    only_on: Vec<String>,
    suffix: String,
    valid: Vec<i32>,
}

enum What {
    Inline(Vec<String>),
    Files(Vec<PathBuf>),
}

/// Which build a command runs for.
pub struct Place<'a> {
    /// Where its output goes.
    pub ui: &'a BuildUi,
    /// The build's name.
    pub build: &'a str,
    /// Its builder's type.
    pub kind: &'a str,
    /// What is known of it.
    pub facts: &'a BuildFacts,
}

impl<'a> Place<'a> {
    /// That of a provisioner.
    pub fn of(stage: &Stage<'a>) -> Place<'a> {
        Place { ui: stage.ui, build: stage.build, kind: stage.kind, facts: stage.facts }
    }
}

impl Local {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes, or a script is not there.
    pub fn parse(config: &Config) -> Result<Local> {
        let f = config.fields();
        let (command, inline) = (f.string("command")?, f.strings("inline")?);
        let (script, scripts) = (f.string("script")?, f.strings("scripts")?);
        let local = Local {
            what: what(config, command, inline, script, scripts)?,
            shebang: f.string("inline_shebang")?.unwrap_or_else(|| "/bin/sh -e".to_owned()),
            variables: environment::given(config, &f)?,
            format: f.string("env_var_format")?.unwrap_or_else(|| "%s='%s' ".to_owned()),
            command: f.verbatims("execute_command")?,
            only_on: f.strings("only_on")?.unwrap_or_default(),
            suffix: f.string("tempfile_extension")?.unwrap_or_default(),
            valid: exit_codes(config, f.ints("valid_exit_codes")?)?,
        };
        // It is about paths of Windows.
        f.bool("use_linux_pathing")?;
        finish(f)?;
        if let What::Files(paths) = &local.what
            && let Some(path) = paths.iter().find(|p| !p.is_file())
        {
            let message = format!("Bad script '{}': there is no such file", path.display());
            return Err(config.place().error("NoScript", message).into());
        }
        Ok(local)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When a command cannot be started, or ends with a code it may not.
    pub fn run(&self, place: &Place<'_>, cancel: &Cancel) -> Result<()> {
        if !self.only_on.is_empty() && !self.only_on.iter().any(|os| os == "linux") {
            place.ui.say(&format!("Skipping shell-local due to runtime OS (only_on: {})", self.only_on.join(", ")));
            return Ok(());
        }
        match &self.what {
            What::Inline(lines) => {
                let text = format!("#!{}\n{}\n", self.shebang, lines.join("\n"));
                let (_kept, path) = script(&text, &self.suffix)?;
                self.one(&path.display().to_string(), place, cancel)
            }
            What::Files(paths) => paths.iter().try_for_each(|path| {
                let path = path.canonicalize().map_err(NodeError::file("read the script", path))?;
                self.one(&path.display().to_string(), place, cancel)
            }),
        }
    }

    fn one(&self, path: &str, place: &Place<'_>, cancel: &Cancel) -> Result<()> {
        place.ui.say(&format!("Running local shell script: {path}"));
        let variables = environment::with_build(&self.variables, place.build, place.kind, place.facts);
        let masks = place.ui.whole().masks();
        let public = variables.iter().filter(|(_, value)| !masks.is_in(value.as_bytes()));
        let public: Variables = public.map(|(n, v)| (n.clone(), v.clone())).collect();
        let words = match &self.command {
            None => vec!["/bin/sh".to_owned(), "-c".to_owned(), kiln_host::command::quote(path)],
            Some(texts) => {
                let vars = environment::formatted(&public, &self.format);
                let data = [("Vars", &*vars), ("Script", path), ("Command", path)];
                texts.iter().map(|text| render(text, &data)).collect::<Result<_>>()?
            }
        };
        let (words, kept) = hidden(words, masks)?;
        let code = run(&words, &variables, place.ui, cancel)?;
        drop(kept);
        match self.valid.contains(&code) {
            true => Ok(()),
            false => Err(NodeError::Script { code, allowed: self.valid.clone() }),
        }
    }
}

/// The words of a command, in which a line for a shell with what is sensitive is in a file, as every user can read words.
fn hidden(words: Vec<String>, masks: &Masks) -> Result<(Vec<String>, Option<tempfile::TempDir>)> {
    if let [shell, how, line] = &words[..]
        && how == "-c"
        && masks.is_in(line.as_bytes())
    {
        let (kept, path) = script(line, "")?;
        return Ok((vec![shell.clone(), path.display().to_string()], Some(kept)));
    }
    let hint = "give it by environment_vars, and write $NAME";
    arguments::refuse("execute_command", &words, masks, hint)?;
    Ok((words, None))
}

fn what(
    config: &Config,
    command: Option<String>,
    inline: Option<Vec<String>>,
    script: Option<String>,
    scripts: Option<Vec<String>>,
) -> Result<What> {
    let inline = inline.filter(|l| !l.is_empty());
    let scripts = scripts.filter(|l| !l.is_empty());
    let count = [command.is_some(), inline.is_some(), script.is_some(), scripts.is_some()];
    if count.iter().filter(|there| **there).count() != 1 {
        let message = "Exactly one of command, inline, script and scripts must be specified.";
        return Err(config.place().error("BadScripts", message).into());
    }
    let files = script.into_iter().chain(scripts.into_iter().flatten()).map(PathBuf::from).collect();
    Ok(match command.map(|c| vec![c]).or(inline) {
        Some(lines) => What::Inline(lines),
        None => What::Files(files),
    })
}

/// A script that may be executed, in a directory that only its owner can look into and that goes when it is dropped. Another
/// process writes it: a file that this one had open for writing may still be open in a child that another thread is just
/// starting, and the kernel executes none that is (`Text file busy`).
fn script(text: &str, suffix: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    use std::io::Write;
    let directory = tempfile::Builder::new().prefix("kiln-shell").tempdir();
    let directory = directory.map_err(NodeError::file("write", std::env::temp_dir()))?;
    let path = directory.path().join(format!("script{suffix}"));
    let failed = |e: std::io::Error| NodeError::file("write", &path)(e);
    let mut writer = Command::new("/bin/sh");
    writer.args(["-c", "umask 077; cat > \"$0\" && chmod 700 \"$0\""]).arg(&path).stdin(Stdio::piped());
    let mut writer = writer.stderr(Stdio::null()).spawn().map_err(failed)?;
    let given = writer.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let ended = writer.wait().map_err(failed)?;
    given.map_err(failed)?;
    match ended.success() {
        true => Ok((directory, path)),
        false => Err(failed(std::io::Error::other(format!("cat and chmod: {ended}")))),
    }
}

/// What a command gets to end by itself when the user stops it.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Runs a command to its end, or until the user stops it; then its whole group is ended, and killed if it does not. Returns
/// its code. What it started and left running is waited for as long as that holds its output open, as Packer does.
///
/// # Errors
/// When it cannot be started, or the user stops it.
pub fn run(words: &[String], variables: &Variables, ui: &BuildUi, cancel: &Cancel) -> Result<i32> {
    let Some((program, args)) = words.split_first() else {
        return Err(NodeError::Unsupported { what: "execute_command is empty".to_owned(), hint: None });
    };
    let failed = |source| NodeError::Program { program: program.clone(), source };
    let mut command = Command::new(program);
    command.args(args).envs(variables).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let out = child.stdout.take().map(|out| show(ui, Stream::Out, out));
    let err = child.stderr.take().map(|err| show(ui, Stream::Err, err));
    let readers: Vec<JoinHandle<()>> = out.into_iter().chain(err).collect();
    let mut status: Option<ExitStatus> = None;
    let mut stopped: Option<Instant> = None;
    loop {
        if status.is_none() {
            status = child.try_wait().map_err(failed)?;
        }
        // What is left running may have the output of a program that has ended.
        let over = status.is_some() && readers.iter().all(JoinHandle::is_finished);
        match (stopped, status) {
            (None, Some(status)) if over => {
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
            }
            (None, _) if cancel.is_cancelled() => {
                stopped = Some(Instant::now());
                kill(child.id(), rustix::process::Signal::TERM);
            }
            (Some(since), status) if over || since.elapsed() > GRACE => {
                kill(child.id(), rustix::process::Signal::KILL);
                if status.is_none() {
                    child.wait().map_err(failed)?;
                }
                return Err(NodeError::Cancelled);
            }
            _ => {}
        }
        std::thread::sleep(GLANCE);
    }
}

/// Shows what is written, until nobody has the other end. Nobody waits for that when the user stops the command: a daemon
/// that left its group may have it for ever.
fn show(ui: &BuildUi, stream: Stream, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
    let ui = ui.clone();
    std::thread::spawn(move || {
        let (mut lines, mut buffer) = (ui.lines(), [0; 8192]);
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            lines.add(stream, &buffer[..n]);
        }
        lines.end();
    })
}

fn kill(id: u32, signal: rustix::process::Signal) {
    if let Some(group) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
