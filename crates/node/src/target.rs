//! What a provisioner works on: a machine that runs, or the files of one that does not.
//!
//! A [`Target`] takes whole scripts, so that the offline builder can make one cached step of each, and a [`Machine`]
//! can be asked to upload, run and remove. [`Commanded`] is the one over the other.
//!
//! Adding a builder with a machine: implement [`Communicator`] and hand [`Commanded`] to the provisioners.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_checks::System;
use kiln_checks::system::{LookError, Machine, Ran, Remote};
use kiln_host::command::quote;
use kiln_sandbox::Cancel;

use crate::error::{NodeError, Result};
use crate::ui::{BuildUi, Stream};

/// The code that stands for a lost connection, as Packer has it in `valid_exit_codes`.
pub const DISCONNECTED: i32 = 2_300_218;

/// A script, and how it is to be run.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it is, for messages and titles: a path, or `inline`.
    pub title: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Where it is put.
    pub path: String,
    /// The command that runs it.
    pub command: String,
    /// A file of variables that the command reads, and where it is put.
    pub variables: Option<(String, Vec<u8>)>,
    /// Whether it is removed afterwards.
    pub remove: bool,
    /// Codes that mean success.
    pub valid: Vec<i32>,
    /// Whether the machine may go away while it runs.
    pub may_disconnect: bool,
    /// How long a machine that does not answer is waited for.
    pub start_timeout: Duration,
}

/// What is uploaded.
#[derive(Debug, Clone)]
pub enum Upload {
    /// A file, or a directory: with a trailing `/`, what is in it.
    Path(String),
    /// Bytes.
    Content(Vec<u8>),
}

/// What looks at a target.
pub type Looking<'a> = dyn FnMut(&dyn System) -> Result<()> + 'a;

/// Something that provisioners change.
pub trait Target: Send {
    /// Puts a script there, runs it, and removes it.
    ///
    /// # Errors
    /// When it ends with a code it may not, or cannot be run.
    fn run(&mut self, script: &Script) -> Result<()>;

    /// Puts a file or directory there.
    ///
    /// # Errors
    /// When it cannot be read here or written there.
    fn upload(&mut self, what: &Upload, destination: &str) -> Result<()>;

    /// Fetches a file, or with a trailing `/` what is in a directory.
    ///
    /// # Errors
    /// When it cannot be read there or written here.
    fn download(&mut self, source: &str, destination: &str) -> Result<()>;

    /// The content of a small file there; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Hands it to `look` as a system that can be checked.
    ///
    /// # Errors
    /// When there is nothing to look at, and what `look` says.
    fn system(&mut self, look: &mut Looking<'_>) -> Result<()> {
        let _ = look;
        Err(NodeError::Unsupported { what: "there is no machine and no file to verify".to_owned(), hint: None })
    }

    /// Keeps a directory with files that were uploaded as long as they may be asked for again.
    fn keep(&mut self, directory: tempfile::TempDir) {
        drop(directory);
    }

    /// Whether nothing runs there: only files are changed.
    fn is_offline(&self) -> bool;

    /// From now on this token stops what runs.
    fn obey(&mut self, cancel: Cancel);
}

/// The machine's answers while a command runs.
pub type Output<'a> = dyn FnMut(Stream, &[u8]) + Send + 'a;

/// How a command of a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(i32),
    /// The connection was lost.
    Disconnected,
}

/// A machine that runs commands and takes files.
pub trait Communicator: Send {
    /// Runs a command line with the login's shell.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    fn exec(&mut self, command: &str, output: &mut Output<'_>, cancel: &Cancel) -> Result<Ended>;

    /// Writes a file of `size` bytes.
    ///
    /// # Errors
    /// When the machine does not take it.
    fn upload(&mut self, content: &mut (dyn Read + Send), size: u64, mode: u32, path: &str) -> Result<()>;

    /// Copies a directory to `path`; `contents` says whether only what is in it goes there.
    ///
    /// # Errors
    /// When it cannot be read here, or the machine does not take it.
    fn upload_dir(&mut self, dir: &Path, contents: bool, path: &str) -> Result<()>;

    /// Reads a file.
    ///
    /// # Errors
    /// When the machine does not give it.
    fn download(&mut self, path: &str, to: &mut (dyn Write + Send)) -> Result<()>;

