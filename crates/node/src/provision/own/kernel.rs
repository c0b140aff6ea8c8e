//! `kiln-kernel`: `packages` (names, or files here), `version`, `minimum`.

use kiln_packer::config::Config;

use super::{Image, Own};
use crate::error::Result;
use kiln_host::command::quote;

/// The oldest kernel that nodes may have unless the block says another.
const FLOOR: &str = "3.10";

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or a package is not there.
pub fn kernel(config: &Config) -> Result<Own> {
    let f = config.fields();
    let packages = f.strings("packages")?.unwrap_or_default();
    let version = f.string("version")?.filter(|v| !v.is_empty());
    let minimum = f.string("minimum")?.unwrap_or_else(|| FLOOR.to_owned());
    let good =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-~".contains(&b));
    if let Some(bad) = version.iter().chain([&minimum]).find(|v| !good(v)) {
        return Err(f.fault("version", "BadVersion", format!("`{bad}` is no version of a kernel")).into());
    }
    if packages.is_empty() && version.is_none() {
        let fault = f.fault("packages", "NoKernel", "kiln-kernel names neither packages nor a version");
        return Err(fault.hint("\"version\" alone chooses among the kernels that are installed").into());
    }
    let mut own = Own::new("Installing the kernel", "");
    let (mut files, mut names) = (Vec::new(), Vec::new());
    for package in &packages {
        if package.contains('/') || package.ends_with(".rpm") || package.ends_with(".deb") {
            let path = std::path::Path::new(package);
            let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|n| n.to_str())) else {
                return Err(f.fault("packages", "NoPackage", format!("`{package}`: there is no such file")).into());
            };
            let to = format!("/tmp/kiln-kernel/{name}");
            // An archive is any file that is uploaded as it is.
            own.images.push((Image::Archive(package.clone()), to.clone()));
            files.push(quote(&to));
        } else if good(package) && !package.starts_with('-') {
            names.push(quote(package));
        } else {
            return Err(f.fault("packages", "BadPackage", format!("`{package}` is no name of a package")).into());
        }
    }
    f.finish()?;
    own.script = script(&files.join(" "), &names.join(" "), version.as_deref().unwrap_or(""), &minimum);
    Ok(own)
}

fn script(files: &str, names: &str, version: &str, minimum: &str) -> String {
    let (version, minimum) = (quote(version), quote(minimum));
    format!(
        r#"if [ -n "{files}{names}" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        [ -z "{names}" ] || apt-get update
        apt-get install -y --no-install-recommends {files} {names}
    elif command -v dnf >/dev/null 2>&1; then
        dnf install -y {files} {names}
    elif command -v yum >/dev/null 2>&1; then
        yum install -y {files} {names}
    else
        echo 'there is no apt-get, dnf or yum to install a kernel with' >&2
        exit 1
    fi
    rm -rf /tmp/kiln-kernel
fi
kernels=
for dir in /lib/modules/*; do
    [ -d "$dir/kernel" ] || [ -f "$dir/modules.dep" ] || continue
    kernels="$kernels${{dir##*/}}
"
done
newest=$(printf '%s' "$kernels" | sort -V | tail -n 1)
wanted={version}
[ -n "$wanted" ] || wanted=$newest
case "
$kernels" in
*"
$wanted
"*) ;;
*)
    echo "the kernel $wanted is not installed; there are: $(printf '%s' "$kernels" | tr '\n' ' ')" >&2
    exit 1
    ;;
esac
oldest=$(printf '%s\n%s\n' "$wanted" {minimum} | sort -V | head -n 1)
if [ "$oldest" != {minimum} ]; then
    echo "the kernel $wanted is older than {minimum}" >&2
    exit 1
fi
if command -v grubby >/dev/null 2>&1 && [ -f "/boot/vmlinuz-$wanted" ]; then
    grubby --set-default "/boot/vmlinuz-$wanted"
elif [ "$wanted" != "$newest" ] || [ -L /vmlinuz ]; then
    for name in vmlinuz initrd.img; do
        [ -f "/boot/$name-$wanted" ] || continue
        ln -sfn "boot/$name-$wanted" "/$name"
    done
fi
if [ "$wanted" != "$newest" ] && [ -d /etc/default ] && [ -f /etc/debian_version ]; then
    mkdir -p /etc/default/grub.d
    printf 'GRUB_DEFAULT="gnulinux-advanced-$(grub-probe -t fs_uuid /)>gnulinux-%s-advanced-$(grub-probe -t fs_uuid /)"\n' \
        "$wanted" >/etc/default/grub.d/50-kiln-kernel.cfg
fi
echo "kernel $wanted boots"
"#
    )
}
