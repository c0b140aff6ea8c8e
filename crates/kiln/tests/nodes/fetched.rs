//! Bases that are somewhere else: fetched, checked, kept, and built on without a machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Output, TestContext};

use crate::disks::{run, sum};

/// A disk that is one small file system, in every format.
struct Bench {
    t: TestContext,
    files: HashMap<String, Vec<u8>>,
}

const FORMATS: [(&str, &str); 4] = [("qcow2", "qcow2"), ("raw", "raw"), ("vhd", "vpc"), ("vmdk", "vmdk")];

impl Bench {
    fn new() -> Bench {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        small_disk(&t, &t.out("base.raw"));
        let mut files = HashMap::new();
        let mut list = String::new();
        for (name, format) in FORMATS {
            let path = t.out(&format!("disk.{name}"));
            let (from, to) = (t.out("base.raw"), path.to_str().unwrap().to_owned());
            run("qemu-img", &["convert", "-f", "raw", "-O", format, from.to_str().unwrap(), &to]);
            list += &format!("{}  disk.{name}\n", sum(&path));
            files.insert(format!("/d/disk.{name}"), std::fs::read(&path).unwrap());
        }
        files.insert("/d/SHA256SUMS".to_owned(), list.into_bytes());
        Bench { t, files }
    }

    fn sum(&self, name: &str) -> String {
        sum(&self.t.out(&format!("disk.{name}")))
    }

    fn serve(&self) -> Server {
        let files = self.files.clone();
        Server::start(move |seen, _| match files.get(&seen.path) {
            Some(body) => Say::ok(body.clone()),
            None => Say::status(404),
        })
    }

    fn build(&self, keys: &str, more: &[&str]) -> Output {
        let text = format!(
            r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "ssh_username": "root",
                "vm_name": "node.img", "output_directory": "out", "format": "raw"{keys}}}],
               "provisioners": [{{"type": "file", "content": "new\n", "destination": "/etc/new"}}]}}"#
        );
        self.t.write("t.json", 0o644, text);
        let mut args = vec!["node", "build", "-color=false", "-force", "-builder", "offline"];
        args.extend(more);
        args.push("t.json");
        self.t.kiln(&args)
    }

    #[track_caller]
    fn fails(&self, keys: &str, more: &[&str]) -> String {
        let _ = std::fs::remove_dir_all(self.t.context().join("out"));
        let out = self.build(keys, more).exits(1);
        assert!(!self.t.context().join("out").exists(), "something is left: {out}");
        format!("{}{}", out.stdout, out.stderr)
    }

    fn made(&self) -> PathBuf {
        self.t.context().join("out/node.img")
    }
}

