//! What only a host that runs can answer.

use regex::Regex;

use crate::read::lines;
use crate::system::Result;
use crate::{Finding, Look};

/// How a command ends.
pub(super) fn run(look: &Look<'_>, command: &[String], exit: i32, stdout: Option<&Regex>) -> Result<Finding> {
    let line = command.join(" ");
    let Some(live) = look.live() else { return Ok(Finding::skip(format!("`{line}` is for a running host"))) };
    let ran = live.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
    let said = ran.text();
    let first = said.lines().next().unwrap_or("").to_owned();
    if ran.code != exit {
        return Ok(Finding::fail(format!("`{line}` ends with {} and not with {exit}", ran.code)).at(line, first));
    }
    Ok(match stdout {
        Some(pattern) if !pattern.is_match(&said) => {
            Finding::fail(format!("`{line}` prints nothing like `{pattern}`")).at(line, first)
        }
        _ => Finding::pass(format!("`{line}` ends with {exit}")).at(line, first),
    })
}

/// The checks may look at everything.
pub fn root_rights(look: &Look<'_>) -> Result<Finding> {
    let Some(live) = look.live() else { return Ok(Finding::skip("only a running host has users that log in")) };
    let ran = live.run(&["id", "-u"])?;
    Ok(match ran.text().trim() {
        "0" => Finding::pass("the checks run as root"),
        "" => Finding::unknown("`id -u` says nothing"),
        other => Finding::fail(format!("the checks run as user {other} and not as root")),
    })
}

/// The name of the machine is one that Kubernetes takes for a node.
pub fn hostname(look: &Look<'_>) -> Result<Finding> {
    let path = if look.live().is_some() { "/proc/sys/kernel/hostname" } else { "/etc/hostname" };
    let name = lines::text(look.system, path)?.unwrap_or_default().trim().to_owned();
    if look.live().is_none() && (name.is_empty() || name == "localhost" || name == "localhost.localdomain") {
        return Ok(Finding::pass("the image has no name of its own: each machine gets one"));
    }
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let good = name.len() <= 253 && name.to_lowercase().split('.').all(label);
    Ok(match good {
        true => Finding::pass(format!("the name is {name}")),
        false => Finding::fail(format!("`{name}` is no name that a node may have")).at(path, name),
    })
}

/// There are as many processors as a control plane needs.
pub fn cpus(look: &Look<'_>) -> Result<Finding> {
    if look.live().is_none() {
        return Ok(Finding::skip("only a running host has processors"));
    }
    let text = lines::text(look.system, "/proc/cpuinfo")?.unwrap_or_default();
    Ok(match text.lines().filter(|line| line.starts_with("processor")).count() {
        0 => Finding::unknown("/proc/cpuinfo does not say how many processors there are"),
        1 => Finding::fail("1 processor, and a control plane needs 2"),
        n => Finding::when(n >= 2, format!("{n} processors, and a control plane needs 2")),
    })
}

/// There is as much memory as a control plane needs.
pub fn memory(look: &Look<'_>) -> Result<Finding> {
    /// In MB of a million bytes, as kubeadm counts.
    const WANTED: u64 = 1700;
    if look.live().is_none() {
        return Ok(Finding::skip("only a running host has memory"));
    }
    let text = lines::text(look.system, "/proc/meminfo")?.unwrap_or_default();
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(match total.map(|kib| kib * 1024 / 1_000_000) {
        None => Finding::unknown("/proc/meminfo does not say how much memory there is"),
        Some(mb) => Finding::when(mb >= WANTED, format!("{mb} MB of memory, and a control plane needs {WANTED}")),
    })
}

/// A time zone was chosen.
pub fn timezone(look: &Look<'_>) -> Result<Finding> {
    use crate::system::Kind;
    let link = look.system.stat("/etc/localtime", false)?;
    let zone = match link.map(|stat| stat.kind) {
        Some(Kind::Link(target)) => target.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned()),
        Some(_) => lines::text(look.system, "/etc/timezone")?.map(|text| text.trim().to_owned()),
        None => None,
    };
    Ok(match zone {
        Some(zone) => Finding::pass(format!("the time zone is {zone}")).at("/etc/localtime", zone),
        None => Finding::fail("no time zone is set").hint("ln -sf /usr/share/zoneinfo/Asia/Shanghai /etc/localtime"),
    })
}
