//! What is behind a failure on a host: the first unit that does not do its work, in its own words.
//!
//! kubeadm says that it waited in vain. Why is elsewhere: containerd that does not run, kubelet that ends, etcd that does
//! not know an option. They depend on each other in this order, so the first one that fails is what the user is told.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kiln_clusterfile::model::Runtime;
use kiln_host::Stdin;
use serde_json::Value;

use crate::launch::Launch;
use crate::machine::{Machine, SHORT, printable};

/// Something that does not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which host.
    pub host: String,
    /// What: `containerd`, `kubelet`, `static pod etcd`.
    pub unit: String,
    /// How it is.
    pub state: String,
    /// What it said last that sounds like a failure.
    pub said: Vec<String>,
}

/// How a kubelet is that does its work, and says why others do not.
const SAYS: &str = "runs, and says";

impl Cause {
    /// Whether it is what kubelet says of something else.
    pub fn is_hearsay(&self) -> bool {
        self.state == SAYS
    }

    /// As people read it.
    pub fn lines(&self) -> Vec<String> {
        let head = format!("behind it: {} on {} {}", self.unit, self.host, self.state);
        std::iter::once(head).chain(self.said.iter().map(|line| format!("  | {line}"))).collect()
    }
}

/// Static pods, in the order in which they need each other.
pub const PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Lines that are told of each.
const SAID: usize = 6;

fn questions(service_manager: &str, runtime: Runtime) -> String {
    format!(
        "for s in {runtime} kubelet; do echo \"@@unit $s $({service_manager} is-active $s 2>/dev/null | head -n 1)\"; \
         (journalctl -q --no-pager -o cat -u $s -n 200 2>/dev/null || tail -n 200 /var/log/$s.log 2>/dev/null) | tail -c 60000; echo; done; \
         for p in {pods}; do [ -e /etc/kubernetes/manifests/$p.yaml ] || continue; \
         f=$(ls -t /var/log/pods/kube-system_${{p}}-*/*/*.log 2>/dev/null | head -n 1); n=$(ls -d /var/log/pods/kube-system_${{p}}-* 2>/dev/null | wc -l); \
         r=0; [ -n \"$f\" ] && r=${{f##*/}}; echo \"@@pod $p $n ${{r%.log}}\"; [ -n \"$f\" ] && tail -n 60 \"$f\" | tail -c 20000; echo; done; echo @@end",
        pods = PODS.join(" ")
    )
}

/// Asks a host what does not work there. That it cannot be asked is nothing to add to what failed.
pub fn ask(launch: &Launch, machine: &Machine) -> Vec<Cause> {
    let line = questions(&launch.options.service_manager, launch.runtime());
    match machine.run("ask what does not work", &line, Stdin::Empty, SHORT) {
        Ok(said) => first(machine.name(), &said.text()).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// The first unit of an answer that does not do its work.
pub fn first(host: &str, text: &str) -> Option<Cause> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("@@") {
            Some(head) => parts.push((head, Vec::new())),
            None => {
                if let Some((_, lines)) = parts.last_mut() {
                    lines.push(line);
                }
            }
        }
    }
    let cause = |unit: String, state: &str, said: Vec<String>| Cause {
        host: host.to_owned(),
        unit,
        state: state.to_owned(),
        said,
    };
    for (head, lines) in &parts {
        let mut words = head.split(' ');
        match (words.next(), words.next()) {
            (Some("unit"), Some(unit)) => {
                let active = words.next().unwrap_or_default();
                // kubelet without a configuration ends until kubeadm gives it one.
                if active != "active" {
                    let state = if active.is_empty() { "is not there".to_owned() } else { format!("is {active}") };
                    return Some(cause(unit.to_owned(), &printable(&state), failures(lines)));
                }
            }
            (Some("pod"), Some(pod)) => {
                let pods: u32 = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                let restarts: u32 = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                let lines: Vec<Cow<'_, str>> = lines.iter().map(|line| without_stamp(line)).collect();
                let said = failures(&lines.iter().map(AsRef::as_ref).collect::<Vec<_>>());
                let unit = format!("static pod {pod}");
                if pods == 0 {
                    return Some(cause(unit, "was never started: see what kubelet says", kubelet(&parts)));
                }
                if restarts > 0 && !said.is_empty() {
                    return Some(cause(unit, &format!("was started {} times", restarts + 1), said));
                }
            }
            _ => {}
        }
    }
    let said = kubelet(&parts);
    (!said.is_empty()).then(|| cause("kubelet".to_owned(), SAYS, said))
}

fn kubelet(parts: &[(&str, Vec<&str>)]) -> Vec<String> {
    let found = parts.iter().find(|(head, _)| head.starts_with("unit kubelet"));
    found.map(|(_, lines)| failures(lines)).unwrap_or_default()
}

