//! Random commands on random images: both ways of finding changes must agree, and the layer must make the same image.

use proptest::prelude::*;

use super::*;

/// Few names, so that commands meet. Those of the image they start with, and as many that are not there.
const PATHS: [&str; 20] = [
    "a", "a/a", "a/b", "a/c", "a/b/a", "a/b/b", "a/b/c", "b", "b/a", "b/b", "b/b/a", "c", "c/a", "c/b", "d", "d/a",
    "e", "e/a", "a/b/a/a", "b/c",
];

/// What the first commands find.
fn start() -> Vec<u8> {
    Layer::new()
        .dir("a", 0o755)
        .file("a/a", 0o644, "1")
        .dir("a/b", 0o700)
        .file("a/b/a", 0o644, "22")
        .link("a/b/b", "a/a")
        .dir("b", 0o1777)
        .symlink("b/a", "../a")
        .dir("b/b", 0o755)
        .file("b/b/a", 0o600, "")
        .dir("c", 0o755)
        .file("c/a", 0o644, "1")
        .symlink("d", "a/b")
        .tar()
}

fn path() -> impl Strategy<Value = String> {
    prop::sample::select(&PATHS[..]).prop_map(str::to_owned)
}

#[derive(Debug, Clone)]
enum Command {
    Write(String, u8),
    Mkdir(String),
    Remove(String),
    Rename(String, String),
    Symlink(String, String),
    Link(String, String),
    Chmod(String, u32),
    Chown(String, u32),
    Touch(String, i64),
    Copy(String, String),
    Pipe(String),
}

fn command() -> impl Strategy<Value = Command> {
    let mode = || prop::sample::select(&[0o644, 0o755, 0o4711, 0o000][..]);
    prop_oneof![
        3 => (path(), 0..3u8).prop_map(|(path, byte)| Command::Write(path, byte)),
        3 => path().prop_map(Command::Mkdir),
        3 => path().prop_map(Command::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Command::Rename(from, to)),
        1 => (path(), path()).prop_map(|(path, target)| Command::Symlink(path, target)),
        2 => (path(), path()).prop_map(|(from, to)| Command::Link(from, to)),
        1 => (path(), mode()).prop_map(|(path, mode)| Command::Chmod(path, mode)),
        1 => (path(), 0..3u32).prop_map(|(path, uid)| Command::Chown(path, uid)),
        2 => (path(), 0..3i64).prop_map(|(path, age)| Command::Touch(path, age)),
        1 => (path(), path()).prop_map(|(from, to)| Command::Copy(from, to)),
        1 => path().prop_map(Command::Pipe),
    ]
}

impl Command {
    /// Runs in `root`; what fails, fails in both roots.
    fn run(&self, root: &Path) -> bool {
        let real = |path: &String| {
            // Commands must not leave the root through links they made.
            let path = root.join(path);
            path.parent().filter(|dir| dir.canonicalize().is_ok_and(|dir| dir.starts_with(root)))?;
            Some(path)
        };
        self.try_run(real).is_some()
    }

    fn try_run(&self, real: impl Fn(&String) -> Option<PathBuf>) -> Option<()> {
        match self {
            Command::Write(path, byte) => {
                let path = real(path).filter(|path| !path.is_symlink() && (path.is_file() || !path.exists()))?;
                fs::write(&path, vec![b'0' + byte; usize::from(*byte)]).ok()?;
                set_time(&path, THEN);
            }
            Command::Mkdir(path) => fs::create_dir(real(path)?).ok()?,
            Command::Remove(path) => {
                let path = real(path)?;
                fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).ok()?;
            }
            Command::Rename(from, to) => {
                let (from, to) = (real(from)?, real(to)?);
                // overlayfs answers EXDEV for lower directories; `mv` would copy.
                if from.is_dir() && !from.is_symlink() {
                    return None;
                }
                fs::rename(from, to).ok()?;
            }
            Command::Symlink(path, target) => {
                let path = real(path)?;
                symlink(target, &path).ok()?;
                set_time(&path, THEN);
            }
            Command::Link(from, to) => fs::hard_link(real(from)?, real(to)?).ok()?,
            Command::Chmod(path, mode) => {
                let path = real(path).filter(|path| !path.is_symlink())?;
                fs::set_permissions(path, Permissions::from_mode(*mode)).ok()?;
            }
            Command::Chown(path, uid) => std::os::unix::fs::lchown(real(path)?, Some(*uid), Some(*uid)).ok()?,
            Command::Touch(path, age) => {
                let path = real(path)?;
                path.symlink_metadata().ok()?;
                set_time(&path, THEN + age);
            }
            Command::Copy(from, to) => {
                let (from, to) = (real(from)?, real(to)?);
                // What a copy of a directory into itself holds depends on the order of its names on disk.
                if from.starts_with(&to) || to.canonicalize().unwrap_or(to.clone()).starts_with(&from) {
                    return None;
                }
                // `cp -a` would see that lower files are hard links, which a root with broken links does not show.
                let how = ["-RP", "--preserve=mode,ownership,timestamps", "-T", "--remove-destination"];
                std::process::Command::new("cp").args(how).args([from, to]).output().ok()?;
            }
            Command::Pipe(path) => {
                let path = real(path)?;
                mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).ok()?;
                set_time(&path, THEN);
            }
        }
        Some(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_agree(
        first in prop::collection::vec(command(), 0..24),
        second in prop::collection::vec(command(), 0..24),
        third in prop::collection::vec(command(), 0..24),
    ) {
        needs_root();
        // Each round's layer is the lower layer of the next.
        let mut layers = vec![start()];
        for commands in [first, second, third] {
            let rungs = Rungs::new(&layers);
            for command in &commands {
                let (overlay, root) = (rungs.overlay.merged(), rungs.root.path());
                assert_eq!(command.run(&overlay), command.run(root), "{command:?}");
            }
            let (_, tar) = rungs.layer(&NOTHING);
            layers.push(tar);
            let mut stack = Stack::default();
            layers.iter().for_each(|tar| stack.push(tar));
            assert_eq!(undated(&dump_tree(&stack)), undated(&dump(&rungs.overlay.merged())));
        }
    }
}
