//! What must be true of a machine that is to be a node: profiles, checks, reports.
#![forbid(unsafe_code)]
