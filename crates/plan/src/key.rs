//! Cache keys: what is hashed, and what is not.
//!
//! A step is looked up twice. Its *definition key* is known before anything runs: it names the parent step by that
//! step's own key. Its *content key* is known once its inputs exist: it names them by their bytes, so that a rebuilt
//! stage with the same result still gives a hit. Both are made by [`of`], over the same table; only the identities of
//! the inputs differ.
//!
//! ```text
//! input                        in key    because
//! base image                   diff ids  never the tag: tags move; never the manifest: recompression changes no file
//! parent step                  its key, or the diff ids of its layers
//! RUN argv, cwd, user          yes
//! RUN environment              yes       all that the command can see, declared ARGs included
//! proxy variables              no        they say how to reach the world, not what to build
//! RUN mounts                   kind, target, options; files they show by content or key; ids of caches and secrets
//! secret values, SSH agents    no        only the ids: values must not leak into keys
//! memory and cpu limits        no        they change how long, not what
//! network, security, hosts     yes
//! COPY sources                 content   path, type, mode, link target, bytes; not mtime, not owner (see --chown)
//! COPY dest, flags             yes
//! COPY --link                  no parent: its layer does not depend on it
//! URL of ADD                   no        the digest of what it holds
//! Git remote                   no        the commit
//! SOURCE_DATE_EPOCH            where it is written into the layer
//! platform                     yes       the same RUN differs by machine
//! stage names, comments        no
//! Kiln's version               no        KEY_EPOCH is bumped by hand when meaning changes
//! ```
//!
//! Fields are framed by name and length, so no two different steps can hash the same bytes.

use std::fmt;

use kiln_oci::{Digest, Platform};
use kiln_spec::login;

use crate::facts::{Key32, Select};
use crate::step::{CopyOp, CopyPart, MkdirOp, Op, Origin, RunMount, RunOp};

/// Bumped when the meaning of a step, or the bytes it writes, change.
pub const KEY_EPOCH: u32 = 1;

/// What a step's cache entry is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes framed fields.
pub struct Framed(blake3::Hasher);

impl Framed {
    /// A hash over fields of the kind `kind`.
    pub fn new(kind: &str) -> Framed {
        let mut h = Framed(blake3::Hasher::new());
        h.field("kiln", &KEY_EPOCH.to_le_bytes());
        h.field("kind", kind.as_bytes());
        h
    }

