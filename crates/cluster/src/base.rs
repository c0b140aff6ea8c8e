//! Root file systems of Kubernetes' own binaries: what to fetch or take, and where it goes.
//!
//! ```text
//! what                                 from the directory                       or from                goes to
//! kubeadm kubelet kubectl              the file, also below bin/                dl.k8s.io              bin/
//! crictl                               the file, or crictl-*.tar.gz             GitHub, cri-tools      bin/
//! containerd containerd-shim-runc-v2 ctr   the files, or containerd-*.tar.gz    GitHub, containerd     bin/
//! runc                                 runc, or runc.ARCH                       GitHub, runc           bin/
//! CNI plugins                          cni/, or cni-plugins-*.tgz               GitHub, plugins        opt/cni/bin/
//! etc scripts manifests charts statics the directory                            -                      the same
//! ```
//!
//! All of it is one Dockerfile, so that steps, keys and caches are those of any build. What is fetched is compared with
//! the SHA-256 that stands beside it. Images are those that kubeadm would pull ([`control_plane`]).

use std::fmt::Write as _;

use kiln_manifests::control_plane::{self, Request};
use kiln_oci::cluster::KUBERNETES_IMAGES;

use crate::error::{ClusterError, Result};

/// What a root file system is to have.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The version of Kubernetes, with `v`.
    pub kubernetes: String,
    /// `amd64`, `arm64`, …: as Kubernetes calls it.
    pub arch: String,
    /// The version of containerd, without `v`.
    pub containerd: String,
    /// The version of runc, without `v`.
    pub runc: String,
    /// The version of the CNI plugins, without `v`.
    pub cni: String,
    /// The version of crictl, without `v`.
    pub crictl: String,
    /// Where Kubernetes' binaries are.
    pub kubernetes_url: String,
    /// Where GitHub's releases are.
    pub github_url: String,
    /// Whose images kubeadm pulls; `None` is Kubernetes' own registry.
    pub repository: Option<String>,
    /// Whether images are listed. If they are not, they are the user's business, also for images built from this one.
    pub images: bool,
}

/// Where Kubernetes' binaries are.
pub const KUBERNETES_URL: &str = "https://dl.k8s.io";
/// Where releases of the others are.
pub const GITHUB_URL: &str = "https://github.com";

/// Something that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// Where its SHA-256 is: alone, or in lines with names.
    pub checksum_url: String,
    /// Where it goes.
    pub dest: String,
    /// Whether it is an archive that is unpacked there.
    pub unpack: bool,
}

/// Reads a version: `v1.30.2`, or `1.30.2`.
///
/// # Errors
/// When it is none.
pub fn version(text: &str) -> Result<(String, u32, u32)> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    let mut numbers = plain.split('.').map(|part| part.split(['-', '+']).next().unwrap_or_default().parse::<u32>());
    let valid = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_))) if plain.chars().all(valid) && plain.len() < 64 => {
            Ok((format!("v{plain}"), major, minor))
        }
        _ => Err(ClusterError::Base {
            message: format!("`{text}` is not a version of Kubernetes"),
            hint: Some("write all of it, as v1.30.2".to_owned()),
        }),
    }
}

