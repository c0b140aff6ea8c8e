//! What `ADD` brings from elsewhere: URLs and Git repositories.

mod child;
pub mod git;
pub mod http;