    /// Copies a directory from `path`.
    ///
    /// # Errors
    /// When the machine does not give it, or it cannot be written here.
    fn download_dir(&mut self, path: &str, to: &Path) -> Result<()>;

    /// Waits until it answers, where it is known whether it does; one that answers is not waited for.
    ///
    /// # Errors
    /// When it does not in that time, or never will.
    fn reach(&mut self, _patience: Duration, _cancel: &Cancel) -> Result<()> {
        Ok(())
    }

    /// From now on this token stops copies; commands have their own.
    fn obey(&mut self, _cancel: &Cancel) {}
}

/// A machine as a target.
pub struct Commanded<C> {
    machine: C,
    ui: BuildUi,
    cancel: Cancel,
}

/// How long a machine that answers is left alone between two tries to start a script.
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

impl<C: Communicator> Commanded<C> {
    /// This machine, whose commands are shown by `ui`.
    pub fn new(mut machine: C, ui: BuildUi, cancel: Cancel) -> Commanded<C> {
        machine.obey(&cancel);
        Commanded { machine, ui, cancel }
    }

    /// The machine itself, to look at.
    pub fn look(&self) -> &C {
        &self.machine
    }

    /// The machine itself.
    pub fn machine(&mut self) -> &mut C {
        &mut self.machine
    }

    /// Whether there is a directory where a file shall go; with a slash at the end nobody need ask.
    fn is_directory(&mut self, path: &str) -> Result<bool> {
        if path.ends_with('/') {
            return Ok(false);
        }
        let ended = self.machine.exec(&format!("test -d {}", quote(path)), &mut |_, _| {}, &self.cancel)?;
        Ok(ended == Ended::Code(0))
    }

    fn exec(&mut self, command: &str) -> Result<Ended> {
        let mut lines = self.ui.lines();
        let ended = self.machine.exec(command, &mut |stream, bytes| lines.add(stream, bytes), &self.cancel);
        lines.end();
        ended
    }

    /// Uploads and starts it, again and again while the machine does not answer: it may be booting.
    fn start(&mut self, script: &Script) -> Result<Ended> {
        let deadline = Instant::now() + script.start_timeout;
        loop {
            self.reach(deadline)?;
            let tried = self.try_start(script);
            match tried {
                Err(NodeError::Machine { .. }) if Instant::now() < deadline => {
                    pause(BETWEEN_TRIES.min(deadline - Instant::now()), &self.cancel)?;
                }
                tried => return tried,
            }
        }
    }

    /// Waits for a machine that went away, until then.
    fn reach(&mut self, deadline: Instant) -> Result<()> {
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Ok(()),
            left => self.machine.reach(left, &self.cancel),
        }
    }

    /// Takes the script away again. It may have restarted the machine, which then is waited for.
    fn remove(&mut self, script: &Script) -> Result<()> {
        let paths = [Some(&script.path), script.variables.as_ref().map(|(path, _)| path)];
        let command = paths.into_iter().flatten().fold("rm -f".to_owned(), |all, path| all + " " + &quote(path));
        let deadline = Instant::now() + script.start_timeout;
        loop {
            self.reach(deadline)?;
            let error = match self.exec(&command) {
                Ok(Ended::Code(0)) => return Ok(()),
                Ok(Ended::Code(code)) => {
                    let why = format!("`{command}` exited with {code}");
                    return Err(NodeError::Machine { action: "removing the script".to_owned(), why });
                }
                Ok(Ended::Disconnected) => NodeError::Disconnected,
                Err(error @ NodeError::Machine { .. }) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            pause(BETWEEN_TRIES, &self.cancel)?;
        }
    }

    fn try_start(&mut self, script: &Script) -> Result<Ended> {
        if let Some((path, content)) = &script.variables {
            self.machine.upload(&mut &content[..], content.len() as u64, 0o600, path)?;
        }
        self.machine.upload(&mut &script.content[..], script.content.len() as u64, 0o755, &script.path)?;
        let line = self.line(script)?;
        self.exec(&line)
    }

    /// The line that runs a script. Everybody on the machine can read it while the script runs, so that one with what is
    /// sensitive goes there as a file, which only its reader can read and which is gone when it is read.
    fn line(&mut self, script: &Script) -> Result<String> {
        if !self.ui.whole().masks().is_in(script.command.as_bytes()) {
            return Ok(script.command.clone());
        }
        let path = format!("{}.command", script.path);
        let text = format!("rm -f {}\n{}\n", quote(&path), script.command);
        self.machine.upload(&mut text.as_bytes(), text.len() as u64, 0o600, &path)?;
        Ok(format!("/bin/sh {}", quote(&path)))
    }
}

