//! A tree as text, one line an entry.
//!
//! ```text
//! /bin l 0777 0:0 -> usr/bin
//! /srv d 0755 0:0
//! /srv/a\x20b f 0644 0:0 12 sha256:…
//! /srv/hard h => /srv/a\x20b
//! /srv/ping f 0755 0:0 80 sha256:… security.capability=0100…
//! /dev/null c 0666 0:0 1:3
//! ```
//! Types: `d` directory, `f` file, `h` a further name of a file shown before, `l` symbolic link, `c` and `b` devices,
//! `p` named pipe. Modes are octal. The root has a line only when it is not `0755 0:0`. Names are escaped as
//! [`name::escape`] does, so every entry is one line and every field one word; values of extended attributes are
//! hexadecimal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{FileRef, Node, NodeKind, Tree};
use crate::Digest;
use crate::entry::Meta;
use crate::name::{self, Escaped};

/// What a dump shows beyond the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct DumpOptions {
    /// Modification times, as `@seconds[.nanoseconds]` after the owner.
    pub mtimes: bool,
    /// Paths padded to one width.
    pub aligned: bool,
}

impl Tree {
    /// The text form of the tree. `content` tells the digest of a file's bytes.
    pub fn dump(&self, content: &mut dyn FnMut(&FileRef) -> Digest) -> String {
        self.dump_with(b"", DumpOptions::default(), &mut |file| Some(content(file)))
    }

    /// The text form of what is at a real path and below, without digests where `content` knows none.
    pub fn dump_with(
        &self,
        path: &[u8],
        options: DumpOptions,
        content: &mut dyn FnMut(&FileRef) -> Option<Digest>,
    ) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut first_names: HashMap<(&Digest, u64), Vec<u8>> = HashMap::new();
        for (path, node) in self.walk(path) {
            if path.is_empty() && is_plain_root(node, options) {
                continue;
            }
            let mut line = String::new();
            let known = node.file().and_then(|file| first_names.get(&(&*file.layer, file.inode)));
            match known {
                Some(first) => line_of(&mut line, format_args!("h => /{}", Escaped(first))),
                None => describe(&mut line, node, options, content),
            }
            rows.push((format!("/{}", Escaped(&path)), line));
            if let Some(file) = node.file() {
                first_names.entry((&file.layer, file.inode)).or_insert(path);
            }
        }
        let width = if options.aligned { rows.iter().map(|(p, _)| p.chars().count()).max().unwrap_or(0) } else { 0 };
        let mut out = String::new();
        for (path, line) in rows {
            line_of(&mut out, format_args!("{path:width$} {line}\n"));
        }
        out
    }
}

fn is_plain_root(node: &Arc<Node>, options: DumpOptions) -> bool {
    let Meta { mode, uid, gid, .. } = node.meta;
    (mode, uid, gid) == (0o755, 0, 0) && node.meta.xattrs.is_empty() && !options.mtimes
}

/// Appends to a string, which cannot fail.
fn line_of(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Everything of a line but the path.
pub(super) fn describe(
    out: &mut String,
    node: &Node,
    options: DumpOptions,
    content: &mut dyn FnMut(&FileRef) -> Option<Digest>,
) {
    let Meta { mode, uid, gid, mtime, xattrs } = &node.meta;
    line_of(out, format_args!("{} {mode:04o} {uid}:{gid}", letter(node)));
    if options.mtimes {
        line_of(out, format_args!(" @{}", mtime.secs));
        if mtime.nanos > 0 {
            line_of(out, format_args!(".{:09}", mtime.nanos));
        }
    }
    match &node.kind {
        NodeKind::File(file) => {
            line_of(out, format_args!(" {}", file.size));
            if let Some(digest) = content(file) {
                line_of(out, format_args!(" {digest}"));
            }
        }
        NodeKind::Char { major, minor } | NodeKind::Block { major, minor } => {
            line_of(out, format_args!(" {major}:{minor}"));
        }
        NodeKind::Dir(_) | NodeKind::Symlink { .. } | NodeKind::Fifo => {}
    }
    for (key, value) in xattrs {
        line_of(out, format_args!(" {}=", name::escape(key).replace('=', "\\x3d")));
        value.iter().for_each(|b| line_of(out, format_args!("{b:02x}")));
    }
    if let NodeKind::Symlink { target } = &node.kind {
        line_of(out, format_args!(" -> {}", Escaped(target)));
    }
}

fn letter(node: &Node) -> char {
    match node.kind {
        NodeKind::Dir(_) => 'd',
        NodeKind::File(_) => 'f',
        NodeKind::Symlink { .. } => 'l',
        NodeKind::Char { .. } => 'c',
        NodeKind::Block { .. } => 'b',
        NodeKind::Fifo => 'p',
    }
}
