//! Kernel parameters: what files set, and which of them wins.
//!
//! ```text
//! /etc/sysctl.d > /run/sysctl.d > /usr/local/lib/sysctl.d > /usr/lib/sysctl.d > /lib/sysctl.d   of files of one name
//! then by file name, and /etc/sysctl.conf last; of lines about one parameter the last wins, a name over a pattern
//! ```

use kiln_spec::glob::fnmatch;

use super::lines;
use crate::system::{Result, System};

/// Where drop-in files are, the strongest first.
pub const DIRS: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// The file that is read after all.
const LAST: &str = "/etc/sysctl.conf";

/// A line that sets a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The parameter, its parts separated by dots; may have `*` in it.
    pub key: String,
    /// The value; `None` when the line takes the parameter out of what a pattern sets.
    pub value: Option<String>,
    /// The file.
    pub path: String,
    /// The line in it, from 1.
    pub line: usize,
}

impl Setting {
    /// `path:line`.
    pub fn place(&self) -> String {
        lines::place(&self.path, self.line)
    }
}

/// Everything that files set, in the order in which it is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub Vec<Setting>);

impl Settings {
    /// What the files of a system set.
    ///
    /// # Errors
    /// A file or directory cannot be read.
    pub fn of(system: &dyn System) -> Result<Settings> {
        let mut all = Vec::new();
        let mut paths = lines::drop_ins(system, &DIRS, ".conf")?;
        // Debian's 99-sysctl.conf is a link to the file that is read last anyway.
        paths.push(LAST.to_owned());
        for path in paths {
            if let Some(text) = lines::text(system, &path)? {
                all.extend(parse(&path, &text));
            }
        }
        Ok(Settings(all))
    }

    /// The line that decides what a parameter is; `None` when no file sets it.
    pub fn effective(&self, key: &str) -> Option<&Setting> {
        let by_name = self.0.iter().rev().find(|setting| setting.key == key);
        match by_name {
            Some(setting) if setting.value.is_some() => Some(setting),
            Some(_) => None,
            None => self.0.iter().rev().find(|s| s.value.is_some() && s.key.contains('*') && fnmatch(&s.key, key)),
        }
    }
}

/// The settings in a text.
pub fn parse<'a>(path: &'a str, text: &'a str) -> impl Iterator<Item = Setting> + 'a {
    lines::meaningful(text, &['#', ';']).filter_map(move |(line, content)| {
        let (key, value) = match content.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
            None => (content.strip_prefix('-')?, None),
        };
        let key = canonical(key.trim_start_matches('-').trim());
        (!key.is_empty()).then(|| Setting { key, value, path: path.to_owned(), line })
    })
}

/// A parameter with dots between its parts. Where the first separator is a slash, dots belong to names, as in
/// `net/ipv4/conf/eth0.1/forwarding`; they are written as slashes then, as the kernel's own tools do.
pub fn canonical(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => swapped(key),
        _ => key.to_owned(),
    }
}

/// Where the kernel shows a parameter.
pub fn proc_path(key: &str) -> String {
    format!("/proc/sys/{}", swapped(key))
}

/// Dots as slashes, and slashes as dots.
fn swapped(key: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(other).collect()
}

/// Whether two values are the same: numbers with any white space between them.
pub fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn the_last_line_of_the_strongest_file_wins() {
        let system = Memory::new()
            .file(
                "/usr/lib/sysctl.d/50-default.conf",
                "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\nvm.a=1\n",
            )
            .file(
                "/etc/sysctl.d/60-own.conf",
                "# c\n; c\nvm.a = 2\nvm/b=3\nnet/ipv4/conf/eth0.1/x = 1\nnonsense\n= 4\n",
            )
            .file("/usr/lib/sysctl.d/60-own.conf", "vm.a=9\n")
            .file("/etc/sysctl.d/70-none.txt", "vm.a=9\n")
            .file("/etc/sysctl.conf", "vm.c=4\n  vm.tcp = 1\t2  3 \n");
        let settings = Settings::of(&system).unwrap();
        let say =
            |key: &str| settings.effective(key).map(|s| format!("{} {}", s.value.as_deref().unwrap_or(""), s.place()));
        assert_eq!(say("vm.a").as_deref(), Some("2 /etc/sysctl.d/60-own.conf:3"));
        assert_eq!(say("vm.b").as_deref(), Some("3 /etc/sysctl.d/60-own.conf:4"));
        assert_eq!(say("vm.c").as_deref(), Some("4 /etc/sysctl.conf:1"));
        assert_eq!(say("net.ipv4.conf.default.rp_filter").as_deref(), Some("2 /usr/lib/sysctl.d/50-default.conf:1"));
        assert_eq!(say("net.ipv4.conf.all.rp_filter"), None);
        assert_eq!(say("net.ipv4.conf.eth0/1.x").as_deref(), Some("1 /etc/sysctl.d/60-own.conf:5"));
        assert_eq!(say("vm.d"), None);
        assert!(same(settings.effective("vm.tcp").unwrap().value.as_deref().unwrap(), "1 2 3"));
        assert_eq!(proc_path("net.ipv4.conf.eth0/1.x"), "/proc/sys/net/ipv4/conf/eth0.1/x");
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_and_one_of_many_lines_is_not() {
        let large = Memory::new().file("/etc/sysctl.d/a.conf", vec![b'x'; 10 << 20]);
        assert!(Settings::of(&large).unwrap_err().to_string().contains("has more than 4194304 bytes"));
        let many = Memory::new().file("/etc/sysctl.conf", "a.b = 1\n".repeat(400_000));
        assert_eq!(Settings::of(&many).unwrap().0.len(), 400_000);
        let binary = Memory::new().file("/etc/sysctl.conf", [0xff, b'=', 0, b'\n', b'a', b'.', b'b', b'=', b'1']);
        assert_eq!(Settings::of(&binary).unwrap().effective("a.b").unwrap().line, 2);
        let circle = Memory::new().link("/etc/sysctl.conf", "/etc/sysctl.conf");
        assert!(Settings::of(&circle).unwrap_err().to_string().contains("/etc/sysctl.conf"));
        let directory = Memory::new().dir("/etc/sysctl.conf");
        assert_eq!(Settings::of(&directory).unwrap_err().to_string(), "/etc/sysctl.conf is not a regular file");
    }
}
