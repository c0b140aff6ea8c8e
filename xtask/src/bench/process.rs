//! Accounts of processes, read from `/proc`.

use std::fs;

/// What a process tree has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU seconds, with children that were waited for.
    pub(crate) cpu: f64,
    /// Bytes written, with children that were waited for.
    pub(super) written: u64,
}

/// As deep trees of processes are followed.
const MAX_DEPTH: u32 = 16;

/// A process and its living descendants.
fn tree(pid: u32) -> Vec<u32> {
    fn add(pid: u32, depth: u32, all: &mut Vec<u32>) {
        all.push(pid);
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for task in tasks.flatten() {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            if depth < MAX_DEPTH {
                list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).for_each(|c| add(c, depth + 1, all));
            }
        }
    }
    let mut all = Vec::new();
    add(pid, 0, &mut all);
    all
}

/// What a process and its descendants have used.
pub(crate) fn tree_usage(pid: u32) -> Usage {
    let mut sum = Usage::default();
    for pid in tree(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        sum.cpu += ticks(&stat) as f64 / rustix::param::clock_ticks_per_second() as f64;
        sum.written += written(pid);
    }
    sum
}

/// Memory of a process tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident bytes, all processes together. A page that several have, as parent and child after a fork, counts once.
    pub(super) resident: u64,
    /// The most that one of them ever had resident.
    pub(super) highest: u64,
}

/// Memory of a process and its descendants; nothing once it is dead.
pub(super) fn tree_memory(pid: u32) -> Memory {
    let read = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let of = |pid: u32| memory_in(&read(pid, "smaps_rollup"), &read(pid, "status"));
    let own = of(pid);
    if own.resident == 0 {
        return own;
    }
    let children = tree(pid).into_iter().skip(1).map(of);
    children.fold(own, |sum, m| Memory { resident: sum.resident + m.resident, highest: sum.highest.max(m.highest) })
}

/// `rollup` has the proportional set size: each page divided by how many processes map it.
fn memory_in(rollup: &str, status: &str) -> Memory {
    let bytes = |text: &str, name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory { resident: bytes(rollup, "Pss:"), highest: bytes(status, "VmHWM:") }
}

/// Bytes a process and the children it waited for sent to storage.
pub(super) fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    written_in(&io)
}

fn written_in(io: &str) -> u64 {
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes:"));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Clock ticks in user and kernel, own and of the children that were waited for.
fn ticks(stat: &str) -> u64 {
    // Fields 14 to 17, counted from 1; the name before them may hold spaces, its closing bracket is the last one.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_ascii_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_among_their_neighbours() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 10 20 0 0 5 6 70 800 20 0 1 0 100 4096 5";
        assert_eq!(ticks(stat), 881);
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n";
        assert_eq!((written_in(io), written_in("")), (4096, 0));
    }

    #[test]
    fn a_tree_is_this_process_and_more() {
        assert!(tree_memory(std::process::id()).resident > 100_000);
        assert_eq!(tree_memory(u32::MAX), Memory::default());
        let status = "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t      90 kB\n";
        let rollup = "1000-2000 ---p 0 00:00 0    [rollup]\nRss:     90 kB\nPss:     10 kB\nPss_Dirty:  5 kB\n";
        assert_eq!(memory_in(rollup, status), Memory { resident: 10_240, highest: 2_048_000 });
    }
}