/// `2026-11-26T20:00:00.0Z stderr F text`, as runtimes write logs, and `{"log":"text\n","stream":"stderr","time":"…"}`, as
/// Docker does.
fn without_stamp(line: &str) -> Cow<'_, str> {
    if line.starts_with('{')
        && let Ok(Value::Object(entry)) = serde_json::from_str(line)
        && let (Some(text), Some(_)) = (entry.get("log").and_then(Value::as_str), entry.get("stream"))
    {
        return Cow::Owned(text.trim_end_matches('\n').to_owned());
    }
    let mut parts = line.splitn(4, ' ');
    let (time, stream) = (parts.next().unwrap_or_default(), parts.next());
    match (stream, parts.next(), parts.next()) {
        (Some("stdout" | "stderr"), Some("F" | "P"), Some(text)) if time.contains('T') => Cow::Borrowed(text),
        _ => Cow::Borrowed(line),
    }
}

/// The last lines that sound like a failure, each once; the last ones at all where none does.
pub fn failures(lines: &[&str]) -> Vec<String> {
    let lines: Vec<&str> = lines.iter().copied().filter(|line| !line.trim().is_empty()).collect();
    // `E1126 20:00:00.1 1 file.go:1] words`
    let klog = |line: &str, levels: &[char]| {
        line.starts_with(levels) && line.get(1..5).is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()))
    };
    let sounds = |line: &&&str| {
        let lower = line.to_lowercase();
        klog(line, &['E', 'F'])
            || ["error", "fatal", "panic", "failed", "cannot", "not defined", "denied", "refused", "no such"]
                .iter()
                .any(|word| lower.contains(word))
    };
    let mut out: Vec<String> = Vec::new();
    // The same words at another time are said once.
    let words = |line: &str| match line.split_once("] ") {
        Some((_, words)) if klog(line, &['E', 'F', 'W', 'I']) => words.to_owned(),
        _ => line.to_owned(),
    };
    let mut seen = BTreeSet::new();
    for line in lines.iter().rev().filter(sounds) {
        let text: String = printable(line.trim_end()).chars().take(300).collect();
        if seen.insert(words(&text)) {
            out.push(text);
        }
        if out.len() == SAID {
            break;
        }
    }
    out.reverse();
    if out.is_empty() {
        let from = lines.len().saturating_sub(2);
        out = lines.get(from..).unwrap_or_default().iter().map(|line| printable(line)).collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_ends_again_and_again_is_named_before_kubelet_which_waits() {
        let text = "@@unit containerd active\nall well\n\n@@unit kubelet active\nE1126 20:00:00 1 kubelet.go:1] node \"a\" not found\n\n\
            @@pod etcd 1 3\n2026-11-26T20:00:00.1Z stderr F flag provided but not defined: -experimental-x\n2026-11-26T20:00:00.2Z stderr F Usage:\n\n\
            @@pod kube-apiserver 1 2\n2026-11-26T20:00:00.2Z stderr F connection refused\n\n@@end\n";
        let cause = first("h", text).unwrap();
        assert_eq!(
            cause.lines(),
            [
                "behind it: static pod etcd on h was started 4 times",
                "  | flag provided but not defined: -experimental-x"
            ]
        );
    }

    #[test]
    fn what_is_said_again_and_again_is_told_once() {
        let lines = [
            "E1126 20:00:00.1 1 a.go:1] no network",
            "[a] failed",
            "E1126 20:00:05.1 1 a.go:1] no network",
            "[b] failed",
        ];
        assert_eq!(failures(&lines), [lines[1], lines[2], lines[3]]);
    }

    #[test]
    fn what_docker_keeps_of_a_pods_output_is_read() {
        let text = "@@unit docker active\n@@unit kubelet active\n@@pod etcd 1 2\n\
            {\"log\":\"panic: \\u001b[31mno space\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-27T13:00:00Z\"}\n{\"log\": broken\n@@end\n";
        let cause = first("h", text).unwrap();
        assert_eq!((cause.unit.as_str(), cause.said.len()), ("static pod etcd", 1));
        assert!(cause.said[0].starts_with("panic: ") && !cause.said[0].contains('\x1b'), "{:?}", cause.said);
        assert_eq!(first("h", "@@unit docker failed\n").unwrap().unit, "docker");
    }

    #[test]
    fn a_runtime_that_is_down_is_first() {
        let text =
            "@@unit containerd failed\nlevel=fatal msg=\"\x1b[31mbad config\"\n\n@@unit kubelet active\n\n@@end\n";
        let cause = first("h", text).unwrap();
        assert_eq!((cause.unit.as_str(), cause.state.as_str()), ("containerd", "is failed"));
        assert!(cause.said[0].contains("bad config") && !cause.said[0].contains('\x1b'));
        let text =
            "@@unit containerd active\n@@unit kubelet active\nF1126 failed to run: swap\n@@pod etcd 0 0\n@@end\n";
        let cause = first("h", text).unwrap();
        assert_eq!(cause.unit, "static pod etcd");
        assert_eq!(cause.said, ["F1126 failed to run: swap"]);
        assert_eq!(first("h", "nonsense"), None);
    }

    #[test]
    fn the_questions_are_shell() {
        for runtime in [Runtime::Containerd, Runtime::Docker] {
            let line = questions("systemctl", runtime);
            assert!(line.starts_with(&format!("for s in {runtime} kubelet;")), "{line}");
            let output = std::process::Command::new("sh").arg("-n").arg("-c").arg(line).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
