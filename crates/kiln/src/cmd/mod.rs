//! One file per verb.

pub mod build;
pub mod cache;
pub mod cat;
pub mod completion;
pub mod context;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod du;
pub mod executor;
pub mod explain;
pub mod fsck;
pub mod generate_key_pair;
pub mod history;
pub mod images;
pub mod import;
pub mod inspect;
pub mod load;
pub mod login;
pub mod logout;
pub mod ls;
pub mod man;
pub mod node;
pub mod prune;
pub mod pull;
pub mod push;
pub mod registry;
pub mod rmi;
pub mod save;
pub mod sbom;
pub mod sign;
pub mod tag;
pub mod verify;
pub mod version;

use crate::cli::{Cli, Verb};
use crate::error::CliError;
use crate::surroundings;

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<(), CliError> {
    let Cli { mut global, verb } = cli;
    let global = &mut global;
    if let Verb::Du(_) | Verb::Prune(_) | Verb::Fsck(_) = verb {
        surroundings::enter_for_upkeep(global)?;
    }
    match verb {
        Verb::Build(args) => build::run(*args, global),
        Verb::Images(args) => images::run(&args, global),
        Verb::Pull(args) => pull::run(&args, global),
        Verb::Push(args) => push::run(&args, global),
        Verb::Copy(args) => copy::run(&args, global),
        Verb::Save(args) => save::run(&args, global),
        Verb::Load(args) => load::run(&args, global),
        Verb::Import(args) => import::run(&args, global),
        Verb::Tag(args) => tag::run(&args, global),
        Verb::Rmi(args) => rmi::run(&args, global),
        Verb::Inspect(args) => inspect::run(&args, global),
        Verb::History(args) => history::run(&args, global),
        Verb::Ls(args) => ls::run(&args, global),
        Verb::Cat(args) => cat::run(&args, global),
        Verb::Diff(args) => diff::run(&args, global),
        Verb::Login(args) => login::run(&args),
        Verb::Logout(args) => logout::run(&args),
        Verb::Sbom(args) => sbom::run(&args, global),
        Verb::Sign(args) => sign::run(&args, global),
        Verb::Verify(args) => verify::run(&args, global),
        Verb::GenerateKeyPair(args) => generate_key_pair::run(&args),
        Verb::Explain(args) => explain::run(&args, global),
        Verb::Doctor(args) => doctor::run(&args, global),
        Verb::Context(args) => context::run(&args, global),
        Verb::Cache(args) => cache::run(&args, global),
        Verb::Du(args) => du::run(&args, global),
        Verb::Prune(args) => prune::run(&args, global),
        Verb::Fsck(args) => fsck::run(&args, global),
        Verb::Registry(args) => registry::run(&args, global),
        Verb::Executor(args) => executor::run(&args, global),
        Verb::Warmer(args) => executor::warmer::run(&args, global),
        Verb::Node(args) => node::run(*args, global),
        Verb::Version(args) => version::run(&args),
        Verb::Completion(args) => completion::run(&args),
        Verb::Man(args) => man::run(&args),
    }
}