    /// Adds a field: both name and value are preceded by their length.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Framed {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a text.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Framed {
        self.field(name, value.as_bytes())
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Framed {
        self.field(name, &value.to_le_bytes())
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Framed {
        self.field(name, &[u8::from(value)])
    }

    /// Adds a text that may be absent; absent differs from empty.
    fn maybe(&mut self, name: &str, value: Option<&str>) -> &mut Framed {
        match value {
            Some(v) => self.text(name, v),
            None => self.field(name, b"\xff"),
        }
    }

    fn time(&mut self, name: &str, value: Option<i64>) -> &mut Framed {
        match value {
            Some(t) => self.field(name, &t.to_le_bytes()),
            None => self.field(name, b""),
        }
    }

    /// The hash.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// How the inputs of a step are named.
pub trait Inputs {
    /// The file system the step starts from.
    fn parent(&self) -> Identity;
    /// What `select` takes from `origin`.
    fn files(&self, origin: &Origin, select: &Select) -> Identity;
}

/// The name of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// There is none.
    Nothing,
    /// By how it is made.
    Definition([u8; 32]),
    /// By what it holds.
    Content([u8; 32]),
}

impl Identity {
    fn add(self, name: &str, h: &mut Framed) {
        match self {
            Identity::Nothing => h.field(name, b"-"),
            Identity::Definition(k) => h.text(name, "definition").field(name, &k),
            Identity::Content(k) => h.text(name, "content").field(name, &k),
        };
    }
}

/// The key of a step, given how its inputs are named.
pub fn of(op: &Op, platform: &Platform, inputs: &dyn Inputs) -> Key {
    let h = match op {
        Op::Scratch => Framed::new("scratch"),
        Op::Image(image) => return Key(chain(&image.config.rootfs.diff_ids).0),
        Op::Run(run) => run_key(run, platform, inputs),
        Op::Copy(copy) => copy_key(copy, inputs),
        Op::Mkdir(mkdir) => mkdir_key(mkdir, inputs),
    };
    Key(h.finish())
}

/// The identity of stacked layers: all that a file system holds.
pub fn chain(diff_ids: &[Digest]) -> Key32 {
    let mut h = Framed::new("layers");
    for id in diff_ids {
        h.text("diff-id", &id.to_string());
    }
    Key32(h.finish())
}

fn run_key(run: &RunOp, platform: &Platform, inputs: &dyn Inputs) -> Framed {
    let mut h = Framed::new("run");
    inputs.parent().add("parent", &mut h);
    h.text("platform", &platform.to_string());
    for arg in &run.argv {
        h.text("arg", arg);
    }
    for (name, value) in &run.env {
        h.text("env", name).text("value", value);
    }
    h.text("cwd", &run.cwd).text("user", &run.user).flag("insecure", run.insecure);
    h.text("network", &format!("{:?}", run.network)).time("clamp", run.clamp_mtime);
    if let Some((name, body)) = &run.script {
        h.text("script", name).text("body", body);
    }
    for (name, address) in &run.hosts {
        h.text("host", name).text("address", address);
    }
    h.number("shm", run.shm_size.unwrap_or(0));
    for limit in &run.ulimits {
        h.text("ulimit", &limit.name).field("soft", &limit.soft.to_le_bytes()).field("hard", &limit.hard.to_le_bytes());
    }
    for mount in &run.mounts {
        mount_key(mount, inputs, &mut h);
    }
    h
}

/// All that is at a path.
pub(crate) fn whole(path: &str) -> Select {
    Select { sources: vec![path.to_owned()], exclude: Vec::new(), parents: false }
}

fn mount_key(mount: &RunMount, inputs: &dyn Inputs, h: &mut Framed) {
    let origin_id = |origin: &Option<Origin>, source: &str| {
        origin.as_ref().map_or(Identity::Nothing, |o| inputs.files(o, &whole(source)))
    };
    match mount {
        RunMount::Bind { origin, source, target, readonly } => {
            h.text("mount", "bind").text("target", target).text("source", source).flag("readonly", *readonly);
            origin_id(origin, source).add("from", h);
        }
        RunMount::Cache { id, target, origin, source, sharing: _, mode, uid, gid, readonly } => {
            h.text("mount", "cache").text("id", id).text("target", target).text("source", source);
            h.number("mode", u64::from(*mode)).number("uid", u64::from(*uid)).number("gid", u64::from(*gid));
            h.flag("readonly", *readonly);
            origin_id(origin, source).add("from", h);
        }
        RunMount::Tmpfs { target, size } => {
            h.text("mount", "tmpfs").text("target", target).number("size", size.unwrap_or(0));
        }
        RunMount::Secret { id, target, env, mode, uid, gid, required } => {
            h.text("mount", "secret").text("id", id).maybe("target", target.as_deref()).maybe("env", env.as_deref());
            h.number("mode", u64::from(*mode)).number("uid", u64::from(*uid)).number("gid", u64::from(*gid));
            h.flag("required", *required);
        }
        RunMount::Ssh { id, target, mode, uid, gid, required } => {
            h.text("mount", "ssh").text("id", id).text("target", target).flag("required", *required);
            h.number("mode", u64::from(*mode)).number("uid", u64::from(*uid)).number("gid", u64::from(*gid));
        }
    }
}

fn copy_key(copy: &CopyOp, inputs: &dyn Inputs) -> Framed {
    let mut h = Framed::new("copy");
    if copy.link { Identity::Nothing } else { inputs.parent() }.add("parent", &mut h);
    h.text("dest", &copy.dest).maybe("chown", copy.chown.as_deref()).maybe("chmod", copy.chmod.as_deref());
    h.flag("link", copy.link).flag("parents", copy.parents).time("mtime", copy.mtime);
    for pattern in &copy.exclude {
        h.text("exclude", pattern);
    }
    for part in &copy.parts {
        match part {
            CopyPart::Paths { origin, pattern, unpack } => {
                let select = copy.select(pattern);
                h.text("paths", pattern).flag("unpack", *unpack);
                inputs.files(origin, &select).add("files", &mut h);
            }
            CopyPart::Inline { name, body } => {
                h.text("inline", name).text("body", body);
            }
            CopyPart::Http { url: _, name, digest, size: _, last_modified, unpack } => {
                h.text("http", name).text("digest", &digest.to_string()).flag("unpack", *unpack);
                h.time("last-modified", *last_modified);
            }
            CopyPart::Git { remote, reference: _, commit, subdir, keep_git_dir, submodules } => {
                h.text("git", commit).text("subdir", subdir).flag("submodules", *submodules);
                // A kept .git directory names its remote, without the login.
                h.maybe("keep", keep_git_dir.then(|| login::removed(remote)).as_deref());
            }
        }
    }
    h
}

impl CopyOp {
    /// What one of its patterns selects.
    pub fn select(&self, pattern: &str) -> Select {
        Select { sources: vec![pattern.to_owned()], exclude: self.exclude.clone(), parents: self.parents }
    }
}

fn mkdir_key(mkdir: &MkdirOp, inputs: &dyn Inputs) -> Framed {
    let mut h = Framed::new("mkdir");
    inputs.parent().add("parent", &mut h);
    h.text("path", &mkdir.path).text("user", &mkdir.user).time("mtime", mkdir.mtime);
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Identity, Identity);

