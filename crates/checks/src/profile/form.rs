//! The form of profile files, as they are written; [`own`](super::own) says what they mean.

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::Severity;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Option<String>,
    pub(super) line: Option<String>,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) skip: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) id: Spanned<String>,
    pub(super) title: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) hint: Option<String>,
    pub(super) file: Option<FileTest>,
    pub(super) directory: Option<DirectoryTest>,
    pub(super) package: Option<PackageTest>,
    pub(super) command: Option<NamedTest>,
    pub(super) sysctl: Option<SysctlTest>,
    pub(super) service: Option<ServiceTest>,
    pub(super) run: Option<RunTest>,
    pub(super) port: Option<PortTest>,
    pub(super) module: Option<String>,
    pub(super) user: Option<NamedTest>,
    pub(super) group: Option<NamedTest>,
    pub(super) kernel: Option<KernelTest>,
    pub(super) systemd: Option<SystemdTest>,
    pub(super) images: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTest {
    pub(super) path: Spanned<String>,
    pub(super) exists: Option<bool>,
    pub(super) contains: Option<Spanned<String>>,
    pub(super) lacks: Option<Spanned<String>>,
    pub(super) mode: Option<Spanned<Scalar>>,
    pub(super) owner: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectoryTest {
    pub(super) path: Spanned<String>,
    pub(super) empty: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageTest {
    pub(super) name: String,
    #[serde(default)]
    pub(super) absent: bool,
    pub(super) version: Option<Spanned<Scalar>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedTest {
    pub(super) name: String,
    #[serde(default)]
    pub(super) absent: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SysctlTest {
    pub(super) key: String,
    pub(super) equals: Scalar,
    /// What it is where nothing sets it.
    pub(super) default: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTest {
    pub(super) name: String,
    pub(super) enabled: Option<bool>,
    pub(super) running: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunTest {
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) exit: i32,
    pub(super) stdout: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortTest {
    pub(super) number: u16,
    #[serde(default)]
    pub(super) listening: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KernelTest {
    pub(super) min: Option<Scalar>,
    pub(super) config: Option<String>,
    pub(super) matches: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SystemdTest {
    pub(super) min: u32,
}

/// A text, or a number that is meant as one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Number(i64),
    Real(f64),
    Text(String),
}

impl Scalar {
    pub(super) fn text(&self) -> String {
        match self {
            Scalar::Number(number) => number.to_string(),
            Scalar::Real(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        }
    }
}
