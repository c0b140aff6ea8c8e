//! Kernel parameters that a node image must leave to whoever owns them.
//!
//! Alibaba Cloud's Container Service sets a table of parameters itself on every node and asks that images do not override
//! them. Setting one of them to what the owner sets it to changes nothing, and is allowed.
//!
//! A template says `sysctl_guard` (`ack`, or `none`) and `sysctl_allow`; images for Alibaba Cloud are guarded without being
//! asked. What `kiln-sysctl` would set is looked at before anything runs, what scripts wrote into files when they did.

use kiln_checks::System;
use kiln_checks::guard::{self, ACK, Breach, Protected};
use kiln_checks::read::sysctl::{canonical, same};
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;

use crate::error::{NodeError, Result};
use crate::target::Target;
use crate::ui::BuildUi;

/// Keys of any builder that are about it.
pub const KEYS: [&str; 2] = ["sysctl_guard", "sysctl_allow"];

/// The guard that a template wants.
///
/// # Errors
/// When there is none of the name, or it owns nothing that is called so.
pub fn of(build: &Build) -> Result<Guard> {
    let f = build.config.fields();
    let allowed = allowed(&f, "sysctl_allow")?;
    let wanted = f.string("sysctl_guard")?;
    let usual = if build.kind == "alicloud-ecs" { "ack" } else { "none" };
    named(&f, "sysctl_guard", wanted.as_deref().unwrap_or(usual), &allowed)
}

/// The guard `name`, which `key` gives.
///
/// # Errors
/// When there is none.
pub fn named(f: &Fields<'_>, key: &str, name: &str, allowed: &[String]) -> Result<Guard> {
    match name {
        "ack" => Ok(Guard::ack(allowed)),
        "none" => Ok(Guard::none()),
        other => {
            let fault = f.fault(key, "BadGuard", format!("there is no guard `{other}`"));
            Err(fault.suggest(other, ["ack", "none"]).into())
        }
    }
}

/// The parameters that `key` allows by name.
///
/// # Errors
/// When nobody owns one: it would allow nothing.
pub fn allowed(f: &Fields<'_>, key: &str) -> Result<Vec<String>> {
    let names: Vec<String> = f.strings(key)?.unwrap_or_default().iter().map(|name| normal(name)).collect();
    match names.iter().find(|name| !ACK.iter().any(|owned| owned.key == **name)) {
        None => Ok(names),
        Some(unknown) => {
            let fault = f.fault(key, "NotOwned", format!("nobody owns `{unknown}`, so it need not be allowed"));
            Err(fault.suggest(unknown, ACK.map(|owned| owned.key)).into())
        }
    }
}

/// Which parameters are protected.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    owned: Vec<Protected>,
}

impl Guard {
    /// Nothing is protected.
    pub fn none() -> Guard {
        Guard::default()
    }

    /// What ACK owns, without what is allowed by name.
    pub fn ack(allowed: &[String]) -> Guard {
        let owned = ACK.iter().filter(|o| !allowed.iter().any(|name| normal(name) == o.key));
        Guard { owned: owned.copied().collect() }
    }

    /// Whether nothing is protected.
    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Whether a parameter may be set to this value.
    ///
    /// # Errors
    /// When somebody else sets it to something else.
    pub fn check(&self, name: &str, value: &str) -> Result<()> {
        let name = normal(name);
        match self.owned.iter().find(|o| o.is_set_by(&name) && !same(o.value, value)) {
            None => Ok(()),
            Some(owned) => {
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(NodeError::Guarded { name, value, owner: owner(owned), owned: owned.value.to_owned() })
            }
        }
    }

    /// The lines of a system's own files that set a parameter to something else than its owner.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn breaches(&self, system: &dyn System) -> Result<Vec<Breach>> {
        let failed = |e: kiln_checks::LookError| NodeError::Unsupported { what: e.to_string(), hint: None };
        let mut found = guard::in_system(system, &self.owned, &[]).map_err(failed)?;
        found.retain(|breach| !breach.agrees());
        Ok(found)
    }

    /// Name, value and owner, a line each, for the `sysctl` of the offline builder.
    pub fn table(&self) -> String {
        self.owned.iter().map(|o| format!("{}\t{}\t{}\n", o.key, o.value, owner(o))).collect()
    }
}

/// A machine while provisioners change it, and what its files set before they did.
pub struct Watched {
    guard: Guard,
    before: Vec<Breach>,
}

