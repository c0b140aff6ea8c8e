//! The user's settings of ssh: what of `~/.ssh/config` says where a machine is and how to log in.
//!
//! `Host` blocks with their patterns, and in them HostName, User, Port, IdentityFile, CertificateFile, IdentitiesOnly,
//! ProxyJump, UserKnownHostsFile, HostKeyAlias, ConnectTimeout, ServerAliveInterval, AddressFamily,
//! StrictHostKeyChecking. As with ssh the first value wins. What only concerns terminals, multiplexing or looks is left
//! out in silence; everything else that is left out is a warning.

use std::path::{Path, PathBuf};

use crate::HostError;
use crate::known_hosts::matches_list;

const FILE_LIMIT: u64 = 1 << 20;

/// What the file says of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `HostName`: the real name or address.
    pub host_name: Option<String>,
    /// `User`.
    pub user: Option<String>,
    /// `Port`.
    pub port: Option<u16>,
    /// `IdentityFile`, all of them.
    pub identity_files: Vec<PathBuf>,
    /// `CertificateFile`, all of them.
    pub certificate_files: Vec<PathBuf>,
    /// `IdentitiesOnly`: nothing of the agent but these.
    pub identities_only: Option<bool>,
    /// `ProxyJump`: machines as `[user@]host[:port]`, the first to be connected to first. Empty for `none`.
    pub jumps: Option<Vec<String>>,
    /// `UserKnownHostsFile`.
    pub known_hosts: Option<Vec<PathBuf>>,
    /// `HostKeyAlias`.
    pub host_key_alias: Option<String>,
    /// `ConnectTimeout` in seconds.
    pub connect_timeout: Option<u64>,
    /// `ServerAliveInterval` in seconds.
    pub alive_interval: Option<u64>,
    /// `AddressFamily`: `any`, `inet` or `inet6`.
    pub address_family: Option<String>,
    /// `StrictHostKeyChecking`: only `accept-new` means something here; never is a check left out.
    pub strict_host_keys: Option<String>,
    /// What was left out and may matter: place and text.
    pub warnings: Vec<String>,
}

/// Left out in silence.
const HARMLESS: &[&str] = &[
    "addkeystoagent",
    "canonicalizehostname",
    "checkhostip",
    "clearallforwardings",
    "compression",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "enableescapecommandline",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "hashknownhosts",
    "ignoreunknown",
    "ipqos",
    "localcommand",
    "loglevel",
    "numberofpasswordprompts",
    "permitlocalcommand",
    "preferredauthentications",
    "pubkeyauthentication",
    "requesttty",
    "sendenv",
    "serveralivecountmax",
    "setenv",
    "tcpkeepalive",
    "updatehostkeys",
    "visualhostkey",
    "xauthlocation",
    "streamlocalbindunlink",
    "tag",
    "batchmode",
    "passwordauthentication",
    "kbdinteractiveauthentication",
];

