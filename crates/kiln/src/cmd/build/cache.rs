//! `--cache-from` and `--cache-to`, in BuildKit's words.

use kiln_engine::remote::Config;
use kiln_oci::Reference;

use crate::error::CliError;

/// Kinds of caches that other builders have and this one has not yet.
const NOT_YET: [&str; 6] = ["local", "inline", "gha", "s3", "azblob", "gs"];

/// One of the options, read.
struct Spec {
    repository: Reference,
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
    let from = from.iter().map(|text| Ok(parse("--cache-from", text)?.repository));
    Ok(Some(Config {
        from: from.collect::<Result<_, CliError>>()?,
        all: to.as_ref().is_some_and(|t| t.max),
        to: to.map(|t| t.repository),
        ttl: None,
        copies: true,
        runs: true,
    }))
}

/// `type=registry,ref=NAME[,mode=min|max]`, or the name alone.
fn parse(flag: &str, text: &str) -> Result<Spec, CliError> {
    let bad = |why: String| CliError::usage(format!("{flag} {text}: {why}"));
    let (mut kind, mut name, mut max) = (None, None, false);
    if text.contains('=') {
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", value)) => kind = Some(value),
                Some(("ref", value)) => name = Some(value),
                Some(("mode", "min")) if flag == "--cache-to" => max = false,
                Some(("mode", "max")) if flag == "--cache-to" => max = true,
                Some(("mode", _)) => return Err(bad("mode is min or max, of --cache-to".to_owned())),
                _ => return Err(bad(format!("`{field}` is not supported: expected type, ref or mode"))),
            }
        }
    } else {
        (kind, name) = (Some("registry"), Some(text));
    }
    match kind {
        Some("registry") => {}
        Some(kind) if NOT_YET.contains(&kind) => {
            return Err(bad(format!("a cache of the type {kind} is not supported yet"))
                .with_hint("type=registry,ref=registry.example/app/cache"));
        }
        Some(kind) => return Err(bad(format!("`{kind}` is not a type of cache: expected registry"))),
        None => return Err(bad("type= is missing".to_owned())),
    }
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| bad("ref= is missing".to_owned()))?;
    let repository: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
    match (&repository.tag, &repository.digest) {
        (None, None) => Ok(Spec { repository, max }),
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
        let names: Vec<String> = both.from.iter().map(Reference::name).collect();
        assert_eq!((&names[..], both.all), (&["r.io/a".to_owned(), "r.io/b".to_owned()][..], true));
        assert_eq!(both.to.unwrap().name(), "r.io/c");
    }

    #[test]
    fn other_kinds_are_named() {
        for (from, to, text) in [
            (&["type=gha"][..], &[][..], "a cache of the type gha is not supported yet"),
            (&["type=tape,ref=x"], &[], "`tape` is not a type of cache"),
            (&["ref=x"], &[], "type= is missing"),
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
