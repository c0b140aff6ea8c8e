//! What must not stay in an image: identities, traces, secrets.

use crate::read::unit::{self, Enablement};
use crate::read::{cloud, lines};
use crate::system::{Kind, Result, Stat, System};
use crate::{Finding, Look, Verdict};

/// Pass, unless something is found; then fail for `why`, with every place.
fn none_of(found: Vec<(String, String)>, good: &str, why: &str) -> Finding {
    match found.is_empty() {
        true => Finding::pass(good),
        false => found.into_iter().fold(Finding::fail(why), |finding, (place, text)| finding.at(place, text)),
    }
}

/// A running host has what an image must not have.
fn of_image(look: &Look<'_>, finding: Finding) -> Finding {
    match (finding.verdict, look.live()) {
        (Verdict::Fail, Some(_)) => Finding::skip("a running host has this; it matters for images"),
        _ => finding,
    }
}

/// The machine's id is empty: there, so that the next boot does not count as the very first, and with nothing in it.
pub fn machine_id(look: &Look<'_>) -> Result<Finding> {
    const PATH: &str = "/etc/machine-id";
    let finding = match lines::text(look.system, PATH)? {
        Some(text) if text.trim().is_empty() || text.trim() == "uninitialized" => Finding::pass("machine-id is empty"),
        Some(text) => Finding::fail("machine-id has a value, which all machines would share").at(PATH, text.trim()),
        None => Finding::fail("machine-id is not there: the next boot counts as the first, and applies presets")
            .hint(": > /etc/machine-id"),
    };
    let dbus = "/var/lib/dbus/machine-id";
    let copy = match look.system.stat(dbus, false)?.map(|stat| stat.kind) {
        Some(Kind::File) => lines::text(look.system, dbus)?.filter(|text| !text.trim().is_empty()),
        _ => None,
    };
    let finding = match copy {
        Some(text) if finding.verdict == Verdict::Pass => {
            Finding::fail("D-Bus has an id of its own, which all machines would share")
                .at(dbus, text.trim())
                .hint("ln -sf /etc/machine-id /var/lib/dbus/machine-id")
        }
        _ => finding,
    };
    Ok(of_image(look, finding))
}

/// Nobody may log in with a key of whoever made the image.
pub fn authorized_keys(look: &Look<'_>) -> Result<Finding> {
    let mut found = Vec::new();
    for home in homes(look.system)? {
        for name in ["authorized_keys", "authorized_keys2"] {
            let path = format!("{home}/.ssh/{name}");
            let Some(text) = lines::text(look.system, &path)? else { continue };
            if let Some((line, key)) = lines::meaningful(&text, &['#']).next() {
                let comment = key.split_whitespace().last().unwrap_or("");
                found.push((lines::place(&path, line), format!("a key ({comment})")));
            }
        }
    }
    Ok(of_image(look, none_of(found, "nobody has an authorized key", "keys of whoever made the image let them in")))
}

/// Home directories: those of users, and what else is in /home.
fn homes(system: &dyn System) -> Result<Vec<String>> {
    let text = lines::text(system, "/etc/passwd")?.unwrap_or_default();
    let mut homes = vec!["/root".to_owned()];
    for line in text.lines().take(10_000) {
        if let Some(home) = line.split(':').nth(5).filter(|home| home.len() > 1 && home.starts_with('/')) {
            homes.push(home.trim_end_matches('/').to_owned());
        }
    }
    for name in system.list("/home")?.unwrap_or_default() {
        homes.push(format!("/home/{name}"));
    }
    homes.sort_unstable();
    homes.dedup();
    Ok(homes)
}

/// No shell remembers what was typed while the image was made.
pub fn history(look: &Look<'_>) -> Result<Finding> {
    const NAMES: [&str; 8] = [
        ".bash_history",
        ".zsh_history",
        ".ash_history",
        ".sh_history",
        ".python_history",
        ".mysql_history",
        ".psql_history",
        ".viminfo",
    ];
    let mut found = Vec::new();
    for home in homes(look.system)? {
        for name in NAMES {
            let path = format!("{home}/{name}");
            match look.system.stat(&path, false)? {
                Some(stat) if stat.kind == Kind::File && stat.size > 0 => {
                    found.push((path, format!("{} bytes", stat.size)));
                }
                _ => {}
            }
        }
    }
    Ok(of_image(look, none_of(found, "no shell remembers anything", "what was typed is still there")))
}

/// Each machine gets its own seed for random numbers.
pub fn random_seed(look: &Look<'_>) -> Result<Finding> {
    let mut found = Vec::new();
    for path in ["/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/boot/efi/loader/random-seed"] {
        if look.system.stat(path, false)?.is_some() {
            found.push((path.to_owned(), "is there".to_owned()));
        }
    }
    Ok(of_image(look, none_of(found, "no seed for random numbers is in the image", "all machines would share a seed")))
}

