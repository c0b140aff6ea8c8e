//! Systems of every kind, whole nodes, and what strangers may send.

mod debian;
mod disk;
mod hostile;
mod node;
mod profiles;
mod reports;
mod systems;
