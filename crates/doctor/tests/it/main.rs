//! Fleets of hosts in network namespaces with the plugins of Debian, and one fault after the other.

mod api;
mod bench;
mod catalogue;
mod cri;
mod data;
mod faults;
mod fixes;
mod hostile;
mod paths;
mod probes;
mod remote;
mod reports;