/// Logs are short.
pub fn logs(look: &Look<'_>) -> Result<Finding> {
    const MAX: u64 = 200 << 20;
    let mut size = 0_u64;
    let mut largest: Option<(u64, String)> = None;
    let walk = look.system.walk("/var/log")?;
    for (path, stat) in walk.found.into_iter().filter(|(_, stat)| stat.kind == Kind::File) {
        size = size.saturating_add(stat.size);
        if largest.as_ref().is_none_or(|(most, _)| stat.size > *most) {
            largest = Some((stat.size, path));
        }
    }
    let finding = Finding::when(size <= MAX, format!("/var/log has {} MiB, and 200 are enough", size >> 20));
    let finding = match largest {
        Some((size, path)) if finding.verdict == Verdict::Fail => finding.at(path, format!("{} MiB", size >> 20)),
        _ => finding,
    };
    Ok(if walk.whole || finding.verdict == Verdict::Fail { finding } else { Finding::unknown(TOO_MANY) })
}

const TOO_MANY: &str = "there are more files than are looked at";

/// No dumps of programs that crashed are left.
pub fn cores(look: &Look<'_>) -> Result<Finding> {
    let mut found = Vec::new();
    for dir in ["/var/crash", "/var/lib/systemd/coredump"] {
        for name in look.system.list(dir)?.unwrap_or_default().into_iter().take(100) {
            found.push((format!("{dir}/{name}"), "is there".to_owned()));
        }
    }
    for dir in ["/", "/tmp", "/var/tmp", "/root"] {
        for name in look.system.list(dir)?.unwrap_or_default() {
            let is_core = name == "core" || name.strip_prefix("core.").is_some_and(|n| n.parse::<u32>().is_ok());
            let path = format!("{}/{name}", dir.trim_end_matches('/'));
            if is_core && look.system.stat(&path, false)?.is_some_and(|stat| stat.kind == Kind::File) {
                found.push((path, "is there".to_owned()));
            }
        }
    }
    Ok(none_of(found, "no dumps of crashed programs are there", "dumps of crashed programs are left"))
}

/// cloud-init will take the next boot for the first, with nothing left of an earlier one.
pub fn cloud_clean(look: &Look<'_>) -> Result<Finding> {
    let mut found: Vec<(String, String)> =
        cloud::remains(look.system)?.into_iter().map(|path| (path, "is left of an earlier boot".to_owned())).collect();
    if look.system.stat(cloud::DISABLED, false)?.is_some() {
        found.push((cloud::DISABLED.to_owned(), "turns cloud-init off".to_owned()));
    }
    Ok(of_image(look, none_of(found, "nothing is left of an earlier boot", "cloud-init would not start afresh")))
}

/// cloud-init knows where its data comes from, instead of trying every cloud there is.
pub fn cloud_sources(look: &Look<'_>) -> Result<Finding> {
    if look.command("cloud-init")?.is_none() {
        return Ok(Finding::skip("there is no cloud-init"));
    }
    Ok(match cloud::sources(look.system)? {
        Some((names, place)) if !names.is_empty() => {
            Finding::pass(format!("cloud-init asks {}", names.join(", "))).at(place, names.join(", "))
        }
        _ => Finding::fail("nothing restricts where cloud-init looks for data: it tries every cloud, for seconds each"),
    })
}

/// Package repositories have their signatures checked.
pub fn signed_repositories(look: &Look<'_>) -> Result<Finding> {
    let mut found = Vec::new();
    for name in look.system.list("/etc/yum.repos.d")?.unwrap_or_default().iter().filter(|n| n.ends_with(".repo")) {
        let path = format!("/etc/yum.repos.d/{name}");
        let text = lines::text(look.system, &path)?.unwrap_or_default();
        unsigned_yum(&path, &text, &mut found);
    }
    let mut apt = vec!["/etc/apt/sources.list".to_owned()];
    let names = look.system.list("/etc/apt/sources.list.d")?.unwrap_or_default();
    apt.extend(names.iter().map(|name| format!("/etc/apt/sources.list.d/{name}")));
    for path in apt {
        let text = lines::text(look.system, &path)?.unwrap_or_default();
        for (line, content) in lines::meaningful(&text, &['#']) {
            let trusted = content.replace(' ', "").to_lowercase();
            if trusted.contains("[trusted=yes")
                || trusted.contains(",trusted=yes")
                || trusted.starts_with("trusted:yes")
            {
                found.push((lines::place(&path, line), content.to_owned()));
            }
        }
    }
    Ok(none_of(found, "signatures of all repositories are checked", "packages are installed without a signature"))
}

fn unsigned_yum(path: &str, text: &str, found: &mut Vec<(String, String)>) {
    let mut section: Option<(usize, String, bool, bool)> = None;
    let mut close = |section: Option<(usize, String, bool, bool)>| {
        if let Some((line, name, enabled, false)) = section
            && enabled
        {
            found.push((lines::place(path, line), format!("[{name}] has no gpgcheck=1")));
        }
    };
    for (line, content) in lines::meaningful(text, &['#', ';']) {
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            close(section.take());
            section = Some((line, name.to_owned(), true, false));
        } else if let (Some((key, value)), Some((_, _, enabled, checked))) = (content.split_once('='), &mut section) {
            match (key.trim(), value.trim()) {
                ("enabled", "0") => *enabled = false,
                ("gpgcheck", "1" | "yes" | "true" | "True") => *checked = true,
                _ => {}
            }
        }
    }
    close(section);
}

