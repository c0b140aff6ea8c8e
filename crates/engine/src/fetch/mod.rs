//! What comes from elsewhere: URLs and Git repositories, for `ADD` and contexts, and objects of object stores, for contexts.

mod child;
pub mod git;
pub mod http;
pub mod object;
