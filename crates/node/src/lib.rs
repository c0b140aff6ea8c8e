//! Node images: builders, provisioners and post-processors, and the run through them.
#![forbid(unsafe_code)]
