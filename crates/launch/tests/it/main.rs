//! Launches on recording hosts: which commands, in which order, and what becomes of failures; hosts that bring each other
//! an image, with real agents.

mod board;
mod docker;
mod double;
mod launching;
mod leaving;
mod logins;
mod networks;
mod peer;
mod preflight;
mod reaching;
mod resetting;
mod running;
mod simulate;
mod swarm;
mod together;
mod wishes;
mod world;
