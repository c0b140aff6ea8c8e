//! `kiln-headers`: `version`, `packages`, `tools`, `build`, `btf`. What probes in the kernel need, sysdig's and Falco's.
//!
//! Probes that are modules are compiled on the node, against headers of exactly its kernel; those of another release are
//! refused by it. `build` compiles a module in the image as the proof. Modern probes need the kernel's own description of
//! its types instead (`btf`).

use kiln_checks::{Finding, Look, Verdict, test};
use kiln_packer::config::Config;

use super::{Image, Own};
use crate::error::{NodeError, Result};
use crate::provision::Stage;
use kiln_host::command::quote;

/// The provisioner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    own: Own,
    btf: bool,
}

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or a package is not there.
pub fn headers(config: &Config) -> Result<Headers> {
    let f = config.fields();
    let version = f.string("version")?.unwrap_or_default();
    let packages = f.strings("packages")?.unwrap_or_default();
    let tools = f.bool("tools")?.unwrap_or(true);
    let build = f.bool("build")?.unwrap_or(false);
    let btf = f.bool("btf")?.unwrap_or(false);
    let good = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-~".contains(&b));
    if !good(&version) || version.starts_with('-') {
        return Err(f.fault("version", "BadVersion", format!("`{version}` is no version of a kernel")).into());
    }
    let mut own = Own::new("Installing headers of the kernel", "");
    let mut words = Vec::new();
    for package in &packages {
        if package.contains('/') || package.ends_with(".rpm") || package.ends_with(".deb") {
            let path = std::path::Path::new(package);
            let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|n| n.to_str())) else {
                return Err(f.fault("packages", "NoPackage", format!("`{package}`: there is no such file")).into());
            };
            let to = format!("/tmp/kiln-headers/{name}");
            own.images.push((Image::Archive(package.clone()), to.clone()));
            words.push(quote(&to));
        } else if good(package) && !package.is_empty() && !package.starts_with('-') {
            words.push(quote(package));
        } else {
            return Err(f.fault("packages", "BadPackage", format!("`{package}` is no name of a package")).into());
        }
    }
    f.finish()?;
    own.script = script(&version, &words.join(" "), tools, build);
    Ok(Headers { own, btf })
}

impl Headers {
    /// What its script does, if that is all that it does.
    pub fn into_script(self) -> Option<Own> {
        (!self.btf).then_some(self.own)
    }

    /// Does it.
    ///
    /// # Errors
    /// When the headers cannot be had, do not fit the kernel, no module can be built with them, or the kernel lacks what
    /// was asked for.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        self.own.run(stage)?;
        if !self.btf {
            return Ok(());
        }
        let ui = stage.ui;
        stage.target.system(&mut |system| {
            let finding = test::kernel::btf(&Look::new(system)).unwrap_or_else(|e| Finding::unknown(e.to_string()));
            ui.message(&finding.reason);
            match finding.verdict {
                Verdict::Pass => Ok(()),
                _ => Err(NodeError::Unsupported {
                    what: format!("btf = true: {}", finding.reason),
                    hint: Some("use a kernel with CONFIG_DEBUG_INFO_BTF=y, or a probe that is a module".to_owned()),
                }),
            }
        })
    }
}

/// A module that uses what probes use: tracepoints, which it finds by the kernel's list of them.
const PROBE: &str = r"#include <linux/module.h>
#include <linux/tracepoint.h>
static void kiln_seen(struct tracepoint *tp, void *priv) { (*(unsigned int *)priv)++; }
static int __init kiln_init(void)
{
	unsigned int count = 0;
	for_each_kernel_tracepoint(kiln_seen, &count);
	return count ? 0 : -ENOENT;
}
static void __exit kiln_exit(void) { }
module_init(kiln_init);
module_exit(kiln_exit);
MODULE_LICENSE(\x22GPL\x22);
";

fn script(version: &str, packages: &str, tools: bool, build: bool) -> String {
    let probe = PROBE.replace("\\x22", "\"");
    let build = if build {
        format!(
            r#"mkdir -p /tmp/kiln-headers/probe
cat >/tmp/kiln-headers/probe/kiln_probe.c <<'KILN_PROBE'
{probe}KILN_PROBE
echo 'obj-m += kiln_probe.o' >/tmp/kiln-headers/probe/Makefile
make -C "/lib/modules/$wanted/build" M=/tmp/kiln-headers/probe modules
if ! grep -aq "vermagic=$wanted " /tmp/kiln-headers/probe/kiln_probe.ko; then
    echo "a module built with these headers is for another kernel than $wanted" >&2
    exit 1
fi
echo "a module for $wanted can be built"
"#
        )
    } else {
        String::new()
    };
    let (version, tools) = (quote(version), if tools { "gcc make" } else { "" });
    format!(
        r#"wanted={version}
if [ -z "$wanted" ]; then
    wanted=$(for dir in /lib/modules/*; do
        [ -d "$dir/kernel" ] || [ -f "$dir/modules.dep" ] || continue
        echo "${{dir##*/}}"
    done | sort -V | tail -n 1)
fi
if [ -z "$wanted" ]; then
    echo 'no kernel is installed whose headers these could be' >&2
    exit 1
fi
if [ ! -e "/lib/modules/$wanted/build/Makefile" ] || [ -n "{packages}" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update
        apt-get install -y --no-install-recommends {tools} {apt}
    elif command -v dnf >/dev/null 2>&1; then
        dnf install -y {tools} {yum}
    elif command -v yum >/dev/null 2>&1; then
        yum install -y {tools} {yum}
    else
        echo "there are no headers of $wanted, and no apt-get, dnf or yum to install them with" >&2
        exit 1
    fi
fi
if [ ! -e "/lib/modules/$wanted/build/Makefile" ]; then
    echo "what was installed are not the headers of $wanted: /lib/modules/$wanted/build leads nowhere" >&2
    exit 1
fi
{build}rm -rf /tmp/kiln-headers
echo "headers of $wanted are there"
"#,
        apt = if packages.is_empty() { "\"linux-headers-$wanted\"" } else { packages },
        yum = if packages.is_empty() { "\"kernel-devel-uname-r == $wanted\"" } else { packages },
    )
}
