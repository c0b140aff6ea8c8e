//! A machine that is only remembered: for tests of those who command machines.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::copy::tree::{FOREIGN, Sink, Step, Walk};
use crate::copy::{Put, RemotePath, Source};
use crate::ssh::exec::stream;
use crate::{Cancel, Command, Exit, Host, HostError, Stdin, Streams};

/// Keeps what was asked of it. Commands succeed and say nothing, unless [`Recording::answer`] says otherwise; files that
/// are put there can be read again.
#[derive(Debug)]
pub struct Recording {
    name: String,
    answers: Mutex<Vec<Expected>>,
    ran: Mutex<Vec<Ran>>,
    files: Mutex<Files>,
}

/// Mode and contents by path.
type Files = BTreeMap<Vec<u8>, (u32, Vec<u8>)>;

/// A command that was run.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its line as the caller gave it.
    pub line: String,
    /// The whole command.
    pub command: Command,
    /// What it was given to read.
    pub stdin: Vec<u8>,
}

/// An answer, and what it is for.
#[derive(Debug)]
struct Expected {
    text: String,
    answer: Answer,
    once: bool,
}

/// How commands end that contain a text.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What they write.
    pub stdout: Vec<u8>,
    /// What they complain.
    pub stderr: Vec<u8>,
    /// How they end; `None` if the connection ends first.
    pub exit: Option<Exit>,
}

impl Answer {
    /// Success, with this output.
    pub fn output(stdout: impl Into<Vec<u8>>) -> Answer {
        Answer { stdout: stdout.into(), stderr: Vec::new(), exit: Some(Exit::Code(0)) }
    }

    /// Failure, with this complaint.
    pub fn failure(code: u32, stderr: impl Into<Vec<u8>>) -> Answer {
        Answer { stdout: Vec::new(), stderr: stderr.into(), exit: Some(Exit::Code(code)) }
    }

    /// The connection ends.
    pub fn disconnect() -> Answer {
        Answer { stdout: Vec::new(), stderr: Vec::new(), exit: None }
    }
}

impl Recording {
    /// A machine of this name.
    pub fn new(name: impl Into<String>) -> Recording {
        Recording { name: name.into(), answers: Mutex::default(), ran: Mutex::default(), files: Mutex::default() }
    }

    /// Commands whose line contains `text` end so. The latest answer that fits counts.
    pub fn answer(&self, text: impl Into<String>, answer: Answer) {
        lock(&self.answers).push(Expected { text: text.into(), answer, once: false });
    }

    /// The next command whose line contains `text` ends so, and those behind it as was said before.
    pub fn answer_once(&self, text: impl Into<String>, answer: Answer) {
        lock(&self.answers).push(Expected { text: text.into(), answer, once: true });
    }

    /// The commands so far.
    pub fn ran(&self) -> Vec<Ran> {
        lock(&self.ran).clone()
    }

    /// The lines of the commands so far.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.ran).iter().map(|ran| ran.line.clone()).collect()
    }

    /// The mode and contents of a file that was put there.
    pub fn file(&self, path: &str) -> Option<(u32, Vec<u8>)> {
        lock(&self.files).get(path.as_bytes()).cloned()
    }

    /// Paths of all files there.
    pub fn paths(&self) -> Vec<RemotePath> {
        lock(&self.files).keys().map(|path| RemotePath(path.clone())).collect()
    }

    fn remote(&self, what: &'static str, path: &RemotePath, why: &str) -> HostError {
        HostError::Remote { what, path: path.shown(), host: self.name.clone(), why: why.to_owned() }
    }
}

