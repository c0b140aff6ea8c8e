//! RUN: changes of files of all kinds, looks at what commands see, mounts.

use super::super::case::{NONCE, OLD};
use super::Generator;

const MODES: [&str; 8] = ["755", "600", "4711", "2775", "1777", "u+x", "go-rwx", "0"];
const OWNERS: [&str; 5] = ["1000", "app:staff", "5:6", "0:0", "nobody"];
/// What a command sees of its surroundings, written to a file.
const PROBES: [&str; 10] = [
    "id",
    "pwd",
    "umask",
    "env | sort | grep -v '^HOSTNAME=\\|^SHLVL='",
    "echo \"$0|$#|$*\"",
    "echo $A-$B-$G-$C",
    "echo ~",
    "stat -c '%A %u %g %n' . / /tmp /root",
    "cat /proc/1/cgroup >/dev/null; echo ok",
    "find . -maxdepth 1 | sort",
];

impl Generator {
    /// `RUN` in shell or exec form.
    pub(super) fn run(&mut self) -> String {
        let flag = if self.random.chance(6) {
            *self.random.pick(&["--network=none ", "--network=default ", "--network=host "])
        } else {
            ""
        };
        let commands = self.commands();
        match self.random.below(12) {
            0 => format!(
                "RUN {flag}[\"/bin/sh\", \"-c\", \"{}\"]",
                (commands.join("; ") + "; true").replace('\\', "\\\\").replace('"', "\\\"")
            ),
            1 => format!("RUN {flag}[\"touch\", \"{}\"]", self.random.pick(&["/tmp/t1", "/tmp/t2"])),
            2 => format!("RUN {flag}{}; \\\n    true && true", commands.join("; \\\n    ")),
            3 if self.random.chance(30) => format!("RUN {flag}exit {}", self.random.pick(&["0", "3"])),
            4 => format!("RUN {flag}true"),
            _ => format!("RUN {flag}{}; true", commands.join("; ")),
        }
    }

    /// `RUN` with its text below.
    pub(super) fn run_heredoc(&mut self) -> String {
        let commands = self.commands().join("\n");
        match self.random.below(6) {
            0 => format!("RUN <<'EOF'\n{commands}\ntrue\nEOF"),
            1 => format!("RUN <<-EOF\n\t{}\n\ttrue\n\tEOF", commands.replace('\n', "\n\t")),
            2 => format!("RUN <<EOF\n#!/bin/sh -u\n{commands}\necho $0 > /script\ntrue\nEOF"),
            3 => format!("RUN sh -s one two <<EOF\n{commands}\necho \"$@\" > /args\nEOF"),
            4 => "RUN cat <<one > /one; cat <<two >> /one\n$A ${B} \\$C\none\n'x'\ntwo".to_owned(),
            _ => format!("RUN <<EOF\n{commands}\ntrue\nEOF"),
        }
    }

    /// `RUN --mount`.
    pub(super) fn run_mount(&mut self) -> String {
        let target =
            (*self.random.pick(&["/mnt", "/mnt/deep/er", "/m/d", "relmount", "/etc/mounted", "/tmp/mt"])).to_owned();
        let look = format!("ls -A {target} > /seen 2>&1; echo w > {target}/w 2>/dev/null");
        let mount = match self.random.below(10) {
            0..=2 => {
                let from = match self.random.below(4) {
                    0 if self.named_stage().is_some() => format!(",from={}", self.named_stage().unwrap_or_default()),
                    1 => ",from=odd,source=/r".to_owned(),
                    2 if self.has("d") => ",source=d".to_owned(),
                    _ => String::new(),
                };
                let rw = *self.random.pick(&["", ",rw", ",readwrite=true", ",ro"]);
                format!("type=bind,target={target}{from}{rw}")
            }
            3..=5 => {
                let more = *self.random.pick(&[
                    "",
                    ",mode=0700",
                    ",uid=1000,gid=50",
                    ",sharing=locked",
                    ",sharing=private",
                    ",from=odd,source=/r/dir",
                    ",ro",
                ]);
                format!("type=cache,id={NONCE}{},target={target}{more}", self.random.below(2))
            }
            6..=7 => format!("type=tmpfs,target={target}{}", self.random.pick(&["", ",size=1048576"])),
            8 if self.random.chance(40) => return self.run_agent(),
            _ => return self.run_secret(),
        };
        let commands = self.commands().join("; ");
        format!("RUN --mount={mount} {look}; stat -c '%a %u %g %F' {target} >> /seen; {commands}; true")
    }

