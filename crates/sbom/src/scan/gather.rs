//! Findings → inventory: which of the files that were read the image still has, and what they say together.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_oci::name;
use kiln_oci::tree::{Follow, Found, Node};

use super::{Body, File, Scanner};
use crate::os::{PLACES, RELEASES};
use crate::{Distribution, Doubt, Format, Inventory, Kind, Licence, Location, Package};

/// What the layers of a scanner hold.
pub(super) fn inventory(scanner: &Scanner) -> Inventory {
    let mut gathered = Gathered { scanner, taken: HashSet::new(), packages: Vec::new(), doubts: Vec::new() };
    let distribution = gathered.distribution();
    PLACES.iter().for_each(|place| gathered.place(place));
    gathered.licences();
    gathered.everywhere();
    Inventory::of(distribution, gathered.packages, gathered.doubts)
}

struct Gathered<'s> {
    scanner: &'s Scanner,
    /// Databases that were found at one of their places.
    taken: HashSet<Body>,
    packages: Vec<Package>,
    doubts: Vec<Doubt>,
}

impl<'s> Gathered<'s> {
    fn distribution(&mut self) -> Option<Distribution> {
        for place in RELEASES {
            let Some(found) = self.lookup(place) else { continue };
            match self.read(found.node) {
                Some(file) => {
                    self.doubts_of(&found.path, file);
                    return file.finding.distribution.clone();
                }
                None if found.node.file().is_some() => self.doubt(&found.path, UNKNOWN),
                None => {}
            }
        }
        None
    }

    /// A database, or a directory of databases.
    fn place(&mut self, place: &[u8]) {
        let Some(found) = self.lookup(place) else { return };
        let Some(children) = found.node.children() else { return self.database(&found) };
        for child in children.keys() {
            let path = name::join(place, child);
            if Format::of(&path).is_some()
                && let Some(found) = self.lookup(&path)
            {
                self.database(&found);
            }
        }
    }

    fn database(&mut self, found: &Found<'_>) {
        let Some(body) = body(found.node) else { return };
        match self.read(found.node) {
            // Two places may be one, by a link.
            Some(file) if self.taken.insert(body) => self.take(&found.path, file, found.node),
            Some(_) => {}
            None => self.doubt(&found.path, UNKNOWN),
        }
    }

    /// Licences of Debian's packages, whose directories of documentation are often links to others.
    fn licences(&mut self) {
        let mut packages = std::mem::take(&mut self.packages);
        for package in packages.iter_mut().filter(|p| p.kind == Kind::Deb && !p.name.contains('/')) {
            package.licences = self.copyright(&package.name);
        }
        self.packages = packages;
    }

    fn copyright(&mut self, package: &str) -> Vec<Licence> {
        let found = self.lookup(format!("usr/share/doc/{package}/copyright").as_bytes());
        let file = found.as_ref().and_then(|found| Some((&found.path, self.read(found.node)?)));
        let Some((path, file)) = file else { return Vec::new() };
        self.doubts_of(path, file);
        file.finding.licences.clone()
    }

    /// What counts wherever it is.
    fn everywhere(&mut self) {
        for (path, node) in self.scanner.tree.walk(b"") {
            let Some(body) = body(node) else { continue };
            match self.scanner.files.get(&body) {
                Some(file) if !file.format.is_of_system() => self.take(&path, file, node),
                Some(file) if file.format.has_packages() && !self.taken.contains(&body) => self.doubt(&path, ASTRAY),
                Some(_) => {}
                None if Format::of(&path).is_some_and(|format| !format.is_of_system()) => self.doubt(&path, UNKNOWN),
                None => {}
            }
        }
    }

    fn take(&mut self, path: &[u8], file: &File, node: &Arc<Node>) {
        let Some((layer, _)) = body(node) else { return };
        self.doubts_of(path, file);
        let limit = self.scanner.limits.packages;
        let room = limit.saturating_sub(self.packages.len());
        if file.finding.packages.len() > room {
            self.doubt(path, &format!("the image has more than {limit} packages, which is the limit"));
        }
        let location = Location { path: shown(path), layer };
        self.packages.extend(file.finding.packages.iter().take(room).cloned().map(|mut package| {
            package.locations.push(location.clone());
            package
        }));
    }

    /// What is at a path, links followed; a path that cannot be followed is a doubt.
    fn lookup(&mut self, path: &[u8]) -> Option<Found<'s>> {
        self.scanner.tree.lookup(path, Follow::All).unwrap_or_else(|e| {
            // A file where a directory would be is a system of another kind.
            if !matches!(e, kiln_oci::TreeError::NotADirectory { .. }) {
                self.doubt(path, &e.to_string());
            }
            None
        })
    }

    fn read(&self, node: &Arc<Node>) -> Option<&'s File> {
        self.scanner.files.get(&body(node)?)
    }

    fn doubts_of(&mut self, path: &[u8], file: &File) {
        file.finding.doubts.iter().for_each(|why| self.doubt(path, &why.to_string()));
    }

    fn doubt(&mut self, path: &[u8], why: &str) {
        self.doubts.push(Doubt { path: shown(path), why: why.to_owned() });
    }
}

const UNKNOWN: &str = "it is a link to a file whose own name does not tell what it holds";
const ASTRAY: &str = "it is not where a system keeps its database, so its packages are not counted";

fn body(node: &Arc<Node>) -> Option<Body> {
    node.file().map(|file| ((*file.layer).clone(), file.inode))
}

fn shown(path: &[u8]) -> String {
    format!("/{}", name::Escaped(path))
}