impl<C: Communicator> Target for Commanded<C> {
    fn run(&mut self, script: &Script) -> Result<()> {
        match self.start(script)? {
            Ended::Code(code) if script.valid.contains(&code) => {}
            Ended::Code(code) => return Err(NodeError::Script { code, allowed: script.valid.clone() }),
            Ended::Disconnected if script.may_disconnect || script.valid.contains(&DISCONNECTED) => {
                self.ui.message("The machine disconnected, as it may");
            }
            Ended::Disconnected => return Err(NodeError::Disconnected),
        }
        if script.remove { self.remove(script) } else { Ok(()) }
    }

    fn upload(&mut self, what: &Upload, destination: &str) -> Result<()> {
        match what {
            Upload::Content(_) if self.is_directory(destination)? => Err(no_name(destination)),
            Upload::Content(bytes) => self.machine.upload(&mut &bytes[..], bytes.len() as u64, 0o644, destination),
            Upload::Path(source) => {
                let path = Path::new(source);
                let meta = std::fs::metadata(path).map_err(NodeError::file("read", path))?;
                if meta.is_dir() {
                    return self.machine.upload_dir(path, source.ends_with('/'), destination);
                }
                let mut file = File::open(path).map_err(NodeError::file("read", path))?;
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                // Into a directory it goes under its own name, also where no slash says so.
                let to = match (destination.ends_with('/'), self.is_directory(destination)?) {
                    (true, _) => format!("{destination}{name}"),
                    (false, true) => format!("{destination}/{name}"),
                    (false, false) => destination.to_owned(),
                };
                self.machine.upload(&mut file, meta.len(), mode_of(&meta), &to)
            }
        }
    }

    fn download(&mut self, source: &str, destination: &str) -> Result<()> {
        if source.ends_with('/') {
            return self.machine.download_dir(source, Path::new(destination));
        }
        let path = download_path(source, destination);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(NodeError::file("make", parent))?;
        }
        let mut file = File::create(&path).map_err(NodeError::file("write", &path))?;
        self.machine.download(source, &mut file)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let command = format!("test -f {0} && cat {0}", quote(path));
        let mut keep = |stream: Stream, bytes: &[u8]| {
            if stream == Stream::Out && text.len() < MAX_READ {
                text.extend_from_slice(bytes);
            }
        };
        match self.machine.exec(&command, &mut keep, &self.cancel)? {
            Ended::Code(0) => Ok(Some(text)),
            Ended::Code(_) => Ok(None),
            Ended::Disconnected => Err(NodeError::Disconnected),
        }
    }

    fn system(&mut self, look: &mut Looking<'_>) -> Result<()> {
        let asked = Asked { machine: RefCell::new(&mut self.machine), cancel: &self.cancel };
        look(&Remote::new(asked))
    }

    fn is_offline(&self) -> bool {
        false
    }

    fn obey(&mut self, cancel: Cancel) {
        self.machine.obey(&cancel);
        self.cancel = cancel;
    }
}

/// A machine whose answers are looked at. Its login may need `sudo` for what only root reads.
struct Asked<'a, C> {
    machine: RefCell<&'a mut C>,
    cancel: &'a Cancel,
}

/// The most that is kept of what a machine complains about.
const MAX_COMPLAINT: usize = 64 << 10;

impl<C: Communicator> Machine for Asked<'_, C> {
    fn title(&self) -> String {
        "the machine".to_owned()
    }

    fn run(&self, script: &str, max: u64) -> Result<Ran, LookError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut ran = Ran::default();
        let mut keep = |stream, bytes: &[u8]| {
            let (to, max) =
                if stream == Stream::Out { (&mut ran.stdout, max) } else { (&mut ran.stderr, MAX_COMPLAINT) };
            let room = max.saturating_sub(to.len()).min(bytes.len());
            to.extend_from_slice(&bytes[..room]);
        };
        let word = quote(script);
        let command = format!(
            "if [ \"$(id -u)\" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n /bin/sh -c {word}; \
             else exec /bin/sh -c {word}; fi"
        );
        let failed = |why: String| LookError::Run { command: script.chars().take(80).collect(), why };
        let ended =
            self.machine.borrow_mut().exec(&command, &mut keep, self.cancel).map_err(|e| failed(e.to_string()))?;
        match ended {
            Ended::Code(code) => Ok(Ran { code, ..ran }),
            Ended::Disconnected => Err(failed("the connection was lost".to_owned())),
        }
    }
}

