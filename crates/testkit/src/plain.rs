//! Running commands as a made-up user without any rights, who is known to the machine only while they run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::tool;

/// The user's and the group's id: that of nobody else, and of no user of a test image.
pub const UID: u32 = 4000;

/// What the user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// 65536 subordinate ids, as distributions give them to users.
    Subordinate,
    /// No id but its own, and no way to any right.
    Own,
}

/// A user in the mount namespace of a command: `/etc/passwd`, `/etc/subuid` and `/etc/subgid` are of its making.
#[derive(Debug, Clone)]
pub struct PlainUser {
    dir: PathBuf,
    ids: Ids,
}

impl PlainUser {
    /// A user whose files are all below `dir`.
    ///
    /// # Panics
    /// If the user's files cannot be written.
    pub fn new(dir: &Path, ids: Ids) -> PlainUser {
        let sub = match ids {
            Ids::Subordinate => "plain:500000:65536\n",
            Ids::Own => "",
        };
        let passwd = format!("root:x:0:0:root:/root:/bin/sh\nplain:x:{UID}:{UID}::/:/bin/sh\n");
        fs::write(dir.join("passwd"), passwd).expect("write the user's passwd");
        fs::write(dir.join("sub"), sub).expect("write the user's subordinate ids");
        PlainUser { dir: dir.to_path_buf(), ids }
    }

    /// The command that runs `program` as this user.
    ///
    /// # Panics
    /// If a tool is missing or `program` cannot be put where the user can reach it.
    pub fn command(&self, program: &Path) -> Command {
        // A build directory may lie where only root gets.
        let reachable = self.dir.join("program");
        if !reachable.exists() {
            fs::hard_link(program, &reachable)
                .or_else(|_| fs::copy(program, &reachable).map(drop))
                .expect("the program");
        }
        give_away(&self.dir);
        let script = "for f in passwd subuid subgid; do \
                      test -e /etc/$f || : > /etc/$f; mount --bind \"$0/${f%[ug]id}\" /etc/$f; done; exec \"$@\"";
        let mut command = Command::new(tool("unshare"));
        command.args(["--mount", "sh", "-c", script]).arg(&self.dir).arg(tool("setpriv"));
        let id = UID.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"]);
        if self.ids == Ids::Own {
            command.args(["--bounding-set=-all", "--no-new-privs"]);
        }
        command.arg(reachable);
        command
    }
}

/// What root has made so far belongs to the user; what the user's namespaces have made stays.
fn give_away(path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if std::os::unix::fs::MetadataExt::uid(&meta) == 0 && path.file_name().is_none_or(|n| n != "program") {
        lchown(path, Some(UID), Some(UID)).expect("give a file away");
        if !meta.is_symlink() {
            // A change of owner takes the set-id bits away.
            fs::set_permissions(path, meta.permissions()).expect("give a file its mode again");
        }
    }
    if meta.is_dir() {
        if meta.permissions().mode() & 0o700 != 0o700 {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give_away(&entry.path());
        }
    }
}
