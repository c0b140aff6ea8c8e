//! The registry as its clients see it: requests by hand, and the tools that people use.

mod auth;
mod cache;
mod clusters;
mod conformance;
mod hostile;
mod rights;
mod support;
mod tools;
mod uploads;
