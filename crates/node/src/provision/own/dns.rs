//! `kiln-dns`: `nameservers`, `search`, `options`, `upstreams` or `cloud`, `lock`.
//!
//! A node whose own name servers do not lead to its cloud's cannot reach the cloud's services. So the cloud's servers, given
//! by address or by the cloud's name, must be among the name servers. An image for Alibaba Cloud has its, unless `cloud` is
//! `none`: for servers that ask them themselves.

use std::net::IpAddr;

use kiln_packer::config::Config;

use super::Own;
use crate::error::Result;

/// Name servers that clouds have inside.
const CLOUDS: [(&str, &[&str]); 3] = [
    ("alicloud", &["100.100.2.136", "100.100.2.138"]),
    ("googlecompute", &["169.254.169.254"]),
    ("aws", &["169.254.169.253"]),
];

/// More name servers a resolver does not ask.
const MAX_SERVERS: usize = 3;

/// Reads a block.
///
/// # Errors
/// When it has mistakes, or leaves the cloud's name servers out.
pub fn dns(config: &Config) -> Result<Own> {
    let f = config.fields();
    let servers = f.strings("nameservers")?.unwrap_or_default();
    let search = f.strings("search")?.unwrap_or_default();
    let options = f.strings("options")?.unwrap_or_else(|| vec!["timeout:2".to_owned(), "attempts:3".to_owned()]);
    let mut upstreams = f.strings("upstreams")?.unwrap_or_default();
    let usual = (config.scope().setting().build_type == "alicloud-ecs").then(|| "alicloud".to_owned());
    // Addresses say it more exactly than a name.
    let cloud = f.string("cloud")?.or(usual.filter(|_| upstreams.is_empty())).filter(|cloud| cloud != "none");
    let lock = f.bool("lock")?.unwrap_or(true);
    if let Some(cloud) = &cloud {
        let Some((_, known)) = CLOUDS.iter().find(|(name, _)| name == cloud) else {
            let fault = f.fault("cloud", "UnknownCloud", format!("the name servers of `{cloud}` are not known"));
            return Err(fault.suggest(cloud, CLOUDS.map(|(name, _)| name).into_iter().chain(["none"])).into());
        };
        upstreams.extend(known.iter().map(|s| (*s).to_owned()));
    }
    if servers.is_empty() || servers.len() > MAX_SERVERS {
        let message = format!("nameservers must be 1 to {MAX_SERVERS} addresses: resolvers ask no more");
        return Err(f.fault("nameservers", "BadServers", message).into());
    }
    if let Some(bad) = servers.iter().chain(&upstreams).find(|s| s.parse::<IpAddr>().is_err()) {
        return Err(f.fault("nameservers", "BadServers", format!("`{bad}` is no address")).into());
    }
    if !upstreams.is_empty() && !upstreams.iter().any(|u| servers.contains(u)) {
        let message = format!("none of the cloud's name servers is among nameservers: {}", upstreams.join(", "));
        let hint = "add one of them; or, if these ask them, \"cloud\": \"none\"";
        return Err(f.fault("nameservers", "NoUpstream", message).hint(hint).into());
    }
    let plain = |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    if let Some(bad) = search.iter().chain(&options).find(|word| !plain(word)) {
        return Err(f.fault("options", "BadOption", format!("`{bad}` is no word of resolv.conf")).into());
    }
    f.finish()?;
    let mut text = String::new();
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    text.extend(servers.iter().map(|s| format!("nameserver {s}\n")));
    Ok(Own::new(format!("Setting name servers: {}", servers.join(", ")), script(&text, lock)))
}

/// The file itself, and everybody who would write it again told not to.
fn script(text: &str, lock: bool) -> String {
    let mut script = format!(
        r"if command -v chattr >/dev/null 2>&1; then chattr -i /etc/resolv.conf 2>/dev/null || true; fi
rm -f /etc/resolv.conf
cat >/etc/resolv.conf <<'END'
{text}END
chmod 644 /etc/resolv.conf
"
    );
    if lock {
        script += r"if [ -d /etc/cloud ]; then
    mkdir -p /etc/cloud/cloud.cfg.d
    printf 'manage_resolv_conf: false\n' >/etc/cloud/cloud.cfg.d/99-kiln-dns.cfg
fi
if [ -d /etc/NetworkManager ]; then
    mkdir -p /etc/NetworkManager/conf.d
    printf '[main]\ndns=none\n' >/etc/NetworkManager/conf.d/99-kiln-dns.conf
fi
if command -v chattr >/dev/null 2>&1; then
    chattr +i /etc/resolv.conf || echo 'the file system has no flag that locks /etc/resolv.conf' >&2
else
    echo 'there is no chattr to lock /etc/resolv.conf with' >&2
fi
";
    }
    script
}
