//! A test bed: an image of busybox, a fresh root for each rung, and what came out of a run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kiln_sandbox::{Cancel, Exit, Init, Job, OsBytes, Root, Rung, SandboxError, Stream, probe_with, run};
use tempfile::TempDir;

/// The program whose main is the child side.
pub fn init() -> Init {
    Init { program: PathBuf::from(env!("CARGO_BIN_EXE_kiln-sandbox-init")) }
}

/// The rungs that can run commands on this machine.
pub fn rungs() -> Vec<Rung> {
    let reports = probe_with(&init());
    let rungs: Vec<Rung> = reports
        .iter()
        .filter(|report| report.available && report.rung != Rung::None)
        .map(|report| report.rung)
        .collect();
    if rungs.is_empty() {
        eprintln!("no rung to test: {reports:?}");
    }
    rungs
}

/// Whether the strongest rung is here.
pub fn have_root_rung() -> bool {
    rungs().contains(&Rung::Root)
}

/// One image and one root made from it.
pub struct Bed {
    pub dir: TempDir,
    pub rung: Rung,
}

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Exit, SandboxError>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(matches!(self.result, Ok(Exit::Code(0))), "{self:#?}");
        &self.stdout
    }

    #[track_caller]
    pub fn code(&self) -> i32 {
        match self.result {
            Ok(Exit::Code(code)) => code,
            _ => panic!("{self:#?}"),
        }
    }

    #[track_caller]
    pub fn error(&self) -> String {
        match &self.result {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{self:#?}"),
        }
    }
}

impl Bed {
    /// An image of busybox with `/etc/passwd` and `/tmp`, without `/proc`, `/sys`, `/dev` or `/etc/resolv.conf`.
    pub fn new(rung: Rung) -> Bed {
        let bed = Bed { dir: tempfile::tempdir().unwrap(), rung };
        let image = bed.image();
        for dir in ["bin", "etc", "tmp", "root"] {
            fs::create_dir_all(image.join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
        let applets = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        fs::write(image.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        for dir in ["upper", "work"] {
            fs::create_dir(bed.dir.path().join(dir)).unwrap();
        }
        // Times that no run can produce by accident.
        for dir in ["etc", "tmp", "root", "bin", "."] {
            let file = fs::File::open(image.join(dir)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
        }
        bed
    }

    /// An empty image.
    pub fn scratch(rung: Rung) -> Bed {
        let bed = Bed { dir: tempfile::tempdir().unwrap(), rung };
        for dir in ["image", "upper", "work"] {
            fs::create_dir(bed.dir.path().join(dir)).unwrap();
        }
        bed
    }

    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Where changes land.
    pub fn changes(&self) -> PathBuf {
        if self.rung.has_overlay() { self.dir.path().join("upper") } else { self.image() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The image as a root: joined with an upper directory where the rung can, in place where not.
    pub fn root(&self) -> Root {
        if self.rung.has_overlay() {
            Root::Overlay { lowers: vec![self.image()], upper: self.path("upper"), work: self.path("work") }
        } else {
            Root::Dir(self.image())
        }
    }

    /// A job that runs a shell script.
    pub fn script(&self, text: &str) -> Job {
        self.command(&["/bin/sh", "-c", text])
    }

    pub fn command(&self, argv: &[&str]) -> Job {
        let mut job = Job::new(self.root(), argv.iter().map(|argument| OsBytes::from(*argument)).collect());
        job.env = vec![("PATH".into(), "/bin".into())];
        job
    }

    pub fn run(&self, job: &Job) -> Outcome {
        run_on(job, self.rung, &Cancel::new())
    }

    pub fn sh(&self, text: &str) -> Outcome {
        self.run(&self.script(text))
    }
}

pub fn run_on(job: &Job, rung: Rung, cancel: &Cancel) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut out = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let result = run(job, rung, &init(), &mut out, cancel);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { result, stdout: text(stdout), stderr: text(stderr) }
}

/// Every path below `dir` with what a layer would say about it. What goes while it is looked at is said to go: whoever
/// waits for others to clean up looks again.
pub fn dump(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let looked = fs::symlink_metadata(&path).and_then(|metadata| match metadata.is_dir() {
            true => Ok((metadata, fs::read_dir(&path)?.map(|entry| entry.unwrap().path()).collect())),
            false => Ok((metadata, Vec::new())),
        });
        let (metadata, below) = match looked {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                lines.push(format!("{} goes", path.strip_prefix(dir).unwrap().display()));
                continue;
            }
            looked => looked.unwrap(),
        };
        todo.extend(below);
        lines.push(format!(
            "{} {:o} {}:{} {} {}.{}",
            path.strip_prefix(dir).unwrap().display(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            if metadata.is_dir() { 0 } else { metadata.size() },
            metadata.mtime(),
            metadata.mtime_nsec()
        ));
    }
    lines.sort();
    lines
}

/// Host processes whose arguments or environment hold `mark`.
pub fn processes_with(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let holds = |path: PathBuf, file: &str| {
        fs::read(path.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(mark))
    };
    let own = std::process::id().to_string();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|entry| entry.file_name().to_string_lossy() != own)
        .filter(|entry| holds(entry.path(), "cmdline") || holds(entry.path(), "environ"))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
