//! Go's text/template language: parsed, and executed on values, within limits.
#![forbid(unsafe_code)]
