//! Disks against the tools that are their second opinion.

mod ext4;
