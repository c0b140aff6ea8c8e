//! Disks: partition tables, file systems, boot loaders and image formats, written and read without mounts.
#![forbid(unsafe_code)]
