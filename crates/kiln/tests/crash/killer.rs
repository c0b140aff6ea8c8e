//! Killing a command, by time or by what it has done to its store.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// When a command is killed.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// So long after its start.
    After(Duration),
    /// When this many files of the store were made, renamed or removed.
    AtChange(u64),
    /// Not at all.
    Never,
}

/// What became of a command.
pub struct End {
    /// How it ended by itself; `None` if it was killed.
    pub status: Option<ExitStatus>,
    pub took: Duration,
    /// How many files of the store were made, renamed or removed.
    pub changes: u64,
}

/// Runs a command and kills it: alone, or with all of its process group.
pub fn run(mut command: Command, store: &Path, moment: Moment, whole_group: bool) -> End {
    let watch = Watch::of(store);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut changes = 0;
    let status = loop {
        let due = match moment {
            Moment::After(time) => started.elapsed() >= time,
            Moment::AtChange(n) => changes >= n,
            Moment::Never => false,
        };
        if due {
            kill(&mut child, whole_group);
            break None;
        }
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        let nap = match moment {
            Moment::After(time) => time.saturating_sub(started.elapsed()).min(Duration::from_millis(2)),
            _ => Duration::from_millis(2),
        };
        changes += watch.wait(nap);
    };
    End { status, took: started.elapsed(), changes }
}

fn kill(child: &mut Child, whole_group: bool) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // The leader first: what dies before it could be missed by it, which is another test.
    let _ = kill_process(pid, Signal::KILL);
    if whole_group {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait().unwrap();
}

/// Counts changes in the directories of a store.
struct Watch(rustix::fd::OwnedFd);

impl Watch {
    fn of(store: &Path) -> Watch {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        for dir in directories(store, 3) {
            inotify::add_watch(&fd, &dir, flags).unwrap();
        }
        Watch(fd)
    }

    /// How many changes there were, waiting a little for the first.
    fn wait(&self, nap: Duration) -> u64 {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let nap = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
        let _ = poll(&mut fds, Some(&nap));
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut count = 0;
        while reader.next().is_ok() {
            count += 1;
            if reader.is_buffer_empty() {
                break;
            }
        }
        count
    }
}

fn directories(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    if depth > 0 {
        let below = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        found.extend(below.flat_map(|e| directories(&e.path(), depth - 1)));
    }
    found
}
