//! Whose resources: the accounts of clouds that builds were made in.

use std::collections::BTreeMap;

use kiln_clouds::Environment;
use kiln_ledger::sweep::Cloud;
use kiln_spec::diag::did_you_mean;

use crate::error::CliError;

/// Google's cloud, as templates and books name it.
pub const GOOGLE: &str = kiln_gce::marks::CLOUD;
/// And Alibaba's.
pub const ALIBABA: &str = kiln_alicloud::account::CLOUD;

/// What deletes and finds in an account. Who asks is looked for as the cloud's own tools do; no book has that.
pub fn open(cloud: &str, account: &BTreeMap<String, String>) -> Result<Box<dyn Cloud>, CliError> {
    let refused = |error: &dyn std::fmt::Display, hint: Option<String>| {
        CliError::environment(format!("cannot ask {cloud}: {error}")).with_any_hint(hint)
    };
    match cloud {
        GOOGLE => kiln_gce::account(account, Environment::of_process()).map_err(|e| refused(&e, e.hint())),
        ALIBABA => kiln_alicloud::account(account, &Environment::of_process()).map_err(|e| refused(&e, e.hint())),
        other => Err(unknown(other)),
    }
}

/// A cloud that this Kiln does not know.
fn unknown(cloud: &str) -> CliError {
    let names = [GOOGLE, ALIBABA];
    let told = CliError::input(format!("there is no cloud `{cloud}` here"));
    match did_you_mean(cloud, names) {
        Some(near) => told.with_hint(format!("did you mean `{near}`?")),
        None => told.with_hint(format!("there are {}", names.join(" and "))),
    }
}

/// `KEY=VALUE` of an option, each key once.
pub fn pairs(option: &str, texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::usage(format!("{option} {text}: expected KEY=VALUE")));
        };
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(CliError::usage(format!("{option} {text}: `{key}` was said before")));
        }
    }
    Ok(pairs)
}
