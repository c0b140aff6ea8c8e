//! Variables: into `*.tmpl` files of the rootfs, and into the environment of commands.
//!
//! A file `etc/x.yaml.tmpl` is rendered to `etc/x.yaml` (also in `charts/` and `manifests/`): Go's template language
//! with Sprig's functions, where `.NAME` is a variable, and one that was said more than once is a list. For shells each
//! is exported, a list with blanks between its values: `$NAME`, `${NAME}`, and `for x in $NAME`.
//!
//! | variables, the upper ones first | |
//! |---|---|
//! | of the host | `hosts[].env` |
//! | of the cluster | `env`, `-e` |
//! | Kiln's | `HostIP`, `ContainerRuntime`, `RegistryDomain`, `RegistryPort`, `RegistryURL`, `PodCIDR`, `SvcCIDR`, `CertSANs` |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kiln_helm::{text, yaml};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};

use crate::model::{Cidr, Cluster, Host, Said};
use crate::read::Found;

/// Bytes of a template.
pub const MAX_TEMPLATE: usize = 4 << 20;
/// What Go writes for a value that is not there.
const NO_VALUE: &str = "<no value>";
const SUFFIX: &str = ".tmpl";
/// Directories of the rootfs with templates.
const DIRECTORIES: [&str; 3] = ["etc/", "charts/", "manifests/"];

/// Variables with their values, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Vec<String>>);

impl Variables {
    /// Those of a host: its own over those of the cluster over Kiln's. `address` is the one by which peers reach it.
    pub fn of(cluster: &Cluster, host: &Host, address: IpAddr) -> Variables {
        let mut all = Variables::default();
        all.set("HostIP", [address.to_string()]);
        if let Some(runtime) = &cluster.runtime {
            all.set("ContainerRuntime", [runtime.value.to_string()]);
        }
        let (domain, port) = (&cluster.registry.domain.value, cluster.registry.port.value);
        all.set("RegistryDomain", [domain.clone()]);
        all.set("RegistryPort", [port.to_string()]);
        all.set("RegistryURL", [format!("{domain}:{port}")]);
        for (name, ranges) in [("PodCIDR", &cluster.network.pod_cidrs), ("SvcCIDR", &cluster.network.service_cidrs)] {
            if !ranges.is_empty() {
                all.set(
                    name,
                    [ranges.iter().map(|range: &Said<Cidr>| range.value.to_string()).collect::<Vec<_>>().join(",")],
                );
            }
        }
        all.set("CertSANs", cluster.cert_sans.iter().map(|said| said.value.clone()));
        for variable in cluster.env.variables.iter().chain(&host.env.variables) {
            all.set(&variable.name, variable.values.iter().map(|said| said.value.clone()));
        }
        all
    }

    /// Sets a variable, in place of what it was. A name that no shell takes, and no values, set nothing.
    pub fn set(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        if crate::words::is_variable(name) && !values.is_empty() {
            self.0.insert(name.to_owned(), values);
        }
    }

    /// The values of a variable.
    pub fn get(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Names and values for the environment of a command, by name.
    pub fn environment(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(name, values)| (&**name, values.join(" ")))
    }

    /// Commands of a shell that export them: `export A='1'; export B='x y'; `. Whatever a value has in it, it is one
    /// word.
    pub fn exports(&self) -> String {
        let mut out = String::new();
        for (name, value) in self.environment() {
            out.push_str("export ");
            out.push_str(name);
            out.push_str("='");
            out.push_str(&value.replace('\'', r"'\''"));
            out.push_str("'; ");
        }
        out
    }

    /// As templates have them.
    fn values(&self) -> yaml::Map {
        let value = |values: &Vec<String>| match &**values {
            [one] => yaml::Yaml::String(one.clone()),
            many => yaml::Yaml::List(many.iter().map(|value| yaml::Yaml::String(value.clone())).collect()),
        };
        self.0.iter().map(|(name, values)| (name.clone(), value(values))).collect()
    }
}

/// The file of the rootfs that a template makes, if a path is that of one.
pub fn target(path: &str) -> Option<&str> {
    let target = path.strip_suffix(SUFFIX)?;
    let named = !target.is_empty() && !target.ends_with('/');
    (named && DIRECTORIES.iter().any(|directory| path.starts_with(directory))).then_some(target)
}

/// Renders a template.
///
/// # Errors
/// When it is none, a function fails, a limit is reached, or it shows a variable that is not set: Go would write
/// `<no value>` there, and programs would read it.
pub fn render(path: &str, template: &str, variables: &Variables) -> Result<String, Box<Found>> {
    let source = || Source { name: path.to_owned(), text: template.to_owned() };
    if template.len() > MAX_TEMPLATE {
        let message = format!("a template has at most {} MiB", MAX_TEMPLATE >> 20);
        let diagnostic = Diagnostic::error("TooLarge", Span::default(), message);
        return Err(Box::new(Found { source: Source { name: path.to_owned(), text: String::new() }, diagnostic }));
    }
    let made = text::render(template, &variables.values()).map_err(|error| {
        let span = Span::new(error.start(), error.end());
        let mut diagnostic = Diagnostic::error("BadTemplate", span, error.reason().to_string());
        diagnostic.hint = error.hint().map(str::to_owned);
        Box::new(Found { source: source(), diagnostic })
    })?;
    if made.matches(NO_VALUE).count() <= template.matches(NO_VALUE).count() {
        return Ok(made);
    }
    let unset = unset(template, variables);
    let names: BTreeSet<&str> = unset.iter().map(|span| &template[span.start..span.end]).collect();
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let message = match shown.len() {
        0 => "it shows something that is not there".to_owned(),
        1 => format!("the variable {} is not set", shown[0]),
        _ => format!("these variables are not set: {}", shown.join(", ")),
    };
    let diagnostic = Diagnostic::error("NotSet", unset.first().copied().unwrap_or_default(), message);
    let hint = "set it in `env` of the Clusterfile or with -e, or write `{{ .NAME | default \"…\" }}`";
    Err(Box::new(Found { source: source(), diagnostic: diagnostic.hint(hint) }))
}

/// Where actions name variables that are not set: `.NAME` behind a blank, a bracket or the opening of the action.
fn unset(template: &str, variables: &Variables) -> Vec<Span> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = template[at..].find("{{").map(|i| at + i + 2) {
        let close = template[open..].find("}}").map_or(template.len(), |i| open + i);
        let action = &template[open..close];
        for (dot, _) in action.match_indices('.') {
            let before = action[..dot].chars().next_back();
            if before.is_some_and(|c| !c.is_whitespace() && !"(-|".contains(c)) {
                continue;
            }
            let name = &action[dot + 1..];
            let length = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            let name = &name[..length];
            if !name.is_empty() && variables.get(name).is_none() {
                found.push(Span::new(open + dot + 1, open + dot + 1 + length));
            }
        }
        at = close;
    }
    found
}
