//! A store that commands are killed in, and what must be true of it afterwards.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_testkit::{Layout, TestContext};

/// A context with a busybox image beside it.
pub struct Arena {
    pub t: TestContext,
}

impl Arena {
    pub fn new() -> Arena {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("SOURCE_DATE_EPOCH", "1000000000");
        Arena { t }
    }

    pub fn with_busybox(self) -> Arena {
        Layout::busybox(self.t.out("busybox"));
        self
    }

    /// A copy of another one's store.
    pub fn with_store_of(self, other: &Arena) -> Arena {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(other.t.store().join(".")).arg(self.t.store());
        assert!(copy.status().unwrap().success());
        self
    }

    /// The option that makes the layout beside the context a base.
    pub fn base(&self) -> String {
        format!("--build-context=busybox=oci-layout://{}:busybox:latest", self.t.out("busybox").display())
    }

    /// The digest of an image of the store, from its index.
    pub fn digest(&self, name: &str) -> Option<String> {
        let text = std::fs::read(self.t.store().join("index.json")).ok()?;
        let index: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let named = |m: &&serde_json::Value| {
            let name_of = m["annotations"]["org.opencontainers.image.ref.name"].as_str();
            name_of.is_some_and(|n| n == name || n.ends_with(&format!("/{name}:latest")))
        };
        index["manifests"].as_array()?.iter().find(named)?["digest"].as_str().map(str::to_owned)
    }

    /// After a death: soon nothing runs and nothing is mounted, and what is in the store is whole.
    #[track_caller]
    pub fn is_sound(&self, why: &str) {
        let still = || self.running();
        let ended = (0..600).any(|_| {
            let over = still().is_empty();
            if !over {
                std::thread::sleep(Duration::from_millis(25));
            }
            over
        });
        assert!(ended, "{why}: {:?}", still());
        let checked = self.t.kiln(&["fsck"]);
        assert_eq!(checked.code, 0, "{why}: {checked}");
    }

    /// After a command that completed, and pruning: nothing is left of those that died.
    #[track_caller]
    pub fn is_tidy(&self, why: &str) {
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).into_iter().flatten();
            let mut names: Vec<String> =
                entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let own = self.t.store().join("kiln");
        for dir in ["tmp", "leases", "partial"] {
            assert_eq!(names(&own.join(dir)), [""; 0], "{why}: kiln/{dir}");
        }
        let locks: Vec<_> = names(&own.join("locks")).into_iter().filter(|n| n != "gc" && n != "refs").collect();
        assert_eq!(locks, [""; 0], "{why}: kiln/locks");
        let known = ["context", "home", "out", "store"];
        assert_eq!(names(self.t.root()), known, "{why}: temporary files outside of the store");
        let hidden: Vec<_> = names(&self.t.out("")).into_iter().filter(|n| n.starts_with('.')).collect();
        assert_eq!(hidden, [""; 0], "{why}: beside an output");
        assert_eq!(self.running(), [""; 0], "{why}");
    }

    /// Processes that have to do with this store, and mounts of it anywhere.
    fn running(&self) -> Vec<String> {
        let store = self.t.store().display().to_string();
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let read = |name: &str| {
                let bytes = std::fs::read(process.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            // A store that is a file system of its own is no mount that a command left.
            let mounts =
                read("mountinfo").lines().filter(|l| l.contains(&store)).map(str::to_owned).collect::<Vec<_>>();
            let mounts = || mounts.iter().filter(|l| l.split(' ').nth(4) != Some(&store)).cloned();
            let name = process.file_name();
            if name == *std::process::id().to_string() {
                found.extend(mounts());
            }
            if name == *std::process::id().to_string()
                || !name.to_string_lossy().starts_with(|c: char| c.is_ascii_digit())
            {
                continue;
            }
            let link = |name: &str| std::fs::read_link(process.path().join(name)).unwrap_or_default();
            let places = [link("root"), link("cwd")];
            let inside = places.iter().any(|p| p.to_string_lossy().contains(&store));
            if inside || mounts().next().is_some() || ["cmdline", "environ"].iter().any(|f| read(f).contains(&store)) {
                found.push(format!("{} {}", name.display(), read("cmdline")));
            }
        }
        found
    }
}
