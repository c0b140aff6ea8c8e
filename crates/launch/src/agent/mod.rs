//! What this binary does on a host, where a launcher sent it and starts it: `kiln cluster agent …`.
//!
//! It reads orders from its standard input and answers on its standard output, as JSON; it decides nothing.
//!
//! [`receive`] blobs into the host's store, and what is there of them     [`ledger`] files, with what was in their place
//! [`watch`] what appears in directories of others, such as CNI plugins'   [`sweep`] devices, rules and mounts of Kubernetes
//! [`adapt`] the root file system as it is for this host     [`reach`] ports between hosts
//! [`balance`] a node's way to several API servers     [`peer`] hosts that bring each other blobs

pub mod adapt;
pub mod balance;
pub mod ledger;
pub mod peer;
pub mod reach;
pub mod receive;
pub mod sweep;
pub mod watch;
