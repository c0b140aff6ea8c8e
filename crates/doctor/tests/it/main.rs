//! Fleets of hosts in network namespaces with the plugins of Debian, and one fault after the other.

mod bench;
mod catalogue;
mod data;
mod faults;
mod fixes;
mod hostile;
mod paths;
mod remote;
mod reports;
