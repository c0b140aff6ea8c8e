//! Kiln in pods: containers as a kubelet makes them, run by runc, with the rights that a pod's specification gives.
//!
//! [`spec`] the settings, and what runc is told     [`seccomp`] the filters     [`pod`] one pod
//! `builds` the same layers in every pod     `doctor` what is missing, and how it is had     `secrets` nothing to find

mod builds;
mod doctor;
mod pod;
mod seccomp;
mod secrets;
mod spec;
