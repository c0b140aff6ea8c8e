//! Running packer.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs packer with these arguments, and gives its output.
pub fn packer(arguments: &[&str], input: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let child = Command::new("packer")
        .args(arguments)
        .env("HOME", home.path())
        .env("PACKER_CONFIG_DIR", home.path())
        .env("CHECKPOINT_DISABLE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("`packer` cannot be run: install the package `packer` of Debian 12");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
