//! `--cache-from` and `--cache-to`, in BuildKit's words.

use std::path::PathBuf;

use kiln_engine::remote::{Config, Place};
use kiln_oci::Reference;

use crate::error::CliError;

/// Kinds of caches that other builders have and this one has not yet.
const NOT_YET: [&str; 5] = ["inline", "gha", "s3", "azblob", "gs"];

/// One of the options, read.
struct Spec {
    place: Place,
    max: bool,
}

/// The shared cache that the options ask for.
///
/// # Errors
/// Kinds and keys that there are not.
pub fn config(from: &[String], to: &[String]) -> Result<Option<Config>, CliError> {
    if from.is_empty() && to.is_empty() {
        return Ok(None);
    }
    let to = match to {
        [] => None,
        [one] => Some(parse("--cache-to", one)?),
        _ => return Err(CliError::usage("--cache-to is given more than once: layers go to one cache")),
    };
    let from = from.iter().map(|text| Ok(parse("--cache-from", text)?.place));
    Ok(Some(Config {
        from: from.collect::<Result<_, CliError>>()?,
        all: to.as_ref().is_some_and(|t| t.max),
        to: to.map(|t| t.place),
        ttl: None,
        copies: true,
        runs: true,
    }))
}

/// `type=registry,ref=NAME[,mode=min|max]`, `type=local,src=DIR` or `type=local,dest=DIR[,mode=min|max]`, or a repository's
/// name alone.
fn parse(flag: &str, text: &str) -> Result<Spec, CliError> {
    let bad = |why: String| CliError::usage(format!("{flag} {text}: {why}"));
    let (mut kind, mut name, mut dir, mut max) = (None, None, None, false);
    let place = if flag == "--cache-to" { "dest" } else { "src" };
    if text.contains('=') {
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = Some(value),
                Some(("ref", value)) => name = Some(value),
                Some((key, value)) if key == place => dir = Some(value),
                Some(("mode", "min")) if flag == "--cache-to" => max = false,
                Some(("mode", "max")) if flag == "--cache-to" => max = true,
                Some(("mode", _)) => return Err(bad("mode is min or max, of --cache-to".to_owned())),
                _ => return Err(bad(format!("`{field}` is not supported: expected type, ref, {place} or mode"))),
            }
        }
    } else {
        (kind, name) = (Some("registry"), Some(text));
    }
    match kind {
        Some("registry") => {}
        Some("local") => {
            let dir = dir.filter(|d| !d.is_empty()).ok_or_else(|| bad(format!("{place}= is missing")))?;
            return Ok(Spec { place: Place::Layout(PathBuf::from(dir)), max });
        }
        Some(kind) if NOT_YET.contains(&kind) => {
            return Err(bad(format!("a cache of the type {kind} is not supported yet"))
                .with_hint("type=registry,ref=registry.example/app/cache"));
        }
        Some(kind) => return Err(bad(format!("`{kind}` is not a type of cache: expected registry or local"))),
        None => return Err(bad("type= is missing".to_owned())),
    }
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| bad("ref= is missing".to_owned()))?;
    let repository: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
    match (&repository.tag, &repository.digest) {
        (None, None) => Ok(Spec { place: Place::Repository(repository), max }),
        _ => Err(bad("each step has a tag of its own in the repository, so ref= has none".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &[&str], to: &[&str]) -> Result<Option<Config>, String> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        config(&owned(from), &owned(to)).map_err(|e| e.render(false))
    }

    #[test]
    fn caches_are_repositories() {
        assert_eq!(of(&[], &[]).unwrap(), None);
        let both =
            of(&["r.io/a", "type=registry,ref=r.io/b"], &["type=registry,ref=r.io/c,mode=max"]).unwrap().unwrap();
        let repository = |name: &str| Place::Repository(name.parse().unwrap());
        assert_eq!((both.from, both.all), (vec![repository("r.io/a"), repository("r.io/b")], true));
        assert_eq!(both.to, Some(repository("r.io/c")));
        let local = of(&["type=local,src=in"], &["type=local,dest=out,mode=max"]).unwrap().unwrap();
        assert_eq!((local.from, local.to), (vec![Place::Layout("in".into())], Some(Place::Layout("out".into()))));
    }

    #[test]
    fn other_kinds_are_named() {
        for (from, to, text) in [
            (&["type=gha"][..], &[][..], "a cache of the type gha is not supported yet"),
            (&["type=tape,ref=x"], &[], "`tape` is not a type of cache"),
            (&["ref=x"], &[], "type= is missing"),
            (&["type=local,dest=x"], &[], "`dest=x` is not supported"),
            (&["type=local"], &[], "src= is missing"),
            (&["type=registry"], &[], "ref= is missing"),
            (&["type=registry,ref=x,mode=max"], &[], "of --cache-to"),
            (&["type=registry,ref=x:tag"], &[], "a tag of its own"),
            (&["type=registry,ref=X Y"], &[], "--cache-from"),
            (&[], &["r.io/a", "r.io/b"], "more than once"),
            (&[], &["type=registry,ref=x,mode=most"], "min or max"),
            (&["type=registry,ref=x,size=3"], &[], "`size=3` is not supported"),
        ] {
            let error = of(from, to).unwrap_err();
            assert!(error.contains(text), "{from:?} {to:?}: {error}");
        }
    }
}
