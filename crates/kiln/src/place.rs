//! Places of shared caches as users name them, in BuildKit's words: `type=KIND,KEY=VALUE,…`, or a name alone.
//!
//! ```text
//! registry.example/app/cache        a repository, with an image for each step
//! registry.example/app:1            an image that says which steps its layers came of
//! s3://BUCKET/PREFIX, gs://…        a bucket; https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX is one, too
//! type=registry,ref=NAME            as the name alone
//! type=local,src=DIR | dest=DIR     an OCI layout in a directory
//! type=s3|azblob|gs,…               a bucket, with its options
//! type=inline                       the image that is built
//! ```
//!
//! What is secret in such a text is in no message about it.

mod bucket;

use std::path::PathBuf;

use kiln_engine::remote::Place;
use kiln_objects::Environment;
use kiln_oci::Reference;

use crate::error::CliError;

/// Kinds of caches that other builders have and this one has not.
const FOREIGN: [&str; 1] = ["gha"];
/// Options whose values are not for others.
pub const SECRET: [&str; 4] = ["access_key_id", "secret_access_key", "session_token", "gcp_json_key"];

/// What a place is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To look into it.
    From,
    /// To write to it.
    To,
    /// To list it, and to remove from it.
    Upkeep,
}

/// A place, and what is to go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where; `None` is the image that is built.
    pub place: Option<Place>,
    /// Whether layers of all stages go there, or those of the result only.
    pub max: bool,
}

/// What this process has around it.
pub struct Around<'a> {
    /// Endpoints and credentials.
    pub environment: Environment,
    /// Any other variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Around<'_> {
    /// That of this process.
    pub fn here() -> Around<'static> {
        Around {
            environment: Environment::of_process(),
            variable: &|name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        }
    }
}

/// Reads a place.
///
/// # Errors
/// Kinds and options that there are not, and what is missing.
pub fn parse(flag: &str, text: &str, wanted: Use, around: &Around<'_>) -> Result<Spec, CliError> {
    let bad = |why: String| CliError::usage(format!("{flag} {}: {why}", shown(text)));
    if let Some(bucket) = bucket::of_url(text, around).map_err(bad)? {
        return Ok(Spec { place: Some(Place::Bucket(bucket)), max: false });
    }
    if !text.contains('=') {
        return Ok(Spec { place: Some(named(text, wanted).map_err(bad)?), max: false });
    }
    let mut options = Options::read(text).map_err(bad)?;
    let kind = options.take("type").ok_or_else(|| bad("type= is missing".to_owned()))?;
    let max = options.mode(wanted).map_err(bad)?;
    let place = match &*kind {
        "registry" => {
            options.agreed(&["image-manifest", "oci-mediatypes"]).map_err(bad)?;
            let name = options.need("ref").map_err(bad)?;
            Some(named(&name, wanted).map_err(bad)?)
        }
        "local" => {
            let dir = options.need(if wanted == Use::To { "dest" } else { "src" }).map_err(bad)?;
            Some(Place::Layout(PathBuf::from(dir)))
        }
        "inline" if wanted == Use::To && max => {
            return Err(bad("an image holds the steps of the result only: leave mode=max out".to_owned()));
        }
        "inline" if wanted == Use::To => None,
        "inline" => {
            return Err(bad("the cache inside an image is named by the image".to_owned())
                .with_hint("type=registry,ref=registry.example/app:1"));
        }
        "s3" => Some(Place::Bucket(bucket::s3(&mut options, around).map_err(bad)?)),
        "azblob" => Some(Place::Bucket(bucket::azblob(&mut options, around).map_err(bad)?)),
        "gs" | "gcs" => Some(Place::Bucket(bucket::gs(&mut options, around).map_err(bad)?)),
        other if FOREIGN.contains(&other) => {
            return Err(bad(format!("a cache of the type {other} is not supported"))
                .with_hint("type=registry,ref=registry.example/app/cache"));
        }
        other => {
            return Err(bad(format!(
                "`{other}` is not a type of cache: expected registry, local, inline, s3, azblob or gs"
            )));
        }
    };
    options.end(&kind).map_err(bad)?;
    Ok(Spec { place, max })
}

/// A repository, or an image that is looked into.
fn named(text: &str, wanted: Use) -> Result<Place, String> {
    let name: Reference = text.parse().map_err(|e| format!("{e}"))?;
    match (&name.tag, &name.digest) {
        (None, None) => Ok(Place::Repository(name)),
        _ if wanted == Use::From => Ok(Place::Image(name)),
        _ => Err("it names an image: a cache is a repository, in which each step has a tag of its own".to_owned()),
    }
}

/// A text without what is secret in it.
fn shown(text: &str) -> String {
    let field = |field: &str| match field.split_once('=') {
        Some((key, _)) if SECRET.contains(&key) => format!("{key}=***"),
        _ => without_query(field),
    };
    if is_url(text) { without_query(text) } else { text.split(',').map(field).collect::<Vec<_>>().join(",") }
}

fn is_url(text: &str) -> bool {
    text.find("://").is_some_and(|at| !text[..at].contains('='))
}

/// A URL without its query and login; any other text as it is.
fn without_query(text: &str) -> String {
    let Some(at) = text.find("://") else { return text.to_owned() };
    let (head, rest) = text.split_at(at + 3);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    format!("{head}{}{path}", host.rsplit('@').next().unwrap_or_default())
}

/// Options that are not used yet.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(text: &str) -> Result<Options, String> {
        let mut options: Vec<(String, String)> = Vec::new();
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("`{}` is not KEY=VALUE", shown(field)));
            };
            if options.iter().any(|(known, _)| known == key) {
                return Err(format!("{key}= is given twice"));
            }
            options.push((key.to_owned(), value.to_owned()));
        }
        Ok(Options(options))
    }

    /// An option that is not empty.
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    fn need(&mut self, key: &str) -> Result<String, String> {
        self.take(key).ok_or_else(|| format!("{key}= is missing"))
    }

    fn switch(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(format!("{key} is true or false")),
        }
    }

    /// Switches that say what is so anyway.
    fn agreed(&mut self, keys: &[&str]) -> Result<(), String> {
        for key in keys {
            if self.switch(key)? == Some(false) {
                return Err(format!("{key}=false is not supported"));
            }
        }
        Ok(())
    }

    /// What is to be written, which only a place that is written to has.
    fn mode(&mut self, wanted: Use) -> Result<bool, String> {
        if wanted != Use::To {
            return match self.take("mode") {
                None => Ok(false),
                Some(_) => Err("mode is min or max, of --cache-to".to_owned()),
            };
        }
        if self.switch("ignore-error")? == Some(false) {
            return Err("ignore-error=false is not supported: a cache that cannot be written is a warning".to_owned());
        }
        match self.take("mode").as_deref() {
            None | Some("min") => Ok(false),
            Some("max") => Ok(true),
            Some(_) => Err("mode is min or max, of --cache-to".to_owned()),
        }
    }

    /// That nothing is left.
    fn end(&self, kind: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("`{key}` is not an option of a cache of the type {kind}")),
        }
    }
}

#[cfg(test)]
mod tests;
