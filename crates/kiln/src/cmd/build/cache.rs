//! `--cache-from` and `--cache-to`.

use kiln_engine::remote::Config;

use crate::error::CliError;
use crate::place::{self, Around, Use};

/// BuildKit's older way to ask for `--cache-to type=inline`.
const INLINE: &str = "BUILDKIT_INLINE_CACHE";

/// What the options ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The shared cache.
    pub config: Option<Config>,
    /// Whether the image is to say which steps its layers came of.
    pub inline: bool,
}

/// The caches that the options, and the build arguments, ask for.
///
/// # Errors
/// Kinds and keys that there are not.
pub fn wanted(from: &[String], to: &[String], build_args: &[String], around: &Around<'_>) -> Result<Wanted, CliError> {
    let mut wanted = Wanted { inline: asks_for_inline(build_args), ..Wanted::default() };
    let (mut all, mut target) = (false, None);
    for text in to {
        let spec = place::parse("--cache-to", text, Use::To, around)?;
        match (spec.place, &target) {
            (None, _) => wanted.inline = true,
            (Some(place), None) => (all, target) = (spec.max, Some(place)),
            (Some(_), Some(_)) => {
                return Err(CliError::usage("--cache-to is given more than once: layers go to one cache")
                    .with_hint("type=inline may be given beside another one"));
            }
        }
    }
    let from = from.iter().map(|text| Ok(place::parse("--cache-from", text, Use::From, around)?.place));
    let from: Vec<_> = from.collect::<Result<Vec<_>, CliError>>()?.into_iter().flatten().collect();
    if !from.is_empty() || target.is_some() {
        wanted.config = Some(Config { from, all, to: target, ttl: None, copies: true, runs: true });
    }
    Ok(wanted)
}

/// Whether a build argument asks for it; what is neither true nor false does not, as with BuildKit.
fn asks_for_inline(build_args: &[String]) -> bool {
    let value = build_args.iter().rev().find_map(|arg| arg.strip_prefix(INLINE)?.strip_prefix('='));
    value.is_some_and(|value| matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

#[cfg(test)]
mod tests {
    use kiln_engine::remote::Place;
    use kiln_objects::Environment;

    use super::*;

    fn of(from: &[&str], to: &[&str], args: &[&str]) -> Result<Wanted, String> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let around = Around { environment: Environment::empty(), variable: &|_| None };
        wanted(&owned(from), &owned(to), &owned(args), &around).map_err(|e| e.render(false))
    }

    #[test]
    fn many_are_looked_into_and_one_is_written_to() {
        assert_eq!(of(&[], &[], &[]).unwrap(), Wanted::default());
        let both = of(&["r.io/a", "s3://bkt"], &["type=registry,ref=r.io/c,mode=max", "type=inline"], &[]).unwrap();
        let config = both.config.unwrap();
        assert_eq!((config.from.len(), config.all, both.inline), (2, true, true));
        assert_eq!(config.to, Some(Place::Repository("r.io/c".parse().unwrap())));
        assert!(of(&[], &["r.io/a", "r.io/b"], &[]).unwrap_err().contains("more than once"));
    }

    #[test]
    fn the_older_way_is_understood() {
        let inline = |args: &[&str]| of(&[], &[], args).unwrap().inline;
        assert!(inline(&["BUILDKIT_INLINE_CACHE=1"]) && inline(&["BUILDKIT_INLINE_CACHE=true"]));
        assert!(
            !inline(&["BUILDKIT_INLINE_CACHE=0"]) && !inline(&["BUILDKIT_INLINE_CACHE=1", "BUILDKIT_INLINE_CACHE="])
        );
        assert!(!inline(&["BUILDKIT_INLINE_CACHE"]) && !inline(&["BUILDKIT_INLINE_CACHES=1"]));
    }
}
