//! Platforms: operating system, architecture, variant; named as containerd names them (`linux/arm/v7`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH value: `amd64`, `arm64`, …
    pub architecture: String,
    /// GOOS value: `linux`, …
    pub os: String,
    /// Version of the operating system (Windows images).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system an image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture: `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Names of architectures, GOARCH's and their aliases.
const KNOWN_ARCHITECTURES: [&str; 21] = [
    "386", "i386", "amd64", "x86_64", "x86-64", "arm", "armhf", "armel", "arm64", "aarch64", "loong64", "mips",
    "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm", "wasm32",
];

/// Systems of platforms that are monitors, as images of unikernels name them. What each means is said where they are run.
pub const MONITORS: [&str; 6] = ["qemu", "kvm", "kraftcloud", "fc", "firecracker", "xen"];

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected os/architecture[/variant], such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError(String);

impl Platform {
    /// `linux` on `architecture`, normalised.
    pub fn linux(architecture: &str) -> Platform {
        Platform::normalised("linux", architecture, None)
    }

    /// `unknown/unknown`: that of what is listed in an index and is no image.
    pub fn unknown() -> Platform {
        Platform::normalised("unknown", "unknown", None)
    }

    /// Whether its system is a monitor: what is for it is a unikernel, and no image of a container.
    pub fn is_monitor(&self) -> bool {
        MONITORS.contains(&&*self.os)
    }

    /// The platform this binary was built for.
    pub fn host() -> Platform {
        Platform::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        })
    }

    fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v.filter(|v| *v != "v1")),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("v8" | "8")) => ("arm64", None),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            other => other,
        };
        Platform {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: variant.map(str::to_owned),
        }
    }

    /// This platform with aliases resolved (`x86_64` → `amd64`, `arm64/v8` → `arm64`, `arm` → `arm/v7`).
    pub fn normalise(&self) -> Platform {
        let mut p =
            Platform::normalised(&self.os, &self.architecture, self.variant.as_deref().filter(|v| !v.is_empty()));
        p.os_version.clone_from(&self.os_version);
        p.os_features.clone_from(&self.os_features);
        p
    }

    fn variant_rank(&self) -> u32 {
        self.variant.as_deref().and_then(|v| v.trim_start_matches('v').parse().ok()).unwrap_or(1)
    }

    /// Whether an image for `self` runs on a machine that is `want`: same system and architecture, and a variant that
    /// is not newer.
    pub fn serves(&self, want: &Platform) -> bool {
        let (have, want) = (self.normalise(), want.normalise());
        have.os == want.os && have.architecture == want.architecture && have.variant_rank() <= want.variant_rank()
    }

    /// How well an image for `self` serves `want`; higher is closer. Only meaningful where [`Platform::serves`].
    pub fn closeness(&self, want: &Platform) -> u32 {
        let (have, want) = (self.normalise(), want.normalise());
        if have.variant == want.variant { 1000 } else { have.variant_rank() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let ok = |p: &str| p.starts_with(|c: char| c.is_ascii_alphanumeric()) && p.bytes().all(part);
        if !parts.iter().all(|p| ok(p)) {
            return Err(PlatformError(text.escape_debug().to_string()));
        }
        let known_os = |p: &str| {
            matches!(p, "linux" | "windows" | "darwin" | "freebsd" | "wasip1" | "wasi") || MONITORS.contains(&p)
        };
        match parts[..] {
            [one] if known_os(one) => Ok(Platform { os: one.to_owned(), ..Platform::host() }),
            // Alone, a word must be known to be an architecture: it may as well be a slip.
            [arch] if KNOWN_ARCHITECTURES.contains(&arch) => Ok(Platform::normalised("linux", arch, None)),
            [os, arch] if known_os(os) => Ok(Platform::normalised(os, arch, None)),
            [os, arch, variant] if known_os(os) => Ok(Platform::normalised(os, arch, Some(variant))),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_one_platform() {
        for (text, want) in [
            ("linux/x86_64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("Linux/AMD64", "linux/amd64"),
            ("fc/x86_64", "fc/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want);
        }
        for bad in ["", "foo", "linux/", "/amd64", "linux/a/b/c", "linux/../x", "beos/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_older_variant_serves_a_newer_machine() {
        let p = |t: &str| t.parse::<Platform>().unwrap();
        assert!(p("linux/arm/v6").serves(&p("linux/arm/v7")));
        assert!(!p("linux/arm/v7").serves(&p("linux/arm/v6")));
        assert!(p("linux/arm/v7").closeness(&p("linux/arm/v7")) > p("linux/arm/v6").closeness(&p("linux/arm/v7")));
    }
}
