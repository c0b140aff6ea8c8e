//! Where the books of builds in clouds are.

use std::path::PathBuf;

use crate::cli::Global;
use crate::error::CliError;
use crate::surroundings;

/// `$KILN_STATE/node-builds`; by default below the user's directory of state, and beside the store for who has none.
pub fn dir(global: &Global) -> Result<PathBuf, CliError> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = path("KILN_STATE")
        .or_else(|| path("XDG_STATE_HOME").filter(|dir| dir.is_absolute()).map(|dir| dir.join("kiln")))
        .or_else(|| path("HOME").map(|home| home.join(".local/state/kiln")));
    match state {
        Some(state) => Ok(state.join("node-builds")),
        None => Ok(surroundings::store_dir(global)?.join("kiln/node-builds")),
    }
}
