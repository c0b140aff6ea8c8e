//! A context: the same few names, in random subsets, so that patterns match and names clash.

use std::io::Write;

use bzip2::write::BzEncoder;
use kiln_testkit::{Rootfs, layout::gzip};
use lzma_rust2::{XzOptions, XzWriter};
use tar::EntryType;

use super::super::bases::NET_BIND;
use super::super::case::{Item, Kind};
use super::Generator;

/// What may be in a context; parents come before children.
const TREE: [(&str, &str); 32] = [
    ("a.txt", "f"),
    ("b.md", "f"),
    ("c", "f"),
    ("run.sh", "x"),
    ("sp ace", "f"),
    ("ü", "f"),
    ("[x]", "f"),
    (".hidden", "f"),
    ("arr", "d"),
    ("arr/[0].txt", "f"),
    ("d", "d"),
    ("d/a.txt", "f"),
    ("d/k.md", "f"),
    ("d/e", "d"),
    ("d/e/deep.txt", "f"),
    ("d/e/suid", "s"),
    ("d/lf", "> a.txt"),
    ("d/ldir", "> e"),
    ("d/out", "> ../c"),
    ("empty", "d"),
    ("s", "t"),
    ("s/in", "f"),
    ("lf", "> a.txt"),
    ("ld", "> d"),
    ("dangling", "> nowhere"),
    ("absolute", "> /etc/passwd"),
    ("up", "> ../../d"),
    ("deeplink", "> d/e"),
    ("chain", "> lf"),
    ("pipe", "p"),
    ("n", "d"),
    ("n/d", "d"),
];
const IGNORED: [&str; 24] = [
    "*",
    "!d",
    "d",
    "d/e",
    "!d/e",
    "*.txt",
    "!*.md",
    "**/*.txt",
    "/d",
    "d/",
    "./d",
    "# comment",
    "",
    "  c",
    "?",
    "[ab]*",
    "!**",
    "**",
    "Dockerfile",
    ".dockerignore",
    "d/**",
    "!d/**/*.txt",
    "../c",
    "n/../d",
];
/// Archives by name and compression; kinds of what is in them are chosen apart.
const ARCHIVES: [(&str, Packing); 8] = [
    ("t.tar", Packing::Plain),
    ("t.tar.gz", Packing::Gzip),
    ("t.tgz", Packing::Gzip),
    ("archive.txt", Packing::Gzip),
    ("d/in.tar", Packing::Plain),
    ("t.tar.xz", Packing::Xz),
    ("t.tar.bz2", Packing::Bzip2),
    ("t.tar.zst", Packing::Zstd),
];

/// How an archive is compressed.
#[derive(Debug, Clone, Copy)]
enum Packing {
    Plain,
    Gzip,
    Xz,
    Bzip2,
    Zstd,
}

impl Packing {
    fn pack(self, tar: &[u8]) -> Vec<u8> {
        let written = match self {
            Packing::Plain => Ok(tar.to_vec()),
            Packing::Gzip => Ok(gzip(tar)),
            Packing::Xz => XzWriter::new(Vec::new(), XzOptions::with_preset(1)).and_then(|mut xz| {
                xz.write_all(tar)?;
                xz.finish()
            }),
            Packing::Bzip2 => {
                let mut bzip2 = BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                bzip2.write_all(tar).and_then(|()| bzip2.finish())
            }
            Packing::Zstd => zstd::encode_all(tar, 1),
        };
        written.expect("memory takes all")
    }
}

