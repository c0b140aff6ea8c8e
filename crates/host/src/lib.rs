//! A machine one can command: this one, or one over SSH.
//!
//! A [`Host`] runs a [`Command`] and moves files; callers are ordinary threads and every call blocks. Inside, all
//! connections of a process share the few threads of one [`Network`], however many hosts there are. Nothing is read from
//! the environment: the binary passes what it found there.
//!
//! [`command`] what is run, and how it ended   [`local`] this machine        [`cancel`] how a caller stops a call
//! [`ssh`] connections: options, dialling, host keys, authentication, waiting, tunnels
//! [`copy`] files and directories, by SFTP and by the protocol of scp        [`facts`] what a machine is
//! [`recording`] a machine for tests of those who command machines
//! [`keys`] private keys, read and made        [`known_hosts`] which keys machines have
//! [`ssh_config`] the user's own settings      [`secret`] texts that are never shown
//!
//! Adding a way to authenticate: a variant in [`ssh::options`], its attempt in `ssh/auth.rs`. Adding a check of why a
//! machine does not answer: a variant in [`ssh::wait`].
#![forbid(unsafe_code)]

pub mod cancel;
pub mod command;
pub mod copy;
pub mod error;
pub mod facts;
pub mod host;
pub mod keys;
pub mod known_hosts;
pub mod local;
pub mod network;
pub mod recording;
pub mod secret;
pub mod ssh;
pub mod ssh_config;

pub use cancel::Cancel;
pub use command::{Command, Exit, Fed, Feed, Output, Stdin, Streams};
pub use error::HostError;
pub use facts::Facts;
pub use host::Host;
pub use local::Local;
pub use network::Network;
pub use recording::Recording;
pub use secret::Secret;
pub use ssh::{Ssh, SshOptions};
