//! Control groups: upper bounds for a whole process tree.
//!
//! Both layouts are served: one hierarchy for each controller (v1), and the unified one (v2), also side by side. The
//! groups are made below the one Kiln itself is in, or, where v2's rule against groups with both processes and
//! children forbids that, below the nearest one above that allows it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::SandboxError;
use crate::job::Limits;

/// The processes of the sandbox itself, which count too.
const OWN_PROCESSES: u64 = 2;

/// The period in microseconds over which processor time is measured out.
const CPU_PERIOD: u64 = 100_000;

/// One controller's part of the limits.
struct Demand {
    controller: &'static str,
    /// For messages.
    what: &'static str,
    /// Files and values: v1, and v2. Those that may be missing (swap accounting) are marked.
    v1: Vec<Setting>,
    v2: Vec<Setting>,
}

struct Setting {
    file: &'static str,
    value: String,
    optional: bool,
}

fn set(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

fn maybe(file: &'static str, value: impl ToString) -> Setting {
    Setting { optional: true, ..set(file, value) }
}

fn demands(limits: &Limits) -> Vec<Demand> {
    let memory = limits.memory.map(|bytes| Demand {
        controller: "memory",
        what: "memory",
        v1: vec![set("memory.limit_in_bytes", bytes), maybe("memory.memsw.limit_in_bytes", bytes)],
        v2: vec![set("memory.max", bytes), maybe("memory.swap.max", 0)],
    });
    let cpu = limits.cpu_millis.map(|millis| {
        let quota = (millis.saturating_mul(CPU_PERIOD / 1000)).max(1000);
        Demand {
            controller: "cpu",
            what: "processor time",
            v1: vec![set("cpu.cfs_period_us", CPU_PERIOD), set("cpu.cfs_quota_us", quota)],
            v2: vec![set("cpu.max", format!("{quota} {CPU_PERIOD}"))],
        }
    });
    let pids = limits.pids.map(|count| {
        let count = count.saturating_add(OWN_PROCESSES);
        Demand {
            controller: "pids",
            what: "processes",
            v1: vec![set("pids.max", count)],
            v2: vec![set("pids.max", count)],
        }
    });
    [memory, cpu, pids].into_iter().flatten().collect()
}

/// The groups made for one command; removed when dropped.
pub struct Cgroup {
    dirs: Vec<PathBuf>,
    /// The one that counts kills for lack of memory, and the file it does so in.
    kills: Option<PathBuf>,
}

impl Cgroup {
    /// Makes groups with these limits; none when nothing is bounded.
    pub fn create(limits: &Limits) -> Result<Cgroup, SandboxError> {
        let mut group = Cgroup { dirs: Vec::new(), kills: None };
        let demands = demands(limits);
        if demands.is_empty() {
            return Ok(group);
        }
        let refused = |demand: &Demand, why: String| SandboxError::Limit { what: demand.what, why };
        let layout = Layout::of_this_process().map_err(|why| refused(&demands[0], why))?;
        let mut unified = Vec::new();
        for demand in &demands {
            match layout.v1.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == demand.controller))
            {
                Some(hierarchy) => {
                    let dir = make_below(&hierarchy.own).map_err(|why| refused(demand, why))?;
                    group.dirs.push(dir.clone());
                    apply(&dir, &demand.v1).map_err(|why| refused(demand, why))?;
                    if demand.controller == "memory" {
                        group.kills = Some(dir.join("memory.oom_control"));
                    }
                }
                None => unified.push(demand),
            }
        }
        if let Some(first) = unified.first() {
            let controllers: Vec<&str> = unified.iter().map(|demand| demand.controller).collect();
            let dir = layout.make_unified(&controllers).map_err(|why| refused(first, why))?;
            group.dirs.push(dir.clone());
            for demand in &unified {
                apply(&dir, &demand.v2).map_err(|why| refused(demand, why))?;
                if demand.controller == "memory" {
                    group.kills = Some(dir.join("memory.events"));
                }
            }
        }
        Ok(group)
    }

    /// The files a process writes itself into to be bounded.
    pub fn entrances(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// Whether the kernel has killed a process for lack of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let Some(text) = self.kills.as_ref().and_then(|file| fs::read_to_string(file).ok()) else { return false };
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // A process that has just ended stays counted for a moment.
            for pause in 0..100 {
                match fs::remove_dir(dir) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        thread::sleep(Duration::from_millis(pause))
                    }
                    _ => break,
                }
            }
        }
    }
}

fn apply(dir: &Path, settings: &[Setting]) -> Result<(), String> {
    for setting in settings {
        let file = dir.join(setting.file);
        match fs::write(&file, &setting.value) {
            Ok(()) => {}
            Err(_) if setting.optional => {}
            Err(error) => return Err(format!("writing {} to {}: {error}", setting.value, file.display())),
        }
    }
    Ok(())
}

