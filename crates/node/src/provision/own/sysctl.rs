//! `kiln-sysctl`: `settings`, `file`, `guard` (`ack` or `none`), `allow`.

use kiln_packer::config::Config;

use super::Own;
use crate::error::{NodeError, Result};
use crate::guard::{self, normal};

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or sets a parameter that somebody else owns.
pub fn sysctl(config: &Config) -> Result<Own> {
    let f = config.fields();
    let settings = f.map("settings")?.unwrap_or_default();
    let file = f.string("file")?.unwrap_or_else(|| "/etc/sysctl.d/99-kiln.conf".to_owned());
    let guard = f.string("guard")?.unwrap_or_else(|| "ack".to_owned());
    let allow = guard::allowed(&f, "allow")?;
    if settings.is_empty() {
        return Err(f.fault("settings", "NoSettings", "kiln-sysctl has no settings").into());
    }
    if !file.starts_with("/etc/sysctl.d/") || !file.ends_with(".conf") || file.contains("..") {
        let fault = f.fault("file", "BadFile", format!("`{file}` is not read when a machine starts"));
        return Err(fault.hint("it must be /etc/sysctl.d/NAME.conf").into());
    }
    let guard = guard::named(&f, "guard", &guard, &allow)?;
    let mut text = String::new();
    for (name, value) in &settings {
        let key = normal(name);
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/*".contains(&b);
        if !key.contains('.') || !key.bytes().all(good) || value.contains(['\n', '\r']) {
            let message = format!("`{name}` is no kernel parameter with a value of one line");
            return Err(f.fault("settings", "BadSetting", message).into());
        }
        if let Err(guarded @ NodeError::Guarded { .. }) = guard.check(&key, value) {
            let fault = f.fault("settings", "GuardedSetting", guarded.to_string());
            return Err(match guarded.hint() {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
            .into());
        }
        text += &format!("{key} = {value}\n");
    }
    f.finish()?;
    let mut own = Own::new(format!("Setting {} kernel parameter(s) in {file}", settings.len()), "");
    own.files.push((text.into_bytes(), file));
    Ok(own)
}
