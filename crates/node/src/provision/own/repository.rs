//! `kiln-repository`: `kind` (`apt` or `yum`), `id`, `url`, `suites`, `components`, `key`, `gpgcheck`, `replace`.

use kiln_packer::config::Config;
use kiln_packer::fields::Fields;

use super::Own;
use crate::error::{NodeError, Result};
use kiln_host::command::quote;

/// As large a key may be.
const MAX_KEY: u64 = 1 << 20;

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or the key is not there.
pub fn repository(config: &Config) -> Result<Own> {
    let f = config.fields();
    let (kind, name, url) = (f.required("kind")?, f.required("id")?, f.required("url")?);
    let replace = f.bool("replace")?.unwrap_or(false);
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if !name.bytes().all(good) {
        return Err(f.fault("id", "BadName", format!("`{name}` cannot be the name of a repository's file")).into());
    }
    if url.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) || !url.contains("://") {
        return Err(f.fault("url", "BadUrl", format!("`{url}` is no URL")).into());
    }
    let key = f.string("key")?.filter(|key| !key.is_empty()).map(|path| read_key(&path)).transpose()?;
    let own = match &*kind {
        "apt" => apt(&f, &name, &url, key, replace)?,
        "yum" => yum(&f, &name, &url, key, replace)?,
        other => {
            let fault = f.fault("kind", "BadKind", format!("there is no kind of repository `{other}`"));
            return Err(fault.suggest(other, ["apt", "yum"]).into());
        }
    };
    f.finish()?;
    Ok(own)
}

fn read_key(path: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |e| NodeError::file("read the key", path)(e);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_KEY).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn words(f: &Fields<'_>, key: &str) -> Result<Vec<String>> {
    let words = f.strings(key)?.unwrap_or_default();
    match words.iter().find(|w| w.is_empty() || !w.bytes().all(|b| b.is_ascii_graphic())) {
        Some(bad) => Err(f.fault(key, "BadWord", format!("`{bad}` cannot be one of {key}")).into()),
        None => Ok(words),
    }
}

fn apt(f: &Fields<'_>, name: &str, url: &str, key: Option<Vec<u8>>, replace: bool) -> Result<Own> {
    let (suites, components) = (words(f, "suites")?, words(f, "components")?);
    if suites.is_empty() {
        return Err(f.missing("suites").into());
    }
    let mut text = format!("Types: deb\nURIs: {url}\nSuites: {}\n", suites.join(" "));
    if !components.is_empty() {
        text += &format!("Components: {}\n", components.join(" "));
    }
    let mut own = Own::new(format!("Adding the apt repository {name}"), "");
    if let Some(key) = key {
        let armored = key.starts_with(b"-----BEGIN PGP");
        let path = format!("/etc/apt/keyrings/{name}.{}", if armored { "asc" } else { "gpg" });
        text += &format!("Signed-By: {path}\n");
        own.files.push((key, path));
    }
    let path = format!("/etc/apt/sources.list.d/{name}.sources");
    own.files.push((text.into_bytes(), path.clone()));
    if replace {
        own.script = format!(
            "for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do\n    \
             [ -f \"$file\" ] && [ \"$file\" != {path} ] || continue\n    rm -f \"$file\"\ndone\n"
        );
    }
    Ok(own)
}

fn yum(f: &Fields<'_>, name: &str, url: &str, key: Option<Vec<u8>>, replace: bool) -> Result<Own> {
    let check = f.bool("gpgcheck")?.unwrap_or(true);
    if check && key.is_none() {
        let fault = f.fault("gpgcheck", "NoKey", "packages are to be checked with a key, and none is given");
        return Err(fault.hint("name the repository's public key: \"key\": \"FILE\"").into());
    }
    let mut text = format!("[{name}]\nname={name}\nbaseurl={url}\nenabled=1\ngpgcheck={}\n", u8::from(check));
    let mut own = Own::new(format!("Adding the yum repository {name}"), "");
    if let Some(key) = key {
        let path = format!("/etc/pki/rpm-gpg/RPM-GPG-KEY-{name}");
        text += &format!("gpgkey=file://{path}\n");
        own.files.push((key, path.clone()));
        own.script = format!("if command -v rpm >/dev/null 2>&1; then rpm --import {}; fi\n", quote(&path));
    }
    let path = format!("/etc/yum.repos.d/{name}.repo");
    own.files.push((text.into_bytes(), path.clone()));
    if replace {
        own.script += &format!(
            "for file in /etc/yum.repos.d/*.repo; do\n    [ -f \"$file\" ] && [ \"$file\" != {path} ] || continue\n    \
             rm -f \"$file\"\ndone\n"
        );
    }
    Ok(own)
}
