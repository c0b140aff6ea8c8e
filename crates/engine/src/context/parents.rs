//! `COPY --parents`: files keep their path, from the root or from the `/./` in the source.

use kiln_oci::name;
use kiln_spec::glob::{Pattern, has_wildcards};

use super::select::{check_count, clean, expand, malformed};
use super::sift::{Candidate, Exclude};
use super::{Pick, Picked, Source, resolve};
use crate::error::Result;

/// Adds what one source names; returns the path it names if nothing is there.
///
/// In front of the `/./`, links are followed; behind it they are copied as they are, and none is followed on the way.
pub(super) fn pick(
    source: &dyn Source,
    text: &str,
    exclude: &Exclude,
    picks: &mut Vec<Pick>,
) -> Result<Option<Vec<u8>>> {
    let (before, behind) = text.split_once("/./").unwrap_or(("", text));
    let (pivot, kept) = (clean(before)?, clean(behind)?);
    let pivots = if has_wildcards(&pivot) { expand(source, text, &pivot)? } else { vec![pivot.clone()] };
    let pattern = Pattern::with_globstar(&kept).map_err(|e| malformed(text, &e))?;
    let mut found = false;
    for path in pivots {
        let Some(dir) = resolve(source, &path)?.filter(|dir| dir.stat.is_dir()) else { continue };
        let candidates = match kept.is_empty() {
            true => whole(source, &dir.path, b"")?,
            false => walk(source, &dir.path, &kept, &pattern)?,
        };
        found |= kept.is_empty() || candidates.iter().any(|candidate| candidate.wanted);
        let (entries, parents) = exclude.sift(candidates.into_iter()).apart();
        picks.push(Pick { name: name::split(&path).1.to_vec(), root: dir.path, stat: dir.stat, entries, parents });
    }
    let must_exist = !has_wildcards(&pivot) && !has_wildcards(&kept);
    Ok((must_exist && !found).then(|| name::join(&pivot, &kept)))
}

/// Everything in the directory `rel` of `root`.
fn whole(source: &dyn Source, root: &[u8], rel: &[u8]) -> Result<Vec<Candidate>> {
    let below = source.below(&name::join(root, rel))?.into_iter();
    let named = |Picked { rel: inner, stat }| Picked { rel: name::join(rel, &inner), stat };
    Ok(below.map(|picked| Candidate { picked: named(picked), wanted: true }).collect())
}

/// What the pattern matches below `root`, with what is in it, and the directories it might match something in.
fn walk(source: &dyn Source, root: &[u8], text: &[u8], pattern: &Pattern) -> Result<Vec<Candidate>> {
    if let Some(at) = text.windows(2).position(|pair| pair == b"**") {
        // All of it will be looked at; a source is faster at that in one go.
        let above = name::split(&text[..at]).0;
        if !has_wildcards(above) {
            source.below(&name::join(root, above))?;
        }
    }
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), source.list(root)?.into_iter())];
    while let Some((dir, names)) = open.last_mut() {
        let Some(base) = names.next() else {
            open.pop();
            continue;
        };
        let rel = name::join(dir, &base);
        let wanted = pattern.matches(&rel);
        if !wanted && !pattern.may_match_below(&rel) {
            continue;
        }
        let path = name::join(root, &rel);
        let Some(stat) = source.stat(&path)? else { continue };
        let is_dir = stat.is_dir();
        if !wanted && !is_dir {
            continue;
        }
        check_count(found.len())?;
        found.push(Candidate { picked: Picked { rel: rel.clone(), stat }, wanted });
        match (wanted, is_dir) {
            (true, true) => found.extend(whole(source, root, &rel)?),
            (false, true) => open.push((rel, source.list(&path)?.into_iter())),
            _ => {}
        }
    }
    Ok(found)
}