/// Makes a group of our own below `parent`.
fn make_below(parent: &Path) -> Result<PathBuf, String> {
    let own = std::process::id();
    for number in 0..10_000 {
        let dir = parent.join(format!("kiln-run-{own}-{number}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("making a control group in {}: {error}", parent.display())),
        }
    }
    Err(format!("too many control groups of ours in {}", parent.display()))
}

/// Where this process is in the hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layout {
    v1: Vec<Hierarchy>,
    /// The mount of the unified hierarchy, and our group in it.
    unified: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    controllers: Vec<String>,
    own: PathBuf,
}

impl Layout {
    fn of_this_process() -> Result<Layout, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"));
        Ok(Layout::parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?))
    }

    fn parse(groups: &str, mounts: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mounts.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let mut kind = kind.split(' ');
            let (file_system, options) = (kind.next().unwrap_or(""), kind.nth(1).unwrap_or(""));
            let mut place = place.split(' ').skip(3);
            let (Some(root), Some(mount)) = (place.next(), place.next()) else { continue };
            let own = |group: &str| {
                let below = group.strip_prefix(root).unwrap_or(if root == "/" { group } else { "" });
                Path::new(mount).join(below.trim_start_matches('/'))
            };
            for group in groups.lines() {
                let mut parts = group.splitn(3, ':').skip(1);
                let (Some(names), Some(group)) = (parts.next(), parts.next()) else { continue };
                let listed = || names.split(',').map(str::to_owned).collect::<Vec<_>>();
                match file_system {
                    "cgroup2" if names.is_empty() && layout.unified.is_none() => {
                        layout.unified = Some((mount.into(), own(group)));
                    }
                    "cgroup"
                        if !names.is_empty()
                            && names.split(',').all(|name| options.split(',').any(|option| option == name)) =>
                    {
                        layout.v1.push(Hierarchy { controllers: listed(), own: own(group) });
                    }
                    _ => {}
                }
            }
        }
        layout
    }

    /// A group in the unified hierarchy that these controllers reach.
    fn make_unified(&self, controllers: &[&str]) -> Result<PathBuf, String> {
        let Some((mount, own)) = &self.unified else {
            return Err(format!("no control group hierarchy has the controller `{}`", controllers.join("`, `")));
        };
        let mut why = String::new();
        for parent in own.ancestors().take_while(|dir| dir.starts_with(mount)) {
            match hand_down(parent, controllers).and_then(|()| make_below(parent)) {
                Ok(dir) => return Ok(dir),
                Err(reason) if why.is_empty() => why = reason,
                Err(_) => {}
            }
        }
        Err(why)
    }
}

/// Makes sure the controllers work in the children of a group.
fn hand_down(parent: &Path, controllers: &[&str]) -> Result<(), String> {
    let file = parent.join("cgroup.subtree_control");
    let active = fs::read_to_string(&file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    for controller in controllers.iter().filter(|name| !active.split_whitespace().any(|active| active == **name)) {
        fs::write(&file, format!("+{controller}"))
            .map_err(|error| format!("enabling `{controller}` in {}: {error}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_layout_is_read() {
        let groups = "4:memory:/a/b\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/u\n";
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(groups, mounts);
        let own = |controller: &str| {
            let holds = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| name == controller);
            layout.v1.iter().find(holds).map(|hierarchy| hierarchy.own.to_str().unwrap())
        };
        assert_eq!(own("memory"), Some("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(own("cpu"), Some("/sys/fs/cgroup/cpu/"));
        assert_eq!(own("pids"), None);
        assert_eq!(layout.unified, Some(("/sys/fs/cgroup/unified".into(), "/sys/fs/cgroup/unified/u".into())));
    }

    #[test]
    fn a_mount_of_a_part_is_seen_from_its_own_root() {
        let layout = Layout::parse("0::/pods/x/me\n", "1 2 0:3 /pods/x /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
        assert_eq!(layout.unified.unwrap().1, Path::new("/sys/fs/cgroup/me"));
        assert_eq!(Layout::parse("0::/\n", "garbage\n1 2 3 - \n"), Layout::default());
    }

    #[test]
    fn in_the_unified_hierarchy_the_nearest_group_that_may_have_children_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (mount, own) = (dir.path().to_owned(), dir.path().join("slice/scope"));
        fs::create_dir_all(&own).unwrap();
        let layout = Layout { v1: Vec::new(), unified: Some((mount.clone(), own)) };
        assert!(layout.make_unified(&["memory"]).unwrap_err().contains("scope/cgroup.subtree_control"));
        fs::write(mount.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        let made = layout.make_unified(&["memory", "pids"]).unwrap();
        assert_eq!(made.parent(), Some(mount.as_path()));
        assert_ne!(layout.make_unified(&["memory"]).unwrap(), made);
        assert!(Layout::default().make_unified(&["memory"]).unwrap_err().contains("`memory`"));
    }

    #[test]
    fn limits_become_files() {
        let limits = Limits { memory: Some(1 << 20), cpu_millis: Some(1500), pids: Some(10) };
        let demands = demands(&limits);
        let values: Vec<String> =
            demands.iter().flat_map(|demand| &demand.v2).map(|set| format!("{}={}", set.file, set.value)).collect();
        assert_eq!(values, ["memory.max=1048576", "memory.swap.max=0", "cpu.max=150000 100000", "pids.max=12"]);
        assert!(super::demands(&Limits::default()).is_empty());
    }
}
