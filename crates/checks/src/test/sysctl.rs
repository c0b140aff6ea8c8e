//! Kernel parameters.

use crate::guard::{self, ACK, Breach};
use crate::read::lines;
use crate::read::sysctl::{proc_path, same};
use crate::system::Result;
use crate::{Finding, Look};

/// A parameter has one of some values: in a kernel that runs, and, always, in what files set for the next boot.
pub(super) fn value(look: &Look<'_>, key: &str, values: &[String], default: Option<&str>) -> Result<Finding> {
    let wanted = values.join(" or ");
    let good = |value: &str| values.iter().any(|wanted| same(wanted, value));
    if look.live().is_some() {
        let path = proc_path(key);
        return Ok(match lines::text(look.system, &path)? {
            Some(value) => {
                Finding::when(good(&value), is(key, value.trim(), good(&value), &wanted)).at(path, value.trim())
            }
            None if default.is_some() => Finding::pass(format!("this kernel has no {key}")),
            None => Finding::fail(format!("this kernel has no {key}")).hint("load the module that has it"),
        });
    }
    Ok(match look.sysctl()?.effective(key) {
        Some(setting) => {
            let value = setting.value.as_deref().unwrap_or("");
            Finding::when(good(value), is(key, value, good(value), &wanted))
                .at(setting.place(), format!("{key} = {value}"))
        }
        None => match default {
            Some(default) => {
                Finding::when(good(default), format!("no file sets {key}, and the kernel's own value is {default}"))
            }
            None => Finding::fail(format!("no file sets {key}")),
        },
    })
}

fn is(key: &str, value: &str, good: bool, wanted: &str) -> String {
    match good {
        true => format!("{key} is {value}"),
        false => format!("{key} is {value} and not {wanted}"),
    }
}

/// No file of the image sets a parameter that the platform owns to something else. Saying what the platform says changes
/// nothing, and other profiles want some of it.
pub fn protected(look: &Look<'_>) -> Result<Finding> {
    let (same, other): (Vec<Breach>, Vec<Breach>) =
        guard::in_system(look.system, &ACK, &[])?.into_iter().partition(Breach::agrees);
    let finding = match &other[..] {
        [] if same.is_empty() => Finding::pass("no file sets a parameter that ACK owns"),
        [] => Finding::pass("what files set of ACK's parameters is what ACK sets"),
        [one] => Finding::fail(format!("{} is set, which {} owns", one.protected.key, one.protected.owner)),
        [first, ..] => {
            Finding::fail(format!("{} lines set parameters that {} owns", other.len(), first.protected.owner))
        }
    };
    Ok(other.iter().chain(&same).fold(finding, |finding, breach| {
        let note = if breach.agrees() { "to the same value" } else { "to another value than the platform" };
        let value = breach.setting.value.as_deref().unwrap_or("");
        finding.at(breach.setting.place(), format!("{} = {value}, {note}", breach.setting.key))
    }))
}

/// What ACK owns is as ACK sets it, or is not set at all.
pub fn protected_values(look: &Look<'_>) -> Result<Finding> {
    let settings = look.sysctl()?;
    let mut finding = Finding::pass("no file gives a parameter that ACK owns another value");
    for protected in ACK {
        let Some(setting) = settings.effective(protected.key) else { continue };
        let value = setting.value.as_deref().unwrap_or("");
        if !same(value, protected.value) {
            if finding.verdict == crate::Verdict::Pass {
                finding = Finding::fail("parameters that ACK owns have other values than ACK gives them");
            }
            finding =
                finding.at(setting.place(), format!("{} = {value}, and ACK sets {}", protected.key, protected.value));
        }
    }
    Ok(finding)
}
