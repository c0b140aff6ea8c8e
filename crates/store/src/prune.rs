//! Taking away what nobody needs, least recently used first.
//!
//! ```text
//! what                                      goes
//! left by dead processes                    always
//! blobs of images with a name               never: `remove_ref` first
//! what a running build holds or has made    never
//! cache records, context tables             by age and space
//! blobs fetched in part                     by age and space, unless they are being fetched
//! other blobs, layers made from them        by age and space
//! layers of images with a name, unpacked    by age and space, with `all` only
//! directories of RUN --mount=type=cache     by age and space, with `all` only
//! ```
//! Things are renamed away in small batches while the gate is held alone (see [`crate::lock`]), with fresh leases,
//! names and times of use for each batch, and deleted after the gate is open again.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::lock::{self, Gate};
use crate::reach::Reach;
use crate::temp::{self, TempDir, ignore_missing};
use crate::usage::{Held, Thing, inventory, tree_size};
use crate::{Kind, Result, Store, StoreError, lease, remove_tree};

/// How many things are renamed away before others get through the gate.
const BATCH: usize = 64;

/// What to prune. The default removes everything that is not kept, as the table of this module says, except what only
/// goes with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Also what can be made again from images with names, and the cache directories of `RUN`.
    pub all: bool,
    /// Keep what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Stop when the store takes no more than this, in bytes.
    pub max_used: Option<u64>,
    /// Never go below this, in bytes.
    pub reserved: Option<u64>,
    /// Stop when this much is free on the file system, in bytes; with `max_used`, when both hold.
    pub min_free: Option<u64>,
    /// Only what passes: of the kinds given, if any are, and with one of the names given, if any are.
    pub filters: Vec<Filter>,
}

/// A choice of what may be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `type=KIND`.
    Kind(Kind),
    /// `id=TEXT`: the name holds this text.
    Name(String),
}

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a filter: expected `type=` and one of blob, snapshot, tar, index, layer, record, table, mount, partial, temp; or `id=` and a part of a name"
)]
pub struct FilterError(String);

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || FilterError(text.to_owned());
        match text.split_once('=').ok_or_else(bad)? {
            ("type", name) => Kind::ALL.into_iter().find(|k| k.name() == name).map(Filter::Kind).ok_or_else(bad),
            ("id", part) if !part.is_empty() => Ok(Filter::Name(part.to_owned())),
            _ => Err(bad()),
        }
    }
}

/// Something that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// What it was.
    pub kind: Kind,
    /// Its name within the kind, as [`Kind`] says.
    pub name: String,
    /// What it took on the disk, in bytes.
    pub bytes: u64,
}

/// What [`Store::prune`] did.
#[derive(Debug, Default)]
pub struct PruneReport {
    /// What was removed, in this order.
    pub removed: Vec<Removed>,
    /// What that freed, in bytes.
    pub freed: u64,
    /// What should have gone and could not be removed, with the reason.
    pub failed: Vec<StoreError>,
}

impl PruneReport {
    fn add(&mut self, kind: Kind, name: String, bytes: u64) {
        self.freed += bytes;
        self.removed.push(Removed { kind, name, bytes });
    }
}

impl PrunePolicy {
    /// How many bytes the store may take afterwards, when it takes `used` and the file system has `free` left. The
    /// same reckoning as BuildKit's: limits that are not given do not bind, and without any, everything may go.
    fn target(&self, used: u64, free: u64) -> u64 {
        let mut keep = self.max_used;
        if let Some(missing) = self.min_free.map(|min| min.saturating_sub(free)) {
            let fits = used.saturating_sub(missing);
            keep = Some(keep.map_or(fits, |k| k.min(fits)));
        }
        keep.unwrap_or(0).max(self.reserved.unwrap_or(0))
    }