impl Generator {
    /// Fills the context.
    pub(super) fn fill_context(&mut self) {
        let share = *self.random.pick(&[35, 60, 85]);
        for (path, kind) in TREE {
            let parent = path.rsplit_once('/').map(|(p, _)| p);
            // A pattern that matches a link to nowhere fails: few contexts have one.
            let share = if matches!(path, "dangling" | "absolute" | "up") { 6 } else { share };
            if self.random.chance(share) && parent.is_none_or(|p| self.has(p)) {
                let item = self.item(path, kind);
                self.context.push(item);
            }
        }
        for (path, packing) in ARCHIVES {
            if self.random.chance(16) && path.rsplit_once('/').is_none_or(|(p, _)| self.has(p)) {
                let (tar, what) = self.archive();
                let kind = Kind::Archive(packing.pack(&tar), what);
                self.context.push(Item { path: path.to_owned(), mode: 0o644, owner: 0, kind });
            }
        }
        if self.random.chance(18) {
            let count = 1 + self.random.below(5);
            let patterns: Vec<&str> = (0..count).map(|_| *self.random.pick(&IGNORED)).collect();
            let kind = Kind::File(patterns.join("\n") + "\n");
            self.context.push(Item { path: ".dockerignore".to_owned(), mode: 0o644, owner: 0, kind });
        }
    }

    /// Whether something is in the context.
    pub(super) fn has(&self, path: &str) -> bool {
        self.context.iter().any(|i| i.path == path)
    }

    fn item(&mut self, path: &str, kind: &str) -> Item {
        let owner = if self.random.chance(10) { 1000 } else { 0 };
        let odd_mode = self.random.chance(15).then(|| *self.random.pick(&[0o600, 0o664, 0o444, 0o755, 0o640]));
        let (mode, kind) = match kind {
            "f" => (odd_mode.unwrap_or(0o644), Kind::File(format!("{path}\n"))),
            "x" => (0o755, Kind::File("#!/bin/sh\necho run\n".to_owned())),
            "s" => (*self.random.pick(&[0o4755, 0o2755, 0o6711]), Kind::File("suid\n".to_owned())),
            "d" => (odd_mode.map_or(0o755, |m| m | 0o700), Kind::Dir),
            "t" => (0o1777, Kind::Dir),
            "p" => (0o644, Kind::Fifo),
            link => (0o777, Kind::Link(link.trim_start_matches("> ").to_owned())),
        };
        Item { path: path.to_owned(), mode, owner, kind }
    }

    /// An archive for ADD, with what is in it as text.
    fn archive(&mut self) -> (Vec<u8>, String) {
        let mut tar = Rootfs::new();
        let mut what = "tar:".to_owned();
        let mut dirs: Vec<&str> = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            let owner = *self.random.pick(&[(0, 0), (9, 9), (1000, 50)]);
            let mode = *self.random.pick(&[0o644, 0o755, 0o600, 0o4755, 0o1777]);
            let path = *self.random.pick(&["x", "x/y", "p", "p/q/r", "./dot", "a.txt", "up/../side", "r/dir/file"]);
            let (kind, target) = *self.random.weighted(&[
                (50, (EntryType::Regular, None)),
                (20, (EntryType::Directory, None)),
                (8, (EntryType::Symlink, Some("c"))),
                (4, (EntryType::Symlink, Some("/etc/group"))),
                (4, (EntryType::Symlink, Some("../up"))),
                (4, (EntryType::Fifo, None)),
                (3, (EntryType::Link, Some("x"))),
            ]);
            match kind {
                EntryType::Directory => dirs.push(path),
                // See docs/deviations.md.
                _ if dirs.iter().any(|dir| dir.starts_with(path)) => continue,
                _ => {}
            }
            if kind == EntryType::Regular && self.random.chance(4) {
                tar = tar.xattr("security.capability", &NET_BIND);
                what += " capable";
            }
            let content: &[u8] = if kind == EntryType::Regular { b"unpacked\n" } else { b"" };
            tar = tar.entry(path, kind, mode, owner, target, content);
            what += &format!(" {path} {kind:?} {mode:o} {owner:?} {}", target.unwrap_or(""));
        }
        if self.random.chance(15) {
            tar = tar.entry("./", EntryType::Directory, 0o700, (9, 9), None, b"");
            what += " ./ Directory 700 (9, 9)";
        }
        (tar.tar(), what)
    }
}
