//! Where things are in images, and how one may write it.

use super::Generator;

/// In the tree of the odd bases.
const ODD: [&str; 25] = [
    "/r/capable",
    "/r",
    "/r/dir",
    "/r/dir/file",
    "/r/dir/sub",
    "/r/dir/sub/deep",
    "/r/dlink",
    "/r/dlink/sub",
    "/r/abs",
    "/r/flink",
    "/r/dangling",
    "/r/ghost",
    "/r/up",
    "/r/hard1",
    "/r/hard2",
    "/r/suid",
    "/r/sticky",
    "/r/setgid",
    "/r/opaque",
    "/r/opaque/new",
    "/r/turned",
    "/r/back",
    "/r/gone",
    "/r/gonefile",
    "/vol",
];
/// Of [`ODD`], what is no directory.
const FILES: [&str; 9] = [
    "/r/dir/file",
    "/r/dir/sub/deep",
    "/r/flink",
    "/r/hard1",
    "/r/hard2",
    "/r/suid",
    "/r/opaque/new",
    "/r/turned",
    "/r/capable",
];
/// Places that may be there or not.
const NEW: [&str; 16] = [
    "/m",
    "/m/a",
    "/m/b",
    "/m/d",
    "/m/d/e",
    "/n",
    "/n/o/p",
    "/a.txt",
    "/q",
    "/q/l",
    "/srv/x",
    "/opt",
    "/tmp/t",
    "/home/app",
    "/vol/v",
    "/etc/x",
];
const RELATIVE: [&str; 8] = ["rel", "rel/deep", ".", "..", "./x", "../y", "a.txt", "m"];

/// Of [`ODD`], what COPY does not start from: gone, a link to nowhere, or rarely worth it.
const UNSURE: [&str; 8] =
    ["/r/dangling", "/r/ghost", "/r/setgid", "/r/opaque/new", "/r/turned", "/r/gone", "/r/gonefile", "/vol"];

impl Generator {
    /// An absolute path that is there, or very likely.
    pub(super) fn sure(&mut self) -> String {
        if self.random.chance(12) {
            return self.known();
        }
        if self.stage.odd && self.random.chance(75) {
            let there: Vec<&str> = ODD.into_iter().filter(|path| !UNSURE.contains(path)).collect();
            return (*self.random.pick(&there)).to_owned();
        }
        (*self.random.pick(&["/etc", "/etc/passwd", "/tmp", "/home", "/bin/busybox", "/usr"])).to_owned()
    }

    /// An absolute path that is likely to be there.
    pub(super) fn known(&mut self) -> String {
        let stage = &self.stage;
        if !stage.paths.is_empty() && self.random.chance(55) {
            return self.random.pick(&stage.paths).clone();
        }
        if stage.odd && self.random.chance(60) {
            return (*self.random.pick(&ODD)).to_owned();
        }
        if stage.shell && self.random.chance(30) {
            return (*self.random.pick(&["/etc", "/etc/passwd", "/tmp", "/home", "/usr/bin/env", "/var"])).to_owned();
        }
        self.fresh()
    }

    /// A path that may be new.
    pub(super) fn fresh(&mut self) -> String {
        (*self.random.pick(&NEW)).to_owned()
    }

    /// Known, or new.
    pub(super) fn path(&mut self) -> String {
        if self.random.chance(50) { self.known() } else { self.fresh() }
    }

    /// A destination of COPY, ADD or WORKDIR, written in some way; remembered.
    pub(super) fn destination(&mut self) -> String {
        if self.random.chance(15) {
            let mut path = (*self.random.pick(&RELATIVE)).to_owned();
            if self.random.chance(40) {
                path.push('/');
            }
            return path;
        }
        let mut path = self.path();
        // Little can be copied over a file.
        if FILES.contains(&&*path) && self.random.chance(70) {
            path = self.fresh();
        }
        self.stage.paths.push(path.clone());
        match self.random.below(20) {
            0 => format!("{path}/."),
            1 => format!("/m/..{path}"),
            2 => format!("/{path}"),
            3 => format!("${{UNDEF}}{path}"),
            4 => format!("{path}/../z"),
            5..=10 => format!("{path}/"),
            _ => path,
        }
    }
}
