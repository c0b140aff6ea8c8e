//! Contexts that are tars.

use std::process::Command;

use kiln_oci::layer::LayerWriter;
use kiln_oci::{Entry, EntryKind, Meta};

use super::*;
use crate::context::archive::unpack_context;

fn run(program: &str, args: &[&str], dir: &Path) -> Vec<u8> {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_compression_is_unpacked() {
    let tree = Tree::of(&["Dockerfile", "d/f", "d/l -> f"]);
    let tar = tempfile::tempdir().unwrap();
    let plain = tar.path().join("c.tar");
    std::fs::write(&plain, run("tar", &["-c", "Dockerfile", "./d"], tree.path())).unwrap();
    let mut archives = vec![std::fs::read(&plain).unwrap()];
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        archives.push(run(program, &["-c", "c.tar"], tar.path()));
    }
    for archive in archives {
        let into = tempfile::tempdir().unwrap();
        unpack_context("standard input", &archive[..], into.path()).unwrap();
        let source = DirSource::open(into.path(), None).unwrap();
        assert_eq!(all(&source), ["Dockerfile:f", "d:d", "d/f:f", "d/l:l>f"]);
    }
}

#[test]
fn what_is_no_archive_is_an_error() {
    let into = tempfile::tempdir().unwrap();
    let error = |bytes: &[u8]| unpack_context("ctx.tar", bytes, into.path()).unwrap_err().to_string();
    assert_eq!(error(b""), "ctx.tar: it is empty; a build context is a tar archive");
    assert!(error(b"FROM scratch\n").starts_with("ctx.tar: it is not a tar archive"));
    let tree = Tree::new();
    std::fs::write(tree.place("f"), [b'x'; 4000]).unwrap();
    let tar = run("tar", &["-c", "f"], tree.path());
    assert!(error(&tar[..2000]).starts_with("ctx.tar: cannot unpack the build context: "));
    unpack_context("ctx.tar", &[0; 10240][..], into.path()).unwrap();
}

#[test]
fn a_name_of_a_whiteout_deletes_nothing() {
    let tree = Tree::new();
    std::fs::write(tree.place("f"), "kept").unwrap();
    std::fs::write(tree.place(".wh.f"), "").unwrap();
    let tar = run("tar", &["-c", "f", ".wh.f"], tree.path());
    let into = tempfile::tempdir().unwrap();
    let said = unpack_context("ctx.tar", &tar[..], into.path()).unwrap_err().to_string();
    assert!(said.contains(".wh.f"), "{said}");
    assert!(into.path().join("f").exists());
}

#[test]
fn nothing_is_written_outside() {
    let outer = tempfile::tempdir().unwrap();
    let into = outer.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let mut tar = LayerWriter::new(Vec::new());
    let mut add = |path: &[u8], kind: EntryKind, mut body: &[u8]| {
        tar.append(&Entry { path: path.to_vec(), kind, meta: Meta::mode(0o755) }, &mut body).unwrap();
    };
    add(b"up", EntryKind::Symlink { target: b"..".to_vec() }, b"");
    add(b"up/evil", EntryKind::File { size: 1 }, b"x");
    let tar = tar.finish().unwrap();
    // The link is replaced by a directory, or the archive refused; either way the file is not above.
    let _ = unpack_context("ctx.tar", &tar[..], &into);
    assert!(!outer.path().join("evil").exists());
}
