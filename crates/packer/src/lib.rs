//! Packer's templates: JSON or HCL2 in, builds with their provisioners and post-processors out.
#![forbid(unsafe_code)]
