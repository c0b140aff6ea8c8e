//! This machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, timeout};

use crate::command::{Wire, token};
use crate::copy::tree::{FOREIGN, Sink, Step, Walk};
use crate::copy::{CHUNK, Put, RemotePath, Source};
use crate::ssh::exec::{flush, read_ahead, stream};
use crate::{Cancel, Command, Exit, Host, HostError, Network, Stdin, Streams};

const NAME: &str = "this machine";
/// As for commands over SSH.
const LINGER: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(300);

/// This machine; commands run as who runs Kiln.
#[derive(Debug, Clone)]
pub struct Local {
    network: Network,
}

impl Local {
    /// This machine. The network's threads wait for its commands.
    pub fn new(network: &Network) -> Local {
        Local { network: network.clone() }
    }
}

impl Host for Local {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&self, command: &Command, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
        if command.wants_terminal().is_some() {
            return Err(HostError::Unsupported {
                what: "a terminal for a command on this machine".to_owned(),
                why: "that needs code in the new process; `script -qec COMMAND /dev/null` gives one".to_owned(),
            });
        }
        let mark = token();
        let wire = command.wire(NAME, &mark)?;
        self.network.block(run(wire, streams, &mark, cancel))
    }

    fn put(&self, mut source: Source<'_>, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
        let to = path_of(to);
        let mode = how.mode.unwrap_or(0o644);
        if !how.atomic {
            return write(&mut source, &to, mode, false, cancel);
        }
        let beside = path_of(&RemotePath::from(to.as_path()).beside());
        let fail = |source| HostError::File { what: "rename a file to", path: to.clone(), source };
        let written =
            write(&mut source, &beside, mode, true, cancel).and_then(|()| fs::rename(&beside, &to).map_err(fail));
        if written.is_err() {
            // What it failed with matters more.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn get(&self, from: &RemotePath, into: &mut (dyn Write + Send), cancel: &Cancel) -> Result<u32, HostError> {
        let path = path_of(from);
        let fail = |source| HostError::File { what: "read", path: path.clone(), source };
        let mut file = File::open(&path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode();
        let mut buffer = vec![0_u8; CHUNK];
        loop {
            stopped(cancel)?;
            let n = io::Read::read(&mut file, &mut buffer).map_err(fail)?;
            if n == 0 {
                break;
            }
            into.write_all(buffer.get(..n).unwrap_or_default()).map_err(|source| stream(NAME, "file", source))?;
        }
        into.flush().map_err(|source| stream(NAME, "file", source))?;
        Ok(mode & 0o7777)
    }

    fn put_directory(&self, from: &Path, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
        let root = path_of(&crate::copy::root_of(from, to)?);
        copy_tree(from, &root, how, 0o7777, cancel)
    }

    fn get_directory(&self, from: &RemotePath, to: &Path, cancel: &Cancel) -> Result<(), HostError> {
        let from = path_of(from);
        let root = path_of(&crate::copy::root_of(&from, &RemotePath::from(to))?);
        copy_tree(&from, &root, &Put::default(), FOREIGN, cancel)
    }
}

fn path_of(path: &RemotePath) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn stopped(cancel: &Cancel) -> Result<(), HostError> {
    if cancel.is_set() { Err(HostError::Cancelled) } else { Ok(()) }
}

fn write(source: &mut Source<'_>, to: &Path, mode: u32, new: bool, cancel: &Cancel) -> Result<(), HostError> {
    let fail = |source| HostError::File { what: "write", path: to.to_owned(), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if new {
        options.create_new(true)
    } else {
        options.create(true).truncate(true)
    };
    let mut file = options.open(to).map_err(fail)?;
    fill(source, &mut file, to, cancel)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(fail)?;
    if new { file.sync_all().map_err(fail) } else { Ok(()) }
}

fn fill(source: &mut Source<'_>, file: &mut File, to: &Path, cancel: &Cancel) -> Result<(), HostError> {
    let mut buffer = vec![0_u8; CHUNK];
    let mut left = source.length;
    while left > 0 {
        stopped(cancel)?;
        let n = source.fill(&mut buffer, left)?;
        file.write_all(buffer.get(..n).unwrap_or_default()).map_err(|source| HostError::File {
            what: "write",
            path: to.to_owned(),
            source,
        })?;
        left -= n as u64;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, how: &Put, mask: u32, cancel: &Cancel) -> Result<(), HostError> {
    let mut sink = Sink::new(to, NAME, mask)?;
    let mut walk = Walk::new(from, how.links);
    let mut root_mode = None;
    while let Some(step) = walk.next()? {
        stopped(cancel)?;
        match step {
            Step::Enter { name, mode } if name.is_empty() => root_mode = Some(mode),
            Step::Enter { name, mode } => sink.enter(&name, mode)?,
            Step::Leave if sink.depth() > 1 => sink.leave()?,
            Step::Leave => {}
            Step::Link { name, target } => sink.link(&name, &target)?,
            Step::File { name, path, mode, length } => {
                let (mut file, at) = sink.file(&name, how.mode.unwrap_or(mode))?;
                let fail = |source| HostError::File { what: "read", path: path.clone(), source };
                let mut reader = File::open(&path).map_err(fail)?;
                let shown = path.display().to_string();
                fill(&mut Source { name: &shown, reader: &mut reader, length }, &mut file, &at, cancel)?;
            }
        }
    }
    match root_mode {
        Some(mode) if !crate::copy::is_contents(from) => fs::set_permissions(to, fs::Permissions::from_mode(mode))
            .map_err(|source| HostError::File { what: "set the mode of", path: to.to_owned(), source }),
        _ => Ok(()),
    }
}

async fn run(wire: Wire, streams: Streams<'_>, mark: &str, cancel: &Cancel) -> Result<Exit, HostError> {
    let Wire { line, preface } = wire;
    let mut command = tokio::process::Command::new("/bin/sh");
    // A group of its own, so that all of it can be ended.
    command.arg("-c").arg(line).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| HostError::Start { host: NAME.to_owned(), why: format!("/bin/sh: {error}") })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let result = pump(&mut child, preface, streams, cancel).await;
    if result.is_err() {
        kill(&mut child, group, mark).await;
    }
    result
}

async fn pump(child: &mut Child, preface: Vec<u8>, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
    let Streams { stdin, stdout, stderr } = streams;
    let (Some(input), Some(mut out), Some(mut err)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(HostError::Start { host: NAME.to_owned(), why: "it has no pipes".to_owned() });
    };
    let mut feed = std::pin::pin!(feed(input, preface, stdin));
    let (mut out_buffer, mut err_buffer) = (vec![0_u8; CHUNK], vec![0_u8; CHUNK]);
    let (mut fed, mut out_open, mut err_open) = (false, true, true);
    let mut exit = None;
    let mut linger = Instant::now();
    while exit.is_none() || out_open || err_open {
        tokio::select! {
            biased;
            () = cancel.wait() => return Err(HostError::Cancelled),
            n = out.read(&mut out_buffer), if out_open => {
                let n = n.map_err(|source| stream(NAME, "stdout", source))?;
                out_open = n > 0;
                linger = Instant::now() + LINGER;
                stdout.write_all(out_buffer.get(..n).unwrap_or_default()).map_err(|source| stream(NAME, "stdout", source))?;
            }
            n = err.read(&mut err_buffer), if err_open => {
                let n = n.map_err(|source| stream(NAME, "stderr", source))?;
                err_open = n > 0;
                linger = Instant::now() + LINGER;
                stderr.write_all(err_buffer.get(..n).unwrap_or_default()).map_err(|source| stream(NAME, "stderr", source))?;
            }
            result = &mut feed, if !fed => {
                fed = true;
                result.map_err(|source| stream(NAME, "stdin", source))?;
            }
            status = child.wait(), if exit.is_none() => {
                let status = status.map_err(|source| stream(NAME, "stdin", source))?;
                exit = Some(exit_of(status));
                linger = Instant::now() + LINGER;
            }
            () = tokio::time::sleep_until(linger), if exit.is_some() => break,
        }
    }
    flush(NAME, stdout, stderr)?;
    Ok(exit.unwrap_or(Exit::Unknown))
}

fn exit_of(status: std::process::ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(255)),
        (None, Some(signal)) => Exit::Signal(signal_name(signal)),
        (None, None) => Exit::Unknown,
    }
}

