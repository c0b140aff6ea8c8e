//! What a DNS server for one zone must know: reading the zone, and answering questions about it. No operating system, no
//! network, no clock: text and packets in, packets out. What runs it on a machine is the crate beside this one.
//!
//! [`zone`] a master file (RFC 1035) → a [`Zone`](zone::Zone), or the first mistake with its line and column
//! [`answer`] a request → a reply     [`words`] the machine's command line
//! [`name`] names as they are on the wire, and in the order that finds them
//! [`request`] what is asked     [`lookup`] what the zone has for it     [`reply`] how that is written
//!
//! Everything is hostile: a request is never followed backwards, and no answer is longer than its asker can take.
//! Answering allocates nothing.
//!
//! Adding a type of records: a row in [`zone::types`], and how its data is read in [`zone::data`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod answer;
pub mod lookup;
pub mod name;
pub mod reply;
pub mod request;
pub mod words;
pub mod zone;
