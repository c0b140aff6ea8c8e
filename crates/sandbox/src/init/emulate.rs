//! The rung `chroot`: no namespaces, no mounts.

use std::os::unix::net::UnixStream;

use crate::job::Job;
use crate::wire::{Fault, Report};

pub fn run(_job: &Job, _control: &UnixStream) -> Result<Report, Fault> {
    Ok(Report::Lacks("commands yet".to_owned()))
}