    fn passes(&self, kind: Kind, name: &str) -> bool {
        let of_kind = |f: &Filter| matches!(f, Filter::Kind(_));
        let accepts = |f: &Filter| match f {
            Filter::Kind(wanted) => *wanted == kind,
            Filter::Name(part) => name.contains(part.as_str()),
        };
        // Of each sort, one has to accept; a sort that was not given does not bind.
        [true, false].into_iter().all(|sort| {
            let mut given = self.filters.iter().filter(|f| of_kind(f) == sort).peekable();
            given.peek().is_none() || given.any(accepts)
        })
    }

    fn may_take(&self, thing: &Thing, now: SystemTime) -> bool {
        let old =
            self.keep_duration.is_none_or(|keep| now.duration_since(thing.last_used).is_ok_and(|age| age >= keep));
        old && (self.all || thing.kind != Kind::Mount) && self.passes(thing.kind, &thing.name)
    }
}

impl Store {
    /// Removes what the policy says, and what dead processes left. Running builds are not disturbed.
    ///
    /// # Errors
    /// When the store is read-only, cannot be listed, or `index.json` is damaged. What cannot be removed is no error
    /// but reported.
    pub fn prune(&self, policy: &PrunePolicy) -> Result<PruneReport> {
        self.writable("prune")?;
        let mut report = PruneReport::default();
        self.reap(policy, &mut report)?;
        let mut things = inventory(self)?;
        let used: u64 = things.iter().map(|t| t.bytes).sum();
        let stat = rustix::fs::statvfs(self.dir())
            .map_err(|e| StoreError::List { path: self.dir().to_path_buf(), source: e.into() })?;
        let target = policy.target(used, stat.f_bavail.saturating_mul(stat.f_frsize));
        let now = SystemTime::now();
        things.retain(|t| policy.may_take(t, now));
        things.sort_by(|a, b| (a.last_used, a.kind, &a.name).cmp(&(b.last_used, b.kind, &b.name)));
        let mut reach = Reach::new(self)?;
        let mut left = used;
        for batch in things.chunks(BATCH) {
            // Where all is to go, what takes no room goes, too.
            if left <= target && target > 0 {
                break;
            }
            let before = report.freed;
            let enough = if target > 0 { left - target } else { u64::MAX };
            self.take(batch, policy, &mut reach, enough, &mut report)?;
            left = left.saturating_sub(report.freed - before);
        }
        Ok(report)
    }

    /// Removes what dead processes left in `tmp`, `leases` and `locks`.
    fn reap(&self, policy: &PrunePolicy, report: &mut PruneReport) -> Result<()> {
        if !policy.passes(Kind::Temp, "") {
            return Ok(());
        }
        for orphan in temp::orphans(self)? {
            let bytes = tree_size(&orphan.path);
            match remove_tree(&orphan.path) {
                Ok(()) => report.add(Kind::Temp, orphan.name, bytes),
                Err(e) => report.failed.push(e),
            }
        }
        for (path, _) in crate::usage::files(&self.own("locks"))? {
            let system = path.file_name().is_some_and(|n| n == "gc" || n == "refs");
            if !system {
                // Dropping the guard of a free lock unlinks its file.
                drop(lock::attempt(&path, true)?);
            }
        }
        Ok(())
    }

    /// Removes from one batch what is still nobody's, until `enough` bytes are freed.
    fn take(
        &self,
        batch: &[Thing],
        policy: &PrunePolicy,
        reach: &mut Reach,
        enough: u64,
        report: &mut PruneReport,
    ) -> Result<()> {
        let failed = |source| StoreError::Lock { path: self.own("locks/gc"), source };
        // On a full disk there may be no room for a trash directory; things are then deleted where they are.
        let trash = TempDir::create(self).ok();
        let mut taken = Vec::new();
        let mut freed = 0;
        let gate = Gate::exclusive(self.dir()).map_err(failed)?;
        let leased = lease::living(self)?;
        reach.refresh(self)?;
        for (n, thing) in batch.iter().enumerate() {
            if freed >= enough {
                break;
            }
            if !self.is_free(thing, policy, reach, &leased) {
                continue;
            }
            let to = trash.as_ref().map(|t| t.path().join(n.to_string()));
            match self.take_away(thing, to.as_deref()) {
                Ok(true) => {
                    freed += thing.bytes;
                    taken.push((thing, to));
                }
                Ok(false) => {}
                Err(e) => report.failed.push(e),
            }
        }
        drop(gate);
        for (thing, path) in taken {
            match path.map_or(Ok(()), |path| remove_tree(&path)) {
                Ok(()) => report.add(thing.kind, thing.name.clone(), thing.bytes),
                Err(e) => report.failed.push(e),
            }
        }
        Ok(())
    }

