//! Names of repositories: as a path says them, and as the store keeps them.
//!
//! The store keeps images under full references, so `docker.io/library/nginx` and `quay.io/library/nginx` are two.
//!
//! ```text
//! path of the request                 store
//! docker.io/library/nginx             docker.io/library/nginx
//! library/nginx?ns=docker.io          docker.io/library/nginx      containerd's way to ask a mirror
//! team/app                            localhost/team/app           what was pushed here without a registry's name
//! library/nginx, nginx                the one registry that has it, if no other has (sealer's short form)
//! ```

use std::fmt;

use kiln_oci::Reference;

/// The registry that names without one belong to.
pub const HOME: &str = "localhost";
/// No name in a path is longer, with its registry.
const LONGEST: usize = 255;

/// A repository as the store names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Full {
    /// `host[:port]`.
    pub registry: String,
    /// The path below it.
    pub repository: String,
}

impl Full {
    /// The reference of a tag.
    pub fn tagged(&self, tag: &str) -> String {
        format!("{self}:{tag}")
    }

    /// The reference of a manifest without a tag.
    pub fn pinned(&self, digest: &kiln_oci::Digest) -> String {
        format!("{self}@{digest}")
    }

    /// As a path of this registry names it.
    pub fn path(&self) -> String {
        // `localhost/a.b/c` without its registry would be read as another one's.
        let first = self.repository.split('/').next().unwrap_or_default();
        match self.registry == HOME && !is_host(first) {
            true => self.repository.clone(),
            false => self.to_string(),
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// A repository as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As it stands in the path.
    pub path: String,
    /// What `ns` says.
    pub ns: Option<String>,
    /// With the registry that path or `ns` say, or [`HOME`].
    pub full: Full,
    /// Whether they say one.
    pub explicit: bool,
}

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It breaks the grammar of the specification.
    #[error("`{0}` is not the name of a repository")]
    Grammar(String),
    /// It is too long.
    #[error("the name is longer than {LONGEST} characters")]
    TooLong,
    /// `ns` is no host.
    #[error("`{0}` (ns) is not the name of a registry")]
    Namespace(String),
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// When it breaks the grammar, or `ns` is no host.
    pub fn parse(path: &str, ns: Option<&str>) -> Result<Name, NameError> {
        if path.len() > LONGEST {
            return Err(NameError::TooLong);
        }
        let grammar = || NameError::Grammar(path.to_owned());
        let (host, rest) = match path.split_once('/') {
            Some((host, rest)) if is_host(host) => (Some(host), rest),
            _ => (None, path),
        };
        if rest.is_empty() || rest.contains(['@', ':']) {
            return Err(grammar());
        }
        let registry = match (host, ns) {
            (Some(host), _) => host,
            (None, Some(ns)) => ns,
            (None, None) => HOME,
        };
        // A reference with this host has the same grammar; `docker.io/x` becomes `docker.io/library/x` by it.
        let read: Reference = format!("{registry}/{rest}").parse().map_err(|_| grammar())?;
        if read.tag.is_some() || read.digest.is_some() {
            return Err(grammar());
        }
        let same = read.registry == registry || (registry == "index.docker.io" && read.registry == "docker.io");
        if !same {
            return Err(host.map_or_else(|| NameError::Namespace(registry.to_owned()), |_| grammar()));
        }
        Ok(Name {
            path: path.to_owned(),
            ns: ns.map(str::to_owned),
            full: Full { registry: read.registry, repository: read.repository },
            explicit: host.is_some() || ns.is_some(),
        })
    }

    /// The query that leads to the same repository: empty, or `?ns=…`.
    pub fn query(&self) -> String {
        self.ns.as_ref().map(|ns| format!("?ns={ns}")).unwrap_or_default()
    }
}

/// Whether the first part of a name is a registry: as Docker decides it.
pub fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == HOME
}

/// A full reference, registry and all; `None` for a short one, which may be just a tag.
pub fn full_reference(text: &str) -> Option<Reference> {
    let (host, _) = text.split_once('/')?;
    is_host(host).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_registry() {
        for (path, ns, want) in [
            ("docker.io/library/nginx", None, "docker.io/library/nginx"),
            ("library/nginx", Some("docker.io"), "docker.io/library/nginx"),
            ("nginx", Some("docker.io"), "docker.io/library/nginx"),
            ("library/nginx", Some("quay.io"), "quay.io/library/nginx"),
            ("app", Some("reg.example:5000"), "reg.example:5000/app"),
            ("localhost:5000/a/b", None, "localhost:5000/a/b"),
            ("docker.io/library/nginx", Some("quay.io"), "docker.io/library/nginx"),
            ("team/app", None, "localhost/team/app"),
            ("app", None, "localhost/app"),
        ] {
            assert_eq!(Name::parse(path, ns).unwrap().full.to_string(), want, "{path} {ns:?}");
        }
        for full in ["localhost/a", "localhost/a.b/c", "localhost/localhost/c", "quay.io/a"] {
            let name = Name::parse(full, None).unwrap();
            assert_eq!(Name::parse(&name.full.path(), None).unwrap().full, name.full, "{full}");
        }
        assert!(!Name::parse("a", None).unwrap().explicit);
        assert!(Name::parse("a.b/c", None).unwrap().explicit);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in
            ["", "A", "a/", "/a", "a//b", "..", "a/../b", "a/.", "-a", "a_", "a:1", "a@b", "a b", "é", "a\0", "a/b:c/d"]
        {
            assert!(Name::parse(bad, None).is_err(), "{bad:?}");
        }
        for ns in ["", "a/b", "a b", "x@y.z", "..", "a?b", "ns", "evil.com/x", "a#b.c"] {
            assert!(Name::parse("a", Some(ns)).is_err(), "{ns:?}");
        }
        assert!(matches!(Name::parse(&"a/".repeat(200), None), Err(NameError::TooLong)));
    }

    #[test]
    fn only_full_names_are_names_of_contained_images() {
        assert!(full_reference("docker.io/library/nginx:1").is_some());
        for short in ["latest", "nginx:1", "library/nginx:1", "a/b/c"] {
            assert!(full_reference(short).is_none(), "{short}");
        }
    }
}
