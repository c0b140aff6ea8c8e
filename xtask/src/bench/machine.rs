//! Where the numbers were taken: without it they say nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The machine, in words.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct Machine {
    /// The day, UTC.
    pub(super) date: String,
    /// Processors.
    pub(super) cpu: String,
    /// Memory and the file system that is written to.
    pub(super) rest: String,
    /// Kernel and distribution.
    pub(super) kernel: String,
    /// Load when it began: others at work make it slower.
    pub(super) load: String,
}

impl Machine {
    /// This one, with the file system of `dir`.
    pub(super) fn here(dir: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        Machine {
            date: said(Command::new("date").args(["-u", "+%F"])),
            cpu: format!("{cores} × {}", field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown")),
            rest: format!(
                "{} GB of memory, {}",
                memory(&read("/proc/meminfo")),
                // Where several are mounted on one another, the last is what the directory is on.
                said(Command::new("findmnt").args(["-n", "-o", "FSTYPE", "-T"]).arg(dir))
                    .lines()
                    .last()
                    .unwrap_or_default()
            ),
            kernel: format!("Linux {kernel}, Debian {}", read("/etc/debian_version").trim()),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn memory(meminfo: &str) -> u64 {
    let kilobytes = field(meminfo, "MemTotal").and_then(|v| v.split(' ').next()).and_then(|n| n.parse::<u64>().ok());
    (kilobytes.unwrap_or(0) * 1024 + 500_000_000) / 1_000_000_000
}

fn said(command: &mut Command) -> String {
    let out = command.output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&out).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        assert_eq!(field("vendor_id\t: x\nmodel name\t: A B\n", "model name"), Some("A B"));
        assert_eq!(memory("MemTotal:       24683652 kB\n"), 25);
        assert!(!Machine::here(Path::new("/")).kernel.is_empty());
    }
}
