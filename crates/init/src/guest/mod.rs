//! What the program of a machine's first process decides, without asking a kernel: it is compiled twice, into that
//! program and into this library, where tests reach it and what writes its files uses it.
//!
//! [`place`] where its files lie     [`words`] the kernel's command line     [`application`] what is to be run
//! [`probe`] file systems by their superblocks     [`table`] partitions     [`address`] addresses     [`dhcp`] their protocol
//!
//! Only `core` and `alloc` are there.

pub mod address;
pub mod application;
pub mod dhcp;
pub mod place;
pub mod probe;
pub mod table;
pub mod words;
