//! Instructions that change the configuration: ENV and ARG, users, places, what runs.

use super::Generator;

const USERS: [&str; 14] = [
    "root",
    "app",
    "nobody",
    "1000",
    "0:0",
    "app:staff",
    "1234",
    "root:staff",
    "1000:50",
    "0",
    "app:0",
    "${UNDEF:-app}",
    "1234:5678",
    "4294967",
];

impl Generator {
    /// `ENV`, new form and old.
    pub(super) fn env(&mut self) -> String {
        if self.random.chance(10) {
            return format!("ENV {} {} {}", self.random.pick(&["A", "B"]), self.value(), self.literal());
        }
        format!("ENV {}", self.pairs(&["A", "B", "C", "V", "a", "PATH2", "HOME"]))
    }

    /// `ARG`, of all scopes.
    pub(super) fn arg(&mut self) -> String {
        let name = *self.random.pick(&[
            "A",
            "B",
            "C",
            "V",
            "G",
            "TARGETARCH",
            "TARGETOS",
            "HTTP_PROXY",
            "TARGETSTAGE",
            "BUILDPLATFORM",
        ]);
        match self.random.below(5) {
            0..=1 => format!("ARG {name}"),
            2..=3 => format!("ARG {name}={}", self.value()),
            _ => format!("ARG {}", self.pairs(&["A", "B", "C", "V"])),
        }
    }

    /// `WORKDIR`.
    pub(super) fn workdir(&mut self) -> String {
        let path = if self.random.chance(10) {
            self.expansion(0)
        } else {
            self.destination().replace("/m/..", "").replace("/../z", "")
        };
        format!("WORKDIR {path}")
    }

    /// `USER`.
    pub(super) fn user(&mut self) -> String {
        // See docs/deviations.md on names in a stage without a layer.
        let numeric = ["0", "1000", "1234", "0:0", "1000:50", "1234:5678"];
        let user = if self.stage.shell { *self.random.pick(&USERS) } else { *self.random.pick(&numeric) };
        format!("USER {user}")
    }

    /// `SHELL`.
    pub(super) fn shell(&mut self) -> String {
        let form = *self.random.weighted(&[
            (3, "[\"/bin/sh\", \"-c\"]"),
            (2, "[\"/bin/sh\", \"-xc\"]"),
            (2, "[\"/bin/busybox\", \"sh\", \"-c\"]"),
            (1, "[\"sh\", \"-c\"]"),
        ]);
        format!("SHELL {form}")
    }

    /// `LABEL`.
    pub(super) fn label(&mut self) -> String {
        match self.random.below(8) {
            0 => format!("LABEL old {} {}", self.value(), self.literal()),
            1 => format!("LABEL \"quoted key\"={} k$A={}", self.value(), self.literal()),
            _ => format!("LABEL {}", self.pairs(&["a", "b", "org.x.y", "L-1"])),
        }
    }

    /// `EXPOSE`.
    pub(super) fn expose(&mut self) -> String {
        let port = *self.random.pick(&[
            "80",
            "53/udp",
            "8000-8002",
            "80/TCP",
            "${P:-81}/tcp",
            "90 91/udp",
            "1000-1001/udp",
            "8080/sctp",
            "80 80/tcp",
            "$UNDEF",
        ]);
        let port = if self.random.chance(8) { *self.random.pick(&["70000", "x"]) } else { port };
        format!("EXPOSE {port}")
    }

    /// `VOLUME`.
    pub(super) fn volume(&mut self) -> String {
        let form = *self.random.pick(&[
            "/vol",
            "/v1 /v2",
            "[\"/v3\", \"/v 4\"]",
            "/m/d",
            "rel",
            "${A:-/va}",
            "${UNDEF:-/vx}",
            "[\"/m/\"]",
        ]);
        format!("VOLUME {form}")
    }

    /// `CMD`.
    pub(super) fn cmd(&mut self) -> String {
        format!("CMD {}", self.invocation())
    }

    /// `ENTRYPOINT`.
    pub(super) fn entrypoint(&mut self) -> String {
        format!("ENTRYPOINT {}", self.invocation())
    }

    fn invocation(&mut self) -> String {
        match self.random.below(8) {
            0..=2 => format!("[\"sh\", \"-c\", \"{}\"]", self.random.pick(&["echo $A", "true", "é"])),
            3 => "[]".to_owned(),
            4 => "['single', 'quotes']".to_owned(),
            5 => format!("echo {} | cat", self.expansion(0)),
            6 => "exec  two   spaces \\\n  three".to_owned(),
            _ => "[\"a\", \"b\"".to_owned(),
        }
    }

    /// `HEALTHCHECK`.
    pub(super) fn healthcheck(&mut self) -> String {
        let form = *self.random.pick(&[
            "NONE",
            "CMD true",
            "--interval=5s --timeout=1m30s --retries=3 CMD [\"true\"]",
            "--start-period=1h --start-interval=2s CMD echo $A",
            "--interval=0s CMD true",
            "--retries=0 CMD x",
            "--interval=1500ms CMD a b",
            "CMD []",
        ]);
        format!("HEALTHCHECK {form}")
    }

    /// `STOPSIGNAL`.
    pub(super) fn stopsignal(&mut self) -> String {
        let form =
            *self.random.pick(&["9", "SIGKILL", "TERM", "sigterm", "${S:-SIGINT}", "SIGRTMIN+3", "nonsense", "99"]);
        format!("STOPSIGNAL {form}")
    }

    /// `ONBUILD`, and `MAINTAINER`, which is as old.
    pub(super) fn onbuild(&mut self) -> String {
        if self.random.chance(20) {
            return format!("MAINTAINER {} someone", self.literal());
        }
        let inner = match self.random.below(6) {
            0 => self.run(),
            1 => self.copy(),
            2 => self.env(),
            3 => self.workdir(),
            4 => self.label(),
            _ => self.copy_from(),
        };
        if inner.contains('\n') { format!("ONBUILD {}", self.workdir()) } else { format!("ONBUILD {inner}") }
    }
}
