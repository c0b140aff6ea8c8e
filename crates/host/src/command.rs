//! What is run on a machine, and how it ended.
//!
//! A command line is given to the user's shell there, as ssh does. Nothing is added to a line but `export KILN_RUN=…;`,
//! by which all its processes are found again when it is cancelled, also where the server knows no signals; see
//! [`Command::untracked`]. Secrets go over the standard input, never into a line: lines are in everybody's `ps`.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};

use tokio::sync::mpsc;

use crate::{HostError, Secret};

/// A command line with what belongs to it.
#[derive(Debug, Clone)]
pub struct Command {
    line: String,
    env: Vec<(String, String)>,
    secret_env: Vec<(String, Secret)>,
    directory: Option<String>,
    terminal: Option<Terminal>,
    sudo: Option<Sudo>,
    tracked: bool,
}

/// A terminal for a command that wants one. Its error output is then part of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The value of `TERM`.
    pub kind: String,
    /// Width in characters.
    pub columns: u32,
    /// Height in characters.
    pub rows: u32,
}

impl Default for Terminal {
    fn default() -> Terminal {
        Terminal { kind: "xterm".to_owned(), columns: 120, rows: 40 }
    }
}

/// As another user, by sudo.
#[derive(Debug, Clone, Default)]
pub struct Sudo {
    /// Who; root without.
    pub user: Option<String>,
    /// Goes over the standard input. Without it sudo must not ask.
    pub password: Option<Secret>,
}

/// What a command reads.
#[derive(Default)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A stream, read on a thread of its own. If the command ends first, a read in progress is left to itself.
    Reader(Box<dyn Read + Send>),
    /// What a [`Feed`] sends now and then, until it is dropped; no thread waits for it.
    Fed(Fed),
}

/// Sends pieces to a command that is running: see [`Stdin::fed`].
#[derive(Debug, Clone)]
pub struct Feed(mpsc::UnboundedSender<Vec<u8>>);

/// The other end of a [`Feed`].
#[derive(Debug)]
pub struct Fed(pub(crate) mpsc::UnboundedReceiver<Vec<u8>>);

impl Stdin {
    /// An input to which pieces are sent while the command runs; it ends with the last clone of the feed. What the
    /// command does not take is kept until it does: senders keep it small.
    pub fn fed() -> (Feed, Stdin) {
        let (send, receive) = mpsc::unbounded_channel();
        (Feed(send), Stdin::Fed(Fed(receive)))
    }
}

impl Feed {
    /// Sends a piece; whether anybody may still read it.
    pub fn send(&self, piece: Vec<u8>) -> bool {
        self.0.send(piece).is_ok()
    }
}

impl Fed {
    /// The next piece; `None` at the end. For machines that run no command: it blocks.
    pub fn wait(&mut self) -> Option<Vec<u8>> {
        self.0.blocking_recv()
    }

    /// What has come so far.
    pub fn so_far(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(piece) = self.0.try_recv() {
            bytes.extend(piece);
        }
        bytes
    }
}

/// Where a command's input comes from and its output goes, as it comes.
pub struct Streams<'a> {
    /// What it reads.
    pub stdin: Stdin,
    /// What it writes.
    pub stdout: &'a mut (dyn Write + Send),
    /// What it complains.
    pub stderr: &'a mut (dyn Write + Send),
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Code(u32),
    /// By a signal, named without `SIG`.
    Signal(String),
    /// The server did not say, as it happens when it is itself going down.
    Unknown,
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        *self == Exit::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(name) => write!(f, "killed by SIG{name}"),
            Exit::Unknown => f.write_str("ended without a status"),
        }
    }
}

impl Command {
    /// A line for the shell of the user there.
    pub fn shell(line: impl Into<String>) -> Command {
        Command {
            line: line.into(),
            env: Vec::new(),
            secret_env: Vec::new(),
            directory: None,
            terminal: None,
            sudo: None,
            tracked: true,
        }
    }