/// What is fetched when nothing is there.
pub fn downloads(wanted: &Wanted) -> Vec<Download> {
    let Wanted { kubernetes, arch, containerd, runc, cni, crictl, kubernetes_url, github_url, .. } = wanted;
    let (dl, github) = (kubernetes_url.trim_end_matches('/'), github_url.trim_end_matches('/'));
    let mut all: Vec<Download> = ["kubeadm", "kubelet", "kubectl"]
        .map(|name| {
            let url = format!("{dl}/{kubernetes}/bin/linux/{arch}/{name}");
            Download { checksum_url: format!("{url}.sha256"), url, dest: format!("/bin/{name}"), unpack: false }
        })
        .into();
    let archive = |url: String, sum: &str, dest: &str| Download {
        checksum_url: format!("{url}{sum}"),
        url,
        dest: dest.to_owned(),
        unpack: true,
    };
    let release = |project: &str, version: &str| format!("{github}/{project}/releases/download/v{version}");
    all.push(archive(
        format!("{}/containerd-{containerd}-linux-{arch}.tar.gz", release("containerd/containerd", containerd)),
        ".sha256sum",
        "/",
    ));
    let dir = release("opencontainers/runc", runc);
    all.push(Download {
        url: format!("{dir}/runc.{arch}"),
        checksum_url: format!("{dir}/runc.sha256sum"),
        dest: "/bin/runc".to_owned(),
        unpack: false,
    });
    all.push(archive(
        format!("{}/cni-plugins-linux-{arch}-v{cni}.tgz", release("containernetworking/plugins", cni)),
        ".sha256",
        "/opt/cni/bin/",
    ));
    all.push(archive(
        format!("{}/crictl-v{crictl}-linux-{arch}.tar.gz", release("kubernetes-sigs/cri-tools", crictl)),
        ".sha256",
        "/bin/",
    ));
    all
}

/// The SHA-256 of a file in what stands beside it: alone, or in lines as `sha256sum` writes them.
///
/// # Errors
/// When there is none for this file.
pub fn checksum(text: &str, url: &str) -> Result<String> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let is_sum = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut alone = None;
    for line in text.lines().take(1000) {
        let mut words = line.split_whitespace();
        let Some(sum) = words.next().filter(|word| is_sum(word)) else { continue };
        match words.next().map(|file| file.trim_start_matches('*')) {
            Some(file) if file == name || file.ends_with(&format!("/{name}")) => return Ok(sum.to_ascii_lowercase()),
            Some(_) => {}
            None => alone = alone.or(Some(sum.to_ascii_lowercase())),
        }
    }
    alone.ok_or_else(|| ClusterError::Base {
        message: format!("there is no SHA-256 of {name} beside {url}"),
        hint: Some("a mirror must have the files with checksums that the original has".to_owned()),
    })
}

/// The Dockerfile of what is fetched, with its checksums in the same order.
///
/// # Errors
/// When the images of this version are not known.
pub fn of_downloads(wanted: &Wanted, downloads: &[(Download, String)]) -> Result<String> {
    let mut text = head(wanted);
    for (download, sum) in downloads {
        let flags = if download.unpack { "--unpack=true" } else { "--chmod=0755" };
        let _ = writeln!(text, "ADD --checksum=sha256:{sum} {flags} {} {}", download.url, download.dest);
    }
    text += &documents(wanted, &[])?;
    Ok(text)
}

/// Directories that are taken as they are.
const DIRECTORIES: [&str; 8] = ["etc", "scripts", "manifests", "charts", "statics", "images", "registry", "opt"];
/// Programs, and whether there is no root file system without.
const PROGRAMS: [(&str, bool); 8] = [
    ("kubeadm", true),
    ("kubelet", true),
    ("kubectl", true),
    ("crictl", false),
    ("runc", false),
    ("containerd", false),
    ("containerd-shim-runc-v2", false),
    ("ctr", false),
];