/// Reads a file for one machine. A file that does not exist says nothing. `home` stands for `~` and `%d`.
///
/// # Errors
/// When it cannot be read, is too large, or a line has a value that is none.
pub fn read(path: &Path, host: &str, home: &Path) -> Result<Settings, HostError> {
    let fail = |source| HostError::File { what: "read", path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if metadata.len() > FILE_LIMIT => {
            return Err(fail(std::io::Error::other(format!("it has more than {FILE_LIMIT} bytes"))));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse(path, &text, host, home)
}

/// As [`read`], of a text.
///
/// # Errors
/// When a line has a value that is none.
pub fn parse(path: &Path, text: &str, host: &str, home: &Path) -> Result<Settings, HostError> {
    let mut settings = Settings::default();
    let mut applies = true;
    for (index, line) in text.lines().enumerate() {
        let fail = |why: String| HostError::Line { path: path.to_owned(), line: index + 1, why };
        let words = words(line).map_err(&fail)?;
        let Some((key, values)) = words.split_first() else { continue };
        let key = key.to_ascii_lowercase();
        let place = || format!("{}:{}", path.display(), index + 1);
        match key.as_str() {
            "host" if values.is_empty() => return Err(fail("`Host` has no pattern".to_owned())),
            "host" => applies = matches_list(values, host),
            "match" => {
                applies = values.len() == 1 && values.first().is_some_and(|v| v.eq_ignore_ascii_case("all"));
                if !applies {
                    settings.warnings.push(format!("{}: `Match` is left out with what follows it", place()));
                }
            }
            _ if !applies => {}
            _ => match values.first() {
                None => return Err(fail(format!("`{key}` has no value"))),
                Some(first) => {
                    let known = settings.set(&key, first, values, home).map_err(&fail)?;
                    if !known && !HARMLESS.contains(&key.as_str()) {
                        settings.warnings.push(format!("{}: `{key}` is left out", place()));
                    }
                }
            },
        }
    }
    if let Some(name) = &mut settings.host_name {
        *name = name.replace("%h", host).replace("%%", "%");
    }
    Ok(settings)
}

impl Settings {
    /// Takes a value, unless there is one; false if there is no such key.
    fn set(&mut self, key: &str, first: &str, values: &[String], home: &Path) -> Result<bool, String> {
        let file = |value: &str| expand(value, home);
        let number = || first.parse::<u64>().map_err(|_| format!("`{first}` is no number of seconds"));
        match key {
            "hostname" => keep(&mut self.host_name, first.to_owned()),
            "user" => keep(&mut self.user, first.to_owned()),
            "port" => {
                let port = first.parse().ok().filter(|&port: &u16| port > 0);
                keep(&mut self.port, port.ok_or_else(|| format!("`{first}` is no port"))?);
            }
            "identityfile" if first.eq_ignore_ascii_case("none") => {}
            "identityfile" => self.identity_files.push(file(first)?),
            "certificatefile" => self.certificate_files.push(file(first)?),
            "identitiesonly" => keep(&mut self.identities_only, first.eq_ignore_ascii_case("yes")),
            "proxyjump" if first.eq_ignore_ascii_case("none") => keep(&mut self.jumps, Vec::new()),
            "proxyjump" => keep(&mut self.jumps, first.split(',').map(|jump| jump.trim().to_owned()).collect()),
            "proxycommand" if first.eq_ignore_ascii_case("none") => {}
            "userknownhostsfile" => {
                keep(&mut self.known_hosts, values.iter().map(|value| file(value)).collect::<Result<_, _>>()?);
            }
            "hostkeyalias" => keep(&mut self.host_key_alias, first.to_owned()),
            "connecttimeout" => keep(&mut self.connect_timeout, number()?),
            "serveraliveinterval" => keep(&mut self.alive_interval, number()?),
            "addressfamily" => keep(&mut self.address_family, first.to_ascii_lowercase()),
            "stricthostkeychecking" => keep(&mut self.strict_host_keys, first.to_ascii_lowercase()),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn keep<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn expand(value: &str, home: &Path) -> Result<PathBuf, String> {
    let path = match value.strip_prefix("~/").or_else(|| value.strip_prefix("%d/")) {
        Some(rest) => home.join(rest),
        None => PathBuf::from(value),
    };
    match path.to_str() {
        Some(text) if text.contains('%') => Err(format!("`{value}` has a % that Kiln does not know; only %d is")),
        _ => Ok(path),
    }
}

/// Words of a line: `Key value`, `Key=value`, `Key "a value"`; from a word with # on it is a comment.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let end = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').ok_or("a quotation mark is not closed")?;
                words.push(quoted.get(..end).unwrap_or_default().to_owned());
                end + 2
            }
            None => {
                let separator = |c: char| c.is_whitespace() || (c == '=' && words.is_empty());
                let end = rest.find(separator).unwrap_or(rest.len());
                words.push(rest.get(..end).unwrap_or_default().to_owned());
                end
            }
        };
        rest = rest.get(end..).unwrap_or_default().trim_start();
        if words.len() == 1 {
            rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, host: &str) -> Settings {
        parse(Path::new("config"), text, host, Path::new("/home/u")).unwrap()
    }

    const CONFIG: &str = "# mine\nHost web db-* !db-old\n  HostName=%h.example.com\n  Port 2222\n  IdentityFile ~/.ssh/a\n\
        \n  IdentityFile \"/keys/with space\" # c\nHost *\n  User root\n  Port 22\n  ProxyJump me@bastion:2200,second\n\
        \n  Compression yes\n  ProxyCommand nc %h %p\n  UserKnownHostsFile ~/.ssh/kh /etc/kh\n";

    #[test]
    fn the_first_value_wins_and_patterns_choose() {
        let web = of(CONFIG, "web");
        assert_eq!(web.host_name.as_deref(), Some("web.example.com"));
        assert_eq!((web.port, web.user.as_deref()), (Some(2222), Some("root")));
        assert_eq!(web.identity_files, [Path::new("/home/u/.ssh/a"), Path::new("/keys/with space")]);
        assert_eq!(web.jumps.unwrap(), ["me@bastion:2200", "second"]);
        assert_eq!(web.known_hosts.unwrap(), [Path::new("/home/u/.ssh/kh"), Path::new("/etc/kh")]);
        assert_eq!(web.warnings, ["config:14: `proxycommand` is left out"]);
        let old = of(CONFIG, "db-old");
        assert_eq!((old.port, old.host_name), (Some(22), None));
    }

    #[test]
    fn lines_that_are_none_are_errors_with_their_place() {
        let error = |text| parse(Path::new("c"), text, "h", Path::new("/")).unwrap_err().to_string();
        insta::assert_snapshot!(error("Port 99999"), @"c:1: `99999` is no port");
        insta::assert_snapshot!(error("\nUser"), @"c:2: `user` has no value");
        insta::assert_snapshot!(error("User \"a"), @"c:1: a quotation mark is not closed");
        insta::assert_snapshot!(error("IdentityFile ~/%x"), @"c:1: `~/%x` has a % that Kiln does not know; only %d is");
    }
}
