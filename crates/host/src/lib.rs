//! A machine one can command: this one, or one over SSH.
#![forbid(unsafe_code)]
