//! `kiln-timezone`: `zone`.

use kiln_packer::config::Config;

use super::Own;
use crate::error::Result;
use kiln_host::command::quote;

/// Reads a block.
///
/// # Errors
/// When it has mistakes.
pub fn timezone(config: &Config) -> Result<Own> {
    let f = config.fields();
    let zone = f.required("zone")?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
    if zone.starts_with('/') || !zone.bytes().all(good) {
        let fault = f.fault("zone", "BadZone", format!("`{zone}` is no time zone"));
        return Err(fault.hint("zones are named as in /usr/share/zoneinfo: Asia/Shanghai, UTC").into());
    }
    f.finish()?;
    let script = format!(
        r#"zone={}
if [ ! -f "/usr/share/zoneinfo/$zone" ]; then
    echo "there is no time zone $zone in /usr/share/zoneinfo: is tzdata installed?" >&2
    exit 1
fi
ln -sfn "../usr/share/zoneinfo/$zone" /etc/localtime
if [ -f /etc/timezone ] || [ -f /etc/debian_version ]; then printf '%s\n' "$zone" >/etc/timezone; fi
"#,
        quote(&zone)
    );
    Ok(Own::new(format!("Setting the time zone to {zone}"), script))
}
