//! The logins to registries that a build in a pod needs: those that are here, for the repositories it touches, and no others.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::EngineError;
use kiln_oci::{Platform, Reference};
use kiln_plan::facts::{ImageName, Question};
use kiln_plan::options::NamedContext;
use kiln_plan::{Facts, Options, Outcome};
use kiln_registry::{Config, Credential};
use kiln_spec::dockerfile;
use kiln_spec::source::Source;
use serde_json::{Value, json};

use super::super::Args;
use crate::error::CliError;

/// The images that a Dockerfile is made from, as far as it can be known without asking anybody.
///
/// # Errors
/// Mistakes of the Dockerfile: no cluster is needed to find them.
pub fn bases(dockerfile: &Source, args: &Args, platforms: &[Platform]) -> Result<Vec<Reference>, CliError> {
    let in_file = |found| CliError::InFile {
        source: Box::new(dockerfile.clone()),
        error: Box::new(EngineError::Dockerfile(found)),
    };
    let (file, found) = dockerfile::parse(dockerfile);
    let errors: Vec<_> = found.into_iter().filter(|d| d.is_error()).collect();
    if !errors.is_empty() {
        return Err(in_file(errors));
    }
    let mut images = BTreeSet::new();
    for platform in platforms {
        let options = options(args, platform);
        // What is wrong only with facts is found where they are.
        let Ok(Outcome::Questions(questions)) = kiln_plan::build(&file, &options, &Facts::default()) else { continue };
        for question in questions {
            if let Question::Image(query) = question
                && let ImageName::Reference(name) = query.name
            {
                images.insert(name);
            }
        }
    }
    Ok(images.iter().filter_map(|name| name.parse().ok()).collect())
}

fn options(args: &Args, platform: &Platform) -> Options {
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let context = |text: &String| {
        let (name, what) = text.split_once('=')?;
        let what = match what.strip_prefix("docker-image://") {
            Some(image) => NamedContext::Image(image.to_owned()),
            None => NamedContext::Target(what.strip_prefix("target:")?.to_owned()),
        };
        Some((name.to_owned(), what))
    };
    let secret = |text: &String| text.split(',').find_map(|field| field.strip_prefix("id=")).map(str::to_owned);
    Options {
        target: args.target.clone(),
        build_args: args.build_args.iter().filter_map(pair).collect(),
        contexts: args.build_contexts.iter().filter_map(context).collect(),
        secrets: args.secrets.iter().filter_map(secret).collect(),
        ..Options::new(platform.clone())
    }
}

/// A docker configuration with the logins for these repositories; nothing if there are none.
///
/// # Errors
/// When a place of logins cannot be read.
pub fn config(repositories: &[Reference], config: &Config) -> Result<Option<Vec<u8>>, CliError> {
    let mut auths: BTreeMap<String, Value> = BTreeMap::new();
    for repository in repositories {
        let found = config.credentials.find(&repository.registry, &repository.repository);
        let found = found.map_err(|e| {
            let error = CliError::environment(e.to_string());
            e.hint().into_iter().fold(error, CliError::with_hint)
        })?;
        if let Some(credential) = found {
            auths.insert(format!("{}/{}", repository.registry, repository.repository), entry(&credential));
        }
    }
    Ok((!auths.is_empty()).then(|| json!({ "auths": auths }).to_string().into_bytes()))
}

fn entry(credential: &Credential) -> Value {
    match credential {
        Credential::Basic { username, password } => {
            json!({"auth": STANDARD.encode(format!("{username}:{}", password.expose()))})
        }
        Credential::IdentityToken { token } => json!({"identitytoken": token.expose()}),
        Credential::RegistryToken(token) => json!({"registrytoken": token.expose()}),
    }
}