fn signal_name(number: i32) -> String {
    let named = [(1, "HUP"), (2, "INT"), (3, "QUIT"), (4, "ILL"), (6, "ABRT"), (7, "BUS"), (8, "FPE"), (9, "KILL")];
    let more = [(10, "USR1"), (11, "SEGV"), (12, "USR2"), (13, "PIPE"), (14, "ALRM"), (15, "TERM")];
    let found = named.iter().chain(&more).find(|(n, _)| *n == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// A command need not read its input.
async fn feed(mut input: ChildStdin, preface: Vec<u8>, stdin: Stdin) -> io::Result<()> {
    if input.write_all(&preface).await.is_err() {
        return Ok(());
    }
    match stdin {
        Stdin::Empty => {}
        Stdin::Bytes(bytes) => drop(input.write_all(&bytes).await),
        Stdin::Fed(mut fed) => {
            while let Some(piece) = fed.0.recv().await {
                if input.write_all(&piece).await.is_err() {
                    break;
                }
            }
        }
        Stdin::Reader(reader) => {
            let mut chunks = read_ahead(reader);
            while let Some(chunk) = chunks.recv().await {
                if input.write_all(&chunk?).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn kill(child: &mut Child, group: Option<Pid>, mark: &str) {
    if let Some(group) = group {
        // Whoever has ended already cannot be killed.
        let _ = kill_process_group(group, Signal::TERM);
        let _ = timeout(GRACE, child.wait()).await;
        let _ = kill_process_group(group, Signal::KILL);
    }
    let mark = format!("KILN_RUN={mark}");
    // Again until there is none: one that was not killed yet may have started others.
    for _ in 0..20 {
        let marked = marked(&mark);
        if marked.is_empty() {
            break;
        }
        for pid in marked {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = timeout(GRACE, child.wait()).await;
}

/// Processes with this variable.
fn marked(mark: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A shell that exports has the mark in its line only, what it starts in the environment.
        let has = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
        };
        if has("environ") || has("cmdline") {
            found.push(pid);
        }
    }
    found
}
