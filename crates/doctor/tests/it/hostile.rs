//! Garbage in every file that is read.
