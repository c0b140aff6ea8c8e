//! Fleets of hosts in network namespaces with the plugins of Debian, and one fault after the other.

mod bench;
mod data;
mod faults;
mod hostile;