    /// A program with its arguments, which the shell leaves as they are.
    pub fn program<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
        let quoted: Vec<String> = words.into_iter().map(quote).collect();
        Command::shell(quoted.join(" "))
    }

    /// Sets a variable. It becomes part of the line, which others on the machine may see.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets a variable that nobody else may see. It goes over the standard input, so it is of one line.
    #[must_use]
    pub fn secret_env(mut self, name: impl Into<String>, value: Secret) -> Command {
        self.secret_env.push((name.into(), value));
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<String>) -> Command {
        self.directory = Some(path.into());
        self
    }

    /// Runs on a terminal. Together with a password for sudo it then reads nothing.
    #[must_use]
    pub fn terminal(mut self, terminal: Terminal) -> Command {
        self.terminal = Some(terminal);
        self
    }

    /// Runs as another user.
    #[must_use]
    pub fn sudo(mut self, sudo: Sudo) -> Command {
        self.sudo = Some(sudo);
        self
    }

    /// Sends the line exactly as it is, for machines whose shell is none of Unix. Cancelling then has only the server's
    /// signals, and OpenSSH sends none to commands of root.
    #[must_use]
    pub fn untracked(mut self) -> Command {
        self.tracked = false;
        self
    }

    /// The line as it was given.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The terminal it wants.
    pub(crate) fn wants_terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// Whether its input is used up: sudo throws away what is typed on a terminal before it asks, so that its password
    /// comes through a pipe, and nothing behind it.
    pub(crate) fn takes_no_input(&self) -> bool {
        self.terminal.is_some() && self.sudo.as_ref().is_some_and(|sudo| sudo.password.is_some())
    }

    /// What goes over the wire. `token` marks the processes of this run.
    pub(crate) fn wire(&self, host: &str, token: &str) -> Result<Wire, HostError> {
        self.check(host)?;
        let mut wire = Wire { line: String::new(), preface: Vec::new() };
        let mut script = String::new();
        if self.tracked {
            script.push_str(&format!("export KILN_RUN={token}; "));
        }
        for (name, value) in &self.env {
            script.push_str(&format!("export {name}={}; ", quote(value)));
        }
        if let Some(sudo) = &self.sudo {
            sudo.skip_to_mark(token, &mut script);
        }
        for (name, _) in &self.secret_env {
            script.push_str(&format!("IFS= read -r {name}; export {name}; "));
        }
        if let Some(directory) = &self.directory {
            script.push_str(&format!("cd -- {} || exit 127; ", quote(directory)));
        }
        script.push_str(&self.line);
        match &self.sudo {
            Some(sudo) if self.takes_no_input() => {
                wire.line = sudo.line_on_terminal(&script, token, self.secret_env.len());
                wire.preface.extend_from_slice(sudo.password.as_ref().map_or("", Secret::expose).as_bytes());
                wire.preface.push(b'\n');
            }
            Some(sudo) => {
                wire.line = sudo.line(&script);
                sudo.preface(token, &mut wire.preface);
            }
            None => wire.line = script,
        }
        for (_, value) in &self.secret_env {
            wire.preface.extend_from_slice(value.expose().as_bytes());
            wire.preface.push(b'\n');
        }
        Ok(wire)
    }

    /// A line that ends every process of the run, with what it needs on its input; `None` if there is no way.
    pub(crate) fn killer(&self, token: &str) -> Option<Wire> {
        if !self.tracked {
            return None;
        }
        // A shell that exports has the mark in its line only, what it starts in the environment. `[=]` keeps this line
        // from finding itself. Lines come first: a shell that is still there when its command dies starts the next one.
        // Again until two looks find none: in the middle of `execve` a process has neither line nor environment.
        let script = format!(
            "n=0 e=0; while [ $n -lt 20 ] && [ $e -lt 2 ]; do \
             l=$(grep -ls 'KILN_RUN[=]{token}' /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null); \
             e=$((e + 1)); for f in $l; do e=0; p=${{f#/proc/}}; kill -KILL \"${{p%/*}}\" 2>/dev/null; done; \
             n=$((n + 1)); done"
        );
        let mut wire = Wire { line: script, preface: Vec::new() };
        if let Some(sudo) = &self.sudo {
            wire.line = sudo.line(&wire.line);
            sudo.preface(token, &mut wire.preface);
        }
        Some(wire)
    }

    fn check(&self, host: &str) -> Result<(), HostError> {
        let refuse = |why: String| Err(HostError::Start { host: host.to_owned(), why });
        let names = self.env.iter().map(|(name, _)| name).chain(self.secret_env.iter().map(|(name, _)| name));
        for name in names {
            if !is_name(name) {
                return refuse(format!("`{}` is no name of a variable", crate::error::printable(name.as_bytes())));
            }
        }
        for (name, value) in &self.secret_env {
            if value.expose().contains(['\n', '\0']) {
                return refuse(format!("the secret variable {name} has more than one line"));
            }
        }
        let texts = self.env.iter().map(|(_, value)| value).chain(self.directory.as_ref());
        if texts.chain([&self.line]).any(|text| text.contains('\0')) {
            return refuse("a command has no NUL characters".to_owned());
        }
        match &self.sudo {
            Some(Sudo { password: Some(password), .. }) if password.expose().contains(['\n', '\0']) => {
                refuse("a password of sudo is of one line".to_owned())
            }
            Some(Sudo { user: Some(user), .. }) if user.is_empty() || user.starts_with('-') => {
                refuse("that is no user for sudo".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A command as it is sent.
#[derive(Debug)]
pub(crate) struct Wire {
    /// For the shell.
    pub(crate) line: String,
    /// What the command reads before its caller's input.
    pub(crate) preface: Vec<u8>,
}

impl Sudo {
    fn line(&self, script: &str) -> String {
        let ask = if self.password.is_some() { "-S -p ''" } else { "-n" };
        let user = self.user.as_ref().map(|user| format!(" -u {}", quote(user))).unwrap_or_default();
        format!("sudo {ask}{user} -- sh -c {}", quote(script))
    }

    /// Reads the secrets from the terminal, and hands them on through a pipe.
    fn line_on_terminal(&self, script: &str, token: &str, more: usize) -> String {
        let names: Vec<String> = (0..more).map(|n| format!("kiln_{n}")).collect();
        let read: String = names.iter().map(|name| format!("IFS= read -r {name}; ")).collect();
        let give: String = names.iter().map(|name| format!(" \"${name}\"")).collect();
        let sudo = self.line(script);
        format!("IFS= read -r kiln_p; {read}printf '%s\\n' \"$kiln_p\" kiln-{token}{give} | {sudo}")
    }

    /// The password and a mark behind it. When sudo does not ask, the password stays in the input: what is run skips to
    /// the mark, so that no command ever reads it.
    fn preface(&self, token: &str, preface: &mut Vec<u8>) {
        if let Some(password) = &self.password {
            preface.extend_from_slice(password.expose().as_bytes());
            preface.extend_from_slice(format!("\nkiln-{token}\n").as_bytes());
        }
    }

    fn skip_to_mark(&self, token: &str, script: &mut String) {
        if self.password.is_some() {
            script.push_str(&format!("while IFS= read -r l; do [ \"$l\" = kiln-{token} ] && break; done; unset l; "));
        }
    }
}

/// One word for a shell, whatever is in it.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// As [`quote`], for bytes that are no text.
pub(crate) fn quote_bytes(text: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in text {
        if byte == b'\'' {
            quoted.extend_from_slice(br"'\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

fn is_name(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A fresh mark for a run, or a part of a temporary name. It has to be unique, not secret.
pub(crate) fn token() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:08x}", word(), word() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_are_one_word() {
        assert_eq!(quote("a/b-c.d"), "a/b-c.d");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's $HOME\n"), "'it'\\''s $HOME\n'");
        assert_eq!(Command::program(["echo", "a b", "c;d"]).line, "echo 'a b' 'c;d'");
    }

    #[test]
    fn secrets_are_in_the_preface_and_not_in_the_line() {
        let command = Command::shell("make install")
            .env("A", "x y")
            .secret_env("TOKEN", Secret::new("s3cret"))
            .sudo(Sudo { user: None, password: Some(Secret::new("hunter2")) });
        let wire = command.wire("h", "t0").unwrap();
        assert!(!wire.line.contains("s3cret") && !wire.line.contains("hunter2"), "{}", wire.line);
        assert_eq!(wire.preface, b"hunter2\nkiln-t0\ns3cret\n");
        let shown = format!("{command:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn an_untracked_line_is_sent_as_it_is() {
        assert_eq!(Command::shell("show version").untracked().wire("h", "t").unwrap().line, "show version");
    }

    #[test]
    fn what_cannot_be_sent_safely_is_refused() {
        let refused = |command: Command| command.wire("h", "t").unwrap_err().to_string();
        insta::assert_snapshot!(refused(Command::shell("x").env("A;rm", "")), @"cannot run a command on h: `A;rm` is no name of a variable");
        insta::assert_snapshot!(refused(Command::shell("x").secret_env("A", Secret::new("a\nb"))), @"cannot run a command on h: the secret variable A has more than one line");
        insta::assert_snapshot!(refused(Command::shell("x\0y")), @"cannot run a command on h: a command has no NUL characters");
    }
}