/// The kubelet starts at boot, and waits until somebody joins the machine.
pub fn kubelet(look: &Look<'_>) -> Result<Finding> {
    Ok(match unit::enablement(look.system, "kubelet")? {
        Enablement::Enabled(link) => {
            let joined = look.system.stat("/etc/kubernetes/kubelet.conf", false)?.is_some();
            match joined {
                true => Finding::fail("the kubelet belongs to a cluster already")
                    .at("/etc/kubernetes/kubelet.conf", "is there"),
                false => Finding::pass("kubelet starts at boot").at(link, "pulls it in"),
            }
        }
        Enablement::Missing => Finding::fail("there is no kubelet.service").hint("install kubelet"),
        _ => Finding::fail("kubelet does not start at boot").hint("systemctl enable kubelet"),
    })
}

/// Names of files that hold secrets, in home directories.
const SECRET_FILES: [&str; 14] = [
    ".ssh/id_rsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ed25519",
    ".ssh/id_dsa",
    ".aws/credentials",
    ".aliyun/config.json",
    ".azure/accessTokens.json",
    ".config/gcloud/credentials.db",
    ".config/gcloud/application_default_credentials.json",
    ".docker/config.json",
    ".kube/config",
    ".netrc",
    ".git-credentials",
    ".vault-token",
];
/// Where services and people put keys.
const SECRET_DIRS: [&str; 8] = ["/root", "/home", "/etc", "/opt", "/srv", "/tmp", "/var/tmp", "/var/lib/kubelet"];
/// So many files a running host is asked for, each by a command of its own.
const MAX_ASKED: usize = 500;
/// The largest file that is searched for a key.
const MAX_SECRET: u64 = 256 << 10;

/// No keys or credentials of whoever made the image are in it.
pub fn secrets(look: &Look<'_>) -> Result<Finding> {
    let mut found = Vec::new();
    for home in homes(look.system)? {
        for name in SECRET_FILES {
            let path = format!("{home}/{name}");
            if look.system.stat(&path, true)?.is_some_and(|stat| stat.kind == Kind::File && stat.size > 0) {
                found.push((path, "credentials".to_owned()));
            }
        }
    }
    if look.live().is_some() && !found.is_empty() {
        // Whatever else is found changes nothing, and looking takes long.
        return Ok(of_image(look, none_of(found, "", "keys or credentials are in the image")));
    }
    let mut candidates = Vec::new();
    let mut whole = true;
    for dir in SECRET_DIRS {
        let walk = look.system.walk(dir)?;
        whole &= walk.whole;
        let small = |stat: &Stat| stat.kind == Kind::File && stat.size > 0 && stat.size <= MAX_SECRET;
        candidates.extend(
            walk.found.into_iter().filter(|(path, stat)| small(stat) && is_suspect(path)).map(|(path, _)| path),
        );
    }
    if look.live().is_some() && candidates.len() > MAX_ASKED {
        let reason =
            format!("{} files of a running host would have to be asked for; it matters for images", candidates.len());
        return Ok(Finding::skip(reason));
    }
    for path in candidates {
        let bytes = look.system.read(&path, MAX_SECRET)?.unwrap_or_default();
        if let Some(what) = secret_in(&bytes)
            && !found.iter().any(|(known, _)| *known == path)
        {
            found.push((path, what.to_owned()));
        }
    }
    let finding = none_of(found, "no keys or credentials are in the image", "keys or credentials are in the image");
    Ok(match finding.verdict {
        Verdict::Pass if !whole => Finding::unknown(TOO_MANY),
        _ => of_image(look, finding),
    })
}

/// Whether a path is worth opening: most files of `/etc` are not.
fn is_suspect(path: &str) -> bool {
    // Debian's self-signed certificate, made for the machine by its package, is told by its name.
    const NAMES: [&str; 12] = [
        ".pem",
        ".key",
        "id_rsa",
        "id_ed",
        "id_ec",
        "credential",
        "secret",
        "token",
        ".env",
        "passwd",
        "config",
        ".json",
    ];
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let host_key = path.starts_with("/etc/ssh/ssh_host_");
    !host_key && NAMES.iter().any(|part| name.contains(part))
}

/// What kind of secret is in some bytes.
fn secret_in(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    let private = text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----");
    if private {
        return Some("a private key");
    }
    const MARKS: [(&str, &str); 5] = [
        ("aws_secret_access_key", "credentials of AWS"),
        ("\"access_key_secret\"", "credentials of Alibaba Cloud"),
        ("ALICLOUD_SECRET_KEY=", "credentials of Alibaba Cloud"),
        ("\"type\": \"service_account\"", "credentials of Google Cloud"),
        ("\"auths\"", "credentials of a registry"),
    ];
    MARKS.iter().find(|(mark, _)| text.contains(mark)).map(|(_, what)| *what)
}
