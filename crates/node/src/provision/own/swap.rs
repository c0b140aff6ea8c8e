//! `kiln-swap`: no keys; swap is off, now and at every start.

use kiln_packer::config::Config;

use super::Own;
use crate::error::Result;

/// Lines of fstab become remarks, units and generators are masked: swap also comes from partitions and from zram.
const SCRIPT: &str = r#"if command -v swapoff >/dev/null 2>&1; then swapoff -a || true; fi
if [ -f /etc/fstab ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        set -f
        set -- $line
        set +f
        case ${1-} in
        '' | '#'*) printf '%s\n' "$line" ;;
        *)
            if [ "${3-}" = swap ]; then
                printf '# no swap on nodes: %s\n' "$line"
                case $1 in /swap*) rm -f "$1" ;; esac
            else
                printf '%s\n' "$line"
            fi
            ;;
        esac
    done </etc/fstab >/etc/fstab.kiln
    cat /etc/fstab.kiln >/etc/fstab
    rm -f /etc/fstab.kiln
fi
if [ -d /etc/systemd ]; then
    mkdir -p /etc/systemd/system
    ln -sfn /dev/null /etc/systemd/system/swap.target
    for unit in /etc/systemd/system/*.swap; do
        [ -e "$unit" ] || continue
        rm -f "$unit"
        ln -s /dev/null "$unit"
    done
    : >/etc/systemd/zram-generator.conf
fi
"#;

/// Reads a block.
///
/// # Errors
/// When it has mistakes.
pub fn swap(config: &Config) -> Result<Own> {
    config.fields().finish()?;
    Ok(Own::new("Turning swap off", SCRIPT))
}