/// The Dockerfile of what is in a directory, of which `names` are all files and directories, with `/` at the end of the
/// latter, those of `bin/` among them.
///
/// # Errors
/// When something needed is missing, or something is there that has no place.
pub fn of_directory(wanted: &Wanted, names: &[String]) -> Result<String> {
    let mut text = head(wanted);
    let mut used: Vec<&str> = vec!["bin/"];
    let has = |name: &str| names.iter().find(|other| *other == name).map(String::as_str);
    let archive = |start: &str, ends: &[&str]| {
        let is = |name: &&String| name.starts_with(start) && ends.iter().any(|end| name.ends_with(end));
        names.iter().find(is).map(String::as_str)
    };
    let archives = [
        ("containerd", archive("containerd-", &[".tar.gz", ".tgz"]), "/"),
        ("crictl", archive("crictl-", &[".tar.gz", ".tgz"]), "/bin/"),
        ("cni", archive("cni-plugins-", &[".tar.gz", ".tgz"]), "/opt/cni/bin/"),
    ];
    let mut lacking = Vec::new();
    for (program, needed) in PROGRAMS {
        let (plain, below) = (program.to_owned(), format!("bin/{program}"));
        let of_arch = format!("{program}.{}", wanted.arch);
        match [&plain, &below, &of_arch].into_iter().find_map(|name| has(name)) {
            Some(name) => {
                used.push(name);
                let _ = writeln!(text, "COPY --chmod=0755 [\"{name}\", \"/bin/{program}\"]");
            }
            None if needed => lacking.push(program),
            None => {}
        }
    }
    for (_, found, dest) in &archives {
        if let Some(name) = found {
            used.push(name);
            let _ = writeln!(text, "ADD [\"{name}\", \"{dest}\"]");
        }
    }
    if has("cni/").is_some() {
        used.push("cni/");
        text += "COPY --chmod=0755 cni /opt/cni/bin/\n";
    }
    for name in names.iter().filter(|name| name.starts_with("bin/") && name.len() > 4 && !used.contains(&name.as_str()))
    {
        let _ = writeln!(text, "COPY --chmod=0755 [\"{name}\", \"/{name}\"]");
        lacking.retain(|program| format!("bin/{program}") != *name);
    }
    for dir in DIRECTORIES.iter().filter(|dir| has(&format!("{dir}/")).is_some()) {
        let _ = writeln!(text, "COPY {dir} /{dir}");
    }
    if has("Metadata").is_some() {
        text += "COPY Metadata /Metadata\n";
    }
    let known = |name: &str| {
        used.contains(&name)
            || name.starts_with("bin/")
            || name == "Metadata"
            || DIRECTORIES.iter().any(|dir| name.starts_with(&format!("{dir}/")))
    };
    if let Some(strange) = names.iter().find(|name| !known(name)) {
        return Err(ClusterError::Base {
            message: format!("`{strange}` has no place in a root file system"),
            hint: Some(format!("put programs into bin/, other files into one of {}", DIRECTORIES.join(", "))),
        });
    }
    if !lacking.is_empty() {
        return Err(ClusterError::Base {
            message: format!("the directory has no {}", lacking.join(", ")),
            hint: Some(format!("they are at {KUBERNETES_URL}/{}/bin/linux/{}/", wanted.kubernetes, wanted.arch)),
        });
    }
    text += &documents(wanted, names)?;
    Ok(text)
}

fn head(wanted: &Wanted) -> String {
    let version = &wanted.kubernetes;
    let given = if wanted.images { String::new() } else { format!(" {KUBERNETES_IMAGES}=given") };
    format!("FROM scratch\nLABEL cluster.alpha.sealer.io/cluster-runtime-version={version}{given}\n")
}

/// `Metadata`, kubeadm's configuration and the list of images, unless the directory has its own.
fn documents(wanted: &Wanted, names: &[String]) -> Result<String> {
    let (kubernetes, _, minor) = version(&wanted.kubernetes)?;
    let mut text = String::new();
    let mut file = |path: &str, body: &str| {
        let _ = write!(text, "COPY <<KILN_END_OF_FILE {path}\n{body}KILN_END_OF_FILE\n");
    };
    let has = |name: &str| names.iter().any(|other| other == name);
    if !has("Metadata") {
        let machine = match &*wanted.arch {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        };
        file("/Metadata", &format!("{{\"version\":\"{kubernetes}\",\"arch\":\"{machine}\"}}\n"));
    }
    if !has("etc/kubeadm.yml") {
        let api = match minor {
            ..=21 => "v1beta2",
            22..=30 => "v1beta3",
            _ => "v1beta4",
        };
        let repository = wanted.repository.as_ref().map(|r| format!("imageRepository: {r}\n")).unwrap_or_default();
        file(
            "/etc/kubeadm.yml",
            &format!(
                "apiVersion: kubeadm.k8s.io/{api}\nkind: ClusterConfiguration\n\
                 kubernetesVersion: {kubernetes}\n{repository}"
            ),
        );
    }
    if wanted.images && !has("manifests/imageList") {
        file("/manifests/imageList", &(images(wanted)?.join("\n") + "\n"));
    }
    Ok(text)
}

