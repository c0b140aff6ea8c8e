//! Services, and the program that starts them.

use crate::read::unit::{self, Enablement};
use crate::system::Result;
use crate::{Finding, Look};

/// A service starts at boot, or does not; and runs, or does not, where that can be asked.
pub(super) fn service(look: &Look<'_>, name: &str, enabled: Option<bool>, running: Option<bool>) -> Result<Finding> {
    let full = unit::full(name);
    let mut finding = Finding::pass(format!("{full} is as it must be"));
    if let Some(wanted) = enabled {
        finding = enablement(look, &full, wanted)?;
    }
    let (Some(wanted), Some(live)) = (running, look.live()) else { return Ok(finding) };
    if finding.verdict != crate::Verdict::Pass {
        return Ok(finding);
    }
    if unit::enablement(look.system, &full)? == Enablement::Missing {
        return Ok(Finding::when(!wanted, format!("there is no {full}")));
    }
    let ran = live.run(&["systemctl", "is-active", &full])?;
    let state = ran.text().trim().to_owned();
    if ran.code == 127 || state.is_empty() {
        return Ok(Finding::unknown("there is no systemctl that says whether it runs"));
    }
    Ok(match (state == "active") == wanted {
        true => Finding::pass(format!("{}, and is {state}", finding.reason)),
        false => Finding::fail(format!("{full} is {state}")),
    })
}

fn enablement(look: &Look<'_>, full: &str, wanted: bool) -> Result<Finding> {
    let state = unit::enablement(look.system, full)?;
    Ok(match state {
        Enablement::Enabled(link) => Finding::when(wanted, format!("{full} starts at boot")).at(link, "pulls it in"),
        Enablement::Missing => Finding::when(!wanted, format!("there is no {full}")).hint("install its package"),
        Enablement::Masked(path) => Finding::when(!wanted, format!("{full} is masked")).at(path, "masks it"),
        Enablement::Disabled => {
            Finding::when(!wanted, format!("{full} does not start at boot")).hint(format!("systemctl enable {full}"))
        }
        Enablement::Static => Finding::when(!wanted, format!("{full} is started by others only")),
    })
}

/// systemd is at least of a version.
pub(super) fn systemd(look: &Look<'_>, wanted: u32) -> Result<Finding> {
    let Some((version, place)) = version(look)? else {
        return Ok(match look.command("systemctl")? {
            Some(path) => Finding::unknown(format!("{path} is there, and nothing says which version of systemd it is")),
            None => Finding::fail("there is no systemd"),
        });
    };
    Ok(Finding::when(version >= wanted, format!("systemd is of version {version}")).at(place, version.to_string()))
}

/// The version of systemd: as it says itself, as its package says, or as its library is called.
fn version(look: &Look<'_>) -> Result<Option<(u32, String)>> {
    let leading = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    if let Some(live) = look.live() {
        let ran = live.run(&["systemctl", "--version"])?;
        let text = ran.text();
        if let Some(version) = text.split_whitespace().nth(1).and_then(leading) {
            return Ok(Some((version, "systemctl --version".to_owned())));
        }
    }
    if let Ok(packages) = look.packages()
        && let Some(package) = packages.named("systemd").next()
    {
        // An epoch is in front of the version.
        let plain = package.version.split_once(':').map_or(package.version.as_str(), |(_, rest)| rest);
        if let Some(version) = leading(plain) {
            return Ok(Some((version, packages.path.clone())));
        }
    }
    const DIRS: [&str; 5] = [
        "/usr/lib/systemd",
        "/lib/systemd",
        "/usr/lib64/systemd",
        "/usr/lib/x86_64-linux-gnu/systemd",
        "/usr/lib/aarch64-linux-gnu/systemd",
    ];
    for dir in DIRS {
        for name in look.system.list(dir)?.unwrap_or_default() {
            if let Some(version) = name.strip_prefix("libsystemd-shared-").and_then(leading) {
                return Ok(Some((version, format!("{dir}/{name}"))));
            }
        }
    }
    Ok(None)
}

/// One service keeps the time, and only one.
pub fn time_sync(look: &Look<'_>) -> Result<Finding> {
    const NAMES: [&str; 8] = ["chronyd", "chrony", "ntpd", "ntp", "ntpsec", "openntpd", "systemd-timesyncd", "phc2sys"];
    let mut found: Vec<(String, String)> = Vec::new();
    for name in NAMES {
        if let Enablement::Enabled(link) = unit::enablement(look.system, name)? {
            // Debian's chrony is chronyd by an alias: one service.
            if !found.iter().any(|(other, _)| other.starts_with("chrony") && name.starts_with("chrony")) {
                found.push((name.to_owned(), link));
            }
        }
    }
    let finding = match &found[..] {
        [] => Finding::fail("no service that keeps the time starts at boot"),
        [(name, _)] => Finding::pass(format!("{name} keeps the time")),
        _ => Finding::fail("several services that keep the time start at boot, and work against each other"),
    };
    Ok(found.into_iter().fold(finding, |finding, (name, link)| finding.at(link, name)))
}

/// Nothing installs updates on its own.
pub fn no_auto_update(look: &Look<'_>) -> Result<Finding> {
    const NAMES: [&str; 6] = [
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "unattended-upgrades",
        "dnf-automatic.timer",
        "dnf-automatic-install.timer",
        "yum-cron",
    ];
    let mut finding = Finding::pass("nothing installs updates on its own");
    for name in NAMES {
        if let Enablement::Enabled(link) = unit::enablement(look.system, name)? {
            if finding.verdict == crate::Verdict::Pass {
                finding = Finding::fail("updates are installed at times that nobody chose");
            }
            finding = finding.at(link, name);
        }
    }
    Ok(finding)
}
