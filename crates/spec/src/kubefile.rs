//! Kubefiles: what a cluster image is built from.
//!
//! A Kubefile is a Dockerfile whose image is a root file system of a cluster, and a few instructions that say what is
//! done when the cluster is launched. [`parse`] reads it with the lexer of Dockerfiles, finds out which dialect it is
//! in, and takes it apart: what makes files stays a [`Dockerfile`](ast::Dockerfile), which is planned and run as any
//! other, and the rest is [`Content`].
//!
//! ```text
//! dialect     whose                    what is its own
//! sealer-v1   sealer up to 0.8         COPY keeps the name of a directory, each CMD is run in order, after the base's
//! sealer-v2   sealer from 0.9          COPY as in Dockerfiles; APP APPCMDS APPENV LAUNCH CMDS CNI CSI KUBEVERSION
//! sealos      sealos                   a Dockerfile; labels `sealos.io.type`, `sealos.io.version` and `version`
//! ```
//!
//! [`dialect`](mod@dialect) which one it is     `read` instructions beyond a Dockerfile's
//! `lower` Dockerfile and content of each dialect     `copy` sealer's old rules about places
//!
//! Adding an instruction: its keyword in `read`, its field in [`Content`], its place in `lower`.

mod copy;
pub mod dialect;
mod lower;
mod read;

use std::collections::BTreeMap;

pub use dialect::{Dialect, Reason};

use crate::ast;
use crate::diag::Diagnostic;
use crate::source::{Source, Word};

/// A parsed Kubefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubefile {
    /// The dialect it was read in.
    pub dialect: Dialect,
    /// Why in this one.
    pub reason: Reason,
    /// What makes files.
    pub dockerfile: ast::Dockerfile,
    /// What is beyond files, of the last stage.
    pub content: Content,
}

/// What a Kubefile says beyond files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// `CMD`s, in order; in sealer's newer dialect, those of `CMDS`, too.
    pub commands: Vec<Word>,
    /// `LAUNCH`: names of applications, in order.
    pub launch: Vec<Word>,
    /// `APP`, `CNI` and `CSI`, in order.
    pub apps: Vec<App>,
    /// `APPCMDS`, by the application's name.
    pub app_commands: BTreeMap<String, Vec<Word>>,
    /// `APPENV`, by the application's name.
    pub app_env: BTreeMap<String, Vec<ast::Pair>>,
    /// `KUBEVERSION`.
    pub kubernetes: Option<Word>,
    /// `ARG`s that commands may use: name and default.
    pub args: Vec<ast::ArgDecl>,
}

/// What an application is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Anything.
    App,
    /// The network of pods.
    Cni,
    /// Storage.
    Csi,
}

impl Role {
    /// `app`, `cni` or `csi`.
    pub fn name(self) -> &'static str {
        match self {
            Role::App => "app",
            Role::Cni => "cni",
            Role::Csi => "csi",
        }
    }
}

/// `APP name local://file https://…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// What it is for.
    pub role: Role,
    /// Its name.
    pub name: Word,
    /// Where its files come from: `local://` in the context, or a URL.
    pub files: Vec<Word>,
}

/// The directory of the root file system that has a directory for each application.
pub const APPS: &str = "application/apps";

/// The commands of a list whose items are whole commands, as in `CMD ["kubectl apply -f app.yaml"]`; none where they are
/// the words of one. No program has blanks in its name, so the first item tells.
pub fn whole_commands(list: &[String]) -> Option<Vec<String>> {
    let first = list.first()?.trim();
    let items = list.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    first.contains(char::is_whitespace).then(|| items.map(str::to_owned).collect())
}

/// Parses a Kubefile. Never fails: what is wrong is in the diagnostics. A dialect that is given wins over what the file
/// looks like, and over its `# kiln:dialect=`.
pub fn parse(source: &Source, dialect: Option<Dialect>) -> (Kubefile, Vec<Diagnostic>) {
    let (read, mut found) = read::file(source);
    let (chosen, reason) = dialect::choose(source, &read, dialect, &mut found);
    let kubefile = lower::file(read, chosen, reason, &mut found);
    found.sort_by_key(|diagnostic| diagnostic.span.start);
    (kubefile, found)
}

#[cfg(test)]
mod tests;