/// Writes a disk without partitions and with hardly any files.
pub fn small_disk(t: &TestContext, to: &Path) {
    let root = t.out("small-root");
    for (path, text) in [("etc/os-release", "ID=small\n"), ("sbin/init", "#!/bin/sh\n"), ("etc/fstab", "")] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::File::create(to).unwrap().set_len(8 << 20).unwrap();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", root.to_str().unwrap(), to.to_str().unwrap()]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn disks_are_fetched_once_in_every_format_and_with_every_kind_of_checksum() {
    let bench = Bench::new();
    let server = bench.serve();
    let at = |name: &str| format!("http://{}/d/{name}", server.host);
    let checksums = [
        ("qcow2", format!(r#""iso_checksum": "sha256:{}""#, bench.sum("qcow2"))),
        ("raw", format!(r#""iso_checksum": "{}""#, bench.sum("raw").to_uppercase())),
        ("vhd", format!(r#""iso_checksum": "file:{}""#, at("SHA256SUMS"))),
        ("vmdk", format!(r#""iso_checksum_type": "sha256", "iso_checksum_url": "{}""#, at("SHA256SUMS"))),
    ];
    for (name, checksum) in &checksums {
        let address = at(&format!("disk.{name}"));
        let keys = format!(r#", "iso_url": "{address}", {checksum}"#);
        let out = bench.build(&keys, &[]).ok().text().to_owned();
        for wanted in
            ["==> node: Retrieving ISO\n", &format!("==> node: {address} => "), "-builder offline; -builder qemu"]
        {
            assert!(out.contains(wanted), "{wanted:?} in\n{out}");
        }
        let new = run("debugfs", &["-R", "cat /etc/new", bench.made().to_str().unwrap()]);
        assert!(new.starts_with("new\n"), "{new}");
        let again = bench.build(&keys, &[]).ok().stdout;
        assert!(again.contains("(0 steps ran, 1 were in the cache)"), "{again}");
        assert_eq!(server.lines().iter().filter(|line| line.contains(&format!("disk.{name}"))).count(), 1, "{name}");
    }
    // The first address that works and has the right bytes.
    let (wrong, gone, right) = (at("disk.raw"), at("absent/disk.vhd"), at("disk.vhd"));
    let sum = format!(r#""iso_checksum": "sha256:{}""#, bench.sum("vhd"));
    let keys = format!(r#", "iso_urls": ["{gone}", "{wrong}", "{right}"], {sum}"#);
    let _ = bench.build(&keys, &[]).ok();
    // Of its own, with what the command line says; the result is written as the base is.
    let sum = format!("sha256:{}", bench.sum("qcow2"));
    let own =
        r#"{"builders": [{"type": "offline", "name": "node", "vm_name": "node.img", "output_directory": "out"}]}"#;
    bench.t.write("own.json", 0o644, own);
    let base = at("disk.qcow2");
    let args = ["node", "build", "-color=false", "-force", "-base", &base, "-base-checksum", &sum, "own.json"];
    let _ = bench.t.kiln(&args).ok();
    assert!(run("qemu-img", &["info", bench.made().to_str().unwrap()]).contains("file format: qcow2"));
}

#[test]
fn what_is_not_what_it_should_be_is_refused_and_not_kept() {
    let bench = Bench::new();
    let server = bench.serve();
    let at = |name: &str| format!("http://{}/d/{name}", server.host);
    let with = |name: &str, checksum: &str| format!(r#", "iso_url": "{}", "iso_checksum": "{checksum}""#, at(name));
    let out = bench.fails(&with("disk.raw", &format!("sha256:{}", "0".repeat(64))), &[]);
    assert!(out.contains("was asked for"), "{out}");
    let out = bench.fails(&with("gone.raw", "none"), &[]);
    assert!(out.contains("404") && out.contains("gone.raw"), "{out}");
    let out = bench.fails(&with("disk.raw", &format!("file:{}", at("gone"))), &[]);
    assert!(out.contains("404"), "{out}");
    let out = bench.fails(&with("SHA256SUMS", &format!("file:{}", at("SHA256SUMS"))), &[]);
    assert!(out.contains("the list has no sum for SHA256SUMS"), "{out}");
    // It says nothing of what it must be; with the place of the mistake.
    let out = bench.fails(&format!(r#", "iso_url": "{}""#, at("disk.raw")), &[]);
    assert!(out.contains("`iso_checksum` is required") && out.contains("t.json:"), "{out}");
    let out = bench.fails(&with("disk.raw", "sha1:zz"), &[]);
    assert!(out.contains("sha1 has 40 hexadecimal digits") && out.contains("t.json:"), "{out}");
    let out = bench.fails(r#", "iso_url": "ftp://127.0.0.1/disk.raw", "iso_checksum": "none""#, &[]);
    assert!(out.contains("fetches by http and https only"), "{out}");
    let out = bench.fails("", &["-base", &at("disk.raw")]);
    assert!(out.contains("-base-checksum"), "{out}");
    let out = bench.fails("", &["-base", &at("disk.raw"), "-base-checksum", "sha256:12"]);
    assert!(out.contains("-base-checksum: ") && out.contains("64 hexadecimal digits"), "{out}");
    // What comes is no disk and no archive.
    let out = bench.fails(&with("SHA256SUMS", "none"), &[]);
    assert!(out.contains("SHA256SUMS"), "{out}");
    // A checksum of a directory is none.
    std::fs::create_dir(bench.t.context().join("dir")).unwrap();
    let out = bench.fails("", &["-base", "dir", "-base-checksum", "sha256:0"]);
    assert!(out.contains("64 hexadecimal digits"), "{out}");
    let out = bench.fails("", &["-base", "dir", "-base-checksum", &"0".repeat(64)]);
    assert!(out.contains("a checksum is of a file, and the base is none"), "{out}");
    // Also for a file that is here: a list by address.
    let here = bench.t.out("disk.qcow2");
    let list = format!("file:{}", at("SHA256SUMS"));
    let _ = bench.build("", &["-base", here.to_str().unwrap(), "-base-checksum", &list]).ok();
    std::fs::copy(bench.t.out("disk.raw"), &here).unwrap();
    let out = bench.fails("", &["-base", here.to_str().unwrap(), "-base-checksum", &list]);
    assert!(out.contains("was asked for"), "{out}");
}

#[test]
fn a_server_that_stops_in_the_middle_leaves_nothing() {
    let bench = Bench::new();
    let body = bench.files["/d/disk.raw"].clone();
    let server = Server::start(move |_, _| Say::ok(body[..body.len() / 2].to_vec()).announcing(body.len()));
    let keys = format!(r#", "iso_url": "http://{}/disk.raw", "iso_checksum": "none""#, server.host);
    let out = bench.fails(&keys, &[]);
    assert!(out.contains("disk.raw"), "{out}");
    let kept = bench.t.store().join("kiln/fetched");
    let names = std::fs::read_dir(kept).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    assert!(left.is_empty(), "{left:?}");
}