/// The images that kubeadm pulls for a version.
///
/// # Errors
/// When they are not known.
pub fn images(wanted: &Wanted) -> Result<Vec<String>> {
    let (kubernetes, ..) = version(&wanted.kubernetes)?;
    let request = Request { version: &kubernetes, repository: wanted.repository.as_deref(), ..Request::default() };
    match control_plane::images(&request) {
        Some(images) => Ok(images.names),
        None => Err(ClusterError::Base {
            message: format!("the images of Kubernetes {kubernetes} are not known"),
            hint: Some("give their names: kubeadm config images list > LIST, then --image-list LIST".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            kubernetes: "v1.30.2".into(),
            arch: "amd64".into(),
            containerd: "1.7.27".into(),
            runc: "1.2.6".into(),
            cni: "1.6.2".into(),
            crictl: "1.30.0".into(),
            kubernetes_url: KUBERNETES_URL.into(),
            github_url: "http://mirror/".into(),
            repository: None,
            images: true,
        }
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_directory_becomes_a_dockerfile() {
        let there = names(&[
            "bin/",
            "bin/kubeadm",
            "bin/kubelet",
            "bin/conntrack",
            "kubectl",
            "runc.amd64",
            "cni-plugins-linux-amd64-v1.6.2.tgz",
            "etc/",
            "etc/kubeadm.yml",
        ]);
        let text = of_directory(&wanted(), &there).unwrap();
        for line in [
            "COPY --chmod=0755 [\"bin/kubeadm\", \"/bin/kubeadm\"]",
            "COPY --chmod=0755 [\"kubectl\", \"/bin/kubectl\"]",
            "COPY --chmod=0755 [\"runc.amd64\", \"/bin/runc\"]",
            "COPY --chmod=0755 [\"bin/conntrack\", \"/bin/conntrack\"]",
            "ADD [\"cni-plugins-linux-amd64-v1.6.2.tgz\", \"/opt/cni/bin/\"]",
            "COPY etc /etc",
            "registry.k8s.io/coredns/coredns:v1.11.1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("ClusterConfiguration"), "the directory has its own: {text}");
        assert_eq!(text.matches("/bin/kubeadm\"]").count(), 1);
    }

    #[test]
    fn what_is_missing_or_has_no_place_is_told() {
        let message = |there: &[&str]| of_directory(&wanted(), &names(there)).unwrap_err().to_string();
        assert_eq!(message(&["kubeadm"]), "the directory has no kubelet, kubectl");
        assert!(message(&["kubeadm", "kubelet", "kubectl", "notes.txt"]).contains("notes.txt"));
        assert!(version("latest").is_err() && version("v1.30").is_err() && version("v1.30.2; rm").is_err());
        let old = Wanted { kubernetes: "v1.9.0".into(), ..wanted() };
        assert!(images(&old).unwrap_err().hint().unwrap().contains("--image-list"));
    }

    #[test]
    fn checksums_are_found_in_both_forms() {
        let (sum, other) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(checksum(&format!("{sum}\n"), "http://x/kubeadm").unwrap(), sum);
        let lines = format!("{other}  runc.arm64\n{sum} *runc.amd64\n");
        assert_eq!(checksum(&lines, "http://x/runc.amd64").unwrap(), sum);
        assert!(checksum("<html>", "http://x/runc.amd64").is_err());
        assert!(checksum(&format!("{other}  runc.arm64\n"), "http://x/runc.amd64").is_err());
    }

    #[test]
    fn images_with_a_repository_have_no_sub_path() {
        let own = Wanted { repository: Some("sea.hub:5000/library".into()), ..wanted() };
        let all = images(&own).unwrap();
        assert!(all.contains(&"sea.hub:5000/library/coredns:v1.11.1".to_owned()), "{all:?}");
        let old = Wanted { kubernetes: "v1.19.8".into(), ..wanted() };
        assert!(images(&old).unwrap().contains(&"k8s.gcr.io/coredns:1.7.0".to_owned()));
    }
}
