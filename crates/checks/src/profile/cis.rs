//! `cis-basics`: nothing of whoever made the image is in it.

use super::Rule;
use crate::Test;

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    let mode = |path: &str, mode: u32| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let test = Test::FileMode { path: path.to_owned(), mode: Some(mode), owner: Some((0, 0)) };
        Rule::new(format!("os.files.{name}"), format!("{path} has the mode {mode:04o} and belongs to root"), test)
    };
    vec![
        Rule::of("os.ssh.hostkeys-absent"),
        Rule::of("os.ssh.authorized-keys-absent"),
        Rule::of("os.machine-id.empty"),
        Rule::of("os.cloudinit.clean"),
        Rule::of("os.history"),
        Rule::of("secrets.scan"),
        Rule::of("os.random-seed-absent"),
        Rule::of("os.logs.size"),
        Rule::of("os.cores"),
        Rule::of("os.repo.gpg"),
        mode("/etc/passwd", 0o644),
        mode("/etc/group", 0o644),
        Rule::of("fs.fstab.uuid"),
    ]
}