/// The most that [`Target::read`] gives.
pub const MAX_READ: usize = 1 << 20;

/// That bytes would have to be a file in place of a directory.
pub fn no_name(directory: &str) -> NodeError {
    let what = format!("content needs the name of a file, and `{directory}` is a directory");
    NodeError::Unsupported { what, hint: None }
}

/// Permission bits of a file of this machine.
pub fn mode_of(meta: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    meta.permissions().mode() & 0o7777
}

/// Where a downloaded file goes: into `destination` if that ends with `/`.
pub fn download_path(source: &str, destination: &str) -> std::path::PathBuf {
    let path = Path::new(destination);
    match (destination.ends_with('/'), Path::new(source).file_name()) {
        (true, Some(name)) => path.join(name),
        _ => path.to_owned(),
    }
}

/// Waits, unless the user stops it.
///
/// # Errors
/// [`NodeError::Cancelled`].
pub fn pause(time: Duration, cancel: &Cancel) -> Result<()> {
    let end = Instant::now().checked_add(time);
    loop {
        if cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::ui::{Kept, Look, Masks, Ui};

    /// A machine in memory: files, what was run, and what happens next.
    #[derive(Default)]
    struct Double {
        files: BTreeMap<String, (u32, Vec<u8>)>,
        ran: Vec<String>,
        /// What the next commands end with; `None` is a machine that does not answer.
        next: Vec<Option<Ended>>,
        /// How often it was waited for, and whether it then answers.
        waited: usize,
        never: bool,
    }

    impl Communicator for Double {
        fn reach(&mut self, patience: Duration, _: &Cancel) -> Result<()> {
            assert!(!patience.is_zero());
            self.waited += 1;
            match self.never {
                true => Err(NodeError::Machine { action: "waiting".to_owned(), why: "it panicked".to_owned() }),
                false => Ok(()),
            }
        }

        fn exec(&mut self, command: &str, output: &mut Output<'_>, _: &Cancel) -> Result<Ended> {
            self.ran.push(command.to_owned());
            output(Stream::Out, b"said\n");
            let next = if self.next.is_empty() { Some(Ended::Code(0)) } else { self.next.remove(0) };
            next.ok_or_else(|| NodeError::Machine { action: "connect".to_owned(), why: "refused".to_owned() })
        }

        fn upload(&mut self, content: &mut (dyn Read + Send), size: u64, mode: u32, path: &str) -> Result<()> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, size);
            self.files.insert(path.to_owned(), (mode, bytes));
            Ok(())
        }

        fn upload_dir(&mut self, _: &Path, contents: bool, path: &str) -> Result<()> {
            self.ran.push(format!("upload_dir {contents} {path}"));
            Ok(())
        }

        fn download(&mut self, path: &str, to: &mut (dyn Write + Send)) -> Result<()> {
            to.write_all(&self.files[path].1).map_err(NodeError::file("write", path))
        }

        fn download_dir(&mut self, path: &str, to: &Path) -> Result<()> {
            self.ran.push(format!("download_dir {path} {}", to.display()));
            Ok(())
        }
    }

    fn commanded(next: Vec<Option<Ended>>) -> (Commanded<Double>, Kept) {
        let kept = Kept::default();
        let ui = Arc::new(Ui::new(Look::default(), Masks::new(["hunter2"]), Box::new(kept.clone())));
        (Commanded::new(Double { next, ..Double::default() }, ui.build("n", 0), Cancel::new()), kept)
    }

    fn script(start_timeout: Duration) -> Script {
        Script {
            title: "a.sh".to_owned(),
            content: b"echo".to_vec(),
            path: "/tmp/script_1.sh".to_owned(),
            command: "sh /tmp/script_1.sh".to_owned(),
            variables: None,
            remove: true,
            valid: vec![0, 3],
            may_disconnect: false,
            start_timeout,
        }
    }

    #[test]
    fn a_script_is_uploaded_run_and_removed() {
        let (mut target, kept) = commanded(vec![Some(Ended::Code(3))]);
        target.run(&script(Duration::ZERO)).unwrap();
        assert_eq!(target.machine().files["/tmp/script_1.sh"], (0o755, b"echo".to_vec()));
        assert_eq!(target.machine().ran, ["sh /tmp/script_1.sh", "rm -f /tmp/script_1.sh"]);
        assert!(kept.text().starts_with("    n: said\n"));
    }

    #[test]
    fn a_line_with_what_is_sensitive_is_sent_as_a_file() {
        let (mut target, _) = commanded(Vec::new());
        let command = "PW='hunter2' /tmp/script_1.sh".to_owned();
        target.run(&Script { command, ..script(Duration::ZERO) }).unwrap();
        assert_eq!(target.machine().ran, ["/bin/sh /tmp/script_1.sh.command", "rm -f /tmp/script_1.sh"]);
        let text = b"rm -f /tmp/script_1.sh.command\nPW='hunter2' /tmp/script_1.sh\n".to_vec();
        assert_eq!(target.machine().files["/tmp/script_1.sh.command"], (0o600, text));
    }

    #[test]
    fn codes_and_lost_connections_are_told_apart() {
        let run = |next, change: fn(&mut Script)| {
            let mut script = script(Duration::ZERO);
            change(&mut script);
            commanded(next).0.run(&script)
        };
        let lost = || vec![Some(Ended::Disconnected)];
        assert!(matches!(run(vec![Some(Ended::Code(1))], |_| {}), Err(NodeError::Script { code: 1, .. })));
        assert!(matches!(run(lost(), |_| {}), Err(NodeError::Disconnected)));
        run(lost(), |s| s.may_disconnect = true).unwrap();
        run(lost(), |s| s.valid.push(DISCONNECTED)).unwrap();
    }

    #[test]
    fn a_machine_that_boots_is_waited_for_as_long_as_said() {
        let (mut target, _) = commanded(vec![None, Some(Ended::Code(0))]);
        target.run(&script(Duration::from_secs(60))).unwrap();
        assert_eq!(target.machine().ran.len(), 3);
        // Before the script, before it again, and before it is taken away.
        assert_eq!(target.machine().waited, 3);
        let (mut target, _) = commanded(vec![None]);
        assert!(matches!(target.run(&script(Duration::ZERO)), Err(NodeError::Machine { .. })));
        assert_eq!(target.machine().waited, 0);
        // One that will never answer is not waited for a second time.
        let (mut target, _) = commanded(vec![]);
        target.machine().never = true;
        let error = target.run(&script(Duration::from_secs(600))).unwrap_err();
        assert!(error.to_string().contains("it panicked") && target.machine().ran.is_empty(), "{error}");
        assert_eq!(target.machine().waited, 1);
    }

    #[test]
    fn files_go_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("a"), "content").unwrap();
        let (mut target, _) = commanded(Vec::new());
        target.upload(&Upload::Path(at("a")), "/etc/").unwrap();
        target.upload(&Upload::Path(format!("{}/", dir.path().display())), "/srv").unwrap();
        target.download("/etc/a", &at("back/")).unwrap();
        assert_eq!(std::fs::read_to_string(at("back/a")).unwrap(), "content");
        assert_eq!(target.machine().ran, ["upload_dir true /srv"]);
        // What is a directory there, and what is none.
        target.machine().next = vec![Some(Ended::Code(0)), Some(Ended::Code(1)), Some(Ended::Code(0))];
        target.upload(&Upload::Path(at("a")), "/opt").unwrap();
        target.upload(&Upload::Path(at("a")), "/opt/b").unwrap();
        assert_eq!(target.machine().ran[1..], ["test -d /opt", "test -d /opt/b"]);
        assert!(target.machine().files.contains_key("/opt/a") && target.machine().files.contains_key("/opt/b"));
        let error = target.upload(&Upload::Content(Vec::new()), "/opt").unwrap_err();
        assert!(error.to_string().contains("`/opt` is a directory"), "{error}");
        assert_eq!(target.read("/etc/a").unwrap(), Some(b"said\n".to_vec()));
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("/tmp/a.sh"), "/tmp/a.sh");
        assert_eq!(quote("a'b $x"), r"'a'\''b $x'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_trailing_slash_is_a_directory() {
        assert_eq!(download_path("/etc/os-release", "out/"), Path::new("out/os-release"));
        assert_eq!(download_path("/etc/os-release", "out"), Path::new("out"));
    }
}
