//! `kiln cluster cert`: certificates of the control plane: when they end, new ones, further names.

use kiln_launch::{Member, cert, run as launching};

use super::fleet::{self, Lines, Wish};
use super::join;
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln cluster cert                                  when certificates of each master end
  kiln cluster cert --renew                          new ones for all, and control planes that use them, one by one
  kiln cluster cert --alt-names api.example.com,10.0.0.9
                                                     further names and addresses for the API servers' certificates

Names go into the configuration that kubeadm keeps in the cluster, too: masters that join later have them. Write them into
certSANS of the Clusterfile as well. Tokens and keys for joining are made anew whenever hosts join.";

/// Show or renew certificates of the control plane, or add names to them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    fleet: fleet::Args,
    /// Renew all of them
    #[arg(long)]
    renew: bool,
    /// Names and addresses that the API servers' certificates are to have, too
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "renew")]
    alt_names: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let fleet::Known { mut cluster, record, .. } = args.fleet.cluster(&Wish::default())?;
    let Some(record) = record else { return Err(join::unknown(&cluster.name.value)) };
    args.fleet.add_remembered(&mut cluster, &record);
    let cancel = surroundings::cancel();
    let mut machines = args.fleet.machines(&cluster, &cancel)?;
    machines.retain(|(host, _)| host.is_master());
    let words: Vec<String> =
        args.alt_names.iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    if !words.is_empty() {
        let options = args.fleet.options(&Wish::default())?;
        let events = Lines::new(global.progress);
        let masters: Vec<Member> = launching::gather(machines.clone(), &options, &events, &cancel)?;
        let new = cert::add_sans(&masters, &record.kubernetes, &words)?;
        let text =
            if new.is_empty() { "they were in it already".to_owned() } else { format!("new are {}", new.join(", ")) };
        eprintln!("the API servers of {} have new certificates: {text}", record.name);
    }
    for (_, machine) in machines {
        if args.renew {
            cert::renew(&machine, &record.kubernetes)?;
        }
        let said = cert::expiration(&machine, &record.kubernetes)?;
        named::print(&format!("{}\n{}", machine.name(), error::printable(&said)))?;
    }
    Ok(())
}
