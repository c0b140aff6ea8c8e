//! What a machine with one application runs, as a file of its initramfs.
//!
//! A line with the format's name and version, then fields: a name, a space, a length in bytes, a line feed, that many
//! bytes, a line feed. Arguments, variables and groups come several times, in order. Nothing needs to be escaped.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const HEAD: &[u8] = b"kiln-application 1\n";
/// More fields than any image has.
const MOST: usize = 100_000;

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Application {
    /// The program and its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Where it starts.
    pub directory: Vec<u8>,
    /// As which user.
    pub user: u32,
    /// In which group.
    pub group: u32,
    /// In which others.
    pub groups: Vec<u32>,
    /// The machine's name.
    pub hostname: Vec<u8>,
    /// The signal that asks it to end.
    pub stop: u32,
}

/// Why a file is none of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(pub String);

impl Application {
    /// The file.
    pub fn write(&self) -> Vec<u8> {
        let mut out = HEAD.to_vec();
        let mut put = |name: &str, bytes: &[u8]| {
            out.extend_from_slice(format!("{name} {}\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.push(b'\n');
        };
        self.arguments.iter().for_each(|a| put("argument", a));
        self.environment.iter().for_each(|e| put("variable", e));
        put("directory", &self.directory);
        put("user", format!("{}", self.user).as_bytes());
        put("group", format!("{}", self.group).as_bytes());
        self.groups.iter().for_each(|g| put("member", format!("{g}").as_bytes()));
        put("hostname", &self.hostname);
        put("stop", format!("{}", self.stop).as_bytes());
        out
    }

    /// What such a file says.
    ///
    /// # Errors
    /// When it is none, or has a field that this version does not know.
    pub fn read(bytes: &[u8]) -> Result<Application, Damaged> {
        let bad = |why: &str| Damaged(String::from(why));
        let mut rest = bytes.strip_prefix(HEAD).ok_or_else(|| bad("it is of another version"))?;
        let mut app = Application::default();
        for _ in 0..MOST {
            if rest.is_empty() {
                return if app.arguments.is_empty() { Err(bad("it names no program")) } else { Ok(app) };
            }
            let (name, value, behind) = field(rest).ok_or_else(|| bad("a field is cut off"))?;
            rest = behind;
            let number = || {
                let text = core::str::from_utf8(value).ok();
                text.and_then(|t| t.parse::<u32>().ok()).ok_or_else(|| Damaged(format!("`{name}` is no number")))
            };
            match name {
                "argument" | "variable" | "directory" | "hostname" if value.contains(&0) => {
                    return Err(Damaged(format!("`{name}` has a zero in it")));
                }
                "argument" => app.arguments.push(value.to_vec()),
                "variable" => app.environment.push(value.to_vec()),
                "directory" => app.directory = value.to_vec(),
                "hostname" => app.hostname = value.to_vec(),
                "user" => app.user = number()?,
                "group" => app.group = number()?,
                "member" => app.groups.push(number()?),
                "stop" => app.stop = number()?,
                other => return Err(Damaged(format!("there is no field `{other}`"))),
            }
        }
        Err(bad("it has too many fields"))
    }
}

fn field(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let end = bytes.iter().take(40).position(|b| *b == b'\n')?;
    let (name, length) = core::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    let length: usize = length.parse().ok()?;
    let value = bytes.get(end + 1..)?.get(..length)?;
    let behind = bytes.get(end + 1 + length..)?.strip_prefix(b"\n")?;
    Some((name, value, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Application {
        Application {
            arguments: [&b"/bin/a b"[..], b"\n\"", b""].map(<[u8]>::to_vec).into(),
            environment: [b"A=1\nargument 3\nxxx".to_vec()].into(),
            directory: b"/srv".to_vec(),
            user: 1000,
            group: u32::MAX,
            groups: [1, 2].into(),
            hostname: b"h".to_vec(),
            stop: 15,
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        assert_eq!(Application::read(&some().write()), Ok(some()));
    }

    #[test]
    fn bad_files_are_told() {
        let why = |bytes: &[u8]| Application::read(bytes).unwrap_err().0;
        assert!(why(b"").contains("another version"));
        assert!(why(HEAD).contains("no program"));
        let with = |text: &str| [HEAD, text.as_bytes()].concat();
        for (text, says) in [
            ("argument 99999\nx\n", "cut off"),
            ("argument 18446744073709551615\nx\n", "cut off"),
            ("argument -1\nx\n", "cut off"),
            ("argument 1\nxx\n", "cut off"),
            ("argument 1\n\0\n", "a zero in it"),
            ("user 1\nx\n", "`user` is no number"),
            ("user 10\n4294967296\n", "`user` is no number"),
            ("shell 1\nx\n", "no field `shell`"),
        ] {
            assert!(why(&with(text)).contains(says), "{text:?}: {}", why(&with(text)));
        }
        let whole = some().write();
        for end in 0..whole.len() {
            // A cut never makes an application of something else, only of fewer fields.
            if let Ok(app) = Application::read(&whole[..end]) {
                assert!(some().arguments.starts_with(&app.arguments), "{end}");
            }
        }
    }
}
