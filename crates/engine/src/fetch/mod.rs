//! What `ADD` brings from elsewhere: URLs and Git repositories.

pub mod git;
pub mod http;
