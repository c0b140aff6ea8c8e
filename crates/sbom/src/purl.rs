//! Package URLs: one name for a package that all tools share, `pkg:type/namespace/name@version?qualifiers`.
//!
//! ```text
//! kind       namespace              name                       qualifiers
//! deb        os-release ID          lower case                 arch, distro, upstream
//! apk        os-release ID          lower case                 arch, distro, upstream
//! rpm        os-release ID          as it is                   arch, distro, epoch, upstream
//! pypi       -                      lower case, `_` is `-`     -
//! npm        scope                  lower case                 -
//! cargo gem  -                      as it is                   platform (gem)
//! golang     path before the last   lower case                 -
//! composer   vendor                 lower case                 -
//! maven      group                  as it is                   -
//! nuget      -                      as it is                   -
//! ```
//! `upstream` is no qualifier of the specification, but scanners of vulnerabilities look for it: advisories of
//! distributions speak of source packages.

use crate::{Distribution, Kind, Package};

impl Package {
    /// Its package URL, in an image of this distribution.
    pub fn purl(&self, distribution: Option<&Distribution>) -> String {
        let (namespace, name) = self.names(distribution);
        let (version, epoch) = self.version_and_epoch();
        let mut out = format!("pkg:{}/", self.kind.name());
        // An `ID` has no parts, whatever it holds.
        let mark = if self.kind.is_of_system() { '\0' } else { '/' };
        for part in namespace.split(mark).filter(|part| !part.is_empty()) {
            encode(part, &mut out);
            out.push('/');
        }
        encode(&name, &mut out);
        if !version.is_empty() {
            out.push('@');
            encode(version, &mut out);
        }
        self.qualifiers(distribution, epoch, &mut out);
        out
    }

    fn names(&self, distribution: Option<&Distribution>) -> (String, String) {
        let lower = self.name.to_lowercase();
        match self.kind {
            Kind::Deb | Kind::Apk => (self.distributor(distribution), lower),
            Kind::Rpm => (self.distributor(distribution), self.name.clone()),
            Kind::PyPi => (String::new(), lower.replace('_', "-")),
            Kind::Npm | Kind::Go | Kind::Composer => split(&lower, '/'),
            Kind::Maven => split(&self.name, ':'),
            Kind::Cargo | Kind::Gem | Kind::NuGet => (String::new(), self.name.clone()),
        }
    }

    /// The namespace of a distribution's packages: its `ID`, but where package URLs have another word for it.
    fn distributor(&self, distribution: Option<&Distribution>) -> String {
        let id = distribution.map(|d| d.id.to_lowercase()).filter(|id| !id.is_empty());
        match (id.as_deref(), self.kind) {
            (Some("rhel"), _) => "redhat".to_owned(),
            (Some(id), Kind::Rpm) if id.starts_with("opensuse") => "opensuse".to_owned(),
            (Some(id), _) => id.to_owned(),
            (None, Kind::Deb) => "debian".to_owned(),
            (None, Kind::Apk) => "alpine".to_owned(),
            (None, _) => String::new(),
        }
    }

    /// Package URLs have an RPM's epoch apart.
    fn version_and_epoch(&self) -> (&str, Option<&str>) {
        match self.version.split_once(':') {
            Some((epoch, version)) if self.kind == Kind::Rpm => (version, Some(epoch)),
            _ => (&self.version, None),
        }
    }

    /// Sorted by key, as the canonical form wants it.
    fn qualifiers(&self, distribution: Option<&Distribution>, epoch: Option<&str>, out: &mut String) {
        let of_system = self.kind.is_of_system();
        let architecture = self.architecture.as_deref();
        let distro = distribution.filter(|d| of_system && !d.id.is_empty()).map(|d| match &d.version {
            Some(version) => format!("{}-{version}", d.id),
            None => d.id.clone(),
        });
        let upstream = self.source.as_ref().map(|source| match &source.version {
            Some(version) => format!("{}@{version}", source.name),
            None => source.name.clone(),
        });
        let pairs = [
            ("arch", architecture.filter(|_| of_system)),
            ("distro", distro.as_deref()),
            ("epoch", epoch),
            ("platform", architecture.filter(|_| self.kind == Kind::Gem)),
            ("upstream", upstream.as_deref()),
        ];
        let mut mark = '?';
        for (key, value) in pairs {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            out.push(mark);
            out.push_str(key);
            out.push('=');
            out.push_str(&self::value(value));
            mark = '&';
        }
    }
}

