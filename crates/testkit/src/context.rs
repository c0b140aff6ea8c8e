//! A directory to build from, with a home, a store and a place for results beside it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Output, run};
use crate::filter::Filters;
use crate::plain::{Ids, PlainUser};

/// A temporary directory holding `context/`, `home/`, `store/` and `out/`; removed when dropped.
///
/// ```
/// let t = kiln_testkit::TestContext::new().file("app/run.sh", 0o755, "hi").symlink("app/again", "run.sh");
/// assert!(t.context().join("app/again").is_file());
/// ```
#[derive(Debug)]
pub struct TestContext {
    root: TempDir,
    kiln: Option<PathBuf>,
    env: Vec<(String, String)>,
    filters: Filters,
    timeout: Duration,
    user: Option<PlainUser>,
}

impl Default for TestContext {
    fn default() -> Self {
        TestContext::new()
    }
}

impl TestContext {
    /// An empty context.
    ///
    /// # Panics
    /// If the temporary directory cannot be made.
    pub fn new() -> TestContext {
        let root = tempfile::Builder::new().prefix("kiln-test-").tempdir().expect("make a temporary directory");
        for dir in ["context", "home", "store", "out"] {
            fs::create_dir(root.path().join(dir)).expect("make the test's directories");
        }
        let filters = Filters::standard().path(root.path(), "[TMP]");
        TestContext { root, kiln: None, env: Vec::new(), filters, timeout: Duration::from_secs(300), user: None }
    }

    /// A context whose [`TestContext::kiln`] runs this binary: `env!("CARGO_BIN_EXE_kiln")` in the tests of the
    /// `kiln` crate.
    pub fn with_kiln(binary: impl Into<PathBuf>) -> TestContext {
        TestContext { kiln: Some(binary.into()), ..TestContext::new() }
    }

    /// The same, with `kiln` started by another program: a script that sets something up and becomes `kiln`.
    #[must_use]
    pub fn started_by(mut self, program: impl Into<PathBuf>) -> TestContext {
        self.kiln = Some(program.into());
        self
    }

    /// A file in the context; directories on the way are made.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> TestContext {
        self.write(path, mode, content);
        self
    }

    /// A symbolic link in the context, its target stored verbatim.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> TestContext {
        symlink(target, self.place(path)).unwrap_or_else(|e| panic!("link {path}: {e}"));
        self
    }

    /// A directory in the context.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> TestContext {
        let place = self.place(path);
        fs::create_dir_all(&place).unwrap_or_else(|e| panic!("make {path}: {e}"));
        chmod(&place, mode);
        self
    }

    /// A variable in the environment of later [`TestContext::kiln`] calls.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> TestContext {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more filter, applied before the standard ones.
    ///
    /// # Panics
    /// If `pattern` is not a regular expression.
    #[must_use]
    pub fn filter(mut self, pattern: &str, replacement: &str) -> TestContext {
        self.filters = self.filters.first(pattern, replacement);
        self
    }

    /// Runs `kiln` as a user without rights, who owns everything in the context's directories.
    ///
    /// # Panics
    /// If the user's files cannot be written.
    #[must_use]
    pub fn as_plain_user(mut self, ids: Ids) -> TestContext {
        self.user = Some(PlainUser::new(self.root.path(), ids));
        self
    }

    /// How long one command may take before it is killed and the test fails; 300 s otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> TestContext {
        self.timeout = timeout;
        self
    }

    /// Writes a file into the context: [`TestContext::file`] for changes between two builds.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, mode: u32, content: impl AsRef<[u8]>) {
        let place = self.place(path);
        fs::write(&place, content).unwrap_or_else(|e| panic!("write {path}: {e}"));
        chmod(&place, mode);
    }

    /// The build context.
    pub fn context(&self) -> PathBuf {
        self.root.path().join("context")
    }

    /// The directory that all of it is in; also where `kiln` puts temporary files that are not the store's.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Kiln's store.
    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// A home directory without configuration.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// A path for a result, which need not exist.
    pub fn out(&self, name: &str) -> PathBuf {
        self.root.path().join("out").join(name)
    }

    /// Runs `kiln` in the context directory, with the context's store and home and otherwise an empty environment.
    ///
    /// # Panics
    /// If the context was made without a binary, or the command does not end in time.
    pub fn kiln(&self, args: &[&str]) -> Output {
        self.kiln_with_input(args, b"")
    }

    /// [`TestContext::kiln`] with bytes on standard input.
    ///
    /// # Panics
    /// As [`TestContext::kiln`].
    pub fn kiln_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        run(self.command(args), input, self.timeout, &self.filters)
    }

    /// The command that [`TestContext::kiln`] runs, for tests that do something else with it than wait for its end.
    ///
    /// # Panics
    /// If the context was made without a binary.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let binary = self.kiln.as_ref().expect("TestContext::with_kiln(env!(\"CARGO_BIN_EXE_kiln\"))");
        let mut command = match &self.user {
            Some(user) => user.command(binary),
            None => std::process::Command::new(binary),
        };
        command.args(args).current_dir(self.context()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home()).env("KILN_STORE", self.store()).env("TMPDIR", self.root.path());
        command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1").env("COLUMNS", "120");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs another tool in the result directory.
    ///
    /// # Panics
    /// If it is not installed, or does not end in time.
    pub fn tool(&self, name: &str, args: &[&str]) -> Output {
        let mut command = std::process::Command::new(crate::tools::tool(name));
        command.args(args).current_dir(self.root.path().join("out")).env("HOME", self.home());
        run(command, b"", self.timeout, &self.filters)
    }

    /// Runs cosign in the result directory, with the password of keys.
    ///
    /// # Panics
    /// If it is not installed, or does not end in time.
    pub fn cosign(&self, password: &str, args: &[&str]) -> Output {
        let program = crate::emulator::cache().join("cosign/cosign");
        assert!(program.exists(), "{} is not there: run scripts/cosign.sh, which installs it", program.display());
        let mut command = std::process::Command::new(program);
        command.args(args).current_dir(self.root.path().join("out"));
        command.env("HOME", self.home()).env("COSIGN_PASSWORD", password);
        run(command, b"", self.timeout, &self.filters)
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.context().join(path);
        let parent = place.parent().expect("a path below the context");
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("make {}: {e}", parent.display()));
        place
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("chmod {:o} {}: {e}", mode, path.display()));
}