impl Watched {
    /// Looks at it before the first provisioner. Nothing is watched where no guard is wanted, there is no machine, or the
    /// files are looked at after each step anyway.
    pub fn begin(guard: Guard, target: &mut dyn Target, ui: &BuildUi) -> Watched {
        if guard.is_empty() || target.is_offline() {
            return Watched { guard: Guard::none(), before: Vec::new() };
        }
        match found(&guard, target) {
            Ok(before) => Watched { guard, before },
            Err(error) => {
                ui.message(&format!("warning: kernel parameters of others are not guarded: {error}"));
                Watched { guard: Guard::none(), before: Vec::new() }
            }
        }
    }

    /// Looks at it again.
    ///
    /// # Errors
    /// When a file sets what another owns, and did not before.
    pub fn end(&self, target: &mut dyn Target) -> Result<()> {
        if self.guard.is_empty() {
            return Ok(());
        }
        refuse(&self.before, &found(&self.guard, target)?)
    }
}

fn found(guard: &Guard, target: &mut dyn Target) -> Result<Vec<Breach>> {
    let mut found = Vec::new();
    target.system(&mut |system| {
        found = guard.breaches(system)?;
        Ok(())
    })?;
    Ok(found)
}

/// Refuses the first line that was not there before, wherever in its file.
///
/// # Errors
/// When there is one.
pub fn refuse(before: &[Breach], now: &[Breach]) -> Result<()> {
    let key = |breach: &Breach| {
        let kiln_checks::read::sysctl::Setting { key, value, path, .. } = breach.setting.clone();
        (path, key, value)
    };
    match now.iter().find(|new| !before.iter().any(|old| key(old) == key(new))) {
        None => Ok(()),
        Some(new) => Err(NodeError::GuardedFile { name: new.protected.key.to_owned(), message: new.message() }),
    }
}

/// Who a parameter belongs to, and why an image has no say in it.
fn owner(owned: &Protected) -> String {
    format!("{} (it sets it on every node)", owned.owner)
}

/// A parameter's name with dots: `net/core/somaxconn` is the same, and so is one with a `-` before it in a file.
pub fn normal(name: &str) -> String {
    canonical(name.trim().trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owned_may_be_said_again_but_not_changed() {
        let guard = Guard::ack(&[]);
        assert!(guard.check("vm.swappiness", "0").is_ok());
        assert!(guard.check("net.ipv4.tcp_rmem", "4096\t12582912   16777216").is_ok());
        // A pattern sets all that it matches.
        assert!(guard.check("net.ipv4.conf.*.rp_filter", "2").is_err());
        assert!(guard.check("net.ipv4.conf.*.rp_filter", "0").is_ok());
        let error = guard.check("net/ipv4/ip_forward", "0").unwrap_err();
        assert!(error.to_string().contains("ACK"), "{error}");
        assert!(error.hint().unwrap().contains("\"allow\": [\"net.ipv4.ip_forward\"]"));
    }

    #[test]
    fn files_are_looked_through_and_packages_are_not_blamed() {
        let text = "net.core.somaxconn = 1024\nfs.file-max = 2097152\nvm.swappiness = 1\n";
        let system = kiln_checks::system::Memory::new()
            .file("/etc/sysctl.d/mine.conf", text)
            .file("/usr/lib/sysctl.d/50-default.conf", "net.ipv4.conf.default.rp_filter = 2\n");
        let found = Guard::ack(&[]).breaches(&system).unwrap();
        let error = refuse(&[], &found).unwrap_err();
        let told = "/etc/sysctl.d/mine.conf:1: sets net.core.somaxconn to 1024, which ACK owns and sets to 32768";
        assert_eq!((found.len(), error.to_string()), (1, told.to_owned()));
        assert!(error.hint().unwrap().contains("\"sysctl_allow\": [\"net.core.somaxconn\"]"));
        // What was there before is nobody's doing, wherever it has moved to in its file.
        let mut moved = found.clone();
        moved[0].setting.line = 7;
        refuse(&moved, &found).unwrap();
        assert!(Guard::ack(&["net.core.somaxconn".to_owned()]).breaches(&system).unwrap().is_empty());
    }

    #[test]
    fn an_exception_is_made_by_name() {
        let guard = Guard::ack(&["vm/max_map_count".to_owned()]);
        assert!(guard.check("vm.max_map_count", "65530").is_ok());
        assert!(guard.check("fs.file-max", "1").is_err());
        assert!(Guard::none().check("fs.file-max", "1").is_ok());
    }
}