    fn is_free(
        &self,
        thing: &Thing,
        policy: &PrunePolicy,
        reach: &Reach,
        leased: &std::collections::HashSet<(Kind, String)>,
    ) -> bool {
        if leased.contains(&(thing.kind, thing.name.clone())) {
            return false;
        }
        if let Some(digest) = &thing.digest {
            let derived = reach.holds(thing.kind, digest);
            if derived == Some(Held::Named) || derived == Some(Held::Derived) && !policy.all {
                return false;
            }
        }
        // Used, replaced or removed since it was listed.
        fs::symlink_metadata(&thing.path).is_ok_and(|m| m.modified().is_ok_and(|t| t == thing.last_used))
    }

    /// Moves a thing into the trash, or deletes it at once; `false` if it is in use. The gate is held alone.
    fn take_away(&self, thing: &Thing, trash: Option<&Path>) -> Result<bool> {
        let failed = |source| StoreError::Remove { path: thing.path.clone(), source };
        let take = || match trash {
            Some(to) => fs::rename(&thing.path, to).or_else(ignore_missing).map_err(failed),
            None => remove_tree(&thing.path),
        };
        match (thing.kind, &thing.digest) {
            (Kind::Mount, _) => match lock::attempt(&self.mount_lock(&thing.name), true)? {
                Some(_guard) => take()?,
                None => return Ok(false),
            },
            (Kind::Partial, _) => match lock::try_open(&thing.path) {
                Ok(Some(_ours)) => take()?,
                Ok(None) => return Ok(false),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(failed(e)),
            },
            (Kind::Layer, Some(diff_id)) => self.forget_layer(diff_id).map_err(failed)?,
            (Kind::Snapshot | Kind::Tar, Some(_)) => {
                take()?;
                self.unmark(thing.kind, &thing.path);
            }
            _ => take()?,
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_bind_only_when_given() {
        let policy =
            |max_used, reserved, min_free| PrunePolicy { max_used, reserved, min_free, ..PrunePolicy::default() };
        assert_eq!(policy(None, None, None).target(100, 5), 0);
        assert_eq!(policy(Some(60), None, None).target(100, 5), 60);
        assert_eq!(policy(None, None, Some(25)).target(100, 5), 80);
        assert_eq!(policy(None, None, Some(4)).target(100, 5), 100);
        assert_eq!(policy(Some(60), None, Some(65)).target(100, 5), 40);
        assert_eq!(policy(Some(60), Some(50), Some(65)).target(100, 5), 50);
        assert_eq!(policy(None, Some(70), None).target(100, 5), 70);
        assert_eq!(policy(None, None, Some(u64::MAX)).target(100, 5), 0);
    }

    #[test]
    fn filters_are_read_and_combined() {
        let filters: Vec<Filter> = ["type=blob", "type=record", "id=abc"].iter().map(|t| t.parse().unwrap()).collect();
        let policy = PrunePolicy { filters, ..PrunePolicy::default() };
        assert!(policy.passes(Kind::Blob, "xxabcxx"));
        assert!(policy.passes(Kind::Record, "abc"));
        assert!(!policy.passes(Kind::Blob, "ab"));
        assert!(!policy.passes(Kind::Tar, "abc"));
        assert!(PrunePolicy::default().passes(Kind::Tar, ""));
        for bad in ["", "blob", "type=", "type=blobs", "id=", "until=3h"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