    /// The last stage with a name; mounts know no numbers.
    fn named_stage(&self) -> Option<String> {
        self.stages.iter().rev().find_map(|s| s.name.clone())
    }

    fn run_secret(&mut self) -> String {
        self.options.retain(|o| !o.starts_with("--secret"));
        self.options.push("--secret=id=hush,env=KILN_DIFFERENTIAL_SECRET".to_owned());
        let spec = *self.random.pick(&[
            "id=hush",
            "id=hush,target=/etc/hush",
            "id=hush,mode=0444,uid=1000",
            "id=hush,env=HUSH",
            "id=hush,required=true",
            "id=other",
            "id=hush,dst=rel/hush",
            "id=hush,env=HUSH,target=/both",
        ]);
        format!(
            "RUN --mount=type=secret,{spec} (ls -lA /run/secrets /etc/hush rel/hush /both | cut -c1-30; \
             echo \"$HUSH\" | wc -c; cat /run/secrets/hush | wc -c) > /secret 2>/dev/null; true"
        )
    }

    /// An agent that nobody forwards.
    fn run_agent(&mut self) -> String {
        let spec = *self.random.pick(&["", ",id=other", ",target=/agent", ",mode=0666", ",required=true"]);
        format!(
            "RUN --mount=type=ssh{spec} (echo \"$SSH_AUTH_SOCK\"; ls -A /run/buildkit /agent) > /agent.txt 2>&1; true"
        )
    }

    fn commands(&mut self) -> Vec<String> {
        (0..1 + self.random.below(4)).map(|_| self.command()).collect()
    }

    fn command(&mut self) -> String {
        let (p, q) = (self.path(), self.path());
        let (mode, owner) = (*self.random.pick(&MODES), *self.random.pick(&OWNERS));
        if self.random.chance(70) {
            self.stage.paths.push(p.clone());
        }
        match self.random.below(36) {
            0..=4 => format!("mkdir -p {p}"),
            5..=8 => {
                // Whoever opens a pipe waits for its other end.
                format!(
                    "mkdir -p $(dirname {p}) && [ ! -p {p} ] && echo {} > {p}",
                    self.random.pick(&["one", "two", "$A", "'$A'"])
                )
            }
            9..=10 => format!("[ -p {p} ] || echo more >> {p}"),
            11..=13 => format!("rm -rf {p}"),
            14 => format!("rm -f {p}"),
            15..=16 => format!("mv {p} {q}"),
            17 => format!("mv {p} /moved && mv /moved {p}"),
            18 => format!("cp -a {p} {q}"),
            19..=20 => format!("ln {p} {q}"),
            21..=22 => format!("ln -s {} {q}", self.random.pick(&["nowhere", "/etc", "../r", "a.txt", "."])),
            23 => format!("chmod {mode} {p}"),
            24 => format!("chown {owner} {p}"),
            25 => format!("touch -c {p}"),
            26 => format!("mkfifo {p}"),
            27 => format!("mknod {p} c 1 3"),
            28 => format!("rm -rf {p} && mkdir {p} && echo new > {p}/again"),
            29 => format!("rm -rf {p} && echo file > {p}"),
            30 => format!("rm -rf {p} && ln -s {q} {p}"),
            31 => format!("touch -d @{OLD} {p}"),
            32 => format!("chown -R {owner} {p}; chmod -R {mode} {p}"),
            33 => format!("for i in 1 2 3; do mkdir -p {p}/$i; echo $i > {p}/$i/f; done"),
            _ => format!("({}) > /probe{} 2>&1", self.random.pick(&PROBES), self.random.below(3)),
        }
    }
}