/// The part before the last `mark`, and the part after it.
fn split(name: &str, mark: char) -> (String, String) {
    match name.rsplit_once(mark) {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (String::new(), name.to_owned()),
    }
}

/// A value of a qualifier. A slash parts nothing there, and stays.
pub(crate) fn value(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('/').enumerate() {
        out.push_str(if at > 0 { "/" } else { "" });
        encode(part, &mut out);
    }
    out
}

/// Everything but letters, digits and `.-_~:` as `%XX`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn purl(kind: Kind, name: &str, version: &str) -> String {
        Package::new(kind, name, version).purl(None)
    }

    #[test]
    fn every_kind_has_its_form() {
        for (kind, name, version, want) in [
            (Kind::PyPi, "Typing_Extensions", "4.12.2", "pkg:pypi/typing-extensions@4.12.2"),
            (Kind::Npm, "@angular/core", "12.3.1", "pkg:npm/%40angular/core@12.3.1"),
            (Kind::Npm, "lodash", "4.17.21", "pkg:npm/lodash@4.17.21"),
            (Kind::Cargo, "serde_json", "1.0.0+x", "pkg:cargo/serde_json@1.0.0%2Bx"),
            (
                Kind::Go,
                "github.com/Azure/go-autorest/v14",
                "v14.2.0",
                "pkg:golang/github.com/azure/go-autorest/v14@v14.2.0",
            ),
            (Kind::Composer, "Laravel/Laravel", "5.5.0", "pkg:composer/laravel/laravel@5.5.0"),
            (
                Kind::Maven,
                "org.apache.xmlgraphics:batik-anim",
                "1.9.1",
                "pkg:maven/org.apache.xmlgraphics/batik-anim@1.9.1",
            ),
            (Kind::NuGet, "EnterpriseLibrary.Common", "6.0.1304", "pkg:nuget/EnterpriseLibrary.Common@6.0.1304"),
            (Kind::Gem, "jruby-launcher", "", "pkg:gem/jruby-launcher"),
            (Kind::Deb, "dpkg", "1:1.19.0.4~x", "pkg:deb/debian/dpkg@1:1.19.0.4~x"),
        ] {
            assert_eq!(purl(kind, name, version), want);
        }
    }

    #[test]
    fn a_distribution_gives_namespace_and_qualifiers() {
        let fedora = Distribution { id: "fedora".into(), version: Some("41".into()), name: None };
        let mut package = Package::new(Kind::Rpm, "vim-Enhanced", "2:9.1-1.fc41");
        package.architecture = Some("x86_64".into());
        package.source = Some(Source { name: "vim-9.1-1.fc41.src.rpm".into(), version: None });
        let want = "pkg:rpm/fedora/vim-Enhanced@9.1-1.fc41?arch=x86_64&distro=fedora-41&epoch=2&upstream=vim-9.1-1.fc41.src.rpm";
        assert_eq!(package.purl(Some(&fedora)), want);
        let rhel = Distribution { id: "rhel".into(), version: Some("9.4".into()), name: None };
        assert!(package.purl(Some(&rhel)).starts_with("pkg:rpm/redhat/"));
        package.source = Some(Source { name: "vim".into(), version: Some("2:9".into()) });
        assert!(package.purl(None).ends_with("&upstream=vim%402:9"));
    }

    #[test]
    fn a_hostile_name_stays_inside_its_part() {
        let evil = Distribution { id: "a/../b?x".into(), version: None, name: None };
        let purl = Package::new(Kind::Deb, "x?y#z/\u{fc}", "1 2").purl(Some(&evil));
        assert_eq!(purl, "pkg:deb/a%2F..%2Fb%3Fx/x%3Fy%23z%2F%C3%BC@1%202?distro=a/../b%3Fx");
    }
}
