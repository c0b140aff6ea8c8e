//! `--exclude`, and what of a directory remains.

use kiln_oci::name;
use kiln_spec::dockerignore::{Below, Ignore};

use super::{Kind, Picked};
use crate::error::{EngineError, Result};

/// `--exclude` patterns.
pub(super) struct Exclude(Ignore);

/// Something that may be copied.
pub(super) struct Candidate {
    pub picked: Picked,
    /// Whether it is what the source asks for, not just a directory on the way there.
    pub wanted: bool,
}

/// What remains, parents before what is in them.
pub(super) struct Sifted {
    /// Each with whether it is only there because of what is in it.
    kept: Vec<(Picked, bool)>,
}

impl Sifted {
    /// Everything as one list.
    pub(super) fn together(self) -> Vec<Picked> {
        self.kept.into_iter().map(|(picked, _)| picked).collect()
    }

    /// What was asked for, and the directories above it.
    pub(super) fn apart(self) -> (Vec<Picked>, Vec<Picked>) {
        let (above, wanted): (Vec<_>, Vec<_>) = self.kept.into_iter().partition(|(_, above)| *above);
        let strip = |list: Vec<(Picked, bool)>| list.into_iter().map(|(picked, _)| picked).collect();
        (strip(wanted), strip(above))
    }
}

/// A directory on the way to the current candidate.
struct Open {
    rel: Vec<u8>,
    below: Below,
    /// The directory, if it is kept only when something in it is.
    waiting: Option<Picked>,
    /// Nothing in it can be kept.
    closed: bool,
}

impl Exclude {
    pub(super) fn parse(patterns: &[String]) -> Result<Exclude> {
        let from_root = patterns.iter().map(|text| match text.strip_prefix('!') {
            Some(rest) => format!("!{}", rest.trim_start_matches('/')),
            None => text.trim_start_matches('/').to_owned(),
        });
        let (ignore, errors) = Ignore::from_patterns(from_root);
        match errors.first() {
            None => Ok(Exclude(ignore)),
            Some(e) => Err(EngineError::Context(format!("--exclude={}: {}", e.text, e.problem))),
        }
    }

    /// Whether a path is excluded.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.0.matches(path)
    }

    /// What is left of `candidates`, which come with parents before what is in them. An excluded directory stays when
    /// something in it is taken back. Sockets never stay.
    pub(super) fn sift(&self, candidates: impl Iterator<Item = Candidate>) -> Sifted {
        let mut kept = Vec::new();
        let mut open = vec![Open { rel: Vec::new(), below: self.0.root(), waiting: None, closed: false }];
        for Candidate { picked, wanted } in candidates {
            while open.len() > 1 && open.last().is_some_and(|dir| !is_in(&picked.rel, &dir.rel)) {
                open.pop();
            }
            let Some(dir) = open.last() else { break };
            if dir.closed || picked.stat.kind == Kind::Socket {
                continue;
            }
            let is_dir = picked.stat.is_dir();
            let (excluded, below) = match is_dir {
                true => self.0.enter(&picked.rel, &dir.below),
                false => (self.0.matches_in(&picked.rel, &dir.below), self.0.root()),
            };
            let stays = wanted && !excluded;
            if stays {
                kept.extend(open.iter_mut().filter_map(|dir| dir.waiting.take()).map(|dir| (dir, true)));
            }
            if is_dir {
                let closed = excluded && !self.0.may_reinclude_below(&picked.rel);
                let waiting = (!stays && !closed).then(|| picked.clone());
                open.push(Open { rel: picked.rel.clone(), below, waiting, closed });
            }
            if stays {
                kept.push((picked, false));
            }
        }
        Sifted { kept }
    }
}

/// Whether `rel` lies below the directory `dir`.
fn is_in(rel: &[u8], dir: &[u8]) -> bool {
    let mut up = rel;
    while up.len() > dir.len() {
        up = name::split(up).0;
    }
    up == dir && rel.len() > dir.len()
}
