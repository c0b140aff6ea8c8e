//! The kernel's command line, as far as the program heeds it.
//!
//! ```text
//! root=UUID=…|LABEL=…|PARTUUID=…|PARTLABEL=…|/dev/…     the root file system
//! rootfstype=  rootflags=  ro  rw  rootdelay=  rootwait  how it is mounted, and how long it is waited for
//! init=                                                  what is started from it
//! ip=                                                    the network of an application: see `address`
//! kiln.token=  kiln.off=poweroff|reboot|halt             whom the end is told, and how the machine ends
//! ```
//! As the kernel does: the last of several wins, quotes keep spaces together, and what comes behind `--` is not heeded.

use alloc::string::String;
use alloc::vec::Vec;

/// The words that are heeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// `root=`.
    pub root: String,
    /// `rootfstype=`.
    pub kind: String,
    /// `rootflags=`.
    pub flags: String,
    /// `rw` behind any `ro`.
    pub writable: bool,
    /// `rootdelay=`, seconds.
    pub delay: u32,
    /// `rootwait`: however long it takes.
    pub patient: bool,
    /// `init=`.
    pub init: String,
    /// `ip=`.
    pub ip: Option<String>,
    /// `kiln.token=`: letters and digits.
    pub token: String,
    /// `kiln.off=`.
    pub off: Off,
}

/// How a machine ends when its application has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Off {
    /// It turns itself off.
    #[default]
    Power,
    /// It restarts; for a monitor that ends then, and hardware that cannot be turned off.
    Restart,
    /// It stands still.
    Halt,
}

/// Reads a command line. What is not known is the kernel's, or somebody else's.
pub fn parse(text: &str) -> CommandLine {
    let mut line = CommandLine::default();
    for word in words(text) {
        let (key, value) = word.split_once('=').map_or((&*word, None), |(key, value)| (key, Some(value)));
        let owned = || String::from(value.unwrap_or_default());
        match key {
            "root" => line.root = owned(),
            "rootfstype" => line.kind = owned(),
            "rootflags" => line.flags = owned(),
            "ro" if value.is_none() => line.writable = false,
            "rw" if value.is_none() => line.writable = true,
            "rootdelay" => line.delay = value.and_then(|v| v.parse().ok()).unwrap_or_default(),
            "rootwait" => line.patient = true,
            "init" => line.init = owned(),
            "ip" => line.ip = Some(owned()),
            "kiln.token" => line.token = owned().chars().filter(char::is_ascii_alphanumeric).take(64).collect(),
            "kiln.off" => {
                line.off = match value {
                    Some("reboot") => Off::Restart,
                    Some("halt") => Off::Halt,
                    _ => Off::Power,
                }
            }
            _ => {}
        }
    }
    line
}

/// The words up to `--`, without quotes.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.chars().chain([' ']) {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                if word == "--" {
                    return all;
                }
                if !word.is_empty() {
                    all.push(core::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    // Quotes that do not end.
    if !word.is_empty() {
        all.push(String::from(word.trim_end()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_root() {
        let line = parse(
            "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro root=UUID=1-2 rootfstype=ext4 rootflags=\"subvol=a b,x\" rw quiet \
             init=/bin/x rootdelay=7 rootwait panic=-1\n",
        );
        assert_eq!((&*line.root, &*line.kind, &*line.flags), ("UUID=1-2", "ext4", "subvol=a b,x"));
        assert!(line.writable && line.patient && line.delay == 7 && line.init == "/bin/x");
        assert_eq!((line.ip, line.off), (None, Off::Power));
    }

    #[test]
    fn what_is_said_of_an_application() {
        let line = parse("ip=dhcp kiln.token=ab1;2 kiln.off=reboot -- ip=off kiln.off=halt");
        assert_eq!((line.ip.as_deref(), &*line.token, line.off), (Some("dhcp"), "ab12", Off::Restart));
        assert_eq!(parse("kiln.off=x").off, Off::Power);
    }

    #[test]
    fn nothing_makes_sense_and_nothing_breaks() {
        for text in ["", " ", "\"", "=", "root", "root=", "rw=1", "rootdelay=-1", "\"root=a b", "--", "=root=ro"] {
            let line = parse(text);
            assert!(!line.writable && line.delay == 0, "{text}");
        }
        assert_eq!(parse("\"root=a b").root, "a b");
    }
}
