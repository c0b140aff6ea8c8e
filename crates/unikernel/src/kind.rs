//! What a kernel is: who made the part of it that is not the application.

use std::fmt;

/// A kind of kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// On Solo5: MirageOS, and others.
    Solo5,
    /// Unikraft.
    Unikraft,
    /// OSv.
    Osv,
    /// Rumprun.
    Rumprun,
    /// Hermit.
    Hermit,
    /// Linux.
    Linux,
    /// Xen's Mini-OS: ClickOS and others.
    MiniOs,
    /// A kernel that says nothing of its makers, but can be entered.
    Plain,
    /// One that an image calls by this name, and Kiln knows nothing of.
    Other(String),
}

/// Kinds, their names in images, and what people call them.
const NAMES: [(Kind, &str, &str); 8] = [
    (Kind::Solo5, "mirage", "Solo5 (MirageOS)"),
    (Kind::Unikraft, "unikraft", "Unikraft"),
    (Kind::Osv, "osv", "OSv"),
    (Kind::Rumprun, "rumprun", "Rumprun"),
    (Kind::Hermit, "hermit", "Hermit"),
    (Kind::Linux, "linux", "Linux"),
    (Kind::MiniOs, "mini-os", "Mini-OS (ClickOS)"),
    (Kind::Plain, "plain", "a kernel that says nothing of its makers"),
];

impl Kind {
    /// Its name in images, as urunc spells it where urunc knows it.
    pub fn name(&self) -> &str {
        match self {
            Kind::Other(name) => name,
            kind => NAMES.iter().find(|(k, ..)| k == kind).map_or("plain", |(_, name, _)| name),
        }
    }

    /// The kind that an image calls so.
    pub fn named(name: &str) -> Kind {
        let known = NAMES.iter().find(|(_, n, _)| *n == name);
        known.map_or_else(|| Kind::Other(name.to_owned()), |(kind, ..)| kind.clone())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Other(name) => f.write_str(name),
            kind => f.write_str(NAMES.iter().find(|(k, ..)| k == kind).map_or("", |(.., words)| words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (kind, name, _) in &NAMES {
            assert_eq!(Kind::named(name), *kind);
            assert_eq!(kind.name(), *name);
            assert!(!kind.to_string().is_empty());
        }
        assert_eq!(Kind::named("mewz"), Kind::Other("mewz".to_owned()));
        assert_eq!(Kind::named("mewz").name(), "mewz");
    }
}
