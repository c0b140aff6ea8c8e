//! What a build made: as a line of the ledger, and as a label of the thing itself.
//!
//! Instances and disks carry `kiln-build`. Images carry `kiln-image`, because the image is what stays: whoever looks for
//! leftovers by `kiln-build` must not find it.

use std::collections::BTreeMap;

use kiln_ledger::Resource;

use crate::compute::address;
use crate::operation::Scope;

/// The cloud's name in a ledger.
pub const CLOUD: &str = "googlecompute";
/// On instances and disks: which build made them.
pub const BUILD: &str = "kiln-build";
/// On images: which build made them.
pub const IMAGE: &str = "kiln-image";

/// Whether a label is one of these, or may become one: a user has no say in it.
pub fn is_ours(label: &str) -> bool {
    label.starts_with("kiln-")
}

/// Something a build makes.
#[derive(Debug, Clone, Copy)]
pub struct Thing<'a> {
    /// `instance`, `disk`, `image`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The project it is in.
    pub project: &'a str,
    /// Where there.
    pub scope: &'a Scope,
}

/// A line of the ledger about something that `build` makes.
pub fn resource(thing: Thing<'_>, build: &str) -> Resource {
    let Thing { kind, name, project, scope } = thing;
    let mut at = BTreeMap::from([("project".to_owned(), project.to_owned()), ("build".to_owned(), build.to_owned())]);
    match scope {
        Scope::Global => {}
        Scope::Zone(zone) => drop(at.insert("zone".to_owned(), zone.clone())),
        Scope::Region(region) => drop(at.insert("region".to_owned(), region.clone())),
    }
    let delete = format!("DELETE {}", address(project, scope, &format!("{kind}s"), name));
    line(kind, name, at, delete)
}

/// One about a key in the profile of an account.
pub fn key(account: &str, fingerprint: &str) -> Resource {
    let at = BTreeMap::from([("account".to_owned(), account.to_owned())]);
    line("ssh-key", fingerprint, at, format!("DELETE users/{account}/sshPublicKeys/{fingerprint}"))
}

/// One about an object.
pub fn object(bucket: &str, name: &str) -> Resource {
    let at = BTreeMap::from([("bucket".to_owned(), bucket.to_owned())]);
    line("object", name, at, format!("DELETE gs://{bucket}/{name}"))
}

fn line(kind: &str, name: &str, scope: BTreeMap<String, String>, delete: String) -> Resource {
    Resource { cloud: CLOUD.to_owned(), kind: kind.to_owned(), name: name.to_owned(), id: None, scope, delete }
}

/// Where a line of the ledger says that it is.
pub fn scope_of(resource: &Resource) -> Scope {
    match (resource.scope.get("zone"), resource.scope.get("region")) {
        (Some(zone), _) => Scope::Zone(zone.clone()),
        (None, Some(region)) => Scope::Region(region.clone()),
        (None, None) => Scope::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is_deleted_by_hand() {
        let scope = Scope::Zone("z-a".to_owned());
        let line = resource(Thing { kind: "disk", name: "d", project: "p", scope: &scope }, "u");
        assert_eq!(line.delete, "DELETE projects/p/zones/z-a/disks/d");
        assert_eq!(scope_of(&line), scope);
        let image = resource(Thing { kind: "image", name: "i", project: "p", scope: &Scope::Global }, "u");
        assert_eq!((image.delete.as_str(), scope_of(&image)), ("DELETE projects/p/global/images/i", Scope::Global));
    }
}
