//! A machine that runs commands, and is asked for its files by them.
//!
//! The scripts need a POSIX shell, `head`, `ls`, `stat -c` and `readlink`: coreutils and busybox have them. Whatever
//! the machine answers is taken for what it is, bytes of a stranger.

use super::{Kind, Live, LookError, MAX_DEPTH, MAX_NAMES, MAX_WALK, Ran, Result, Stat, System, Walk};

/// What runs a command line of the shell on a machine.
pub trait Machine {
    /// What to call the machine: `ssh://root@node1`.
    fn title(&self) -> String;

    /// Runs `script` by `/bin/sh`, with the rights to read what only root may, and waits for it. Of what it prints, at
    /// most `max` bytes need to be kept.
    ///
    /// # Errors
    /// The machine cannot be asked. A script that fails is a [`Ran`].
    fn run(&self, script: &str, max: u64) -> Result<Ran>;
}

/// A system behind a [`Machine`].
#[derive(Debug)]
pub struct Remote<M> {
    machine: M,
}

/// The exit code of a script for something that is not there.
const MISSING: i32 = 44;
/// The exit code of a script for something of another kind.
const OTHER: i32 = 45;
/// The most that is kept of what a command prints.
const MAX_OUTPUT: u64 = 1 << 20;
/// The most of a list of names.
const MAX_LISTING: u64 = 32 << 20;

impl<M: Machine> Remote<M> {
    /// A machine as a system.
    pub fn new(machine: M) -> Remote<M> {
        Remote { machine }
    }

    fn ask(&self, path: &str, script: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let script = format!("LC_ALL=C; export LC_ALL; p={}; {script}", quote(path));
        let ran = self.machine.run(&script, max)?;
        match ran.code {
            0 => Ok(Some(ran.stdout)),
            MISSING => Ok(None),
            OTHER => Err(LookError::NotAFile { path: path.to_owned() }),
            code => {
                let said = String::from_utf8_lossy(&ran.stderr);
                let why = match said.lines().next() {
                    Some(line) => line.to_owned(),
                    None => format!("exit code {code}"),
                };
                Err(LookError::read(path)(std::io::Error::other(why)))
            }
        }
    }
}

/// A text as one word of a shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl<M: Machine> System for Remote<M> {
    fn title(&self) -> String {
        self.machine.title()
    }

    fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let most = max.saturating_add(1);
        let script =
            format!("[ -e \"$p\" ] || exit {MISSING}; [ -f \"$p\" ] || exit {OTHER}; exec head -c {most} < \"$p\"");
        match self.ask(path, &script, most)? {
            Some(bytes) if bytes.len() as u64 > max => Err(LookError::TooLarge { path: path.to_owned(), max }),
            found => Ok(found),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        // Names with line breaks in them come out as several, none of which is there.
        let script = format!("[ -d \"$p\" ] || exit {MISSING}; exec ls -A -- \"$p\"");
        let Some(bytes) = self.ask(path, &script, MAX_LISTING)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut names: Vec<String> = text.lines().take(MAX_NAMES + 1).map(str::to_owned).collect();
        if names.len() > MAX_NAMES {
            return Err(LookError::TooMany { path: path.to_owned() });
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    fn stat(&self, path: &str, follow: bool) -> Result<Option<Stat>> {
        let (test, flag) = if follow { ("[ -e \"$p\" ]", "-L") } else { ("[ -e \"$p\" ] || [ -L \"$p\" ]", "") };
        let script = format!(
            "{{ {test}; }} || exit {MISSING}; stat {flag} -c '%f %u %g %s' -- \"$p\" && readlink -- \"$p\" || :"
        );
        let Some(bytes) = self.ask(path, &script, MAX_OUTPUT)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let words: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
        parse(&words, lines.next()).map(Some).ok_or_else(|| LookError::form(path, "`stat` answers in another form"))
    }

    fn immutable(&self, path: &str) -> Result<Option<bool>> {
        let script = format!("[ -f \"$p\" ] || exit {MISSING}; lsattr -d -- \"$p\" 2> /dev/null || :");
        let Some(bytes) = self.ask(path, &script, MAX_OUTPUT)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.split_whitespace().next().map(|flags| flags.contains('i')))
    }

    fn walk(&self, dir: &str) -> Result<Walk> {
        // One command for all of it: thousands of questions would take minutes.
        let script = format!(
            "{{ [ -d \"$p\" ] && [ ! -L \"$p\" ]; }} || exit {MISSING}; find \"$p\" -xdev -mindepth 1 -maxdepth {} \
             -exec stat -c '%f %u %g %s %n' -- {{}} + | head -n {} || :",
            MAX_DEPTH + 1,
            MAX_WALK + 1
        );
        let Some(bytes) = self.ask(dir, &script, MAX_LISTING)? else {
            return Ok(Walk { whole: true, ..Walk::default() });
        };
        // What was cut, or has line breaks in its name, is not all.
        let mut walk = Walk { found: Vec::new(), whole: (bytes.len() as u64) < MAX_LISTING };
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        for line in String::from_utf8_lossy(&bytes).lines() {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let parsed = match &words[..] {
                [head @ .., path] if head.len() == 4 && path.starts_with(&prefix) => {
                    // Where a link points is not told, and nobody asks.
                    parse(head, Some("")).map(|stat| ((*path).to_owned(), stat))
                }
                _ => None,
            };
            match parsed {
                Some((path, stat)) if walk.found.len() < MAX_WALK => {
                    let depth = path[prefix.len()..].matches('/').count();
                    walk.whole &= depth < MAX_DEPTH || stat.kind != Kind::Dir;
                    walk.found.push((path, stat));
                }
                _ => walk.whole = false,
            }
        }
        Ok(walk)
    }

    fn live(&self) -> Option<&dyn Live> {
        Some(self)
    }
}

/// The answer of `stat -c '%f %u %g %s'`, and where a link points.
fn parse(words: &[&str], target: Option<&str>) -> Option<Stat> {
    let [mode, uid, gid, size] = words else { return None };
    let mode = u32::from_str_radix(mode, 16).ok()?;
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Dir,
        0o120_000 => Kind::Link(target?.to_owned()),
        _ => Kind::Other,
    };
    Some(Stat { kind, mode: mode & 0o7777, uid: uid.parse().ok()?, gid: gid.parse().ok()?, size: size.parse().ok()? })
}

impl<M: Machine> Live for Remote<M> {
    fn run(&self, command: &[&str]) -> Result<Ran> {
        let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
        self.machine.run(&format!("LC_ALL=C; export LC_ALL; exec {}", words.join(" ")), MAX_OUTPUT)
    }
}
