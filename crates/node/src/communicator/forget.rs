//! Taking the key that was made for a build out of the machine again.

use kiln_host::command::quote;

use super::{Login, Machine, Settings};
use crate::builder::Job;
use crate::error::{NodeError, Result};
use crate::target::{Commanded, Communicator as _, Ended};

/// Takes it out, if the template wants that.
///
/// # Errors
/// When the machine does not do it.
pub fn key(settings: &Settings, login: &Login, machine: &mut Commanded<Machine>, job: &Job<'_>) -> Result<()> {
    if !settings.clear || !login.temporary {
        return Ok(());
    }
    let line = login.public_line();
    job.ui.say("Removing the temporary key from authorized_keys...");
    let Some(body) = line.split(' ').nth(1) else { return Ok(()) };
    // The file keeps its owner and mode; of the line only the key itself is sure to be as it was sent.
    let command = format!(
        "for f in \"$HOME/.ssh/authorized_keys\" /root/.ssh/authorized_keys; do if [ -w \"$f\" ]; then \
         t=$(grep -vF {} \"$f\"); printf '%s\\n' \"$t\" | sed '/^$/d' >\"$f\"; fi; done",
        quote(body)
    );
    match machine.machine().exec(&command, &mut |_, _| {}, job.cancel)? {
        Ended::Code(0) => Ok(()),
        ended => {
            let why = format!("ssh_clear_authorized_keys: the command ended with {ended:?}");
            Err(NodeError::Machine { action: "removing the temporary key".to_owned(), why })
        }
    }
}