    impl Inputs for Fixed {
        fn parent(&self) -> Identity {
            self.0
        }
        fn files(&self, _: &Origin, _: &Select) -> Identity {
            self.1
        }
    }

    fn copy(edit: impl FnOnce(&mut CopyOp)) -> Op {
        let mut c = CopyOp {
            parts: vec![CopyPart::Inline { name: "a".into(), body: "b".into() }],
            dest: "/x".into(),
            chown: None,
            chmod: None,
            link: false,
            exclude: Vec::new(),
            parents: false,
            mtime: None,
        };
        edit(&mut c);
        Op::Copy(Box::new(c))
    }

    /// Pins the bytes of keys: if this changes, every user's cache is lost; then bump [`KEY_EPOCH`] knowingly.
    #[test]
    fn keys_are_golden() {
        let inputs = Fixed(Identity::Content([1; 32]), Identity::Content([2; 32]));
        let p = Platform::linux("amd64");
        assert_eq!(
            of(&Op::Scratch, &p, &inputs).to_string(),
            "d8071f663a7319b0771a24b080bad1182cd9444e799422802758354b3d26a3bd"
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let inputs = Fixed(Identity::Content([1; 32]), Identity::Content([2; 32]));
        let p = Platform::linux("amd64");
        let key = |op: Op| of(&op, &p, &inputs);
        let all = [
            key(copy(|_| ())),
            key(copy(|c| c.chown = Some(String::new()))),
            key(copy(|c| c.chmod = Some(String::new()))),
            key(copy(|c| c.dest = "/xa".into())),
            key(copy(|c| c.parts = vec![CopyPart::Inline { name: "ab".into(), body: String::new() }])),
            key(copy(|c| c.exclude = vec!["a".into(), "b".into()])),
            key(copy(|c| c.exclude = vec!["ab".into()])),
            key(copy(|c| c.mtime = Some(0))),
            key(copy(|c| c.link = true)),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_link_layer_does_not_know_its_parent() {
        let p = Platform::linux("amd64");
        let a = Fixed(Identity::Content([1; 32]), Identity::Content([2; 32]));
        let b = Fixed(Identity::Content([9; 32]), Identity::Content([2; 32]));
        let linked = copy(|c| c.link = true);
        assert_eq!(of(&linked, &p, &a), of(&linked, &p, &b));
        let plain = copy(|_| ());
        assert_ne!(of(&plain, &p, &a), of(&plain, &p, &b));
    }
}