impl Host for Recording {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, command: &Command, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
        if cancel.is_set() {
            return Err(HostError::Cancelled);
        }
        command.wire(&self.name, "0")?;
        let stdin = match streams.stdin {
            Stdin::Empty => Vec::new(),
            Stdin::Bytes(bytes) => bytes,
            Stdin::Fed(mut fed) => fed.so_far(),
            Stdin::Reader(mut reader) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(|source| stream(&self.name, "stdin", source))?;
                bytes
            }
        };
        let line = command.line().to_owned();
        let mut answers = lock(&self.answers);
        let at = answers.iter().rposition(|expected| line.contains(&expected.text));
        let answer = at.map(|at| match answers[at].once {
            true => answers.remove(at).answer,
            false => answers[at].answer.clone(),
        });
        drop(answers);
        lock(&self.ran).push(Ran { line, command: command.clone(), stdin });
        let answer = answer.unwrap_or_else(|| Answer::output(Vec::new()));
        streams.stdout.write_all(&answer.stdout).map_err(|source| stream(&self.name, "stdout", source))?;
        streams.stderr.write_all(&answer.stderr).map_err(|source| stream(&self.name, "stderr", source))?;
        answer.exit.ok_or_else(|| HostError::Disconnected { host: self.name.clone(), why: "it was closed".to_owned() })
    }

    fn put(&self, source: Source<'_>, to: &RemotePath, how: &Put, _cancel: &Cancel) -> Result<(), HostError> {
        let mut bytes = Vec::new();
        let fail = |source| HostError::File { what: "read", path: to.shown().into(), source };
        source.reader.take(source.length).read_to_end(&mut bytes).map_err(fail)?;
        lock(&self.files).insert(to.0.clone(), (how.mode.unwrap_or(0o644), bytes));
        Ok(())
    }

    fn get(&self, from: &RemotePath, into: &mut (dyn Write + Send), _cancel: &Cancel) -> Result<u32, HostError> {
        let found = lock(&self.files).get(&from.0).cloned();
        let (mode, bytes) = found.ok_or_else(|| self.remote("read", from, "there is no such file or directory"))?;
        into.write_all(&bytes).map_err(|source| stream(&self.name, "file", source))?;
        Ok(mode)
    }

    fn put_directory(&self, from: &Path, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
        let mut here = vec![crate::copy::root_of(from, to)?];
        let mut walk = Walk::new(from, how.links);
        while let Some(step) = walk.next()? {
            let Some(parent) = here.last() else { break };
            match step {
                Step::Enter { name, .. } if name.is_empty() => here.push(parent.clone()),
                Step::Enter { name, .. } => here.push(parent.join(&name)),
                Step::Leave => drop(here.pop()),
                Step::Link { name, .. } => {
                    return Err(self.remote("make the link", &parent.join(&name), "it is only remembered"));
                }
                Step::File { name, path, mode, length } => {
                    let fail = |source| HostError::File { what: "read", path: path.clone(), source };
                    let mut file = fs::File::open(&path).map_err(fail)?;
                    let how = Put { mode: how.mode.or(Some(mode)), ..how.clone() };
                    let source = Source { name: "file", reader: &mut file, length };
                    self.put(source, &parent.join(&name), &how, cancel)?;
                }
            }
        }
        Ok(())
    }

    fn get_directory(&self, from: &RemotePath, to: &Path, _cancel: &Cancel) -> Result<(), HostError> {
        let root = RemotePath(from.0.clone()).join(b"");
        let files = lock(&self.files).clone();
        let mut any = false;
        for (path, (mode, bytes)) in files.iter().filter(|(path, _)| path.starts_with(&root.0)) {
            any = true;
            let mut sink = Sink::new(to, &self.name, FOREIGN)?;
            let name = if from.is_contents() { None } else { from.name() };
            let rest = path.get(root.0.len()..).unwrap_or_default().split(|&byte| byte == b'/');
            let parts: Vec<&[u8]> = name.into_iter().chain(rest).collect();
            let Some((file, above)) = parts.split_last() else { continue };
            for part in above {
                sink.enter(part, 0o755)?;
            }
            let (mut out, at) = sink.file(file, *mode)?;
            out.write_all(bytes).map_err(|source| HostError::File { what: "write", path: at, source })?;
        }
        if any { Ok(()) } else { Err(self.remote("read", from, "there is no such file or directory")) }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_and_answers() {
        let host = Recording::new("h");
        let cancel = Cancel::new();
        host.answer("apt-get", Answer::failure(100, "no network"));
        host.answer("reboot", Answer::disconnect());
        let output = host.output(&Command::shell("apt-get update"), &cancel).unwrap();
        assert_eq!((output.exit, &output.stderr[..]), (Exit::Code(100), &b"no network"[..]));
        assert!(matches!(host.output(&Command::shell("reboot"), &cancel), Err(HostError::Disconnected { .. })));
        host.answer_once("apt-get", Answer::output("well"));
        let twice = [(); 2].map(|()| host.output(&Command::shell("apt-get update"), &cancel).unwrap().exit);
        assert_eq!(twice, [Exit::Code(0), Exit::Code(100)]);
        assert_eq!(host.lines(), ["apt-get update", "reboot", "apt-get update", "apt-get update"]);
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/c"), "x").unwrap();
        host.put_directory(&directory.path().join("a"), &"/srv".into(), &Put::default(), &cancel).unwrap();
        assert_eq!(host.file("/srv/a/b/c").unwrap().1, b"x");
        host.get_directory(&"/srv/a".into(), &directory.path().join("back"), &cancel).unwrap();
        assert_eq!(fs::read(directory.path().join("back/a/b/c")).unwrap(), b"x");
        assert!(host.get_directory(&"/none".into(), directory.path(), &cancel).is_err());
    }
}
