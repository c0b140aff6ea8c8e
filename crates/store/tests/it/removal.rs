//! Deleting trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use kiln_store::remove_tree;
use rustix::fs::{CWD, Mode, OFlags};
use tempfile::TempDir;

use crate::child::{Other, in_mount_namespace};
use crate::names;

#[test]
fn links_are_removed_and_not_followed() {
    let dir = TempDir::new().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    symlink(&outside, tree.join("a/link")).unwrap();
    symlink("../../outside", tree.join("a/b/link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    fs::write(tree.join("a/b/file"), "").unwrap();
    remove_tree(&tree).unwrap();
    assert_eq!(names(dir.path()), ["outside"]);
    symlink(&outside, dir.path().join("link")).unwrap();
    remove_tree(&dir.path().join("link")).unwrap();
    remove_tree(&dir.path().join("link")).unwrap();
    remove_tree(&dir.path().join("not/there")).unwrap();
    assert_eq!(names(&outside), ["precious"]);
    assert!(remove_tree("/".as_ref()).is_err());
    assert!(remove_tree(&dir.path().join("outside/..")).is_err());
}

#[test]
fn deep_and_wide_trees_are_no_problem() {
    let dir = TempDir::new().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let mut dir_handle = rustix::fs::openat(CWD, &tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&dir_handle, "beside", Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&dir_handle, "deep", Mode::RWXU).unwrap();
        dir_handle = rustix::fs::openat(&dir_handle, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    for n in 0..1000 {
        fs::write(tree.join(format!("wide-{n}")), "").unwrap();
    }
    // Names the removal itself would like to use.
    fs::create_dir_all(tree.join(".kiln-folded-1/x")).unwrap();
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn closed_directories_are_opened_first() {
    // As an unprivileged user: for root, no directory is closed.
    let dir = TempDir::new().unwrap();
    in_user_namespace_without_privileges(&dir);
}

fn in_user_namespace_without_privileges(dir: &TempDir) {
    let script = "mkdir $D/own && chown 65534:65534 $D $D/own";
    if !rustix::process::geteuid().is_root() {
        Other::start("removes_closed_directories", dir.path()).finish();
        return;
    }
    // The test binary may lie where only root may go, so it is run from a copy.
    let copy = dir.path().join("binary");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    assert!(Command::new("sh").args(["-ec", script]).env("D", dir.path()).status().unwrap().success());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["child::removes_closed_directories", "--exact"])
        .env("KILN_TEST_CHILD_DIR", dir.path().join("own"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn mounts_are_not_entered() {
    let dir = TempDir::new().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    fs::create_dir_all(dir.path().join("tree/a/mounted")).unwrap();
    fs::create_dir_all(dir.path().join("tree/b/c")).unwrap();
    in_mount_namespace("mount --bind $D/outside $D/tree/a/mounted", "removes_around_a_mount", dir.path());
    assert_eq!(names(&outside), ["precious"]);
}
